use proptest::prelude::*;

use super::*;

fn values(lines: &str) -> Values {
    let lines = lines.split_whitespace().map(|line| format!("CONFIG_{line}\n"));
    Values::parse(&lines.collect::<String>()).unwrap()
}

#[test]
fn states_are_those_of_the_kconfig_language() {
    use Tristate::{Module, No, Yes};
    let values = values("A=y B=m HZ=100 NAME=\"x86\"");
    for (text, state) in [
        ("A", Yes),
        ("B", Module),
        ("C", No),
        ("!B", Module),
        ("!C && A", Yes),
        ("A && B", Module),
        ("C || B", Module),
        ("A && (B || C)", Module),
        ("C && A || A", Yes),
        ("B=m", Yes),
        ("B = y", No),
        ("B!=n", Yes),
        ("m && A", Module),
        ("HZ > 99 && HZ<=100", Yes),
        ("NAME = \"x86\"", Yes),
        ("NAME = 'arm'", No),
        ("$(cc-option,-m(x),$(y)) && A", Yes),
        ("!(A && B)", Module),
    ] {
        assert_eq!(Expr::parse(text).state(&values), state, "{text}");
    }
}

#[test]
fn a_text_in_single_quotes_may_hold_double_ones() {
    assert_eq!(Expr::parse("'a\"b'").to_string(), "'a\"b'");
}

#[test]
fn operands_nest_no_deeper_than_the_stack() {
    assert!(matches!(Expr::parse(&format!("{}A", "!".repeat(90))), Expr::Not(_)));
    for deep in ["!", "("] {
        assert!(matches!(Expr::parse(&deep.repeat(1 << 20)), Expr::Macro(_)));
    }
}

#[test]
fn only_the_terms_that_do_not_hold_are_missing() {
    let expr = Expr::parse("A && NET && (X || !A) && !A && B");
    assert_eq!(
        expr.missing(&values("A=y B=m"), Tristate::Module),
        ["NET, which is n", "`X || !A`, where A is y, X is n", "`!A`, where A is y"]
    );
    assert_eq!(
        expr.missing(&values("A=n B=m NET=y"), Tristate::Yes),
        ["A, which is n", "B, which is m"]
    );
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in r#"([A-C()!&|=<> "$']|&&|\|\||\PC){0,40}"#) {
        let expr = Expr::parse(&text);
        expr.missing(&Values::default(), Tristate::Yes);
    }

    #[test]
    fn what_is_written_reads_back_the_same(
        text in "!?[AB]( (&&|\\|\\|) !?\\(?[CD] (=|!=|\\|\\|) [EF]\\)?){0,3}"
    ) {
        let expr = Expr::parse(&text);
        prop_assert_eq!(Expr::parse(&expr.to_string()).to_string(), expr.to_string());
    }
}
