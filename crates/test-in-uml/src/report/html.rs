//! One page for a browser, complete in itself: no network, no framework, nothing of a guest as markup.
//!
//! The run lies in the page as JSON, and the page's script makes the grid, the cases and the timeline
//! of it as they are looked at. Without a script, the page says what failed.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use super::compare::Comparison;
use super::escape::{html, json_in_script};
use super::plain;
use super::read::RunReport;

mod data;

pub(super) use data::{TextLimits, Texts};

const PAGE: &str = include_str!("html/page.html");
const STYLE: &str = include_str!("html/style.css");
const SCRIPT: &str = concat!(
    include_str!("html/page.js"),
    include_str!("html/grid.js"),
    include_str!("html/scenario.js"),
    include_str!("html/case.js"),
    include_str!("html/timeline.js"),
    include_str!("html/start.js"),
);
/// The number of failures a browser without scripts is told of.
const WITHOUT_SCRIPT: usize = 500;

/// What is shown beside the run itself.
#[derive(Debug, Default)]
pub(super) struct PageContext<'a> {
    /// How it differs from an earlier run.
    pub comparison: Option<&'a Comparison>,
    /// Runs before it, the newest first, for the durations of the cases.
    pub earlier: &'a [RunReport],
    /// What links to files of the run's folder begin with: nothing if the page lies there.
    pub base: String,
    /// How large the page may become.
    pub limits: TextLimits,
}

/// The page, and the texts that it links to since they are too long for it.
///
/// # Errors
/// When the run cannot be made into JSON.
pub(super) fn page<'a>(
    report: &'a RunReport,
    beside: &PageContext<'_>,
) -> Result<(String, Texts<'a>)> {
    let (data, texts) = data::of(report, beside);
    let data = serde_json::to_string(&data).context("cannot make the page's data")?;
    let green = report.is_success();
    let counts = report.tally().words();
    let parts = [
        ("policy", policy()),
        ("title", html(&format!("{counts} · {}", report.run.id))),
        ("style", STYLE.to_owned()),
        ("sign-class", if green { "good" } else { "bad" }.to_owned()),
        ("sign", if green { "✓" } else { "✗" }.to_owned()),
        ("headline", headline(report)),
        ("facts", facts(report)),
        ("troubles", troubles(report)),
        ("without-script", without_script(report)),
        ("run", json_in_script(&data)),
        ("script", SCRIPT.to_owned()),
    ];
    Ok((fill(PAGE, &parts), texts))
}

/// Puts the parts in the places that are named for them. What was put in is not looked at again.
fn fill(mut page: &str, parts: &[(&str, String)]) -> String {
    let mut out = String::new();
    while let Some((before, rest)) = page.split_once("{{") {
        out.push_str(before);
        let (name, rest) = rest.split_once("}}").expect("our page closes what it opens");
        let part = parts.iter().find(|(known, _)| *known == name);
        out.push_str(&part.expect("our page has no other places").1);
        page = rest;
    }
    out + page
}

/// The page may do nothing but run its own script and use its own style.
fn policy() -> String {
    let hash = |text: &str| format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text)));
    format!(
        "default-src 'none'; script-src {}; style-src {}; base-uri 'none'; form-action 'none'; \
         require-trusted-types-for 'script'; trusted-types 'none'",
        hash(SCRIPT),
        hash(STYLE)
    )
}

fn headline(report: &RunReport) -> String {
    let counts = report.tally();
    let mut text = if counts.failed > 0 {
        format!("{} failed, {} passed", counts.failed, counts.passed)
    } else {
        format!("{} passed", counts.passed)
    };
    for (count, word) in [
        (counts.flaky, "flaky"),
        (counts.skipped, "skipped"),
        (counts.known, "known"),
        (counts.not_run, "not run"),
    ] {
        if count > 0 {
            let _ = write!(text, ", {count} {word}");
        }
    }
    text
}

fn facts(report: &RunReport) -> String {
    let mut facts = vec![format!("run {}", report.run.id)];
    facts.extend(report.summary.as_ref().map(|summary| format!("{:.1} s", summary.seconds)));
    facts.extend(report.run.partition.as_ref().map(|part| format!("part {part}")));
    facts.extend(report.run.seed.as_ref().map(|seed| format!("seed {seed}")));
    let host = format!("{} {}", report.run.host_kernel, report.run.host_cpu);
    facts.push(format!("host {host}"));
    if !report.run.walls.is_empty() {
        facts.push(format!("guests in {}", report.run.walls));
    }
    for shard in &report.run.merged {
        let part = shard.partition.as_deref().unwrap_or("all");
        facts.push(format!("{}: run {}, {part}", shard.prefix, shard.id));
    }
    facts.iter().map(|fact| format!("<li>{}</li>", html(&plain(fact)))).collect()
}

fn troubles(report: &RunReport) -> String {
    let passed_over = report.kernels.iter().flat_map(|kernel| &kernel.passed_over);
    let troubles = report.troubles();
    let mut lines: Vec<String> = troubles.iter().map(ToString::to_string).collect();
    lines.extend(passed_over.cloned());
    lines.dedup();
    if lines.is_empty() {
        return String::new();
    }
    let items: String =
        lines.iter().map(|line| format!("<li>{}</li>", html(&plain(line)))).collect();
    format!("<section class=\"card troubles\"><h2>Beside the cases</h2><ul>{items}</ul></section>")
}

fn without_script(report: &RunReport) -> String {
    let mut text =
        String::from("<section class=\"card\"><h2>This page shows more with scripts</h2><ul>");
    let failed = report.cases.iter().filter(|case| case.end().is_failure());
    for case in failed.take(WITHOUT_SCRIPT) {
        let line = format!("{}: {} {}", case.full_name(), case.end().word(), case.last().detail);
        let _ = write!(text, "<li>{}</li>", html(&plain(&line)));
    }
    text + "</ul></section>"
}

#[cfg(test)]
mod tests;
