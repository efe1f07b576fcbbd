//! The guests of one kernel, one at a time: one that ends, or whose kernel complains, is replaced.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use guest_agent::env;

use super::cases::Case;
use super::run::Plan;
use super::verdict::Verdict;
use crate::ctx::Ctx;
use crate::guest::machine::{CaseRecord, End};
use crate::guest::{Calibration, CaseEnd, Complaint, Cow, Guest, Program, Spec, boot, peer};
use crate::report::Reporter;
use crate::stage::Stage;

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

/// The guests of a plan, one at a time.
pub(super) struct Guests<'a> {
    ctx: &'a Ctx,
    stage: &'a Stage,
    plan: &'a Plan<'a>,
    reporter: &'a Reporter<'a>,
    current: Option<Current<'a>>,
    lives: Vec<Life>,
}

/// The guest that there is.
struct Current<'a> {
    guest: Guest<'a>,
    /// What is told to each case in it.
    environment: Vec<(String, String)>,
    /// Its COW, if that may be kept.
    cow: Option<Cow>,
    /// Whether a case is charged with its end.
    charged: bool,
    /// Whether a case failed in it.
    failed: bool,
    /// The case that it ran last.
    last: Option<String>,
}

/// How a guest is parted with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Retire {
    /// It is asked to switch itself off.
    SwitchOff,
    /// Its processes are ended: nobody wants to wait any more.
    Drop,
}

impl<'a> Guests<'a> {
    pub fn new(
        ctx: &'a Ctx,
        stage: &'a Stage,
        plan: &'a Plan<'a>,
        reporter: &'a Reporter<'a>,
    ) -> Self {
        Self { ctx, stage, plan, reporter, current: None, lives: Vec::new() }
    }

    /// Has a guest there, a fresh one if need be.
    pub fn current(&mut self) -> Result<()> {
        if self.current.is_none() {
            let name = format!("guest-{}-{}", self.plan.kernel.name, self.lives.len() + 1);
            let cow = match self.plan.keep_failed {
                true => Some(Cow::at(&self.ctx.run()?.cow(&name), self.plan.image)?),
                false => None,
            };
            let guest = start(self.ctx, self.stage, self.plan, &name, cow.as_ref())?;
            self.reporter.came_up(guest.name(), guest.ready_after());
            let environment = environment(guest.link().host(), self.plan)?;
            let (charged, failed, last) = (false, false, None);
            self.current = Some(Current { guest, environment, cow, charged, failed, last });
        }
        Ok(())
    }

    /// Runs a case in a guest that lives.
    pub fn run(&mut self, case: &Case) -> Result<Verdict> {
        // A guest that dies before a case begins is no fault of this case. A second one that does
        // the same is.
        for _ in 0..2 {
            self.current()?;
            let current = self.current.as_mut().context("a guest was booted")?;
            let began = Instant::now();
            let record = match run_case(self.ctx, current, case)? {
                CaseEnd::Ran(record) => *record,
                CaseEnd::NotBegun => {
                    self.retire(Retire::SwitchOff)?;
                    continue;
                }
            };
            let mut verdict = Verdict::of(record, began.elapsed(), current.guest.end());
            verdict.guest = Some(current.guest.name().to_owned());
            current.charged = current.guest.end().is_some();
            current.failed |= verdict.outcome.is_failure();
            current.last = Some(case.full_name());
            // What a failed case left on a disk that is kept is not to be overwritten.
            let kept = current.failed && current.cow.is_some();
            if current.charged || kept || verdict.spoils_guest() {
                self.retire(Retire::SwitchOff)?;
            }
            return Ok(verdict);
        }
        let end = self.lives.last().map_or(End::Lost("twice".into()), |life| life.end.clone());
        let record = CaseRecord::default();
        Ok(Verdict::of(record, Duration::ZERO, Some(&end)))
    }

    /// Parts with the guest that there is, if any.
    pub fn retire(&mut self, how: Retire) -> Result<()> {
        let Some(current) = self.current.take() else { return Ok(()) };
        let Current { guest, cow, charged, failed, last, .. } = current;
        let (name, by_hand) = (guest.name().to_owned(), guest.by_hand().to_owned());
        let (end, strays) = match how {
            Retire::SwitchOff => guest.shutdown()?,
            Retire::Drop => {
                drop(guest);
                (End::Lost("interrupted".into()), Vec::new())
            }
        };
        let charged = charged || how == Retire::Drop;
        let life = Life { name, end, charged, last, strays };
        self.reporter.parted(&life)?;
        match cow {
            Some(cow) if failed || life.is_failure() => {
                cow.take_back()?;
                self.reporter.kept(&cow.how_to_boot(&self.plan.kernel.name, &by_hand));
            }
            Some(cow) => cow.remove()?,
            None => {}
        }
        self.lives.push(life);
        Ok(())
    }

    /// What became of all that were parted with.
    pub fn into_lives(self) -> Vec<Life> {
        self.lives
    }
}

fn start<'a>(
    ctx: &Ctx,
    stage: &'a Stage,
    plan: &Plan<'_>,
    name: &str,
    cow: Option<&Cow>,
) -> Result<Guest<'a>> {
    let kernel = plan.kernel;
    let image_path = plan.image.path();
    let shown_kernel = stage.expose(&kernel.path, &format!("kernel-{}", kernel.key))?;
    let shown_image = stage.expose(&image_path, &format!("image-{}", plan.image.key().as_str()))?;
    let run = ctx.run()?;
    let nonce = crate::store::Key::of(&(run.id(), name))?;
    let spec = Spec {
        name,
        kernel: (&kernel.path, &shown_kernel),
        image: (&image_path, &shown_image),
        cow,
        memory: ctx.config.memory,
        transport: kernel.transport,
        init: plan.init,
        era: kernel.era.boot,
        nonce: &nonce.as_str()[..12],
        cpu: first_cpu(),
        boot_timeout: ctx.config.boot_timeout,
        console_log: run.console_log(name),
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

fn run_case(ctx: &Ctx, current: &mut Current<'_>, case: &Case) -> Result<CaseEnd> {
    let mut args = vec![case.name.clone(), "--exact".into(), "--nocapture".into()];
    if case.ignored {
        args.push("--ignored".into());
    }
    let timeout = ctx.config.case_timeout.max(Duration::from_secs(1));
    current
        .guest
        .run_case(&case.binary.program, args, current.environment.clone(), timeout)
        .with_context(|| format!("cannot run {}", case.full_name()))
}
