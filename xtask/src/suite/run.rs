//! Running cases in guests of one kernel.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use guest_agent::env;

use super::cases::Case;
use super::verdict::{Outcome, Verdict};
use crate::cancel::Interrupted;
use crate::ctx::Ctx;
use crate::guest::machine::{CaseRecord, End};
use crate::guest::{Calibration, CaseEnd, Complaint, Guest, Init, Program, Spec, boot, peer};
use crate::kernel::{KernelBinary, Module};
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
    /// The modules that were built for it.
    pub modules: &'a [Module],
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
    /// The guests that were booted, in their order.
    pub guests: Vec<Life>,
    /// Whether the user asked us to stop.
    pub interrupted: bool,
    /// Why there was no guest for the rest of the cases.
    pub broken: Option<anyhow::Error>,
}

/// What became of a guest.
#[derive(Debug, Clone)]
pub struct Life {
    /// Its name in the run's folder.
    pub name: String,
    /// How it ended.
    pub end: End,
    /// Whether a case is charged with that end.
    pub charged: bool,
    /// The case that it ran last.
    pub last: Option<String>,
    /// What its kernel complained of while no case ran.
    pub strays: Vec<Complaint>,
}

impl Life {
    /// Whether the run is red because of what happened while no case ran.
    pub fn is_failure(&self) -> bool {
        let ended = matches!(self.end, End::Clean { .. }) || self.charged;
        !ended || !self.strays.is_empty()
    }
}

/// The port of the peer on the host end.
const PEER_PORT: u16 = 7879;

/// Boots guests and runs the plan's cases in them, one after the other. A guest that ends, or whose
/// kernel complains, is replaced by a fresh one.
///
/// # Errors
/// [`crate::guest::BootFailed`] when the first guest does not come up; others when it cannot be
/// started.
pub fn run(ctx: &Ctx, stage: &Stage, plan: &Plan<'_>, reporter: &Reporter<'_>) -> Result<Finished> {
    let mut guests = Guests::new(ctx, stage, plan, reporter);
    guests.current()?;
    let mut finished =
        Finished { verdicts: Vec::new(), guests: Vec::new(), interrupted: false, broken: None };
    let mut stop: Option<String> = None;
    for case in plan.cases {
        let verdict = match &stop {
            Some(why) => Verdict::not_run(why),
            None => {
                reporter.begins(&plan.kernel.name, case);
                guests.run(case).unwrap_or_else(|error| {
                    let interrupted = error.is::<Interrupted>();
                    let why = if interrupted { "interrupted" } else { "there was no guest for it" };
                    finished.interrupted |= interrupted;
                    finished.broken = (!interrupted).then_some(error);
                    stop = Some(why.into());
                    Verdict::not_run(why)
                })
            }
        };
        if verdict.outcome.is_failure() && plan.after_failure == AfterFailure::Stop {
            stop.get_or_insert_with(|| "a case before it failed (--no-fail-fast goes on)".into());
        }
        reporter.ended(&plan.kernel.name, case, &verdict)?;
        finished.verdicts.push(verdict);
    }
    ensure!(finished.verdicts.len() == plan.cases.len(), "a case was lost: this is a bug of ours");
    guests.retire(if finished.interrupted { Retire::Drop } else { Retire::SwitchOff })?;
    finished.guests = guests.lives;
    Ok(finished)
}

/// The guests of a plan, one at a time.
struct Guests<'a> {
    ctx: &'a Ctx,
    stage: &'a Stage,
    plan: &'a Plan<'a>,
    reporter: &'a Reporter<'a>,
    guest: Option<Guest<'a>>,
    /// What is told to each case in the guest that there is.
    environment: Vec<(String, String)>,
    /// Whether a case is charged with the end of the guest that there is.
    charged: bool,
    last: Option<String>,
    lives: Vec<Life>,
}

/// How a guest is parted with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Retire {
    /// It is asked to switch itself off.
    SwitchOff,
    /// Its processes are ended: nobody wants to wait any more.
    Drop,
}

impl<'a> Guests<'a> {
    fn new(ctx: &'a Ctx, stage: &'a Stage, plan: &'a Plan<'a>, reporter: &'a Reporter<'a>) -> Self {
        Self {
            ctx,
            stage,
            plan,
            reporter,
            guest: None,
            environment: Vec::new(),
            charged: false,
            last: None,
            lives: Vec::new(),
        }
    }

