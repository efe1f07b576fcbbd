//! Networks of the host for guests of persons: a bridge with taps, on the physical network or on one of its own.
//!
//! What is changed of the host is a list of changes, each of which knows its commands and how it is undone. A change is
//! recorded before it is made, so that whatever happens in between can be undone; the record lies in `/run`, which a boot
//! empties as it does the host's interfaces. How such networks are made by hand is chapter 6 of the User Mode Linux
//! Installation Guide.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use anyhow::{Context as _, Result, anyhow, bail};

mod change;
mod ip;
mod line;
mod name;
mod name_service;
mod packet_filter;
mod permanent;
mod plan;
mod record;
mod subnet;
mod takeover;
mod tap;

pub use line::Line;
pub use name::NetworkName;
pub use packet_filter::Publish;
pub use permanent::{Manager, Permanent};
pub use plan::{Mode, Wanted};
pub use record::Record;
pub use subnet::Subnet;
pub use tap::Tap;

use crate::cancel::CancelToken;
use crate::invocation;
use change::Change;
use record::Records;

/// What is told of each command, before it is run.
pub type Tell<'a> = &'a dyn Fn(&Line) -> Result<()>;

/// All that would make a network.
#[derive(Debug)]
pub struct Plan {
    record: Record,
    changes: Vec<Change>,
}

impl Plan {
    /// That of a network that is wanted, on this host as it is now.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn of(wanted: &Wanted) -> Result<Self> {
        let (record, changes) = plan::of(wanted)?;
        Ok(Self { record, changes })
    }

    /// Its commands, each as a line that can be pasted.
    pub fn lines(&self) -> impl Iterator<Item = Line> {
        self.changes.iter().flat_map(Change::make)
    }

    /// The files that would have each boot make it.
    ///
    /// # Errors
    /// When it is not known what makes it at boot, or the files that are there cannot be read.
    pub fn permanent(&self, manager: Option<Manager>) -> Result<Permanent> {
        Permanent::plan(&self.record, &self.changes, manager)
    }
}

/// A network that is up, as guests need to know it.
///
/// # Errors
/// When none of that name is.
pub fn network(name: &NetworkName) -> Result<Record> {
    let permanent = || Permanent::of(name).ok().flatten();
    match permanent().filter(|_| !record::names().contains(name)) {
        Some(permanent) if permanent.is_up() => Ok(permanent.record()),
        Some(_) => bail!(
            "the permanent network `{name}` is not up: the next boot makes it, or `{} net up` now",
            invocation::command()
        ),
        None => Record::of(name),
    }
}

/// The networks that there are, each with the permanent one of its name.
pub fn all() -> Vec<(NetworkName, Result<Option<Permanent>>)> {
    let names: BTreeSet<NetworkName> =
        record::names().into_iter().chain(permanent::names()).collect();
    names.into_iter().map(|name| (name.clone(), Permanent::of(&name))).collect()
}

/// Makes a network, and has each boot make it, where `permanent` says so, which sees what is about to be made. What was made
/// of one that fails is undone.
///
/// # Errors
/// When it cannot be made, or on the physical network the gateway does not answer any more; those of `permanent`.
pub fn up(
    wanted: &Wanted,
    permanent: impl FnOnce(&Plan) -> Result<Option<Permanent>>,
    tell: Tell<'_>,
) -> Result<(Record, Option<Permanent>)> {
    let records = Records::lock()?;
    let name = &wanted.name;
    if let Some(there) = Permanent::of(name)?.filter(Permanent::is_up)
        && !record::names().contains(name)
    {
        bail!("the network `{name}` is there: {} has made it at this boot", there.manager());
    }
    let plan = Plan::of(wanted)?;
    let permanent = permanent(&plan)?;
    let Plan { record, changes } = plan;
    let mut journal = records.begin(&record)?;
    let made = changes.into_iter().try_for_each(|change| {
        CancelToken::default().check()?;
        journal.add(&change)?;
        for line in change.make() {
            tell(&line)?;
            line.run()?;
        }
        change.check()
    });
    let made = made.and_then(|()| permanent.as_ref().map_or(Ok(()), Permanent::write));
    match made.and_then(|()| journal.complete()) {
        Ok(()) => Ok((record, permanent)),
        Err(error) => {
            let taken_back = permanent.map_or(Ok(false), |_| Permanent::take_back(name));
            let undone = undo(&records, name, tell).and(taken_back);
            let xtask = invocation::command();
            undone.with_context(|| format!("{error:#}; `{xtask} net down {name}` goes on with"))?;
            Err(anyhow!("{error:#}; nothing is left of it"))
        }
    }
}

/// Undoes all that was made for a network; false if nothing is left to undo.
///
/// # Errors
/// When something cannot be undone; the record keeps what is left.
pub fn down(name: &NetworkName, tell: Tell<'_>) -> Result<bool> {
    undo(&Records::lock()?, name, tell)
}

/// Has no boot make a network any more; false if none does.
///
/// # Errors
/// When a file has been changed since by others.
pub fn down_permanent(name: &NetworkName) -> Result<bool> {
    let _lock = Records::lock()?;
    Permanent::take_back(name)
}

fn undo(records: &Records, name: &NetworkName, tell: Tell<'_>) -> Result<bool> {
    let Some(mut journal) = records.open(name)? else { return Ok(false) };
    while let Some(change) = journal.last()? {
        // What another network needs too is left to that.
        if !records.hand_over(name, &change)? {
            for line in change.undo()? {
                // Whether somebody reads it or not: a terminal may have been on the very network.
                let _ = tell(&line);
                line.run()?;
            }
        }
        journal.forget_last()?;
    }
    journal.remove()?;
    Ok(true)
}

/// What a guest is plugged in with.
#[derive(Debug)]
pub struct Plug {
    /// Its tap.
    pub tap: Tap,
    /// The number of the tap in its network.
    pub number: usize,
}

/// Takes a tap of a network that nobody has.
///
/// # Errors
/// When all are taken, or they are another user's.
pub fn plug(record: &Record) -> Result<Plug> {
    for (number, name) in record.taps.iter().enumerate() {
        if let Some(tap) = Tap::open(name).with_context(|| record.hint())? {
            return Ok(Plug { tap, number });
        }
    }
    bail!(
        "all {} taps of the network `{}` are taken: `--taps` of `net up` says how many there are",
        record.taps.len(),
        record.name
    )
}

/// The name servers of the host that its guests can ask too: those that are not the host itself.
fn name_servers() -> Vec<Ipv4Addr> {
    let text = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let lines = text.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
    let servers = lines.filter_map(|server| server.trim().parse::<Ipv4Addr>().ok());
    servers.filter(|server| !server.is_loopback()).take(3).collect()
}
