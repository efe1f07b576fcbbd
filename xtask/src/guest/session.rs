//! The session with a guest's agent: what comes from there is never trusted.

use std::io::BufReader;
use std::net::{Shutdown, SocketAddrV4, TcpStream};
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use guest_agent::marker::Key;
use guest_agent::wire::{self, ToGuest, ToHost, greet, receive, send};

use super::machine::Event;
use crate::stage::{Link, Stage};
use crate::threads;

/// A session. When it is dropped, the thread that reads it ends: a guest that is gone without a word
/// would leave it waiting for ever.
#[derive(Debug)]
pub(super) struct Session(TcpStream);

impl Session {
    /// Sends the agent a message.
    pub fn say(&mut self, message: &ToGuest) -> Result<(), wire::Error> {
        send(&mut self.0, message)
    }

    /// Has the session end once all is read that came by now.
    pub fn hang_up(&self) {
        // A connection that is broken already needs no end.
        let _ = self.0.shutdown(Shutdown::Read);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // A connection that is broken already needs no end.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

/// Connects to the agent, gives it the key for its markers, and reads its messages in a thread.
pub(super) fn connect(
    stage: &Stage,
    link: &Link,
    port: u16,
    key: &Key,
    events: &SyncSender<Event>,
) -> Result<Session> {
    let timeout = Duration::from_secs(10);
    let stream = stage.connect(SocketAddrV4::new(link.guest(), port), timeout)?;
    begin_session(stream, key, events, timeout)
}

fn begin_session(
    mut stream: TcpStream,
    key: &Key,
    events: &SyncSender<Event>,
    timeout: Duration,
) -> Result<Session> {
    stream
        .set_nodelay(true)
        .and_then(|()| stream.set_read_timeout(Some(timeout)))
        .and_then(|()| stream.set_write_timeout(Some(Duration::from_secs(30))))
        .context("cannot set up the connection")?;
    greet(&mut stream)?;
    match receive(&mut stream)? {
        Some(ToHost::Hello { .. }) => {}
        other => bail!("the agent began with {other:?}"),
    }
    send(&mut stream, &ToGuest::Seal(key.clone()))?;
    stream.set_read_timeout(None).context("cannot set up the connection")?;
    let mut reader = BufReader::new(stream.try_clone().context("cannot share the connection")?);
    let events = events.clone();
    threads::spawn(move || {
        loop {
            let event = match receive(&mut reader) {
                Ok(Some(message)) => Event::Message(message),
                Ok(None) => Event::Disconnected("the agent closed it".into()),
                Err(error) => Event::Disconnected(error.to_string()),
            };
            let over = matches!(event, Event::Disconnected(_));
            if events.send(event).is_err() || over {
                return;
            }
        }
    })?;
    Ok(Session(stream))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::sync::mpsc::{Receiver, sync_channel};

    use guest_agent::wire::LONGEST;

    use super::*;

    /// A session with an agent of which `agent` plays the part.
    fn session(
        agent: impl FnOnce(TcpStream) + Send + 'static,
    ) -> Result<(Session, Receiver<Event>)> {
        session_within(Duration::from_secs(300), agent)
    }

    fn session_within(
        patience: Duration,
        agent: impl FnOnce(TcpStream) + Send + 'static,
    ) -> Result<(Session, Receiver<Event>)> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let stream = TcpStream::connect(listener.local_addr()?)?;
        let (theirs, _) = listener.accept()?;
        std::thread::spawn(move || agent(theirs));
        let (events, inbox) = sync_channel(8);
        let session = begin_session(stream, &Key([1; 16]), &events, patience)?;
        Ok((session, inbox))
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
        let refused = |agent: fn(TcpStream)| session(agent).unwrap_err().to_string();
        let error = refused(|mut stream| stream.write_all(&[0xff; 100]).unwrap());
        assert!(error.contains("does not speak our protocol"), "{error}");
        let error = refused(drop);
        assert!(error.contains("ended") || error.contains("failed"), "{error}");
        // It holds the connection and is silent until we give it up.
        let silent = |mut stream: TcpStream| drop(stream.read_to_end(&mut Vec::new()));
        let error = session_within(Duration::from_millis(20), silent).unwrap_err().to_string();
        assert!(error.contains("the connection failed"), "{error}");
        let error = refused(|mut stream| {
            wire::greet(&mut stream).unwrap();
            send(&mut stream, &ToHost::Have).unwrap();
        });
        assert!(error.contains("began with"), "{error}");
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
            })
            .unwrap();
            assert!(matches!(inbox.recv().unwrap(), Event::Message(ToHost::Have)));
            match inbox.recv().unwrap() {
                Event::Disconnected(said) => assert!(said.contains(why), "{said}, not {why}"),
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
        })
        .unwrap();
        drop(session);
        assert!(matches!(inbox.recv().unwrap(), Event::Disconnected(_)));
        // The thread has ended, and with it goes its end of the channel.
        assert!(inbox.recv().is_err());
        drop(until);
    }
}
