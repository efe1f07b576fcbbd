//! A guest with its console on the current terminal.
//!
//! The guest's console is a pseudo-terminal of ours. What is typed goes there, what it says comes
//! here, and whatever happens the terminal is given back as it was found.

use std::fmt::Write as _;
use std::io::IsTerminal as _;

use anyhow::{Context as _, Result};

use super::end::GuestEnd;
use super::{Guest, PersonPlan, Registered, Server};
use crate::cancel::{self, CancelToken};
use crate::ctx::Ctx;
use crate::guest::Init;
use crate::invocation;
use crate::stage::Stage;
use crate::threads;

mod escape;
mod session;
mod terminal;

pub(super) use escape::Escape;
use session::ShellSession;
use terminal::Pty;
pub(super) use terminal::{RawMode, give_back, our_size};

/// Boots a guest, connects its console with our standard input and output, and waits for its end. The hint is said before;
/// once the guest takes commands, `ready` is called.
///
/// # Errors
/// When the guest cannot be started, its kernel does not end in order, we were asked to stop, or
/// the terminal cannot be given back.
pub fn run(
    ctx: &Ctx,
    stage: &Stage,
    plan: &PersonPlan<'_>,
    registered: &Registered,
    (hint, ready): (&str, &(dyn Fn() -> Result<()> + Sync)),
) -> Result<GuestEnd> {
    let guest = Guest::prepare(ctx, stage, plan, Init::Terminal)?;
    ctx.ui.line(&(greeting(plan) + hint));
    let pty = Pty::open()?;
    let console = pty.guest_end.try_clone().context("cannot duplicate a terminal")?;
    // From here on only the guest holds its end: the console closes when the guest is gone.
    let session = ShellSession::new(pty)?;
    cancel::before_exit(terminal::give_back);
    let raw = RawMode::enter()?;
    let process = guest.power_on(console)?;
    let server =
        Server { registered, about: plan.about(None), stage, link: &guest.link, process: &process };
    let over = CancelToken::default();
    let end = std::thread::scope(|scope| {
        let served = guest.serve(scope, &server, &over).and_then(|()| {
            threads::spawn_in(scope, || {
                let done = server.greeted(&over).and_then(|()| ready());
                if let Err(error) = done
                    && over.check().is_ok()
                {
                    // The terminal is raw by now.
                    ctx.ui.warn(&format!("{error:#}\r"));
                }
            })?;
            Ok(())
        });
        let end = served.and_then(|()| session.run(&ctx.cancel, process.status()?));
        // Whatever it is, those who serve end with it.
        over.cancel();
        end
    });
    drop(process);
    if let Some(raw) = raw {
        raw.leave()?;
    }
    guest.clear_away(ctx)?;
    end
}

fn greeting(plan: &PersonPlan<'_>) -> String {
    let (release, name, xtask) = (&plan.kernel.release, plan.name, invocation::command());
    let mut text = format!("the console of a guest with Linux {release} follows; ");
    let rest = if std::io::stdin().is_terminal() {
        "it is over when the guest is switched off, or at once with Ctrl-] q"
    } else {
        "it is over when the guest is switched off"
    };
    // Writing to a string does not fail.
    let _ = write!(
        text,
        "{rest}\nlog in as root or uml; the password is the name\nfrom elsewhere: `{xtask} exec {name}`, \
         `{xtask} cp FILE {name}:PATH`"
    );
    text
}
