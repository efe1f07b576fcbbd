//! Guests that are threads of a test: they speak the wire protocol as the agent does, write to a console and
//! end as a guest's process does. A test says how each of their cases goes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::io::{BufReader, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use uml_protocol::marker::{Event, Key, Marker};
use uml_protocol::wire::{
    Exit, Log, ProcessEnd, Run, Stream, ToGuest, ToHost, greet, receive, send,
};

use super::host::{GuestHost, HostProcess};
use crate::stage::{GuestCommand, GuestStatus, Link, Sight};

/// How a case goes in a fake guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
}

/// A wait status (wait(2)): exit code 0, and the signals that end a guest.
const EXIT_0: i32 = 0;
const SIGABRT: i32 = 6;
const SIGKILL: i32 = 9;

type Script = dyn Fn(u16, &str) -> Play + Send + Sync;

/// Plays the stage.
pub(crate) struct FakeHost {
    script: Arc<Script>,
    boots: fn(u16) -> bool,
    next: AtomicU16,
    guests: Mutex<BTreeMap<Ipv4Addr, Arc<FakeGuest>>>,
}

impl fmt::Debug for FakeHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeHost").field("next", &self.next).finish_non_exhaustive()
    }
}

impl FakeHost {
    /// `script` says how the case with that name goes in the guest with that number, from 0.
    pub fn new(script: impl Fn(u16, &str) -> Play + Send + Sync + 'static) -> Self {
        let (next, guests) = (AtomicU16::new(0), Mutex::default());
        Self { script: Arc::new(script), boots: |_| true, next, guests }
    }

