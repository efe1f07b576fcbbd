//! What cases want of a kernel that was built without it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::Result;

use crate::ctx::Ctx;
use crate::kernel::all_fragments;

/// How the name of a symbol begins in a sentence.
const PREFIX: &str = "CONFIG_";

/// Why a case is skipped on a kernel without this; a test's own `needs` says the same.
pub(super) fn lacking(symbol: &str) -> String {
    format!("needs {PREFIX}{symbol}")
}

/// The symbols that a reason names.
pub(super) fn symbols(reason: &str) -> Vec<&str> {
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = reason.split(|c: char| !is_of_name(c));
    let symbols = words.filter_map(|word| word.strip_prefix(PREFIX));
    let mut symbols: Vec<&str> = symbols.filter(|symbol| !symbol.is_empty()).collect();
    symbols.sort_unstable();
    symbols.dedup();
    symbols
}

/// What is said at the end of a run of these, each with the number of cases that were skipped for want of it.
///
/// # Errors
/// When a fragment cannot be read.
pub fn wanted(ctx: &Ctx, wants: &BTreeMap<String, usize>) -> Result<String> {
    let mut text = String::new();
    if wants.is_empty() {
        return Ok(text);
    }
    let all = all_fragments(ctx)?;
    for (symbol, count) in wants {
        let cases = if *count == 1 { "case was" } else { "cases were" };
        let asking = all.iter().filter(|(_, fragment)| fragment.asks_for(symbol));
        let fragments: Vec<&str> = asking.map(|(name, _)| *name).collect();
        let bring = match fragments.as_slice() {
            [] => "no fragment here asks for it".into(),
            [one] => format!("the fragment `{one}` asks for it"),
            several => format!("the fragments `{}` ask for it", several.join("`, `")),
        };
        let _ = writeln!(text, "{count} {cases} skipped for want of {PREFIX}{symbol}: {bring}");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_may_name_symbols() {
        assert_eq!(symbols(&lacking("NF_TABLES")), ["NF_TABLES"]);
        assert_eq!(
            symbols("CONFIG_USER_NS or CONFIG_NET_NS=y is not set, CONFIG_USER_NS"),
            ["NET_NS", "USER_NS"]
        );
        assert!(symbols("no CONFIG_, and no MY_CONFIG_X").is_empty());
    }
}
