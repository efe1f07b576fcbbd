//! Running cases in guests of one kernel.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use guest_agent::env;

use super::cases::Case;
use super::verdict::{Outcome, Verdict};
use crate::cancel::Interrupted;
use crate::ctx::Ctx;
use crate::guest::machine::End;
use crate::guest::{Calibration, Guest, Init, Spec, boot, peer};
use crate::kernel::KernelBinary;
use crate::report::Reporter;
use crate::rootfs::Image;
use crate::stage::Stage;

/// What is to be run.
#[derive(Debug)]
pub struct Plan<'a> {
    /// The kernel under test.
    pub kernel: &'a KernelBinary,
    /// The image that its guests boot from.
    pub image: &'a Image,
    /// What its guests run.
    pub init: Init,
    /// The cases, in their order.
    pub cases: &'a [Case],
    /// Whether the run goes on after a failure.
    pub after_failure: AfterFailure,
}

/// What happens to the remaining cases after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterFailure {
    /// They are not run.
    Stop,
    /// They are run.
    GoOn,
}

/// A run that is over.
#[derive(Debug)]
pub struct Finished {
    /// A verdict for each case of the plan, in its order.
    pub verdicts: Vec<Verdict>,
    /// How the guest ended.
    pub guest: End,
    /// Whether the user asked us to stop.
    pub interrupted: bool,
}

/// The port of the peer on the host end.
const PEER_PORT: u16 = 7879;

/// Boots a guest and runs the plan's cases in it.
///
/// # Errors
/// [`crate::guest::BootFailed`] when the guest does not come up; others when it cannot be started.
pub fn run(ctx: &Ctx, stage: &Stage, plan: &Plan<'_>, reporter: &Reporter<'_>) -> Result<Finished> {
    let mut guest = start(ctx, stage, plan)?;
    reporter.came_up(guest.name(), guest.ready_after());
    let peer = stage.listen(guest.link().host(), PEER_PORT)?;
    peer::start(peer);
    let environment = environment(guest.link().host(), plan.kernel);
    let mut verdicts = Vec::with_capacity(plan.cases.len());
    let mut interrupted = false;
    let mut stop: Option<String> = None;
    for case in plan.cases {
        let verdict = match &stop {
            Some(why) => Verdict::not_run(why),
            None => {
                reporter.begins(&plan.kernel.name, case);
                match run_case(ctx, &mut guest, case, &environment) {
                    Ok(verdict) => verdict,
                    Err(error) if error.is::<Interrupted>() => {
                        interrupted = true;
                        Verdict::not_run("interrupted")
                    }
                    Err(error) => return Err(error),
                }
            }
        };
        if stop.is_none() {
            stop = reason_to_stop(plan, &guest, &verdict, interrupted);
        }
        reporter.ended(&plan.kernel.name, case, &verdict);
        verdicts.push(verdict);
    }
    ensure!(verdicts.len() == plan.cases.len(), "a case was lost: this is a bug of ours");
    let guest = match guest.end() {
        Some(end) => end.clone(),
        None if interrupted => End::Lost("interrupted".into()),
        None => guest.shutdown()?,
    };
    Ok(Finished { verdicts, guest, interrupted })
}

fn reason_to_stop(
    plan: &Plan<'_>,
    guest: &Guest<'_>,
    verdict: &Verdict,
    interrupted: bool,
) -> Option<String> {
    if interrupted {
        return Some("interrupted".into());
    }
    if let Some(end) = guest.end() {
        return Some(format!("its guest ended before: {end}"));
    }
    let failed = verdict.outcome.is_failure() && plan.after_failure == AfterFailure::Stop;
    failed.then(|| "a case before it failed (--no-fail-fast goes on)".into())
}

fn start<'a>(ctx: &Ctx, stage: &'a Stage, plan: &Plan<'_>) -> Result<Guest<'a>> {
    let kernel = plan.kernel;
    let image_path = plan.image.path();
    let shown_kernel = stage.expose(&kernel.path, &format!("kernel-{}", kernel.key))?;
    let shown_image = stage.expose(&image_path, &format!("image-{}", plan.image.key().as_str()))?;
    let run = ctx.run()?;
    let name = format!("guest-{}-1", kernel.name);
    let nonce = crate::store::Key::of(&(run.id(), &name))?;
    let spec = Spec {
        name: &name,
        kernel: (&kernel.path, &shown_kernel),
        image: (&image_path, &shown_image),
        memory: ctx.config.memory,
        transport: kernel.transport,
        init: plan.init,
        era: kernel.era.boot,
        nonce: &nonce.as_str()[..12],
        cpu: first_cpu(),
        boot_timeout: ctx.config.boot_timeout,
        console_log: run.console_log(&name),
    };
    let mut calibration = Calibration::of(&ctx.layout, &kernel.key);
    boot(stage, &spec, &mut calibration)
}

/// The first CPU that we may run on: it need not be number 0.
pub(crate) fn first_cpu() -> Option<u16> {
    let allowed = nix::sched::sched_getaffinity(nix::unistd::Pid::from_raw(0)).ok()?;
    let first = (0..nix::sched::CpuSet::count()).find(|&cpu| allowed.is_set(cpu) == Ok(true))?;
    u16::try_from(first).ok()
}

fn environment(host: Ipv4Addr, kernel: &KernelBinary) -> Vec<(String, String)> {
    vec![
        (env::HOST_ADDR.into(), host.to_string()),
        (env::HOST_PORT.into(), PEER_PORT.to_string()),
        (env::KERNEL_FRAGMENTS.into(), kernel.requested.join("\n")),
    ]
}

fn run_case(
    ctx: &Ctx,
    guest: &mut Guest<'_>,
    case: &Case,
    environment: &[(String, String)],
) -> Result<Verdict> {
    let mut args = vec![case.name.clone(), "--exact".into(), "--nocapture".into()];
    if case.ignored {
        args.push("--ignored".into());
    }
    let program = case.binary.program();
    let began = Instant::now();
    let timeout = ctx.config.case_timeout;
    let record = guest
        .run_case(&program, args, environment.to_vec(), timeout.max(Duration::from_secs(1)))
        .with_context(|| format!("cannot run {}", case.full_name()))?;
    Ok(Verdict::of(record, began.elapsed(), guest.end()))
}

/// How many outcomes of each kind there are; their sum is the number of cases.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Cases that passed.
    pub passed: usize,
    /// Cases that failed in any way.
    pub failed: usize,
    /// Cases that said why they could not do their work.
    pub skipped: usize,
    /// Cases that were not begun.
    pub not_run: usize,
}

impl Tally {
    /// Counts verdicts.
    pub fn of<'v>(verdicts: impl IntoIterator<Item = &'v Verdict>) -> Self {
        let mut tally = Self::default();
        for verdict in verdicts {
            *match verdict.outcome {
                Outcome::Passed => &mut tally.passed,
                Outcome::Skipped(_) => &mut tally.skipped,
                Outcome::NotRun(_) => &mut tally.not_run,
                _ => &mut tally.failed,
            } += 1;
        }
        tally
    }

    /// How many cases were begun.
    pub fn run(&self) -> usize {
        self.passed + self.failed + self.skipped
    }
}
