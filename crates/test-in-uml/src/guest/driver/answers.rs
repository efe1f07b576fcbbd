//! What a guest is asked for, and what becomes of it.

use std::fmt;
use std::time::Duration;

use uml_protocol::wire::{Injection, Leaks, Stream, Word};

use crate::guest::complaint::Complaint;
use crate::guest::machine::{CaseRecord, End};

/// How a program is run.
#[derive(Debug, Clone, Copy)]
pub struct CaseOptions<'a> {
    /// After this long it is ended.
    pub timeout: Duration,
    /// Where it says how it ended.
    pub word: Word,
    /// True if it need not end by itself.
    pub lasts: bool,
    /// True if what it leaves behind stays.
    pub leave: bool,
    /// What fails of that which it asks of the kernel.
    pub injections: &'a [Injection],
    /// Who is told what it writes, as it comes.
    pub sink: Option<Sink<'a>>,
}

/// Who is told what a program writes, as it comes.
#[derive(Clone, Copy)]
pub struct Sink<'a>(pub &'a dyn Fn(Stream, &[u8]));

impl fmt::Debug for Sink<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sink")
    }
}

/// What became of a case that a guest was asked to run.
#[derive(Debug)]
pub enum CaseRun {
    /// It ran, to its end or to that of its guest.
    Ran(Box<CaseRecord>),
    /// The guest ended before the agent began it.
    NotBegun,
}

/// What became of a guest that was switched off.
#[derive(Debug)]
pub struct Gone {
    /// How it ended.
    pub end: End,
    /// What its kernel complained of while no case ran.
    pub strays: Vec<Complaint>,
    /// What its cases lost of the kernel's memory and did not say; they are numbered from 1.
    pub leaks: Leaks,
}
