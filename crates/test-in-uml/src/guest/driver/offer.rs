//! Programs and other files on their way to a guest.

use std::time::{Duration, Instant};

use anyhow::Result;
use uml_protocol::wire::{CHUNK, ToGuest, ToHost};

use super::Guest;
use crate::guest::machine::GuestEvent;
use crate::guest::program::Program;

/// The time an agent may take to take a program.
const FILE_TIME: Duration = Duration::from_secs(300);

/// The time it may take to answer.
const ANSWER_TIME: Duration = Duration::from_secs(60);

impl Guest<'_> {
    /// Sends a program or another file, unless the guest has it.
    ///
    /// # Errors
    /// When the user asks us to stop, or the file cannot be read.
    pub fn offer(&mut self, program: &Program) -> Result<()> {
        let hash = program.hash();
        if self.programs.contains(&hash) {
            return Ok(());
        }
        let until = Instant::now() + FILE_TIME;
        self.say(&ToGuest::Offer { hash, size: program.size() });
        if self.reply()? == Some(ToHost::Need) {
            let mut chunk = vec![0; CHUNK];
            let mut sent = 0;
            loop {
                let count = program.read_at(&mut chunk, sent)?;
                if count == 0 {
                    break;
                }
                self.say_until(&ToGuest::Chunk(chunk[..count].to_vec()), until);
                sent += count as u64;
            }
            self.reply()?;
        }
        self.programs.insert(hash);
        Ok(())
    }

    /// The agent's answer to an offer; nothing if the guest ended.
    fn reply(&mut self) -> Result<Option<ToHost>> {
        self.grant(Some(ANSWER_TIME));
        loop {
            if let Some(reply) = self.reply.take() {
                self.grant(None);
                return Ok(Some(reply));
            }
            if self.end().is_some() {
                return Ok(None);
            }
            match self.next()? {
                GuestEvent::Message(reply @ (ToHost::Have | ToHost::Need | ToHost::Stored)) => {
                    self.reply = Some(reply);
                }
                GuestEvent::Deadline => {
                    self.feed(GuestEvent::Disconnected("no answer to a program".into()));
                }
                event => self.feed(event),
            }
        }
    }
}
