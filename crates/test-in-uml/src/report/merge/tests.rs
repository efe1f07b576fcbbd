use super::super::samples::{Line, Sample, case, guest, kernel, run, sample_of, summary};
use super::*;
use crate::report::model::MISSING;

fn shard(number: u32, lines: &[Line]) -> Sample {
    let run = run()
        .with("id", format!("170000000{number}-0"))
        .with("started_at", 1_700_000_000 + 10 * number)
        .with("partition", format!("slice:{number}/2"));
    sample_of(&[&[run, kernel("k")], lines, &[summary()]].concat())
}

fn merged(shards: &[&Sample]) -> (Result<Vec<String>>, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let folders: Vec<PathBuf> = shards.iter().map(|shard| shard.report.folder.clone()).collect();
    (merge(&folders, dir.path()), dir)
}

fn one() -> Sample {
    let guest = guest("guest-k-1", "clean").with("booted", 0.5).with("ready", 1.0);
    shard(1, &[case("k", "b", "one", "passed").with("started", 2.0), guest])
}

fn two() -> Sample {
    let guest = guest("guest-k-1", "clean").with("booted", 0.5).with("ready", 1.0);
    let flaky = case("k", "b", "flaky", "passed").with("attempt", 2);
    let failed = case("k", "b", "two", "failed").with("output", "x".repeat(100_000));
    shard(2, &[failed, case("k", "b", "flaky", "failed"), flaky.with("started", 2.0), guest])
}

#[test]
fn shards_become_one_report() {
    let (one, two) = (one(), two());
    std::fs::write(one.report.folder.join("guest-k-1.console"), "its console").unwrap();
    let (said, dir) = merged(&[&one, &two]);
    assert_eq!(said.unwrap(), Vec::<String>::new());
    let report = RunReport::read(dir.path()).unwrap();
    assert_eq!(report.tally().words(), "2 passed, 1 flaky, 1 failed");
    assert_eq!(report.troubles(), []);
    assert_eq!(report.kernels.len(), 1);
    // The second run began ten seconds after the first.
    assert_eq!(report.cases[2].last().started, Some(12.0));
    assert_eq!(report.guests[1].booted, Some(10.5));
    assert_eq!(report.summary.as_ref().unwrap().seconds, 22.5);
    let guests: Vec<&str> = report.guests.iter().map(|guest| guest.guest.as_str()).collect();
    assert_eq!(guests, ["s1-guest-k-1", "s2-guest-k-1"]);
    assert_eq!(report.cases[0].last().guest.as_deref(), Some("s1-guest-k-1"));
    let console = std::fs::read_to_string(dir.path().join("s1-guest-k-1.console")).unwrap();
    assert_eq!(console, "its console");
    assert_eq!(report.whole_texts(report.cases[1].last()).unwrap().0.len(), 100_000);
}

#[test]
fn a_part_of_impossibly_many_is_no_reason_to_count_them_all() {
    let run = run().with("partition", format!("slice:1/{}", u64::MAX));
    let (_, dir) = merged(&[&sample_of(&[run, summary()])]);
    assert_eq!(RunReport::read(dir.path()).unwrap().troubles().len(), MISSING);
}

#[test]
fn a_case_in_two_shards_is_refused_by_name() {
    let error = merged(&[&one(), &one()]).0.unwrap_err().to_string();
    assert!(error.contains("k b one in "), "{error}");
}

#[test]
fn a_part_that_is_missing_or_cut_off_makes_the_report_red() {
    let (_, dir) = merged(&[&one()]);
    let report = RunReport::read(dir.path()).unwrap();
    assert!(!report.is_success());
    assert_eq!(report.troubles()[0].subject, "slice:2/2");

    let cut = run().with("partition", "slice:2/2");
    let cut = sample_of(&[cut, case("k", "b", "two", "passed")]);
    let (_, dir) = merged(&[&one(), &cut]);
    let report = RunReport::read(dir.path()).unwrap();
    assert!(report.troubles()[0].what.contains("cut off"), "{:?}", report.troubles());
    // … also once it is merged again.
    let again = tempfile::tempdir().unwrap();
    merge(&[dir.path().to_owned()], again.path()).unwrap();
    let report = RunReport::read(again.path()).unwrap();
    assert_eq!(report.troubles().len(), 1);
    assert_eq!(report.run.merged[1].prefix, "s1-s2-");
}

#[test]
fn kernels_of_one_name_that_differ_are_named() {
    let other = shard(2, &[kernel("k").with("config_sha256", "11")]);
    let said = merged(&[&one(), &other]).0.unwrap();
    assert!(said[0].contains("not have the same kernel k"), "{said:?}");
}

#[test]
fn a_folder_of_runs_with_one_run_is_taken_for_it() {
    let runs = tempfile::tempdir().unwrap();
    let error = |folder: &Path| run_in(folder).unwrap_err().to_string();
    assert!(error(runs.path()).contains("no report.jsonl"));
    for id in ["1-0", "2-0"] {
        let folder = runs.path().join(id);
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(RunFiles::of(&folder).report_lines(), "").unwrap();
        match id {
            "1-0" => assert_eq!(run_in(runs.path()).unwrap(), folder),
            _ => assert!(error(runs.path()).contains("several runs")),
        }
    }
    std::os::unix::fs::symlink("2-0", runs.path().join("latest")).unwrap();
    assert_eq!(run_in(runs.path()).unwrap(), runs.path().join("latest"));
}
