//! The Kconfig files of a tree, read well enough to say why a symbol did not take.
//!
//! Kconfig itself configures; this only explains. What it cannot know, such as what a compiler
//! can do, it takes to hold. The language: `Documentation/kbuild/kconfig-language.rst`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

mod expr;
mod parse;

pub use expr::{Expr, Tristate};

use super::fragment::Values;

/// One `config` block; a symbol may have several.
#[derive(Debug, Clone)]
pub struct Definition {
    /// The file, relative to the tree, and the line.
    pub place: String,
    /// What its `depends on` lines and the blocks around it ask for.
    pub depends: Expr,
    /// When a user may choose its value; `None` when nobody is ever asked.
    pub prompt: Option<Expr>,
    /// The choice that it is a member of, by its place.
    pub choice: Option<String>,
    /// What it turns on, and under which condition.
    pub selects: Vec<(String, Expr)>,
}

/// All symbols that can be reached from a tree's first Kconfig file.
#[derive(Debug, Default)]
pub struct Kconfig {
    symbols: BTreeMap<String, Vec<Definition>>,
}

impl Kconfig {
    /// Reads a tree, beginning with its file `first`.
    ///
    /// # Errors
    /// When `first` cannot be read.
    pub fn read(tree: &Path, first: &str) -> Result<Self> {
        let path = tree.join(first);
        fs::metadata(&path).with_context(|| format!("no Kconfig file {}", path.display()))?;
        // A file that a tree names and does not have was left out on purpose, or Kconfig has said so.
        let read = |name: &str| {
            fs::read(tree.join(name)).ok().map(|text| String::from_utf8_lossy(&text).into_owned())
        };
        Ok(Self::parse(first, read))
    }

    fn parse(first: &str, read: impl Fn(&str) -> Option<String>) -> Self {
        Self { symbols: parse::files(first, &read) }
    }

    /// Reads one file's text, which includes no other.
    #[cfg(test)]
    pub fn of_text(text: &str) -> Self {
        Self::parse("Kconfig", |name| (name == "Kconfig").then(|| text.to_owned()))
    }

    /// Returns true if the tree has the symbol.
    pub fn has(&self, symbol: &str) -> bool {
        self.symbols.contains_key(symbol)
    }

    /// The name most like `symbol`, if one is.
    pub fn nearest(&self, symbol: &str) -> Option<&str> {
        self.symbols
            .keys()
            .map(|name| (strsim::damerau_levenshtein(symbol, name), name))
            .filter(|(distance, name)| *distance <= 1.max(name.len() / 4))
            .min()
            .map(|(_, name)| name.as_str())
    }

    /// Why `symbol`, of which `wanted` was asked, has another value; what can be told.
    pub fn explain(&self, symbol: &str, wanted: &str, values: &Values) -> Vec<String> {
        let Some(definitions) = self.symbols.get(symbol) else { return Vec::new() };
        let state = Tristate::of(values.get(symbol));
        if wanted == "n" || Tristate::of(wanted) < state {
            return self.why_on(symbol, definitions, values);
        }
        // A string or a number needs its dependencies only to be there at all.
        let needed = Tristate::of(wanted).max(Tristate::Module);
        // Any one definition would do: that with the fewest gaps is the one that was meant.
        let gaps = definitions
            .iter()
            .map(|definition| gaps(definition, needed, values))
            .min_by_key(Vec::len)
            .unwrap_or_default();
        if !gaps.is_empty() {
            return gaps;
        }
        if definitions.iter().all(|definition| definition.prompt.is_none()) {
            return vec![self.never_asked(symbol)];
        }
        self.chosen_instead(definitions, values).into_iter().collect()
    }

    fn why_on(&self, symbol: &str, definitions: &[Definition], values: &Values) -> Vec<String> {
        let active = |(name, condition): &(&str, &Expr)| {
            values.get(name) != "n" && condition.state(values) != Tristate::No
        };
        let by: BTreeSet<&str> =
            self.selectors(symbol).filter(active).map(|(name, _)| name).collect();
        if !by.is_empty() {
            return vec![format!("it is selected by {}", joined(by))];
        }
        let prompts = definitions.iter().filter_map(|definition| definition.prompt.as_ref());
        match prompts.map(|prompt| prompt.missing(values, Tristate::Module)).min_by_key(Vec::len) {
            None => vec!["nobody is asked about it: its default decides".into()],
            Some(missing) => missing
                .into_iter()
                .map(|term| format!("it can be turned off only with {term}"))
                .collect(),
        }
    }

    fn never_asked(&self, symbol: &str) -> String {
        let by: BTreeSet<&str> = self.selectors(symbol).map(|(name, _)| name).collect();
        if by.is_empty() {
            "nobody is asked about it: its default decides".into()
        } else {
            format!("nobody is asked about it: it is selected by {}", joined(by))
        }
    }

    fn selectors<'a>(&'a self, symbol: &'a str) -> impl Iterator<Item = (&'a str, &'a Expr)> {
        self.symbols.iter().flat_map(move |(name, definitions)| {
            let selects = definitions.iter().flat_map(|definition| &definition.selects);
            selects
                .filter(move |(target, _)| target == symbol)
                .map(move |(_, condition)| (name.as_str(), condition))
        })
    }

    /// The member that a choice has instead of this one.
    fn chosen_instead(&self, definitions: &[Definition], values: &Values) -> Option<String> {
        let choice = definitions.iter().find_map(|definition| definition.choice.as_ref())?;
        let member = |definition: &Definition| definition.choice.as_ref() == Some(choice);
        let (chosen, _) = self.symbols.iter().find(|(name, definitions)| {
            values.get(name) == "y" && definitions.iter().any(member)
        })?;
        Some(format!("of the choice at {choice}, {chosen} was taken"))
    }
}

fn gaps(definition: &Definition, needed: Tristate, values: &Values) -> Vec<String> {
    let place = &definition.place;
    let terms = definition.depends.missing(values, needed);
    let mut gaps: Vec<String> =
        terms.into_iter().map(|term| format!("it needs {term} ({place})")).collect();
    if let Some(prompt) = &definition.prompt {
        let terms = prompt.missing(values, Tristate::Module);
        let asked = |term| format!("it can be asked for only with {term} ({place})");
        gaps.extend(terms.into_iter().map(asked));
    }
    gaps
}

/// A few names; a symbol may be selected by hundreds.
fn joined(names: BTreeSet<&str>) -> String {
    const SHOWN: usize = 5;
    let shown: Vec<&str> = names.iter().copied().take(SHOWN).collect();
    match names.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests;
