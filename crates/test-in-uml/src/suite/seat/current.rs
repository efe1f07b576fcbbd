//! The guest on a seat.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use anyhow::{Context as _, Result};
use uml_protocol::{env, lab, wire};

use crate::guest::{CaseOptions, CaseRun, Connect, Cow, Guest, LinkBy, Sink, fresh_token};
use crate::lab::{Lab, LabRecord};
use crate::stage::Share;
use crate::suite::binary_case::BinaryCase;
use crate::suite::note::Note;
use crate::suite::plan::Target;
use crate::suite::power_on::{Wishes, power_on};
use crate::suite::scenario::ScenarioMaker;
use crate::suite::session::RunSession;
use crate::suite::way_out::WayOut;
use crate::suite::word::Word;
use crate::threads;

/// The guest that there is.
pub(super) struct Current<'a> {
    pub guest: Guest<'a>,
    /// Its way out, if it has one.
    _way_out: Option<WayOut>,
    pub target: Arc<Target>,
    /// What is told to each case in it.
    pub environment: Vec<(String, String)>,
    /// Its COW, if that may be kept.
    pub cow: Option<Cow>,
    pub booted: Duration,
    pub ready: Duration,
    /// True if a case is charged with its end.
    pub charged: bool,
    /// True if a case failed in it.
    pub failed: bool,
    /// True if it is for no other case.
    pub spoilt: bool,
    /// The cases that it has run, in order.
    pub ran: Vec<String>,
    /// Which cases loaded which modules.
    pub loads: Vec<String>,
}

impl<'a> Current<'a> {
    /// Boots a guest.
    pub fn start(session: &'a RunSession<'a>, target: &Arc<Target>, share: Share) -> Result<Self> {
        let name = target.next_name();
        let cow = match session.plan.keep_failed {
            true => Some(Cow::at(&session.ctx.run()?.cow(&name), session.plan.image)?),
            false => None,
        };
        let booted = session.elapsed();
        let way_out =
            session.plan.online.then(|| WayOut::open(&session.cases, &name)).transpose()?;
        let wishes = Wishes::of_cases(cow.as_ref(), &session.cases);
        let mut guest = match &way_out {
            None => power_on(session.power(), target, &name, share, &wishes)?,
            Some(way_out) => {
                let wishes = Wishes {
                    interfaces: &[way_out.interface()],
                    connect: Connect(&|_, end| way_out.serve(end)),
                    arguments: &way_out.arguments(target.kernel.net_driver),
                    link_by: LinkBy::Agent,
                    ..wishes
                };
                power_on(session.power(), target, &name, share, &wishes)?
            }
        };
        for (_, program) in &target.modules {
            guest.offer(program)?;
        }
        guest.serve_peer(PEER_PORT)?;
        session.tell(Note::Booted { guest: name.clone(), after: guest.ready_after() });
        Ok(Self {
            environment: environment(guest.link().host(), target),
            guest,
            _way_out: way_out,
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

    /// The number of cases it has run.
    pub fn cases(&self) -> u32 {
        u32::try_from(self.ran.len()).unwrap_or(u32::MAX)
    }

    /// Runs a case, and the scenario that it asks for.
    pub fn run(
        &mut self,
        session: &RunSession<'_>,
        case: &BinaryCase,
        attempt: u32,
        sink: Option<Sink<'_>>,
    ) -> Result<(CaseRun, LabRecord)> {
        let of_suite = case.binary.of_suite.as_ref();
        let timeout = of_suite.and_then(|of_suite| of_suite.timeout);
        let timeout = session.plan.timeout.or(timeout).unwrap_or(session.ctx.config.case_timeout);
        let timeout = timeout.max(Duration::from_secs(1));
        let program = case.binary.placed();
        let maker = ScenarioMaker::new(session, &self.target, self.guest.link().clone());
        let token = fresh_token()?;
        let kept_waiting = self.guest.kept_waiting();
        let lab = Lab::new(
            &maker,
            &session.turns,
            program,
            &token,
            timeout,
            kept_waiting,
            &session.cases,
        );
        let mut environment = self.environment.clone();
        match of_suite {
            Some(of_suite) => environment.extend(of_suite.environment.iter().cloned()),
            None => environment.extend(session.ctx.config.tests.environment.clone()),
        }
        environment.extend(session.plan.environment.iter().cloned());
        environment.push((env::ATTEMPT.into(), attempt.to_string()));
        environment.push((lab::env::TOKEN.into(), token.clone()));
        environment.push((lab::env::KERNELS.into(), session.queue.names().join("\n")));
        let word = wire_word(case.binary.word);
        let injections = session.plan.inject.as_ref();
        let injections =
            injections.map_or_else(Vec::new, |inject| inject.of_case(&case.name().to_string()));
        let lasts = of_suite.is_some_and(|of_suite| of_suite.rules.lasts);
        let injections = injections.as_slice();
        let options = CaseOptions { timeout, word, lasts, leave: false, injections, sink };
        let (connections, asked) = channel();
        let (guest, lab) = (&mut self.guest, &lab);
        guest.open_lab(&token, connections);
        let ran = std::thread::scope(|scope| -> Result<CaseRun> {
            let serving = threads::spawn_in(scope, move || lab.serve(scope, &asked))?;
            let ran = guest.run_case(program, case.args(), environment, options);
            guest.close_lab();
            lab.end();
            // Who is still on the way has come too late.
            drop(serving);
            ran
        });
        let ran = ran.with_context(|| format!("cannot run {}", case.name()))?;
        Ok((ran, lab.take_record()))
    }
}

/// Where the agent looks for libtest's word.
fn wire_word(word: Word) -> wire::Word {
    match word {
        Word::LogFile => wire::Word::LogFile,
        Word::Stdout | Word::ExitCode => wire::Word::Stdout,
    }
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
