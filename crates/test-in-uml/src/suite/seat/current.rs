//! The guest on a seat.

use std::net::Ipv4Addr;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use uml_protocol::{env, wire};

use crate::guest::{Calibration, CaseRun, Cow, Guest, GuestSpec, boot};
use crate::stage::Share;
use crate::suite::cases::Case;
use crate::suite::note::Note;
use crate::suite::plan::Target;
use crate::suite::session::RunSession;
use crate::suite::word::Word;

/// The guest that there is.
pub(super) struct Current<'a> {
    pub guest: Guest<'a>,
    pub target: Arc<Target>,
    /// What is told to each case in it.
    pub environment: Vec<(String, String)>,
    /// Its COW, if that may be kept.
    pub cow: Option<Cow>,
    pub booted: Duration,
    pub ready: Duration,
    /// Whether a case is charged with its end.
    pub charged: bool,
    /// Whether a case failed in it.
    pub failed: bool,
    /// Whether it is for no other case.
    pub spoilt: bool,
    /// The cases that it has run, in order.
    pub ran: Vec<String>,
    /// Which cases loaded which modules.
    pub loads: Vec<String>,
}

impl<'a> Current<'a> {
    /// Boots a guest.
    pub fn start(session: &'a RunSession<'a>, target: &Arc<Target>, share: Share) -> Result<Self> {
        let (ctx, host, kernel) = (session.ctx, session.host, &target.kernel);
        let name = target.next_name();
        let image = session.plan.image;
        let image_path = image.path();
        let shown_kernel = host.expose(&kernel.path, &format!("kernel-{}", kernel.key))?;
        let shown_image = host.expose(&image_path, &format!("image-{}", image.key().as_str()))?;
        let run = ctx.run()?;
        let cow = match session.plan.keep_failed {
            true => Some(Cow::at(&run.cow(&name), image)?),
            false => None,
        };
        let nonce = crate::store::Key::of(&(run.id(), &name))?;
        let spec = GuestSpec {
            name: &name,
            kernel: (&kernel.path, &shown_kernel),
            image: (&image_path, &shown_image),
            cow: cow.as_ref(),
            memory: ctx.config.memory,
            transport: kernel.transport,
            init: session.plan.init,
            era: kernel.era.boot,
            known_boot_complaints: ctx
                .config
                .kernels
                .get(&kernel.name)
                .map_or(&[], |kernel| &kernel.known_boot_complaints),
            nonce: &nonce.as_str()[..12],
            share,
            boot_timeout: ctx.config.boot_timeout,
            console_log: run.console_log(&name),
        };
        let booted = session.elapsed();
        let mut guest = boot_calibrated(session, target, &spec)?;
        for (_, program) in &target.modules {
            guest.offer(program)?;
        }
        guest.serve_peer(PEER_PORT)?;
        session.tell(Note::Booted { guest: name.clone(), after: guest.ready_after() });
        Ok(Self {
            environment: environment(guest.link().host(), target),
            guest,
            target: Arc::clone(target),
            cow,
            booted,
            ready: session.elapsed(),
            charged: false,
            failed: false,
            spoilt: false,
            ran: Vec::new(),
            loads: Vec::new(),
        })
    }

    /// How many cases it has run.
    pub fn cases(&self) -> u32 {
        u32::try_from(self.ran.len()).unwrap_or(u32::MAX)
    }

    pub fn run(&mut self, session: &RunSession<'_>, case: &Case, attempt: u32) -> Result<CaseRun> {
        let mut environment = self.environment.clone();
        environment.push((env::ATTEMPT.into(), attempt.to_string()));
        let timeout = session.ctx.config.case_timeout.max(Duration::from_secs(1));
        self.guest
            .run_case(
                &case.binary.program,
                case.args(),
                environment,
                (timeout, wire_word(case.binary.word)),
            )
            .with_context(|| format!("cannot run {}", case.full_name()))
    }
}

/// Where the agent looks for libtest's word.
fn wire_word(word: Word) -> wire::Word {
    match word {
        Word::LogFile => wire::Word::LogFile,
        Word::Stdout | Word::ExitCode => wire::Word::Stdout,
    }
}

/// Boots a guest; the first of its kernel on this machine alone, because it measures the CPU.
fn boot_calibrated<'a>(
    session: &'a RunSession<'a>,
    target: &Target,
    spec: &GuestSpec<'_>,
) -> Result<Guest<'a>> {
    let key = &target.kernel.key;
    let mut calibration = Calibration::of(&session.ctx.layout, key);
    let mut _alone = None;
    if calibration.lpj().is_none() {
        _alone = Some(target.calibrating.lock().unwrap_or_else(PoisonError::into_inner));
        calibration = Calibration::of(&session.ctx.layout, key);
    }
    boot(session.host, spec, &mut calibration)
}

fn environment(host: Ipv4Addr, target: &Target) -> Vec<(String, String)> {
    let modules = target.modules.iter().map(|(module, program)| {
        format!("{} {}", module.name, uml_protocol::path_of(&program.hash()).display())
    });
    let modules: Vec<String> = modules.collect();
    vec![
        (env::HOST_ADDR.into(), host.to_string()),
        (env::HOST_PORT.into(), PEER_PORT.to_string()),
        (env::KERNEL_FRAGMENTS.into(), target.kernel.requested.join("\n")),
        (env::MODULES.into(), modules.join("\n")),
    ]
}

/// The port of the peer on the host end.
const PEER_PORT: u16 = 7879;
