//! Memory of the kernel that nothing points to any more.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};
pub use uml_agent::leaks::Leak;
use uml_agent::leaks::{Life, Lives, MINIMAL_AGE, Search, now};
use uml_protocol::wire::Owner;

/// Has the kernel look for memory that was lost, if it can (CONFIG_DEBUG_KMEMLEAK), and returns what this
/// case has lost. The kernel complains of it too, so that the case fails; what earlier cases have lost is
/// charged to none but them. It takes some seconds; elsewhere it does nothing.
///
/// A scan that finds nothing proves nothing: [`uml_agent::leaks`] says what one cannot see.
///
/// # Errors
/// When the kernel refuses.
pub fn scan_for_leaks() -> Result<Vec<Leak>> {
    let own =
        Life { sequence: 1, pid: std::process::id().cast_signed(), from: began()?, to: now() };
    let Some(search) = Search::open().context("cannot search for leaks")? else {
        return Ok(Vec::new());
    };
    let known = search.found().context("cannot read the leaks")?;
    std::thread::sleep(MINIMAL_AGE);
    search.run().context("cannot search for leaks")?;
    let mut lives = Lives::default();
    lives.push(own);
    let found = search.found().context("cannot read the leaks")?;
    let (own, others): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|leak| lives.whose(leak) == Owner::Case(1));
    let is_new = |leak: &&Leak| known.iter().all(|known| known.address != leak.address);
    let new: Vec<Leak> = others.iter().filter(is_new).cloned().collect();
    for line in Leak::summaries(&new) {
        println!("lost by an earlier case: {line}");
    }
    for line in Leak::summaries(&own) {
        println!("lost by this case: {line}");
    }
    Ok(own)
}

/// When this process began, by the kernel's clock: /proc/self/stat has it in hundredths of a second
/// since the start (proc_pid_stat(5)), which are jiffies here.
fn began() -> Result<u64> {
    let stat = fs::read_to_string("/proc/self/stat").context("cannot read /proc/self/stat")?;
    let began = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(19));
    let hundredths: u64 = began.context("no start time in /proc/self/stat")?.parse()?;
    let up = Duration::from_millis(hundredths * 10);
    Ok(uml_agent::leaks::at(up))
}
