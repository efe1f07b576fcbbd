//! What the page's script is given of a run, within bounds.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::super::compare::{SLOWER_RATIO, SLOWER_SECONDS};
use super::super::excerpt::Excerpt;
use super::super::model::{Attempt, CaseId, CaseResult};
use super::super::plain;
use super::super::read::RunReport;
use super::PageContext;
use crate::record::{CaseEnd, Scenario, ScenarioGuest, ScenarioNetwork};
use crate::runs::RunFiles;

/// How much text is on the page, in bytes.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct TextLimits {
    /// Of one text, and of all texts, of cases that failed at least once.
    pub failures: (usize, usize),
    /// Of one text of another case, and of all texts.
    pub others: (usize, usize),
}

impl Default for TextLimits {
    fn default() -> Self {
        Self { failures: (32 << 10, 12 << 20), others: (4 << 10, 16 << 20) }
    }
}

/// How many texts get a file of their own, since they are too long; the others are in the lines.
const FILES: usize = 100;

/// The attempts whose texts have a file of their own, and its name.
pub(in super::super) type Texts<'a> = Vec<(String, &'a Attempt)>;

/// The page's data.
pub(super) fn of<'a>(report: &'a RunReport, beside: &PageContext<'_>) -> (Value, Texts<'a>) {
    let kernels = report.kernel_names();
    let mut data = Data {
        binaries: SharedNames::default(),
        guests: SharedNames::default(),
        text: 0,
        limit: (0, 0),
        texts: Vec::new(),
    };
    for guest in &report.guests {
        data.guests.place(&guest.guest);
    }
    let before = earlier(beside.earlier);
    let mut cases = vec![Value::Null; report.cases.len()];
    // Failures have the first claim on the room that there is.
    for failures in [true, false] {
        data.limit = if failures { beside.limits.failures } else { beside.limits.others };
        for (place, case) in report.cases.iter().enumerate() {
            if failures == case.attempts.iter().any(|attempt| attempt.end.is_failure()) {
                let kernel = kernels.iter().position(|name| *name == case.id.kernel);
                let mut entry = data.case(case, kernel);
                if let (Some(history), Some(entry)) = (before.get(&case.id), entry.as_array_mut()) {
                    entry.push(json!(history));
                }
                cases[place] = entry;
            }
        }
    }
    let value = json!({
        "base": beside.base,
        "startedAt": report.run.started_at,
        "kernels": kernels.iter().map(|name| kernel(report, name)).collect::<Vec<_>>(),
        "binaries": data.binaries.names,
        "guests": guests(report, &data.guests.names),
        "earlier": beside.earlier.iter().map(|report| &report.run.id).collect::<Vec<_>>(),
        "slowerRatio": SLOWER_RATIO,
        "slowerSeconds": SLOWER_SECONDS,
        "comparison": beside.comparison.map(|comparison| {
            let mut value = json!(comparison);
            value["headline"] = comparison.headline().into();
            value
        }),
        "cases": cases,
    });
    (value, data.texts)
}

struct Data<'a> {
    binaries: SharedNames<'a>,
    guests: SharedNames<'a>,
    /// How much text is on the page so far.
    text: usize,
    /// How much of one text may be, and how much in all.
    limit: (usize, usize),
    texts: Texts<'a>,
}

impl<'a> Data<'a> {
    fn case(&mut self, case: &'a CaseResult, kernel: Option<usize>) -> Value {
        let attempts: Vec<Value> =
            case.attempts.iter().map(|attempt| self.attempt(case, attempt)).collect();
        let binary = self.binaries.place(&case.id.binary);
        let state = state(case.end(), case.is_flaky());
        json!([binary, plain(&case.id.name), kernel, case.repeat, attempts, state])
    }

    fn attempt(&mut self, case: &CaseResult, attempt: &'a Attempt) -> Value {
        let mut value = Map::new();
        let mut put = |name: &str, field: Value| {
            let nothing = field.is_null() || field == "" || field == false || field == json!([]);
            if !nothing {
                value.insert(name.into(), field);
            }
        };
        put("end", attempt.end.word().into());
        put("state", state(attempt.end, false).into());
        put("detail", plain(&attempt.detail).into());
        put("complaint", attempt.complaint.clone().into());
        put("guest", attempt.guest.as_deref().map(|guest| self.guests.place(guest)).into());
        put("started", attempt.started.into());
        put("order", attempt.order.into());
        if !attempt.scenario.is_empty() {
            put("scenario", scenario(&attempt.scenario));
        }
        put("left", attempt.left_behind.iter().map(|what| plain(what)).collect());
        let (output, output_cut) = self.fit(&attempt.output);
        let (log, log_cut) = self.fit(&attempt.kernel_log);
        put("output", output.into());
        put("outputCut", output_cut.into());
        put("log", log.into());
        put("logCut", log_cut.into());
        if (output_cut || log_cut) && attempt.end.is_failure() && self.texts.len() < FILES {
            let CaseId { kernel, binary, name } = &case.id;
            let file = RunFiles::case_text(kernel, binary, name, self.texts.len() + 1);
            put("file", file.as_str().into());
            self.texts.push((file, attempt));
        }
        // Always there: the script computes with it.
        value.insert("seconds".into(), attempt.seconds.into());
        Value::Object(value)
    }

