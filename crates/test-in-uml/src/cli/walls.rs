//! What guests are run in and attached to, as the command line says it.

use std::fmt;

use anyhow::Result;
use clap::{Args, ValueEnum};

use crate::ctx::Ctx;
use crate::doctor::{self, Consent};
use crate::invocation;
use crate::isolation::{Facility, Isolation, Privilege};
use crate::stage::{Attachment, StageOptions};

use super::wrong_usage;

#[derive(Debug, Args)]
pub(super) struct WallsChoice {
    /// Attach guests' network interfaces to this: a tap is faster, a socket needs neither a device nor a privilege;
    /// `auto` takes taps where they can be had
    #[arg(long, value_enum, default_value_t, value_name = "LINK")]
    link: LinkName,
    /// Run guests in namespaces of their own, or without any, as where a host refuses them; `auto` takes namespaces where
    /// they can be had
    #[arg(long, value_enum, default_value_t, value_name = "KIND")]
    isolation: IsolationName,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum LinkName {
    #[default]
    Auto,
    Tap,
    Socket,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum IsolationName {
    #[default]
    Auto,
    Namespaces,
    None,
}

/// What guests are run in and attached to.
#[derive(Debug)]
pub(super) struct Walls {
    pub isolation: Isolation,
    pub attachment: Attachment,
}

impl Walls {
    /// What a stage for guests of this size is told.
    pub fn options(&self, size: u64) -> StageOptions {
        StageOptions { size, attachment: self.attachment }
    }

    /// Refuses a host on which guests cannot run so, before anything is built for them, and says what they do without.
    fn ensure(&self, ctx: &Ctx) -> Result<()> {
        doctor::ensure_guests(ctx, &self.isolation, self.attachment)?;
        if *self.isolation.privilege() == Privilege::None {
            let left =
                [(Facility::Landlock, "Landlock"), (Facility::Seccomp, "a filter of system calls")];
            let left = left.into_iter().filter(|(facility, _)| self.isolation.grants(*facility));
            let left: Vec<&str> = left.map(|(_, name)| name).collect();
            let left = if left.is_empty() { "nothing".into() } else { left.join(" and ") };
            let doctor = format!("{} doctor", invocation::command());
            ctx.ui.warn(&format!(
                "guests have no namespaces: they are shut in by {left} alone; `{doctor}` says why"
            ));
        }
        Ok(())
    }
}

impl fmt::Display for Walls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let namespaces = match self.isolation.privilege() {
            Privilege::None => "no namespaces",
            Privilege::UserNamespace | Privilege::Root => "namespaces",
        };
        write!(f, "{namespaces}, {}s", self.attachment)
    }
}

impl WallsChoice {
    /// What is meant on this host.
    fn of(&self, ctx: &Ctx) -> Result<Walls> {
        let found = ctx.isolation()?.clone();
        let isolation = match self.isolation {
            IsolationName::Auto => found,
            IsolationName::None => found.without_namespaces(),
            IsolationName::Namespaces => found.with_namespaces(),
        };
        let attachment = match self.link {
            LinkName::Auto => Attachment::of(&isolation),
            LinkName::Tap => Attachment::Tap,
            LinkName::Socket => Attachment::Socket,
        };
        if attachment.is_tap() && *isolation.privilege() == Privilege::None {
            let why = "a tap needs namespaces: `--link socket` does without";
            return Err(wrong_usage(anyhow::anyhow!(why)));
        }
        Ok(Walls { isolation, attachment })
    }

    /// What is meant, on a host that has all that is needed; what is missing is installed if that was agreed to.
    pub fn ensured(&self, ctx: &Ctx, consent: Option<Consent>) -> Result<Walls> {
        doctor::ensure(ctx, consent)?;
        let walls = self.of(ctx)?;
        walls.ensure(ctx)?;
        Ok(walls)
    }

    /// The flags that say the same.
    pub fn flags(&self) -> Vec<String> {
        let link = (self.link != LinkName::Auto).then(|| self.link.to_possible_value());
        let isolation =
            (self.isolation != IsolationName::Auto).then(|| self.isolation.to_possible_value());
        let flags = [("--link", link.flatten()), ("--isolation", isolation.flatten())];
        let flags = flags.into_iter().filter_map(|(flag, name)| Some((flag, name?)));
        flags.flat_map(|(flag, name)| [flag.to_owned(), name.get_name().to_owned()]).collect()
    }
}
