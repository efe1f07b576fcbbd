//! Guests that are threads of a test: they speak the wire protocol as the agent does, write to a console and
//! end as a guest's process does. A test says how each of their cases goes.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result};
use socket2::Socket;

use uml_protocol::lab::{self, Reply, Request};
use uml_protocol::wire::{VERSION, receive, send};

use super::host::{GuestHost, HostProcess};
use crate::kernel::NetDriver;
use crate::stage::{Attachment, GuestCommand, GuestStatus, InterfaceEnd, Link, Listener, Sight};

mod agent;

use agent::{FakeGuest, SIGKILL};

/// How a case goes in a fake guest.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Play {
    /// Its test passes.
    Pass,
    /// Its test fails.
    Fail,
    /// The kernel says this, and the test passes.
    KernelSays(&'static str),
    /// The kernel panics with this line.
    Panic(&'static str),
    /// The guest's process is killed.
    Killed,
    /// The guest's process is killed before the case has begun.
    KilledBefore,
    /// Nothing is heard of the guest any more.
    Hang,
    /// Its time is over, until it is given no more.
    TimeOut,
    /// The agent sends what is no message.
    Garbage,
    /// It asks for a scenario, and passes.
    Scenario(fn(&Asker)),
}

/// What a case asks for a scenario with.
#[derive(Debug)]
pub(crate) struct Asker {
    peer: SocketAddrV4,
    token: String,
}

impl Asker {
    /// One more connection.
    pub fn connect(&self) -> TcpStream {
        let mut stream = TcpStream::connect(self.peer).unwrap();
        writeln!(stream, "{} {VERSION} {}", lab::GREETING, self.token).unwrap();
        stream
    }

    /// The same with another token.
    pub fn with_token(&self, token: &str) -> Self {
        Self { peer: self.peer, token: token.into() }
    }

    /// Asks for something on a connection; it fails where there is no scenario.
    pub fn ask(&self, mut stream: &TcpStream, request: &Request) -> Reply {
        let sent = send(&mut stream, request);
        let reply = sent.and_then(|()| receive(&mut stream)).ok().flatten();
        reply.unwrap_or(Reply::Failed("there is no scenario".into()))
    }
}

type Script = dyn Fn(u16, &str) -> Play + Send + Sync;

/// Plays the stage.
pub(crate) struct FakeHost {
    script: Arc<Script>,
    boots: fn(u16) -> bool,
    unit_tests: fn(&str) -> &'static str,
    next: AtomicU16,
    guests: Mutex<BTreeMap<Ipv4Addr, Arc<FakeGuest>>>,
    /// Where the host end of each link listens.
    peers: Arc<Mutex<BTreeMap<Ipv4Addr, SocketAddrV4>>>,
}

impl fmt::Debug for FakeHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeHost").field("next", &self.next).finish_non_exhaustive()
    }
}

impl FakeHost {
    /// `script` says how the case with that name goes in the guest with that number, from 0.
    pub fn new(script: impl Fn(u16, &str) -> Play + Send + Sync + 'static) -> Self {
        Self {
            script: Arc::new(script),
            boots: |_| true,
            unit_tests: |_| "",
            next: AtomicU16::new(0),
            guests: Mutex::default(),
            peers: Arc::default(),
        }
    }

    /// The same, and guests whose number is not among these panic before the agent is up.
    pub fn booting(self, boots: fn(u16) -> bool) -> Self {
        Self { boots, ..self }
    }

    /// The same, and guests say this while they boot, by what their command line has as `kunit.filter_glob`; a line in it that is
    /// a panic is their last.
    pub fn with_unit_tests(self, unit_tests: fn(&str) -> &'static str) -> Self {
        Self { unit_tests, ..self }
    }

    /// How many guests were started.
    pub fn started(&self) -> u16 {
        self.next.load(Ordering::SeqCst)
    }

    /// How many guests have a link.
    pub fn there(&self) -> usize {
        self.guests.lock().unwrap().len()
    }
}

impl GuestHost for FakeHost {
    fn attachment(&self) -> Attachment {
        Attachment::Tap
    }

    fn add_link(&self, _: NetDriver) -> Result<Link> {
        Link::numbered(Path::new("/sys"), self.next.fetch_add(1, Ordering::SeqCst))
    }