    /// The same, and guests whose number is not among these panic before the agent is up.
    pub fn booting(self, boots: fn(u16) -> bool) -> Self {
        Self { boots, ..self }
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
    fn add_link(&self) -> Result<Link> {
        Link::numbered(self.next.fetch_add(1, Ordering::SeqCst))
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

    fn libraries(&self, _kernel: &Path) -> Result<Sight> {
        Ok(Sight::default())
    }

    fn spawn(&self, link: &Link, command: &GuestCommand) -> Result<Box<dyn HostProcess + '_>> {
        let (status, theirs) = std::io::pipe()?;
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let argv = command.argv.iter().filter_map(|word| word.to_str());
        let parameter = format!("{}=", uml_protocol::NONCE_PARAMETER);
        let nonce = argv.filter_map(|word| word.strip_prefix(&*parameter)).next();
        let guest = Arc::new(FakeGuest {
            number: self.next.load(Ordering::SeqCst) - 1,
            nonce: nonce.context("no nonce on the command line")?.into(),
            address: address(&listener),
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

    fn mconsole(&self, _link: &Link, _command: &str) -> Result<()> {
        Ok(())
    }

    fn connect(&self, address: SocketAddrV4, _timeout: Duration) -> Result<TcpStream> {
        let guest = self.guests.lock().unwrap().get(address.ip()).map(|guest| guest.address);
        Ok(TcpStream::connect(guest.context("no such guest")?)?)
    }

    fn listen(&self, _host: Ipv4Addr, _port: u16) -> Result<TcpListener> {
        Ok(TcpListener::bind("127.0.0.1:0")?)
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

    fn withheld(&mut self) -> Duration {
        Duration::ZERO
    }
}

impl Drop for FakeProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A fake guest, as far as it can be ended from without.
#[derive(Debug)]
struct FakeGuest {
    number: u16,
    nonce: String,
    address: SocketAddrV4,
    console: Mutex<Option<File>>,
    status: Mutex<Option<File>>,
    stream: Mutex<Option<TcpStream>>,
}

/// The agent's side of a session.
struct Session {
    stream: TcpStream,
    key: Key,
    /// The number of the next record of the kernel's log, and its stamp in milliseconds.
    next: u64,
}

impl FakeGuest {
    /// Ends the guest, as its process would.
    fn end(&self, status: i32) {
        let taken =
            |file: &Mutex<Option<File>>| file.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(taken(&self.console));
        if let Some(mut pipe) = taken(&self.status) {
            let _ = pipe.write_all(&status.to_ne_bytes());
        }
        if let Some(stream) = self.stream.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn console(&self, line: &str) -> Result<()> {
        let mut console = self.console.lock().unwrap();
        Ok(writeln!(console.as_mut().context("the guest was ended")?, "{line}")?)
    }

    fn marker(&self, key: Option<&Key>, event: Event) -> String {
        Marker { nonce: self.nonce.clone(), key: key.cloned(), event }.to_string()
    }

    fn panic(&self, line: &str) -> Result<()> {
        self.console(&format!("[    9.000000] {line}"))?;
        self.end(SIGABRT);
        Ok(())
    }

    fn live(&self, listener: &TcpListener, script: &Script) -> Result<()> {
        self.console("[    0.000000] Linux version 6.12 (fake)")?;
        let ready = self.marker(None, Event::Ready(7878));
        self.console(&format!("[    0.001000] {ready}"))?;
        let (mut stream, _) = listener.accept()?;
        *self.stream.lock().unwrap() = Some(stream.try_clone()?);
        greet(&mut stream)?;
        send(&mut stream, &ToHost::Hello { release: "6.12".into() })?;
        let Some(ToGuest::Seal(key)) = receive(&mut stream)? else { return Ok(()) };
        let text = b"<5>[    0.000000] Linux version 6.12 (fake)\n".to_vec();
        send(&mut stream, &ToHost::Log(Log::Boot { text, records: true }))?;
        let mut messages = BufReader::new(stream.try_clone()?);
        let mut session = Session { stream, key, next: 100 };
        let mut programs = BTreeSet::new();
        while let Some(message) = receive(&mut messages)? {
            match message {
                ToGuest::Offer { hash, .. } if programs.contains(&hash) => {
                    send(&mut session.stream, &ToHost::Have)?;
                }
                ToGuest::Offer { hash, size } => {
                    send(&mut session.stream, &ToHost::Need)?;
                    let mut missing = usize::try_from(size)?;
                    while missing > 0 {
                        let Some(ToGuest::Chunk(chunk)) = receive(&mut messages)? else { break };
                        missing -= chunk.len();
                    }
                    programs.insert(hash);
                    send(&mut session.stream, &ToHost::Stored)?;
                }
                ToGuest::Run(run) => self.run(&run, &mut session, &mut messages, script)?,
                ToGuest::PowerOff { .. } => {
                    let farewell = self.marker(Some(&session.key), Event::Farewell);
                    self.say(&mut session, 12, &farewell)?;
                    send(&mut session.stream, &ToHost::Farewell)?;
                    self.end(EXIT_0);
                }
                ToGuest::Seal(_) | ToGuest::Chunk(_) | ToGuest::MoreTime(_) => {}
            }
        }
        Ok(())
    }

    /// A line of the kernel's log, which the agent reads and the console shows.
    fn say(&self, session: &mut Session, priority: u32, text: &str) -> Result<()> {
        let number = session.next;
        session.next += 1;
        self.console(&format!("[    0.{number:03}000] {text}"))?;
        let record = format!("{priority},{number},{number}000,-;{text}\n").into_bytes();
        Ok(send(&mut session.stream, &ToHost::Log(Log::Records(record)))?)
    }

    fn run(
        &self,
        run: &Run,
        session: &mut Session,
        messages: &mut BufReader<TcpStream>,
        script: &Script,
    ) -> Result<()> {
        let name = run.args.first().map_or("", String::as_str);
        let play = script(self.number, name);
        if play == Play::KilledBefore {
            self.end(SIGKILL);
            return Ok(());
        }
        let begin = self.marker(Some(&session.key), Event::Begin(run.sequence));
        self.say(session, 12, &begin)?;
        let bytes = format!("{name} in guest {}\n", self.number).into_bytes();
        send(&mut session.stream, &ToHost::Output { stream: Stream::Stdout, bytes })?;
        let (end, word) = match play {
            Play::Panic(line) => return self.panic(line),
            Play::Killed | Play::KilledBefore => {
                self.end(SIGKILL);
                return Ok(());
            }
            Play::Hang => return Ok(()),
            Play::Garbage => {
                session.stream.write_all(&[4, 0, 0, 0, 0xff, 0xff, 0xff, 0xff])?;
                return Ok(());
            }
            Play::TimeOut => {
                send(&mut session.stream, &ToHost::TimeIsOver)?;
                while let Some(ToGuest::MoreTime(more)) = receive(messages)?
                    && !more.is_zero()
                {
                    send(&mut session.stream, &ToHost::TimeIsOver)?;
                }
                (ProcessEnd::TimedOut, None)
            }
            Play::KernelSays(line) => {
                self.say(session, 4, line)?;
                (ProcessEnd::Code(0), Some(format!("ok {name}\n")))
            }
            Play::Pass => (ProcessEnd::Code(0), Some(format!("ok {name}\n"))),
            Play::Fail => (ProcessEnd::Code(101), Some(format!("failed {name}\n"))),
        };
        let over = self.marker(Some(&session.key), Event::End(run.sequence));
        self.say(session, 12, &over)?;
        let exit = Exit {
            sequence: run.sequence,
            end,
            duration: Duration::from_millis(1),
            skip: None,
            leftovers: Vec::new(),
            loaded: Vec::new(),
            tainted: 0,
            word,
            leaks: None,
        };
        Ok(send(&mut session.stream, &ToHost::Exited(exit))?)
    }
}
