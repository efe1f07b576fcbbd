//! `cargo xtask ci`: what this project promises of itself.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, ensure};
use test_in_uml::ctx::Ctx;
use test_in_uml::doctor::{Consent, find, install_packages, setup};
use test_in_uml::isolation::OWN_EXE;
use test_in_uml::record::CaseEnd;
use test_in_uml::report::{CaseResult, FAULTS, HARM, Matrix, RunReport, TWINS};
use test_in_uml::store::sha256_of;
use test_in_uml::test;
use xshell::{Shell, cmd};

/// The exit code of a run in which a case failed.
const TEST_FAILED: u8 = 100;

/// What our own tests need, and nobody else has to have: programs, and their packages.
const OF_TESTS: [(&str, &str); 6] = [
    ("nft", "nftables"),
    ("iptables", "iptables"),
    ("passt", "passt"),
    ("dnsmasq", "dnsmasq-base"),
    ("pgrep", "procps"),
    ("rsync", "rsync"),
];

pub fn run(ctx: &Ctx) -> Result<ExitCode> {
    setup(ctx, Consent::Given)?;
    install(ctx, &OF_TESTS)?;
    let shell = Shell::new()?;
    shell.change_dir(ctx.layout.root());
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    on_the_host(ctx, &shell, &cargo)?;
    networks_of_each_boot(ctx, &shell, &cargo)?;
    ctx.ui.line(&format!("{:>12} tests in guests", "ci"));
    let code = test(ctx, &["--no-fail-fast"])?;
    if code != 0 {
        return Ok(ExitCode::from(code));
    }
    step(
        ctx,
        "the console of the full guest, an ordinary user's guest, images that no guest comes up from, a \
         full disk, another repository, clients of ours",
        cmd!(
            shell,
            "{cargo} test --package test-in-uml --test it -- --ignored full_guest background_guest guests_on_a_network ordinary broken_image folder_fills own_repository in_guest given_programs"
        ),
    )?;
    ctx.ui.line(&format!("{:>12} tests after a full boot", "ci"));
    let code = test(ctx, &["--no-fail-fast", "--init", "sysv"])?;
    if code != 0 {
        return Ok(ExitCode::from(code));
    }
    for without in [["--link", "socket"], ["--isolation", "none"]] {
        ctx.ui.line(&format!("{:>12} tests in guests, {}", "ci", without.join(" ")));
        let code = test(ctx, &[&["--no-fail-fast"][..], &without].concat())?;
        if code != 0 {
            return Ok(ExitCode::from(code));
        }
    }
    tests_of_the_kernel(ctx)?;
    what_has_to_fail(ctx)?;
    what_is_tried_again(ctx)?;
    // A fault that nothing sees may harm whoever comes after it.
    let apart = ["--fresh", "--guests", "4", "faults matrix::"];
    hold_matrix(ctx, &apart, Matrix::read(&table(ctx, "fault-matrix.toml"), FAULTS)?)?;
    // In one guest what was declared comes before what was not.
    hold_matrix(
        ctx,
        &["--guests", "1", "twins "],
        Matrix::read(&table(ctx, "twin-matrix.toml"), TWINS)?,
    )?;
    // In one guest a harm meets the case after it.
    hold_matrix(
        ctx,
        &["--guests", "1", "harmful "],
        Matrix::read(&table(ctx, "harm-matrix.toml"), HARM)?,
    )?;
    ctx.ui.line(&format!("{:>12} the same image twice", "ci"));
    same_image_twice(ctx, &shell)?;
    Ok(ExitCode::SUCCESS)
}

/// Tests that come with the kernel.
fn tests_of_the_kernel(ctx: &Ctx) -> Result<()> {
    for args in [
        &["--suite", "kselftest:pidfd", "pidfd_open_test", "pidfd_getfd_test"][..],
        &["--suite", "kunit", "--no-fail-fast"],
    ] {
        ctx.ui.line(&format!("{:>12} tests of the kernel's own, {}", "ci", args[1]));
        let code = test(ctx, args)?;
        ensure!(code == 0, "they came back as {code}");
    }
    Ok(())
}

fn step(ctx: &Ctx, name: &str, command: xshell::Cmd<'_>) -> Result<()> {
    ctx.ui.line(&format!("{:>12} {name}", "ci"));
    command.quiet().run().map_err(|error| anyhow::anyhow!("{name}: {error}"))
}

