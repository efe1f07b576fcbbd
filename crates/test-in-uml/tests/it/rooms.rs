//! Data goes one way through the modules of the engine: none of them needs another that needs it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use syn::visit::Visit;
use walkdir::WalkDir;

/// Which module needs which, each with a file in which it does.
type Needs = BTreeMap<String, BTreeMap<String, String>>;

/// What a file names of the crate, but for what is built for tests alone.
#[derive(Default)]
struct Names(BTreeSet<String>);

impl Names {
    fn of(text: &str) -> BTreeSet<String> {
        let mut names = Self::default();
        names.visit_file(&syn::parse_file(text).unwrap());
        names.0
    }

    fn tree(&mut self, tree: &syn::UseTree) {
        match tree {
            syn::UseTree::Path(path) => drop(self.0.insert(path.ident.to_string())),
            syn::UseTree::Name(name) => drop(self.0.insert(name.ident.to_string())),
            syn::UseTree::Rename(name) => drop(self.0.insert(name.ident.to_string())),
            syn::UseTree::Group(group) => group.items.iter().for_each(|tree| self.tree(tree)),
            syn::UseTree::Glob(_) => {}
        }
    }
}

fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let is_test = |list: &syn::MetaList| list.tokens.to_string().contains("test");
        attribute.path().is_ident("cfg") && attribute.meta.require_list().is_ok_and(is_test)
    })
}

impl<'ast> Visit<'ast> for Names {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if !is_for_tests(&module.attrs) {
            syn::visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        match &item.tree {
            syn::UseTree::Path(path) if path.ident == "crate" && !is_for_tests(&item.attrs) => {
                self.tree(&path.tree);
            }
            _ => {}
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let mut segments = path.segments.iter();
        if segments.next().is_some_and(|first| first.ident == "crate")
            && let Some(module) = segments.next()
        {
            self.0.insert(module.ident.to_string());
        }
        syn::visit::visit_path(self, path);
    }
}

/// Who needs whom of the top modules below `src`.
fn needs(src: &Path) -> Needs {
    let mut needs = Needs::new();
    for entry in WalkDir::new(src).sort_by_file_name() {
        let path = entry.unwrap().into_path();
        let below = path.strip_prefix(src).unwrap();
        let Some(module) = below.iter().next().and_then(|name| name.to_str()) else { continue };
        let module = module.trim_end_matches(".rs");
        let name = below.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
        let is_source = path.extension().is_some_and(|end| end == "rs");
        // Above all others, or built for tests alone.
        if !is_source
            || ["lib", "main"].contains(&module)
            || ["tests", "fuzz", "samples"].contains(&name)
        {
            continue;
        }
        let of_module = needs.entry(module.to_owned()).or_default();
        for name in Names::of(&fs::read_to_string(&path).unwrap()) {
            if name != module {
                of_module.entry(name).or_insert_with(|| below.display().to_string());
            }
        }
    }
    needs
}

/// A way from a module back to itself, if there is one.
fn circle(needs: &Needs) -> Option<String> {
    needs.keys().find_map(|start| {
        let mut ways = vec![vec![start.as_str()]];
        let mut seen = BTreeSet::new();
        while let Some(way) = ways.pop() {
            let last = way.last()?;
            for (next, file) in needs.get(*last).into_iter().flatten() {
                if next == start {
                    return Some(format!("{} -> {start} (in {file})", way.join(" -> ")));
                }
                if needs.contains_key(next) && seen.insert(next.as_str()) {
                    ways.push([way.as_slice(), &[next.as_str()]].concat());
                }
            }
        }
        None
    })
}

#[test]
fn no_module_needs_another_that_needs_it() {
    let needs = needs(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    assert!(needs.len() > 20 && needs["suite"].contains_key("guest"), "{needs:?}");
    assert_eq!(circle(&needs), None);
}

#[test]
fn a_circle_is_seen_wherever_it_is_closed() {
    let of = |texts: &[(&str, &str)]| {
        let needs = texts.iter().map(|(module, text)| {
            let names = Names::of(text).into_iter().map(|name| (name, "file".into()));
            ((*module).to_owned(), names.collect())
        });
        circle(&needs.collect())
    };
    let down = "use crate::{b::{X, Y}, c as d};";
    let in_code = "fn f() { let x: Vec<crate::a::T> = crate::a::g(); }";
    let in_tests = "#[cfg(test)] mod tests { use crate::a::T; }";
    assert_eq!(of(&[("a", down), ("b", "use super::T;"), ("c", in_tests)]), None);
    assert!(of(&[("a", down), ("b", in_code)]).unwrap().contains("a -> b -> a"));
    assert!(of(&[("a", down), ("c", "use crate::b::T;"), ("b", in_code)]).is_some());
}
