//! A boot that is looked at for what the kernel says of its unit tests.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::cancel::CancelToken;
use crate::guest::kernel_line::LogLine;
use crate::guest::{BootFailed, Gone};
use crate::stage::Share;
use crate::suite::plan::Target;
use crate::suite::power_on::{Power, Wishes, power_on};

/// A guest that booted, or did not, and is gone.
#[derive(Debug)]
pub struct Boot {
    /// The lines of its console.
    pub log: Vec<LogLine>,
    /// The time it took to come up, and how it went then; or why it did not.
    pub end: Result<(Duration, Gone), Box<BootFailed>>,
}

/// What is given to a guest that boots for its log.
#[derive(Debug)]
pub struct Asked<'a> {
    pub arguments: &'a [String],
    pub share: Share,
    /// The time that it may take.
    pub limit: Duration,
    pub cancel: &'a CancelToken,
}

impl Boot {
    /// Boots a guest of this name, and switches it off.
    pub fn of(power: Power<'_>, target: &Target, name: &str, asked: &Asked<'_>) -> Result<Self> {
        let wishes = Wishes {
            arguments: asked.arguments,
            boot_timeout: Some(asked.limit),
            ..Wishes::of_cases(None, asked.cancel)
        };
        let end = match power_on(power, target, name, asked.share, &wishes) {
            Ok(guest) => Ok((guest.ready_after(), guest.shutdown()?)),
            Err(error) => Err(Box::new(error.downcast::<BootFailed>()?)),
        };
        let path = power.ctx.run()?.console_log(name);
        let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let log = String::from_utf8_lossy(&text).lines().map(LogLine::of_boot).collect();
        Ok(Self { log, end })
    }
}