/// All that needs no guest.
fn on_the_host(ctx: &Ctx, shell: &Shell, cargo: &str) -> Result<()> {
    step(ctx, "formatting", cmd!(shell, "{cargo} fmt --all --check"))?;
    step(
        ctx,
        "lints",
        cmd!(
            shell,
            "{cargo} clippy --quiet --workspace --all-targets --all-features -- -D warnings"
        ),
    )?;
    step(
        ctx,
        "documentation",
        cmd!(shell, "{cargo} doc --quiet --workspace --no-deps --all-features")
            .env("RUSTDOCFLAGS", "-D warnings"),
    )?;
    // With all features the guest tests are built for the host too, and must refuse to run there.
    step(ctx, "tests on the host", cmd!(shell, "{cargo} test --workspace --all-features"))
}

/// Installs the packages of those programs that are not on this host.
fn install(ctx: &Ctx, tools: &[(&str, &str)]) -> Result<()> {
    let missing = tools.iter().filter(|(program, _)| find(program).is_none());
    let missing: Vec<&str> = missing.map(|(_, package)| *package).collect();
    if missing.is_empty() { Ok(()) } else { install_packages(ctx, Consent::Given, &missing) }
}

/// Permanent networks, by the programs that make them at boot. Where an init runs, one that is installed for this would
/// configure the host itself: there those are tested that it has.
fn networks_of_each_boot(ctx: &Ctx, shell: &Shell, cargo: &str) -> Result<()> {
    if !Path::new("/run/systemd/system").exists() {
        let packages = [
            ("ifup", "ifupdown"),
            ("networkctl", "systemd"),
            ("NetworkManager", "network-manager"),
            ("dbus-daemon", "dbus"),
        ];
        install(ctx, &packages)?;
    }
    for (program, tests) in
        [("ifup", "ifupdown_"), ("networkctl", "networkd_"), ("NetworkManager", "network_manager_")]
    {
        if find(program).is_none() {
            ctx.ui.warn(&format!(
                "permanent networks are not tested with {program}, which is not here"
            ));
            continue;
        }
        step(
            ctx,
            &format!("permanent networks with {program}"),
            cmd!(
                shell,
                "{cargo} test --quiet --package test-in-uml --test it -- --ignored permanent_network::{tests}"
            ),
        )?;
    }
    Ok(())
}

/// A table of how cases have to end that fail on purpose.
fn table(ctx: &Ctx, name: &str) -> PathBuf {
    ctx.layout.root().join("guest-tests").join(name)
}

/// Guests that die and kernels that complain: whatever fails on purpose must not come back green.
fn what_has_to_fail(ctx: &Ctx) -> Result<()> {
    ctx.ui.line(&format!("{:>12} cases each of which has to fail", "ci"));
    // One of them takes as long as a case may: the others do not wait for it.
    let args = [
        "--no-fail-fast",
        "--guests",
        "4",
        "--run-ignored",
        "only",
        "dying ",
        "undeclared::",
        " fails_",
    ];
    let code = test(ctx, &args)?;
    ensure!(code == TEST_FAILED, "they came back as {code}");
    let report = RunReport::read(ctx.run()?.path())?;
    let green: Vec<String> = report
        .cases
        .iter()
        .filter(|case| !case.end().is_failure())
        .map(|case| case.full_name())
        .collect();
    ensure!(green.is_empty(), "these did not fail: {}", green.join(", "));
    let late: Vec<&CaseResult> =
        report.cases.iter().filter(|case| case.end() == CaseEnd::TimedOut).collect();
    let says = |case: &CaseResult| case.last().kernel_log.text.contains("s in user space");
    ensure!(
        !late.is_empty() && late.iter().all(|case| says(case)),
        "a case that took too long does not say where it was"
    );
    ctx.ui.line(&format!("{:>12} the disk of a guest in which a case failed", "ci"));
    let wanted = ["silence_fails_a_case", "the_journal_recovers"];
    let keep = ["--keep-failed", "--fresh", "--no-fail-fast", "--run-ignored", "all"];
    let code = test(ctx, &[keep.as_slice(), &wanted].concat())?;
    ensure!(code == TEST_FAILED, "they came back as {code}");
    let kept = kept_disks(ctx)?;
    ensure!(kept.len() == 1, "one guest of two had a failure, and these are kept: {kept:?}");
    Ok(())
}

