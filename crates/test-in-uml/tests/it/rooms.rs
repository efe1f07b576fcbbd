//! Data goes one way through the modules of the engine: none of them needs another that needs it, at any level.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use syn::visit::Visit;
use walkdir::WalkDir;

/// A path within the crate.
type Place = Vec<String>;

/// The modules of a crate, each by its place; the crate's root has an empty one.
#[derive(Debug, Default)]
struct Modules(BTreeMap<Place, Module>);

/// What a module says, but for what is built for tests alone.
#[derive(Debug, Default)]
struct Module {
    at: Place,
    /// What its names mean that it has from elsewhere.
    imports: BTreeMap<String, Place>,
    /// Every path that it names, from the crate's root.
    named: BTreeSet<Place>,
}

impl Module {
    fn of(at: Place, text: &str) -> Self {
        let mut module = Self { at, ..Self::default() };
        module.visit_file(&syn::parse_file(text).unwrap());
        module
    }

    /// A path of this module as seen from the root; what is of another crate leads nowhere.
    fn absolute(&self, path: &[String]) -> Place {
        let (first, rest) = (&*path[0], &path[1..]);
        match first {
            "crate" => rest.to_vec(),
            "self" => [&self.at, rest].concat(),
            "super" => {
                let ups = path.iter().take_while(|name| *name == "super").count();
                [&self.at[..self.at.len().saturating_sub(ups)], &path[ups..]].concat()
            }
            _ => [&self.at, path].concat(),
        }
    }

    fn import(&mut self, before: &[String], tree: &syn::UseTree) {
        let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
        match tree {
            syn::UseTree::Path(path) => self.import(&with(&path.ident), &path.tree),
            syn::UseTree::Name(name) if name.ident == "self" => {
                let last = before.last().cloned().unwrap_or_default();
                self.bring(last, before.to_vec());
            }
            syn::UseTree::Name(name) => self.bring(name.ident.to_string(), with(&name.ident)),
            syn::UseTree::Rename(name) => self.bring(name.rename.to_string(), with(&name.ident)),
            syn::UseTree::Group(group) => {
                group.items.iter().for_each(|tree| self.import(before, tree));
            }
            syn::UseTree::Glob(_) => drop(self.named.insert(self.absolute(before))),
        }
    }

    fn bring(&mut self, name: String, path: Vec<String>) {
        let place = self.absolute(&path);
        self.named.insert(place.clone());
        self.imports.insert(name, place);
    }
}

fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let is_test = |list: &syn::MetaList| list.tokens.to_string().contains("test");
        attribute.path().is_ident("cfg") && attribute.meta.require_list().is_ok_and(is_test)
    })
}

impl<'ast> Visit<'ast> for Module {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if !is_for_tests(&module.attrs) {
            syn::visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if !is_for_tests(&item.attrs) {
            self.import(&[], &item.tree);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<String> =
            path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.named.insert(self.absolute(&names));
        syn::visit::visit_path(self, path);
    }
}

impl Modules {
    /// Those below `src`, but for what is built for tests alone.
    fn read(src: &Path) -> Self {
        let mut modules = Self::default();
        for entry in WalkDir::new(src).sort_by_file_name() {
            let path = entry.unwrap().into_path();
            let below = path.strip_prefix(src).unwrap().with_extension("");
            let mut place: Place =
                below.iter().map(|name| name.to_string_lossy().into_owned()).collect();
            let last = place.last().cloned().unwrap_or_default();
            let is_source = path.extension().is_some_and(|end| end == "rs");
            if !is_source || ["main", "tests", "fuzz", "samples"].contains(&&*last) {
                continue;
            }
            if last == "lib" {
                place.pop();
            }
            modules.insert(place, &fs::read_to_string(&path).unwrap());
        }
        modules
    }

    fn insert(&mut self, place: Place, text: &str) {
        self.0.insert(place.clone(), Module::of(place, text));
    }

    /// The module that has what is named so, wherever it is named.
    fn home(&self, path: &[String], steps: usize) -> Place {
        let mut at = Place::new();
        for (index, name) in path.iter().enumerate() {
            let below = [at.as_slice(), std::slice::from_ref(name)].concat();
            if self.0.contains_key(&below) {
                at = below;
                continue;
            }
            let meant = self.0.get(&at).and_then(|module| module.imports.get(name));
            return match meant {
                Some(meant) if steps > 0 && self.0.contains_key(&meant[..1.min(meant.len())]) => {
                    self.home(&[meant, &path[index + 1..]].concat(), steps - 1)
                }
                _ => at,
            };
        }
        at
    }