    /// Has a guest there, a fresh one if need be.
    fn current(&mut self) -> Result<()> {
        if self.guest.is_none() {
            let guest = start(self.ctx, self.stage, self.plan, self.lives.len() + 1)?;
            self.reporter.came_up(guest.name(), guest.ready_after());
            self.environment = environment(guest.link().host(), self.plan)?;
            (self.charged, self.last) = (false, None);
            self.guest = Some(guest);
        }
        Ok(())
    }

    /// Runs a case in a guest that lives.
    fn run(&mut self, case: &Case) -> Result<Verdict> {
        // A guest that dies before a case begins is no fault of this case. A second one that does
        // the same is.
        for _ in 0..2 {
            self.current()?;
            let guest = self.guest.as_mut().context("a guest was booted")?;
            let began = Instant::now();
            let record = match run_case(self.ctx, guest, case, &self.environment)? {
                CaseEnd::Ran(record) => *record,
                CaseEnd::NotBegun => {
                    self.retire(Retire::SwitchOff)?;
                    continue;
                }
            };
            let mut verdict = Verdict::of(record, began.elapsed(), guest.end());
            verdict.guest = Some(guest.name().to_owned());
            let ended = guest.end().is_some();
            self.last = Some(case.full_name());
            if ended || verdict.spoils_guest() {
                self.charged = ended;
                self.retire(Retire::SwitchOff)?;
            }
            return Ok(verdict);
        }
        let end = self.lives.last().map_or(End::Lost("twice".into()), |life| life.end.clone());
        let record = CaseRecord::default();
        Ok(Verdict::of(record, Duration::ZERO, Some(&end)))
    }

    /// Parts with the guest that there is, if any.
    fn retire(&mut self, how: Retire) -> Result<()> {
        let Some(guest) = self.guest.take() else { return Ok(()) };
        let name = guest.name().to_owned();
        let (end, strays) = match how {
            Retire::SwitchOff => guest.shutdown()?,
            Retire::Drop => (End::Lost("interrupted".into()), Vec::new()),
        };
        let last = self.last.take();
        let charged = self.charged || how == Retire::Drop;
        let life = Life { name, end, charged, last, strays };
        self.reporter.parted(&life)?;
        self.lives.push(life);
        Ok(())
    }
}

fn start<'a>(ctx: &Ctx, stage: &'a Stage, plan: &Plan<'_>, number: usize) -> Result<Guest<'a>> {
    let kernel = plan.kernel;
    let image_path = plan.image.path();
    let shown_kernel = stage.expose(&kernel.path, &format!("kernel-{}", kernel.key))?;
    let shown_image = stage.expose(&image_path, &format!("image-{}", plan.image.key().as_str()))?;
    let run = ctx.run()?;
    let name = format!("guest-{}-{number}", kernel.name);
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
    let mut guest = boot(stage, &spec, &mut calibration)?;
    for module in plan.modules {
        guest.offer(&Program::open(&module.path)?)?;
    }
    peer::start(stage.listen(guest.link().host(), PEER_PORT)?);
    Ok(guest)
}

/// The first CPU that we may run on: it need not be number 0.
pub(crate) fn first_cpu() -> Option<u16> {
    let allowed = nix::sched::sched_getaffinity(nix::unistd::Pid::from_raw(0)).ok()?;
    let first = (0..nix::sched::CpuSet::count()).find(|&cpu| allowed.is_set(cpu) == Ok(true))?;
    u16::try_from(first).ok()
}

fn environment(host: Ipv4Addr, plan: &Plan<'_>) -> Result<Vec<(String, String)>> {
    let kernel = plan.kernel;
    let modules = plan.modules.iter().map(|module| {
        let place = guest_agent::path_of(&Program::open(&module.path)?.hash());
        Ok(format!("{} {}", module.name, place.display()))
    });
    let modules: Vec<String> = modules.collect::<Result<_>>()?;
    Ok(vec![
        (env::HOST_ADDR.into(), host.to_string()),
        (env::HOST_PORT.into(), PEER_PORT.to_string()),
        (env::KERNEL_FRAGMENTS.into(), kernel.requested.join("\n")),
        (env::MODULES.into(), modules.join("\n")),
    ])
}

fn run_case(
    ctx: &Ctx,
    guest: &mut Guest<'_>,
    case: &Case,
    environment: &[(String, String)],
) -> Result<CaseEnd> {
    let mut args = vec![case.name.clone(), "--exact".into(), "--nocapture".into()];
    if case.ignored {
        args.push("--ignored".into());
    }
    let timeout = ctx.config.case_timeout.max(Duration::from_secs(1));
    guest
        .run_case(&case.binary.program, args, environment.to_vec(), timeout)
        .with_context(|| format!("cannot run {}", case.full_name()))
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