    /// A text as far as there is room for it, and whether something is missing.
    fn fit(&mut self, excerpt: &Excerpt) -> (String, bool) {
        let (one, all) = self.limit;
        if self.text + one > all {
            return (String::new(), excerpt.lines().next().is_some());
        }
        let shown = excerpt.shortened(one);
        let lines: Vec<String> = shown.lines().map(plain).collect();
        let text = lines.join("\n");
        self.text += text.len();
        (text, shown.left_out > 0)
    }
}

fn scenario(Scenario { guests, networks }: &Scenario) -> Value {
    let guests = guests.iter().map(|ScenarioGuest { name, kernel, interfaces, boots }| {
        let interfaces =
            interfaces.iter().map(|(network, address)| [plain(network), plain(address)]);
        json!({
            "name": plain(name),
            "kernel": kernel.as_deref().map(plain),
            "interfaces": interfaces.collect::<Vec<_>>(),
            "boots": boots,
        })
    });
    let networks = networks.iter().map(
        |ScenarioNetwork { name, capture }| json!({ "name": plain(name), "capture": capture }),
    );
    json!({ "guests": guests.collect::<Vec<_>>(), "networks": networks.collect::<Vec<_>>() })
}

/// What the page calls an end: by it, cases are counted, sorted and painted.
fn state(end: CaseEnd, is_flaky: bool) -> &'static str {
    match end {
        CaseEnd::Passed if is_flaky => "flaky",
        CaseEnd::Passed => "passed",
        CaseEnd::Skipped => "skipped",
        CaseEnd::Known => "known",
        CaseEnd::NotRun => "not-run",
        _ => "failure",
    }
}

/// Names that many cases share, each kept once.
#[derive(Default)]
struct SharedNames<'a> {
    names: Vec<&'a str>,
    places: HashMap<&'a str, usize>,
}

impl<'a> SharedNames<'a> {
    fn place(&mut self, name: &'a str) -> usize {
        *self.places.entry(name).or_insert_with(|| {
            self.names.push(name);
            self.names.len() - 1
        })
    }
}

fn kernel(report: &RunReport, name: &str) -> Value {
    let kernel = report.kernels.iter().find(|kernel| kernel.kernel == name);
    kernel.map_or_else(
        || json!({ "name": name }),
        |kernel| {
            let (release, compiler) = (&kernel.release, &kernel.compiler);
            json!({ "name": name, "release": release, "compiler": compiler, "transport": kernel.transport })
        },
    )
}

/// The guests by the numbers that the cases know them by; of some, only cases speak.
fn guests(report: &RunReport, names: &[&str]) -> Vec<Value> {
    let of = |name: &&str| {
        let mut value = Map::new();
        value.insert("name".into(), plain(name).into());
        value.insert("console".into(), RunFiles::console_log(name).into());
        if let Some(guest) = report.guests.iter().find(|guest| guest.guest == **name) {
            for (field, seconds) in
                [("booted", guest.booted), ("ready", guest.ready), ("ended", guest.ended)]
            {
                if let Some(seconds) = seconds {
                    value.insert(field.into(), seconds.into());
                }
            }
            value.insert("end".into(), guest.end.word().into());
            value.insert("detail".into(), plain(&guest.detail).into());
            value.insert("cpu".into(), guest.cpu.into());
            value.insert("strays".into(), guest.strays.iter().map(|line| plain(line)).collect());
        }
        Value::Object(value)
    };
    names.iter().map(of).collect()
}

/// The seconds that each case took in earlier runs, where it passed.
fn earlier(reports: &[RunReport]) -> HashMap<&CaseId, Vec<Option<f64>>> {
    let mut history: HashMap<&CaseId, Vec<Option<f64>>> = HashMap::new();
    for (place, report) in reports.iter().enumerate() {
        for case in report.cases.iter().filter(|case| case.end() == CaseEnd::Passed) {
            let seconds = history.entry(&case.id).or_insert_with(|| vec![None; reports.len()]);
            seconds[place] = Some(case.last().seconds);
        }
    }
    history
}
