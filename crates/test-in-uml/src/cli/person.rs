//! `cargo xtask shell`, `up`, `exec`, `cp`, `ps` and `down`: guests of a person.

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Args;

use crate::ctx::Ctx;
use crate::person::{self, GuestName, Place, Registered};
use crate::{invocation, ui};

mod machine;
mod replay;
mod up;

use machine::Machine;
use replay::ReplayChoice;
pub(super) use up::Up;

#[derive(Debug, Args)]
pub(super) struct Shell {
    /// What others know the guest by: `exec` and `cp` work in it too [default: shell, or shell-2 and so on]
    #[arg(long, value_name = "GUEST")]
    name: Option<GuestName>,
    #[command(flatten)]
    machine: Machine,
    #[command(flatten)]
    replay: ReplayChoice,
}

impl Shell {
    pub fn run(&self, ctx: &Ctx) -> Result<ExitCode> {
        let (name, registered) = match &self.name {
            Some(name) => (name.clone(), Registered::claim(&ctx.layout, name)?),
            None => Registered::claim_any(&ctx.layout, "shell")?,
        };
        let replayed = self.replay.case(ctx)?;
        let again = replayed.as_ref().map(|replayed| &replayed.again);
        self.machine.run(ctx, &name, again, |stage, plan| {
            let ready = || match &replayed {
                Some(replayed) => replayed.put(ctx, &name, plan.kernel),
                None => Ok(()),
            };
            let hint = self.replay.tell(String::new(), "");
            person::shell::run(ctx, stage, plan, &registered, (&hint, &ready))
        })
    }
}

#[derive(Debug, Args)]
pub(super) struct Exec {
    /// The guest
    #[arg(value_name = "GUEST")]
    name: GuestName,
    /// Log in as this user, instead of being root
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// The command and its arguments; without one, a login shell
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    command: Vec<String>,
}

impl Exec {
    pub fn run(&self, ctx: &Ctx) -> Result<ExitCode> {
        let ended = person::run_command(ctx, &self.name, self.argv()?)?;
        Ok(ExitCode::from(ended.exit_code()))
    }

    /// What is run in the guest: whoever logs in gets that user's environment from runuser(1).
    fn argv(&self) -> Result<Vec<String>> {
        let log_in = |user: &str| vec!["runuser".into(), "-l".into(), user.into()];
        Ok(match (&self.user, self.command.as_slice()) {
            (user, []) => log_in(user.as_deref().unwrap_or("root")),
            (None, command) => command.to_vec(),
            (Some(user), command) => {
                let line = shlex::try_join(command.iter().map(String::as_str))?;
                [log_in(user), vec!["-c".into(), line]].concat()
            }
        })
    }
}

#[derive(Debug, Args)]
pub(super) struct Cp {
    /// Files and folders, and where they go at last; `GUEST:PATH` is in a guest
    #[arg(required = true, num_args = 2.., value_name = "PATH")]
    places: Vec<Place>,
}

impl Cp {
    pub fn run(&self, ctx: &Ctx) -> Result<()> {
        let Some((to, from)) = self.places.split_last() else { return Ok(()) };
        person::copy(ctx, from, to)
    }
}

/// Shows the guests that run, on standard output.
pub(super) fn ps(ctx: &Ctx) -> Result<()> {
    for name in person::names(&ctx.layout) {
        let line = match person::about(&ctx.layout, &name) {
            Ok(about) => format!(
                "{name}  Linux {} ({})  {}  up {}{}{}",
                about.release,
                about.kernel,
                about.memory,
                humantime::format_duration(about.age()),
                about.network.map(|network| format!("  {network}")).unwrap_or_default(),
                about.console.map(|path| format!("  {path}")).unwrap_or_default(),
            ),
            // It boots, or has just ended.
            Err(error) => format!("{name}  {error:#}"),
        };
        ui::print(line)?;
    }
    Ok(())
}

#[derive(Debug, Args)]
pub(super) struct Down {
    /// The guests
    #[arg(required_unless_present = "all", value_name = "GUEST")]
    names: Vec<GuestName>,
    /// Every guest of this checkout
    #[arg(long, conflicts_with = "names")]
    all: bool,
    /// Cut them off, as a power cut does
    #[arg(long)]
    now: bool,
}

impl Down {
    pub fn run(&self, ctx: &Ctx) -> Result<()> {
        let all = if self.all { person::names(&ctx.layout) } else { Vec::new() };
        let end = if self.now { person::end_at_once } else { person::end_in_order };
        // One that does not end does not keep the others.
        let ends = self.names.iter().chain(&all).map(|name| end(ctx, name));
        let failed: Vec<String> =
            ends.filter_map(|end| end.err()).map(|error| format!("{error:#}")).collect();
        ctx.cancel.check()?;
        if failed.is_empty() { Ok(()) } else { bail!(failed.join("\n")) }
    }
}

/// What to do with a guest that runs now.
fn what_next(name: &GuestName) -> String {
    let xtask = invocation::command();
    format!(
        "the guest `{name}` is up: `{xtask} exec {name}` logs in, `{xtask} cp FILE {name}:PATH` copies, \
         `{xtask} down {name}` switches it off"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_run_as_it_stands_or_by_a_users_shell() {
        let exec = |user: Option<&str>, command: &[&str]| Exec {
            name: "web".parse().unwrap(),
            user: user.map(String::from),
            command: command.iter().map(ToString::to_string).collect(),
        };
        let argv = |user, command: &[&str]| exec(user, command).argv().unwrap();
        assert_eq!(argv(None, &["echo", "a b"]), ["echo", "a b"]);
        assert_eq!(argv(None, &[]), ["runuser", "-l", "root"]);
        assert_eq!(argv(Some("uml"), &[]), ["runuser", "-l", "uml"]);
        assert_eq!(
            argv(Some("uml"), &["echo", "a b"]),
            ["runuser", "-l", "uml", "-c", "echo 'a b'"]
        );
    }
}
