//! The session with a guest's agent: what comes from there is never trusted.

use std::io::{self, BufReader, ErrorKind, Write};
use std::net::{Shutdown, SocketAddrV4};
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use socket2::Socket;
use uml_protocol::marker::Key;
use uml_protocol::wire::{self, ToGuest, ToHost, greet, receive, send};

use super::host::GuestHost;
use super::machine::GuestEvent;
use crate::stage::Link;
use crate::threads;

/// A session. When it is dropped, the thread that reads it ends: a guest that is gone without a word
/// would leave it waiting for ever.
#[derive(Debug)]
pub(super) struct AgentSession(Socket);

impl AgentSession {
    /// Sends the agent a message, if it takes it by then.
    pub fn say(&mut self, message: &ToGuest, until: Instant) -> Result<(), wire::Error> {
        send(&mut Until { stream: &self.0, until }, message)
    }

    /// Has the session end once all is read that came by now.
    pub fn hang_up(&self) {
        // A connection that is broken already needs no end.
        let _ = self.0.shutdown(Shutdown::Read);
    }
}

impl Drop for AgentSession {
    fn drop(&mut self) {
        // A connection that is broken already needs no end.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

/// A connection that is written to until then, however little the other side takes at a time.
struct Until<'a> {
    stream: &'a Socket,
    until: Instant,
}

impl Write for Until<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::new(ErrorKind::TimedOut, "the agent takes no message"));
        }
        self.stream.set_write_timeout(Some(left))?;
        (&mut &*self.stream).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        (&mut &*self.stream).flush()
    }
}

/// Connects to the agent. A thread gives it the key for its markers, says [`GuestEvent::Connected`], and reads
/// its messages.
pub(super) fn connect(
    host: &dyn GuestHost,
    link: &Link,
    port: u16,
    key: &Key,
    events: &SyncSender<GuestEvent>,
) -> Result<AgentSession> {
    let timeout = Duration::from_secs(10);
    let stream = host.connect(SocketAddrV4::new(link.guest(), port), timeout)?;
    begin_session(stream, key.clone(), events.clone())
}

fn begin_session(stream: Socket, key: Key, events: SyncSender<GuestEvent>) -> Result<AgentSession> {
    let mut theirs = stream.try_clone().context("cannot share the connection")?;
    threads::spawn(move || {
        let end = match meet(&mut theirs, &key) {
            Ok(()) => read_messages(theirs, &events),
            Err(error) => format!("{error:#}"),
        };
        let _ = events.send(GuestEvent::Disconnected(end));
    })?;
    Ok(AgentSession(stream))
}

/// The time the agent may take to take its key.
const KEY_TIME: Duration = Duration::from_secs(30);

fn meet(stream: &mut Socket, key: &Key) -> Result<()> {
    greet(stream)?;
    match receive(stream)? {
        Some(ToHost::Hello { .. }) => {}
        other => bail!("the agent began with {other:?}"),
    }
    let seal = ToGuest::Seal(key.clone());
    Ok(send(&mut Until { stream, until: Instant::now() + KEY_TIME }, &seal)?)
}

