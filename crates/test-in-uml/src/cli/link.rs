//! What the interfaces of guests are attached to, as the command line says it.

use anyhow::Result;
use clap::{Args, ValueEnum};

use crate::ctx::Ctx;
use crate::stage::Attachment;

#[derive(Debug, Args)]
pub(super) struct LinkChoice {
    /// Attach guests' network interfaces to this: a tap is faster, a socket needs neither a device nor a privilege;
    /// `auto` takes taps where they can be had
    #[arg(long, value_enum, default_value_t, value_name = "LINK")]
    link: LinkName,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum LinkName {
    #[default]
    Auto,
    Tap,
    Socket,
}

impl LinkChoice {
    /// What is meant on this host.
    pub fn attachment(&self, ctx: &Ctx) -> Result<Attachment> {
        match self.link {
            LinkName::Auto => Ok(Attachment::of(ctx.isolation()?)),
            LinkName::Tap => Ok(Attachment::Tap),
            LinkName::Socket => Ok(Attachment::Socket),
        }
    }

    /// The flags that say the same.
    pub fn flags(&self) -> Vec<String> {
        let name = self.link.to_possible_value().filter(|_| self.link != LinkName::Auto);
        let name = name.map(|name| name.get_name().to_owned());
        name.map_or(Vec::new(), |name| vec!["--link".into(), name])
    }
}
