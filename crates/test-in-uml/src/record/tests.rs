use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;

fn time() -> impl Strategy<Value = Option<f64>> {
    option::of((0_u32..1 << 20).prop_map(|milliseconds| f64::from(milliseconds) / 1000.0))
}

fn text() -> impl Strategy<Value = String> {
    select(&["", "6.12", "a b", "\u{0}\u{fffd}\n", "\"}{\\", "ä"][..]).prop_map(String::from)
}

fn run() -> impl Strategy<Value = Line<'static>> {
    let shard = (text(), text(), option::of(text()), any::<bool>());
    let shard =
        shard.prop_map(|(id, prefix, partition, cut_off)| Shard { id, prefix, partition, cut_off });
    let parts = (text(), time(), any::<Option<u64>>(), option::of(text()), vec(shard, 0..3));
    parts.prop_map(|(id, started_at, seed, partition, merged)| {
        let (host_kernel, host_cpu, walls) = (id.clone(), id.clone(), id.clone());
        Line::Run(RunLine {
            version: VERSION,
            id,
            started_at,
            seed,
            partition,
            host_kernel,
            host_cpu,
            walls,
            merged,
        })
    })
}

fn case() -> impl Strategy<Value = Line<'static>> {
    use CaseEnd::{
        Error, Failed, Hung, Kernel, Known, Lost, NotRun, Panicked, Passed, Skipped, TimedOut,
    };
    let ends =
        [Passed, Failed, Kernel, Known, TimedOut, Skipped, Panicked, Hung, Lost, Error, NotRun];
    let end = select(ends.to_vec());
    let parts = (
        text(),
        option::of(text()),
        any::<Option<u32>>(),
        any::<bool>(),
        time(),
        end,
        vec(text(), 0..3),
    );
    parts.prop_map(|(text, guest, number, flaky, started, end, lines)| {
        Line::Case(Cow::Owned(CaseLine {
            kernel: text.clone(),
            guest: guest.clone(),
            order: number,
            binary: text.clone(),
            name: text.clone(),
            repeat: number,
            attempt: number,
            flaky,
            started,
            end,
            detail: text.clone(),
            complaint: guest,
            seconds: started.unwrap_or(0.0),
            scenario: scenario(&text, &lines, started),
            output: text,
            kernel_log: lines.clone(),
            left_behind: lines,
        }))
    })
}

fn scenario(text: &str, lines: &[String], time: Option<f64>) -> Scenario {
    let guest = ScenarioGuest {
        name: text.to_owned(),
        kernel: lines.first().cloned(),
        interfaces: lines.iter().map(|line| (line.clone(), text.to_owned())).collect(),
        boots: time.into_iter().collect(),
    };
    let network = ScenarioNetwork { name: text.to_owned(), capture: lines.first().cloned() };
    Scenario { guests: vec![guest; lines.len()], networks: vec![network; lines.len()] }
}

fn guest() -> impl Strategy<Value = Line<'static>> {
    use GuestEnd::{BootFailed, Clean, Hung, Lost, Panicked};
    let end = select(vec![Clean, BootFailed, Panicked, Hung, Lost]);
    let parts =
        (text(), any::<Option<u16>>(), time(), any::<u32>(), end, any::<bool>(), vec(text(), 0..3));
    parts.prop_map(|(text, cpu, booted, cases, end, charged, strays)| {
        let line = GuestLine {
            guest: text.clone(),
            kernel: text,
            cpu,
            booted,
            cases,
            end,
            charged,
            strays,
            ..GuestLine::default()
        };
        Line::Guest(Cow::Owned(line))
    })
}

fn others() -> impl Strategy<Value = Line<'static>> {
    let tally = (any::<u16>(), time()).prop_map(|(count, time)| {
        let mut tally = Tally { passed: count.into(), ..Tally::default() };
        tally.count(CaseEnd::Kernel, false);
        Line::Summary(SummaryLine { tally, seconds: time.unwrap_or(0.0) })
    });
    let kernel = (text(), vec(text(), 0..3)).prop_map(|(text, passed_over)| {
        Line::Kernel(KernelLine {
            kernel: text.clone(),
            release: text,
            passed_over,
            ..KernelLine::default()
        })
    });
    let trouble =
        (text(), text()).prop_map(|(subject, what)| Line::Trouble(Trouble { subject, what }));
    prop_oneof![tally, kernel, trouble]
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(line in prop_oneof![run(), case(), guest(), others()]) {
        let text = serde_json::to_string(&line).unwrap();
        prop_assert!(!text.contains('\n'), "{text}");
        let read: Line<'_> = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(read, line);
    }
}

#[test]
fn a_word_of_a_later_version_is_no_success() {
    assert!(serde_json::from_str::<CaseEnd>("\"teleported\"").unwrap().is_failure());
    let guest: GuestLine = serde_json::from_str(r#"{"guest":"g","end":"melted"}"#).unwrap();
    assert!(guest.is_failure());
    assert_eq!(serde_json::from_str::<Line<'_>>(r#"{"event":"weather"}"#).unwrap(), Line::Other);
}

#[test]
fn words_are_those_of_the_report() {
    for end in [CaseEnd::TimedOut, CaseEnd::NotRun, CaseEnd::Passed] {
        assert_eq!(serde_json::to_value(end).unwrap(), end.word());
    }
    for end in [GuestEnd::BootFailed, GuestEnd::Clean] {
        assert_eq!(serde_json::to_value(end).unwrap(), end.word());
    }
}