    /// Which module needs which.
    fn needs(&self) -> BTreeSet<(Place, Place)> {
        let mut needs = BTreeSet::new();
        for module in self.0.values() {
            for path in module.named.iter().filter(|path| !path.is_empty()) {
                let home = self.home(path, 10);
                // The root has all of them, and is needed by none but for its name.
                if home != module.at && !home.is_empty() && !module.at.is_empty() {
                    needs.insert((module.at.clone(), home));
                }
            }
        }
        needs
    }

    /// Every circle among the modules of one folder, each with all below it. A module and those that it is
    /// divided into are one thing.
    fn circles(&self) -> BTreeSet<String> {
        let needs = self.needs();
        let mut circles = BTreeSet::new();
        for parent in self.0.keys().chain([&Place::new()]) {
            let mut level: BTreeMap<Place, BTreeSet<Place>> = BTreeMap::new();
            for (one, other) in &needs {
                let ends = [one, other].map(|place| {
                    let is_below = place.starts_with(parent) && place.len() > parent.len();
                    is_below.then(|| place[..=parent.len()].to_vec())
                });
                if let [Some(one), Some(other)] = ends
                    && one != other
                {
                    level.entry(one).or_default().insert(other);
                }
            }
            circles.extend(circle(&level));
        }
        circles
    }
}

/// A way from a module back to itself, if there is one.
fn circle(needs: &BTreeMap<Place, BTreeSet<Place>>) -> Option<String> {
    needs.keys().find_map(|start| {
        let mut ways = vec![vec![start]];
        let mut seen = BTreeSet::new();
        while let Some(way) = ways.pop() {
            for next in needs.get(*way.last()?).into_iter().flatten() {
                if next == start {
                    let names: Vec<String> = way.iter().map(|place| place.join("::")).collect();
                    return Some(format!("{} -> {}", names.join(" -> "), start.join("::")));
                }
                if seen.insert(next) {
                    ways.push([way.as_slice(), &[next]].concat());
                }
            }
        }
        None
    })
}

#[test]
fn no_module_needs_another_that_needs_it() {
    let modules = Modules::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    let place = |path: &str| path.split("::").map(String::from).collect::<Place>();
    let needs = modules.needs();
    assert!(
        modules.0.len() > 100
            && needs.contains(&(place("suite::seat::current"), place("guest::boot")))
    );
    let circles: Vec<String> = modules.circles().into_iter().collect();
    assert!(circles.is_empty(), "{}", circles.join("\n"));
}

#[test]
fn a_circle_is_seen_at_any_level_and_wherever_it_is_closed() {
    let circles = |texts: &[(&str, &str)]| {
        let mut modules = Modules::default();
        for (path, text) in texts {
            modules.insert(path.split("::").map(String::from).collect(), text);
        }
        modules.circles().into_iter().collect::<Vec<_>>()
    };
    let down = "use crate::{b::{X, Y}, c as d};";
    let in_code = "fn f() { let x: Vec<crate::a::T> = crate::a::g(); }";
    let in_tests = "#[cfg(test)] mod tests { use crate::a::T; }";
    let none: [&str; 0] = [];
    assert_eq!(circles(&[("a", down), ("b", "struct X;"), ("c", in_tests)]), none);
    assert_eq!(circles(&[("a", down), ("b", in_code), ("c", "")]), ["a -> b -> a"]);
    let three = [("a", down), ("c", "use crate::b::T;"), ("b", in_code)];
    assert_eq!(circles(&three), ["a -> b -> a"]);
    // Within a folder; a name that the folder's module has from another file is that file's.
    let facade = "mod x; mod y; pub use x::X; pub use y::Y;";
    let one_way = [("a", facade), ("a::x", "use super::Y;"), ("a::y", "pub struct Y;")];
    assert_eq!(circles(&one_way), none);
    let both =
        [("a", facade), ("a::x", "use super::Y;"), ("a::y", "use crate::a::X; pub struct Y;")];
    assert_eq!(circles(&both), ["a::x -> a::y -> a::x"]);
    let own = [("a", "mod x; pub use x::X; pub struct Own;"), ("a::x", "use super::Own;")];
    assert_eq!(circles(&own), none);
}
