//! What a process or a thread says of itself (proc_pid_stat(5)).

use std::fs;
use std::path::Path;

/// The file `stat` of a process or a thread.
#[derive(Debug)]
pub struct Stat {
    /// Its name, of any characters.
    pub name: String,
    /// What it does: `R`, `S`, `D`, `Z` and so on.
    pub state: char,
    /// The number of the process that started it.
    pub parent: i32,
    /// The time it ran in user space and in the kernel, in hundredths of a second: this clock is never
    /// another on x86.
    pub ran: [u64; 2],
    /// How it ended, as wait(2) would say; kernels before 3.5 do not tell.
    pub status: Option<i32>,
}

impl Stat {
    /// Of the process or thread with this folder, if it is there.
    pub fn at(dir: &Path) -> Option<Self> {
        let bytes = fs::read(dir.join("stat")).ok()?;
        let text = String::from_utf8_lossy(&bytes);
        // The second field is in parentheses, and may hold any character.
        let (before, after) = text.rsplit_once(')')?;
        let (_, name) = before.split_once('(')?;
        let fields: Vec<&str> = after.split_whitespace().collect();
        let number = |field: usize| fields.get(field - FIRST).and_then(|text| text.parse().ok());
        Some(Self {
            name: name.to_owned(),
            state: fields.first()?.chars().next()?,
            parent: fields.get(4 - FIRST)?.parse().ok()?,
            ran: [number(14)?, number(15)?],
            status: fields.get(52 - FIRST).and_then(|text| text.parse().ok()),
        })
    }
}

/// The first field after the name, as the manual page counts them.
const FIRST: usize = 3;
