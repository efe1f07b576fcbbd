//! The agent: PID 1 of a test guest, or a service of a guest with an init of its own.

use anyhow::{Context as _, Result};
use uml_protocol::PORT;
use uml_protocol::marker::Event;

mod case;
mod case_dir;
mod commands;
mod declarations;
mod detectors;
mod file_systems;
mod init;
mod injection;
mod leftovers;
mod log;
mod lost_memory;
mod module_events;
mod name_servers;
mod network;
mod package_files;
mod power;
mod proc_files;
mod processes;
mod programs;
mod serve;
mod settings;
mod spawn;
mod watched_folders;

use log::Log;

/// Whether PID 1 is the agent itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// The agent is the guest's init.
    Init,
    /// The guest has an init, which started the agent.
    Service,
}

/// A parameter of the kernel's command line.
fn parameter(name: &str) -> Result<Option<String>> {
    let line = std::fs::read_to_string("/proc/cmdline").context("cannot read /proc/cmdline")?;
    Ok(line
        .split_whitespace()
        .filter_map(|word| word.split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value.to_owned()))
}

fn main() {
    if std::env::args().nth(1).as_deref() == Some(commands::ARGUMENT) {
        init::protect_us(Role::Service);
        let Err(error) = commands::serve();
        eprintln!("uml-agent: {error:#}");
        std::process::exit(1);
    }
    let role = if std::process::id() == 1 { Role::Init } else { Role::Service };
    // The end of PID 1 is a panic of the kernel: whatever goes wrong is said, and the guest is
    // switched off.
    let said = set_up(role).and_then(|mut log| match serve(role, &mut log) {
        Ok(()) => Ok(()),
        Err(error) => log.mark(Event::Fatal(format!("{error:#}"))).map(drop),
    });
    if let Err(error) = said {
        let marked = Log::open().and_then(|mut log| log.mark(Event::Fatal(format!("{error:#}"))));
        if marked.is_err() {
            eprintln!("uml-agent: {error:#}");
        }
    }
    power::off(role);
}

fn set_up(role: Role) -> Result<Log> {
    match role {
        Role::Init => init::set_up()?,
        Role::Service => init::set_up_service()?,
    }
    init::configure_link()?;
    name_servers::settle()?;
    // Cases are of our session, and no terminal is to be theirs. Who leads a group already leads one.
    let _ = nix::unistd::setsid();
    init::handle_no_faults()?;
    init::protect_us(role);
    detectors::switch_on();
    Log::open()
}

fn serve(role: Role, log: &mut Log) -> Result<()> {
    let listener = std::net::TcpListener::bind(("0.0.0.0", PORT))
        .with_context(|| format!("cannot listen on port {PORT}"))?;
    log.mark(Event::Ready(PORT))?;
    let (stream, _) = listener.accept().context("cannot accept the host's connection")?;
    // One host, one connection: nobody in the guest can become a second.
    drop(listener);
    let over = serve::serve(stream, role, log)?;
    power::prepare(role);
    log.mark(Event::Farewell)?;
    over.farewell(log)
}