/// Passes on what the agent says; returns why it says no more.
fn read_messages(stream: Socket, events: &SyncSender<GuestEvent>) -> String {
    let mut reader = BufReader::new(stream);
    let mut event = GuestEvent::Connected;
    while events.send(event).is_ok() {
        event = match receive(&mut reader) {
            Ok(Some(message)) => GuestEvent::Message(message),
            Ok(None) => return "the agent closed it".into(),
            Err(error) => return error.to_string(),
        };
    }
    "nobody listens".into()
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::sync::mpsc::{Receiver, sync_channel};

    use uml_protocol::wire::LONGEST;

    use super::*;

    /// A session with an agent of which `agent` plays the part.
    fn session(
        agent: impl FnOnce(TcpStream) + Send + 'static,
    ) -> (AgentSession, Receiver<GuestEvent>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap().into();
        let (theirs, _) = listener.accept().unwrap();
        std::thread::spawn(move || agent(theirs));
        let (events, inbox) = sync_channel(8);
        (begin_session(stream, Key([1; 16]), events).unwrap(), inbox)
    }

    /// Greets as the agent does.
    fn greet_host(stream: &mut TcpStream) {
        wire::greet(stream).unwrap();
        send(stream, &ToHost::Hello { release: "r".into() }).unwrap();
        let first: Option<ToGuest> = receive(stream).unwrap();
        assert_eq!(first, Some(ToGuest::Seal(Key([1; 16]))));
    }

    #[test]
    fn whoever_is_no_agent_of_ours_is_refused() {
        let refused = |agent: fn(TcpStream)| match session(agent).1.recv().unwrap() {
            GuestEvent::Disconnected(why) => why,
            other => panic!("{other:?}"),
        };
        let error = refused(|mut stream| stream.write_all(&[0xff; 100]).unwrap());
        assert!(error.contains("does not speak our protocol"), "{error}");
        let error = refused(drop);
        assert!(error.contains("ended") || error.contains("failed"), "{error}");
        let error = refused(|mut stream| {
            wire::greet(&mut stream).unwrap();
            send(&mut stream, &ToHost::Have).unwrap();
        });
        assert!(error.contains("began with"), "{error}");
    }

    #[test]
    fn whoever_says_or_takes_little_at_a_time_does_not_keep_us() {
        // It holds the connection and is silent: whoever waits for it does other things meanwhile.
        let (session, inbox) = session(|mut stream| drop(stream.read_to_end(&mut Vec::new())));
        assert!(inbox.try_recv().is_err());
        drop(session);
        assert!(matches!(inbox.recv().unwrap(), GuestEvent::Disconnected(_)));

        let (mut session, _inbox) = self::session(|mut stream| {
            greet_host(&mut stream);
            while stream.read(&mut [0]).is_ok_and(|count| count > 0) {}
        });
        let chunk = ToGuest::Chunk(vec![0; 64 << 10]);
        let until = Instant::now() + Duration::from_millis(200);
        let error = loop {
            if let Err(error) = session.say(&chunk, until) {
                break error.to_string();
            }
        };
        assert!(error.contains("the connection failed"), "{error}");
        assert!(session.say(&ToGuest::PowerOff { search: true }, until).is_err(), "time is over");
    }

    #[test]
    fn a_session_ends_at_the_first_thing_that_is_no_message() {
        let too_long = u32::try_from(LONGEST + 1).unwrap().to_le_bytes().to_vec();
        let garbage: [(Vec<u8>, &str); 4] = [
            (Vec::new(), "the agent closed it"),
            (vec![9, 0], "ended within a message"),
            (too_long, "is too long"),
            ([&[4, 0, 0, 0][..], &[0xff; 4]].concat(), "cannot be understood"),
        ];
        for (bytes, why) in garbage {
            let (_session, inbox) = session(move |mut stream| {
                greet_host(&mut stream);
                send(&mut stream, &ToHost::Have).unwrap();
                stream.write_all(&bytes).unwrap();
            });
            assert!(matches!(inbox.recv().unwrap(), GuestEvent::Connected));
            assert!(matches!(inbox.recv().unwrap(), GuestEvent::Message(ToHost::Have)));
            match inbox.recv().unwrap() {
                GuestEvent::Disconnected(said) => assert!(said.contains(why), "{said}, not {why}"),
                other => panic!("{other:?}, not {why}"),
            }
        }
    }

    #[test]
    fn nobody_waits_for_a_guest_that_is_gone_without_a_word() {
        let (until, held) = std::sync::mpsc::channel::<()>();
        let (session, inbox) = session(move |mut stream| {
            greet_host(&mut stream);
            // Nothing is sent any more, and the connection stays.
            let _ = held.recv();
        });
        assert!(matches!(inbox.recv().unwrap(), GuestEvent::Connected));
        drop(session);
        assert!(matches!(inbox.recv().unwrap(), GuestEvent::Disconnected(_)));
        // The thread has ended, and with it goes its end of the channel.
        assert!(inbox.recv().is_err());
        drop(until);
    }
}
