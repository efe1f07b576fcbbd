//! Reports with any values in any fields: each is refused, or shown in every format, and none that is
//! red is shown as green.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use super::html::{PageContext, page};
use super::read::RunReport;
use super::samples::{self, HOSTILE};
use super::{compare, github, junit, ktap};
use crate::runs::RunFiles;

const FIELDS: &[&str] = &[
    "attempt",
    "binary",
    "booted",
    "charged",
    "complaint",
    "cpu",
    "detail",
    "end",
    "ended",
    "flaky",
    "guest",
    "id",
    "kernel",
    "kernel_log",
    "last_case",
    "left_behind",
    "merged",
    "name",
    "order",
    "output",
    "partition",
    "passed_over",
    "ready",
    "repeat",
    "seconds",
    "seed",
    "started",
    "started_at",
    "strays",
    "subject",
    "version",
    "what",
];

fn value() -> impl Strategy<Value = Value> {
    let number = select(vec![
        json!(0),
        json!(1),
        json!(-1),
        json!(2),
        json!(0.5),
        json!(-1e308),
        json!(1e308),
        json!(1e-300),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(u32::MAX),
        json!(u64::from(u32::MAX) + 1),
        json!(255),
    ]);
    let text = prop_oneof![
        "(?s).{0,12}".boxed(),
        select(vec![
            HOSTILE,
            "slice:1/18446744073709551615",
            "slice:0/0",
            "a/b",
            ":/",
            "",
            "passed",
            "not-run",
            "clean"
        ])
        .prop_map(String::from)
        .boxed(),
        select(vec![250_usize, 70_000]).prop_map(|length| "x".repeat(length)).boxed(),
    ];
    let flat = prop_oneof![
        number.boxed(),
        text.prop_map(Value::from).boxed(),
        any::<bool>().prop_map(Value::from).boxed(),
        Just(Value::Null).boxed(),
    ];
    prop_oneof![4 => flat.clone().boxed(), 1 => vec(flat, 0..3).prop_map(Value::from).boxed()]
}

fn line() -> impl Strategy<Value = String> {
    let end = select(vec!["passed", "failed", "skipped", "not-run", "hung", "?"]);
    let base = (0..6, end).prop_map(|(kind, end)| match kind {
        0 => samples::run(),
        1 => samples::kernel("k"),
        2 | 3 => samples::case("k", "b", "n", end),
        4 => samples::guest("guest-k-1", end),
        _ => samples::summary(),
    });
    (base, vec((select(FIELDS), value()), 0..4)).prop_map(|(line, changes)| {
        changes.into_iter().fold(line, |line, (field, value)| line.with(field, value)).to_string()
    })
}

proptest! {
    #[test]
    fn any_report_is_refused_or_shown(lines in vec(line(), 0..8), first in any::<bool>()) {
        let dir = tempfile::tempdir().unwrap();
        let first = if first { format!("{}\n", samples::run()) } else { String::new() };
        std::fs::write(RunFiles::of(dir.path()).report_lines(), first + &lines.join("\n") + "\n").unwrap();
        if let Ok(report) = RunReport::read(dir.path()) {
            let (page, texts) = page(&report, &PageContext::default()).unwrap();
            for (name, _) in texts {
                prop_assert!(name.len() < 200 && !name.contains('/'), "{name}");
            }
            let page = page.split("<script").next().unwrap().contains('✓');
            let (xml, ktap) = (junit::text(&report).unwrap(), ktap::text(&report));
            let against = compare(&report, &report);
            against.lines();
            against.json().unwrap();
            github::job_summary(&report, Some(&against), 1 << 16);
            let red = !report.is_success();
            prop_assert_eq!(page, !red);
            let head = xml.lines().find(|line| line.starts_with("<testsuites ")).unwrap();
            prop_assert_eq!(head.contains("failures=\"0\" errors=\"0\""), !red, "{}", head);
            prop_assert_eq!(github::annotations(&report).contains("::error "), red);
            prop_assert_eq!(ktap.lines().any(|line| {
                line.trim_start().starts_with("not ok ") && line.contains(" # ")
                    && !line.contains(" # SKIP")
            }), red, "{}", ktap);
            let merged = tempfile::tempdir().unwrap();
            if super::merge(&[dir.path().to_owned()], merged.path()).is_ok() {
                let merged = RunReport::read(merged.path()).unwrap();
                prop_assert!(!red || !merged.is_success());
            }
        }
    }
}