/// Retries, what an earlier run says is to be run again, and a run whose time is over.
fn what_is_tried_again(ctx: &Ctx) -> Result<()> {
    ctx.ui.line(&format!("{:>12} cases that are tried again", "ci"));
    let flaky = "the_first_attempt_fails";
    let code = test(ctx, &["--run-ignored", "only", "--retries", "1", flaky])?;
    ensure!(code == 0, "{flaky} came back as {code}");
    let report = RunReport::read(ctx.run()?.path())?;
    ensure!(report.tally().flaky == 1, "{flaky} is not called flaky");
    let one = ["--guests", "1", "--no-fail-fast", "--run-ignored", "all"];
    let wanted = ["silence_fails_a_case", "what_cannot_be_found"];
    let code = test(ctx, &[one.as_slice(), &wanted].concat())?;
    ensure!(code == TEST_FAILED, "they came back as {code}");
    for (args, cases) in [
        (["--last-failed", "--no-fail-fast"], 1),
        (
            [
                "--replay",
                "latest/declared undeclared::silence_fails_a_case_that_declared_a_message",
            ],
            1,
        ),
    ] {
        let code = test(ctx, &args)?;
        ensure!(code == TEST_FAILED, "{args:?} came back as {code}");
        let ran = RunReport::read(ctx.run()?.path())?.cases.len();
        ensure!(ran == cases, "{args:?} ran {ran} cases, not {cases}");
    }
    let code = test(ctx, &["--guests", "1", "--no-fail-fast", "--run-ignored", "only", "order "])?;
    ensure!(code == TEST_FAILED, "a case that fails after another came back as {code}");
    let code = test(ctx, &["--replay", "latest/order h_fails_after_a_mark", "--shrink"])?;
    ensure!(code == TEST_FAILED, "the least of what it needs came back as {code}");
    let cases = RunReport::read(ctx.run()?.path())?.cases;
    let names: Vec<&str> = cases.iter().map(|case| case.id.name.as_str()).collect();
    ensure!(names == ["d_leaves_a_mark", "h_fails_after_a_mark"], "it needs {names:?}");
    let code = test(ctx, &["--deadline", "1ms", "ubd"])?;
    ensure!(code == TEST_FAILED, "a run without time came back as {code}");
    let report = RunReport::read(ctx.run()?.path())?;
    let (tally, all) = (report.tally(), report.cases.len());
    ensure!(all > 0 && tally.not_run == all, "a run without time ran some of {all} cases");
    Ok(())
}

/// Runs cases that fail on purpose, and holds the table of their ends against what happened.
fn hold_matrix(ctx: &Ctx, which: &[&str], matrix: Matrix) -> Result<()> {
    ctx.ui.line(&format!("{:>12} {}, each with its end in a table", "ci", which.join(" ")));
    let args = [&["--no-fail-fast", "--run-ignored", "only"], which].concat();
    let code = test(ctx, &args)?;
    ensure!(code == TEST_FAILED, "they came back as {code}");
    let right = matrix.hold_against(&RunReport::read(ctx.run()?.path())?)?;
    ctx.ui.line(&format!("{:>12} {right} cases ended as the table says", "ci"));
    Ok(())
}

/// The disks in the run's folder.
fn kept_disks(ctx: &Ctx) -> Result<Vec<PathBuf>> {
    let files = fs::read_dir(ctx.run()?.path())?.map(|file| file.map(|file| file.path()));
    let files: Vec<PathBuf> = files.collect::<Result<_, _>>()?;
    Ok(files.into_iter().filter(|path| path.extension().is_some_and(|end| end == "cow")).collect())
}

/// Assembles the image in another cache, from the same bootstrap, and compares the bytes.
fn same_image_twice(ctx: &Ctx, shell: &Shell) -> Result<()> {
    let first = test_in_uml::image(ctx)?.path();
    let cache = tempfile::tempdir()?;
    let (here, there) = (ctx.store.path(), cache.path().join("store"));
    fs::DirBuilder::new().mode(0o700).create(&there)?;
    cmd!(shell, "cp -a {here}/rootfs {there}").quiet().run()?;
    let second =
        cmd!(shell, "{OWN_EXE} --quiet image").env("UML_CACHE_DIR", cache.path()).quiet().read()?;
    let (first, second) = (sha256_of(&first)?, sha256_of(Path::new(&second))?);
    // What is sealed cannot be removed by a plain removal.
    cmd!(shell, "chmod -R u+w {there}").quiet().run()?;
    ensure!(first == second, "two images of the same inputs differ: {first} and {second}");
    Ok(())
}