    fn add_interface(&self, _: &Link, _name: &str, _: NetDriver) -> Result<InterfaceEnd> {
        Ok(InterfaceEnd::of_pair(std::os::unix::net::UnixDatagram::pair()?.0.into()))
    }

    fn remove_link(&self, link: &Link) -> Result<()> {
        self.guests.lock().unwrap().remove(&link.guest()).context("no such link").map(drop)
    }

    fn expose(&self, path: &Path, _name: &str) -> Result<PathBuf> {
        Ok(path.to_owned())
    }

    fn lend(&self, path: &Path, _name: &str) -> Result<PathBuf> {
        Ok(path.to_owned())
    }

    fn make_disk(&self, name: &str, _contents: &File, _size: u64) -> Result<PathBuf> {
        Ok(name.into())
    }

    fn remove_disk(&self, _name: &str) -> Result<()> {
        Ok(())
    }

    fn withdraw(&self, _name: &str) -> Result<()> {
        Ok(())
    }

    fn host_files(&self, _kernel: &Path) -> Result<Sight> {
        Ok(Sight::default())
    }

    fn spawn(&self, link: &Link, command: &GuestCommand) -> Result<Box<dyn HostProcess + '_>> {
        let (status, theirs) = std::io::pipe()?;
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let value = |parameter: &str| {
            let mut words = command.argv.iter().filter_map(|word| word.to_str());
            words.find_map(|word| word.strip_prefix(parameter)?.strip_prefix('='))
        };
        let nonce = value(uml_protocol::NONCE_PARAMETER);
        let guest = Arc::new(FakeGuest {
            number: link.index(),
            nonce: nonce.context("no nonce on the command line")?.into(),
            boot_log: value("kunit.filter_glob").map_or("", self.unit_tests),
            address: address(&listener),
            host: link.host(),
            peers: Arc::clone(&self.peers),
            console: Mutex::new(Some(File::from(command.console.try_clone()?))),
            status: Mutex::new(Some(File::from(OwnedFd::from(theirs)))),
            stream: Mutex::default(),
        });
        self.guests.lock().unwrap().insert(link.guest(), Arc::clone(&guest));
        let process =
            FakeProcess { guest: Arc::clone(&guest), status: File::from(OwnedFd::from(status)) };
        let (script, boots) = (Arc::clone(&self.script), (self.boots)(guest.number));
        std::thread::spawn(move || {
            // A guest that was ended cannot say any more.
            let _ = match boots {
                true => guest.live(&listener, &*script),
                false => guest.panic("Kernel panic - not syncing: No working init found."),
            };
        });
        Ok(Box::new(process))
    }

    fn kill(&self, id: i32) {
        let guests = self.guests.lock().unwrap();
        let guest = guests.values().find(|guest| i32::from(guest.number) == id).cloned();
        drop(guests);
        if let Some(guest) = guest {
            guest.end(SIGKILL);
        }
    }

    fn mconsole(&self, _link: &Link, _command: &str) -> Result<()> {
        Ok(())
    }

    fn connect(&self, address: SocketAddrV4, _timeout: Duration) -> Result<Socket> {
        let guest = self.guests.lock().unwrap().get(address.ip()).map(|guest| guest.address);
        Ok(TcpStream::connect(guest.context("no such guest")?)?.into())
    }

    fn listen(&self, host: Ipv4Addr, _port: u16) -> Result<Listener> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        self.peers.lock().unwrap().insert(host, address(&listener));
        Ok(Listener::Kernel(listener.into()))
    }
}

fn address(listener: &TcpListener) -> SocketAddrV4 {
    match listener.local_addr().unwrap() {
        std::net::SocketAddr::V4(address) => address,
        other @ std::net::SocketAddr::V6(_) => panic!("{other}"),
    }
}

/// The process of a fake guest.
#[derive(Debug)]
struct FakeProcess {
    guest: Arc<FakeGuest>,
    status: File,
}

impl HostProcess for FakeProcess {
    fn status(&self) -> Result<GuestStatus> {
        Ok(GuestStatus::read_from(self.status.try_clone()?))
    }

    fn kill(&self) {
        self.guest.end(SIGKILL);
    }

    fn id(&self) -> i32 {
        self.guest.number.into()
    }

    fn withheld(&mut self) -> Duration {
        Duration::ZERO
    }
}

impl Drop for FakeProcess {
    fn drop(&mut self) {
        self.kill();
    }
}
