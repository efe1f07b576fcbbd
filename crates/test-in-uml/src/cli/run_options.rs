//! How `cargo xtask test-in-uml` runs the cases.

use std::time::Duration;

use clap::{Args, ValueEnum};

use super::run_plan::ExitBy;
use crate::config::kernel_argument;
use crate::guest::Init;
use crate::rootfs::Image;
use crate::suite::{AfterFailure, Inject, Lane, Plan, Reuse, Seats};

/// How they are run.
#[derive(Debug, Args)]
pub(super) struct RunOptions {
    /// Run this many guests at once; `auto` goes by CPUs and memory
    #[arg(long, value_name = "N", default_value_t)]
    pub guests: Seats,
    /// Give each case a guest of its own
    #[arg(long)]
    fresh: bool,
    /// Run a case that failed up to N times more, each time in a fresh guest
    #[arg(long, value_name = "N", default_value_t = 0)]
    retries: u32,
    /// Go on after a failure
    #[arg(long)]
    no_fail_fast: bool,
    /// Give each case this time, such as `5m`, instead of what is configured
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, conflicts_with = "run_for")]
    timeout: Option<Duration>,
    /// Have cases find this variable in their environment: with this value, or with that which it has here; may be repeated
    #[arg(long = "env", value_name = "NAME[=VALUE]", value_parser = variable)]
    environment: Vec<(String, String)>,
    /// One more argument for the kernels of guests; may be repeated
    #[arg(long, value_name = "ARGUMENT", value_parser = kernel_argument)]
    append: Vec<String>,
    /// What a case is that passed after it had failed
    #[arg(long, value_enum, default_value_t, value_name = "HOW")]
    flaky: Flaky,
    /// End the run after this time, such as `30m`
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    deadline: Option<Duration>,
    /// Keep the disk of each guest in which a case failed, and say how to boot it
    #[arg(long)]
    keep_failed: bool,
    /// Keep what passes in the networks of scenarios, as Wireshark opens it; of cases that fail it is kept anyway
    #[arg(long)]
    pcap: bool,
    /// Let the guests of cases reach what this host reaches, by passt(1)
    #[arg(long)]
    pub online: bool,
    /// Have some of what cases ask of their kernels fail, such as `failslab,fail_page_alloc:1`: a kernel that complains, hangs or
    /// loses memory of it is a failure, a case that fails is none
    #[arg(long, value_name = "KINDS:PERCENT[,SEED]")]
    pub inject: Option<Inject>,
    /// Exit as `git bisect run` wants it: 0 if all cases passed, 1 if one failed, 125 if that cannot be told, as of a kernel that
    /// does not build or boot, and 128 or more if no other commit need be tried
    #[arg(long)]
    pub bisect_exit: bool,
    /// What boots the guests: our agent alone, or the image's own init, which starts the agent
    #[arg(long, value_enum, default_value_t, value_name = "INIT")]
    init: InitName,
}

/// What a case is that passed after it had failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Flaky {
    /// It passed
    #[default]
    Pass,
    /// It makes the run red
    Fail,
}

/// A variable, whose value is that which it has here if none is given.
fn variable(text: &str) -> Result<(String, String), String> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, value.to_owned()),
        None => match std::env::var(text) {
            Ok(value) => (text, value),
            Err(error) => return Err(error.to_string()),
        },
    };
    match name.is_empty() || text.contains('\0') {
        true => Err("a variable has a name: NAME=VALUE".into()),
        false => Ok((name.into(), value)),
    }
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum InitName {
    #[default]
    Agent,
    Sysv,
}

impl From<InitName> for Init {
    fn from(name: InitName) -> Self {
        match name {
            InitName::Agent => Init::Agent,
            InitName::Sysv => Init::Sysv,
        }
    }
}

impl RunOptions {
    /// The flags of those that matter when cases that failed are run again.
    pub fn flags(&self) -> Vec<String> {
        let mut words = Vec::new();
        if self.online {
            words.push("--online".into());
        }
        if let Some(inject) = &self.inject {
            words.extend(["--inject".into(), inject.to_string()]);
        }
        for (name, value) in &self.environment {
            words.extend(["--env".into(), format!("{name}={value}")]);
        }
        for argument in &self.append {
            words.extend(["--append".into(), argument.clone()]);
        }
        if let InitName::Sysv = self.init {
            words.extend(["--init".into(), "sysv".into()]);
        }
        words
    }

    /// What the exit code is to say.
    pub fn exit(&self) -> ExitBy {
        match (self.bisect_exit, self.flaky) {
            (true, _) => ExitBy::Bisect,
            (false, Flaky::Pass) => ExitBy::Run,
            (false, Flaky::Fail) => ExitBy::RunWithoutFlaky,
        }
    }

    /// The plan of a run of these lanes on so many seats; all of one that `replays` is run, whatever fails.
    pub fn plan<'a>(
        &self,
        lanes: Vec<Lane>,
        image: &'a Image,
        seats: usize,
        replays: bool,
    ) -> Plan<'a> {
        Plan {
            lanes,
            image,
            init: self.init.into(),
            seats,
            retries: self.retries,
            // The kernel counts requests since it booted.
            reuse: match self.fresh || self.inject.is_some() {
                true => Reuse::Never,
                false => Reuse::Clean,
            },
            after_failure: match self.no_fail_fast || replays {
                true => AfterFailure::GoOn,
                false => AfterFailure::Stop,
            },
            keep_failed: self.keep_failed,
            captures: self.pcap,
            online: self.online,
            inject: self.inject.clone(),
            append: self.append.clone(),
            environment: self.environment.clone(),
            timeout: self.timeout,
            deadline: self.deadline,
        }
    }
}
