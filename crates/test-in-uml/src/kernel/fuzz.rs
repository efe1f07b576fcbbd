//! Fragments and Kconfig files of anybody.

use std::path::PathBuf;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::fragment::{ConfigRequest, Setting, Values};
use super::kconfig::{Expr, Kconfig, Tristate};
use super::verify;

const OF_FRAGMENTS: &[&str] = &[
    "CONFIG_",
    "A",
    "B",
    "HOSTFS",
    "=",
    "y",
    "m",
    "n",
    "0x",
    "9",
    "-",
    "\"",
    "\\",
    "#",
    " ",
    "\t",
    "\n",
    "\r\n",
    " is not set",
    "# CONFIG_",
    "not set",
    "ä",
    "\0",
];

const OF_KCONFIG: &[&str] = &[
    "config ",
    "menuconfig ",
    "A",
    "B",
    "HOSTFS",
    "\n",
    "\n\t",
    " ",
    "bool ",
    "tristate ",
    "string ",
    "\"text\"",
    "\"",
    "'",
    "depends on ",
    "select ",
    "if ",
    "endif",
    "choice",
    "endchoice",
    "menu ",
    "endmenu",
    "help\n",
    "source \"Kconfig\"",
    "source \"b\"",
    "default ",
    "&&",
    "||",
    "!",
    "(",
    ")",
    "=",
    "!=",
    "$(x,",
    "#",
    "\\\n",
    "prompt ",
    "y",
    "m",
    "n",
    "ä",
];

fn text(words: &'static [&'static str], most: usize) -> impl Strategy<Value = String> {
    vec(select(words), 0..most).prop_map(|words| words.concat())
}

proptest! {
    #[test]
    fn a_fragment_is_read_or_refused(first in text(OF_FRAGMENTS, 16), second in text(OF_FRAGMENTS, 16)) {
        let texts = [("a", first), ("b", second)].map(|(name, text)| (PathBuf::from(name), text));
        if let Ok(request) = ConfigRequest::merge(texts) {
            // What was read is written as one fragment that says the same.
            let again = ConfigRequest::merge([(PathBuf::from("c"), request.to_string())]).unwrap();
            prop_assert!(again.settings().eq(request.settings()));
            let values = Values::parse(&request.to_string()).unwrap();
            for Setting { symbol, value } in request.settings() {
                prop_assert_eq!(values.get(symbol), value);
            }
        }
    }

    #[test]
    fn a_kconfig_file_is_read_whatever_it_says(file in text(OF_KCONFIG, 40), lines in text(OF_FRAGMENTS, 16)) {
        let kconfig = Kconfig::of_text(&file);
        let Ok(request) = ConfigRequest::merge([(PathBuf::from("a"), lines)]) else { return Ok(()) };
        let values = Values::default();
        let _ = verify::symbols(&request, &kconfig);
        let took = request.settings().all(|setting| setting.value == "n");
        prop_assert_eq!(verify::values(&request, values.clone(), &kconfig).is_ok(), took);
    }

    #[test]
    fn an_expression_is_read_whatever_it_says(text in text(OF_KCONFIG, 30)) {
        let expr = Expr::parse(&text);
        expr.missing(&Values::default(), Tristate::Yes);
        // Written and read again it means the same.
        let again = Expr::parse(&expr.to_string());
        prop_assert_eq!(again.state(&Values::default()), expr.state(&Values::default()));
    }
}
