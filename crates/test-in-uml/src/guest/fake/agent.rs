//! A fake guest: its console, its agent and its end.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufReader, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use uml_protocol::lab;
use uml_protocol::marker::{Event, Key, Marker};
use uml_protocol::wire::{
    Exit, Log, ProcessEnd, Run, Stream, ToGuest, ToHost, greet, receive, send,
};

use super::{Asker, Play, Script};

/// A wait status (wait(2)): exit code 0, and the signals that end a guest.
const EXIT_0: i32 = 0;
const SIGABRT: i32 = 6;
pub(super) const SIGKILL: i32 = 9;

/// A fake guest, as far as it can be ended from without.
#[derive(Debug)]
pub(super) struct FakeGuest {
    pub number: u16,
    pub nonce: String,
    /// What its kernel says before the agent is up.
    pub boot_log: &'static str,
    pub address: SocketAddrV4,
    /// The host end of its link, and where each of those listens.
    pub host: Ipv4Addr,
    pub peers: Arc<Mutex<BTreeMap<Ipv4Addr, SocketAddrV4>>>,
    pub console: Mutex<Option<File>>,
    pub status: Mutex<Option<File>>,
    pub stream: Mutex<Option<TcpStream>>,
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
    pub fn end(&self, status: i32) {
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

    pub fn panic(&self, line: &str) -> Result<()> {
        self.console(&format!("[    9.000000] {line}"))?;
        self.end(SIGABRT);
        Ok(())
    }

    pub fn live(&self, listener: &TcpListener, script: &Script) -> Result<()> {
        self.console("[    0.000000] Linux version 6.12 (fake)")?;
        for line in self.boot_log.lines() {
            if line.contains("Kernel panic") {
                return self.panic(line);
            }
            self.console(&format!("[    0.000500] {line}"))?;
        }
        let ready = self.marker(None, Event::Ready(7878));
        self.console(&format!("[    0.001000] {ready}"))?;
        let (mut stream, _) = listener.accept()?;
        *self.stream.lock().unwrap() = Some(stream.try_clone()?);
        greet(&mut stream)?;
        send(&mut stream, &ToHost::Hello { release: "6.12".into() })?;
        let Some(ToGuest::Seal(key)) = receive(&mut stream)? else { return Ok(()) };
        let mut text = String::from("<5>[    0.000000] Linux version 6.12 (fake)\n");
        for line in self.boot_log.lines() {
            text += &format!("<4>[    0.000500] {line}\n");
        }
        let text = text.into_bytes();
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
        let value = |name: &str| {
            run.env.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
        };
        // A guest of a scenario runs what the case says.
        let command = value(lab::env::COMMAND);
        let name = command.or(run.args.first().map(String::as_str)).unwrap_or_default();
        let play = script(self.number, name);
        if matches!(play, Play::KilledBefore) {
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
            Play::Scenario(asks) => {
                let peer = self.peers.lock().unwrap()[&self.host];
                asks(&Asker { peer, token: value(lab::env::TOKEN).unwrap_or_default().into() });
                (ProcessEnd::Code(0), Some(format!("ok {name}\n")))
            }
            Play::Pass => (ProcessEnd::Code(0), Some(format!("ok {name}\n"))),
            Play::Fail => (ProcessEnd::Code(101), Some(format!("failed {name}\n"))),
        };
        let over = self.marker(Some(&session.key), Event::End(run.sequence));
        self.say(session, 12, &over)?;
        let exit = Exit::plain(run.sequence, end, Duration::from_millis(1), None, word);
        Ok(send(&mut session.stream, &ToHost::Exited(exit))?)
    }
}
