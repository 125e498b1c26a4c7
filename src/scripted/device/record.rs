//! What went over the queues, in order.

use std::fmt;
use std::time::Duration;

use crate::wire::protocol::{CMD_CLOSE, CMD_IOCTL, CMD_MMAP, CMD_MUNMAP, CMD_OPEN};

/// Bytes of a request, and of an answer, that are kept.
pub const KEPT: usize = 64 << 10;

/// A descriptor of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descriptor {
    /// Address in guest memory.
    pub addr: u64,
    /// Length in bytes.
    pub length: u32,
    /// Whether the device may write to it, and not read it.
    pub writable: bool,
}

/// What the device answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The bytes that were written to the writable part, the first [`KEPT`] of them
    /// in a record.
    pub bytes: Vec<u8>,
    /// How many the device said it wrote.
    pub used: u32,
}

/// A command, and the answer to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// How often the front end had started the device before, by then.
    pub start: u32,
    /// Whether the driver had set up the queue of events.
    pub event_queue: bool,
    /// The chain's descriptors, in its order.
    pub descriptors: Vec<Descriptor>,
    /// The bytes of the readable ones, the first [`KEPT`] of them in a record.
    pub request: Vec<u8>,
    /// The readable ones' length in bytes.
    pub length: u64,
    /// Whether the chain went on where it had to end: it is longer than the queue,
    /// or leads to what is no descriptor.
    pub endless: bool,
    /// The answer; `None` as long as there is none.
    pub answer: Option<Answer>,
}

impl Exchange {
    /// Returns what is kept of it in a record.
    pub fn kept(&self) -> Self {
        Self {
            request: self.request[..self.request.len().min(KEPT)].to_vec(),
            descriptors: self.descriptors.clone(),
            answer: self.answer.clone(),
            ..*self
        }
    }

    /// Returns the little-endian number at that offset of the request; `None` behind
    /// its end.
    pub fn word(&self, at: usize) -> Option<u32> {
        let bytes = self.request.get(at..at.checked_add(4)?)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    }

    /// Returns the command, one of `CMD_*`.
    pub fn command(&self) -> Option<u32> {
        self.word(0)
    }

    /// Returns the session that the command is for, if it is for one.
    pub fn session(&self) -> Option<u32> {
        match self.command()? {
            CMD_CLOSE | CMD_IOCTL | CMD_MMAP => self.word(8),
            _ => None,
        }
    }

    /// Returns the number of the ioctl, if the command is one.
    pub fn code(&self) -> Option<u32> {
        match self.command()? {
            CMD_IOCTL => self.word(12),
            _ => None,
        }
    }

    /// Returns the length in bytes of what the device may write to.
    pub fn room(&self) -> u64 {
        let writable = self.descriptors.iter().filter(|one| one.writable);
        writable.map(|one| u64::from(one.length)).sum()
    }

    /// Returns the session that an answer to OPEN opened.
    pub fn opened(&self) -> Option<u32> {
        let answer = self.answer.as_ref()?;
        let word = |at: usize| {
            let bytes = answer.bytes.get(at..at + 4)?;
            Some(u32::from_le_bytes(bytes.try_into().ok()?))
        };
        let opened = self.command() == Some(CMD_OPEN) && word(0) == Some(0) && answer.used >= 16;
        word(8).filter(|_| opened)
    }
}

/// The first bytes of a message, for evidence.
struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MOST: usize = 48;
        for (index, byte) in self.0.iter().take(MOST).enumerate() {
            let space = if index > 0 && index % 4 == 0 { " " } else { "" };
            write!(f, "{space}{byte:02x}")?;
        }
        match self.0.len() {
            0..=MOST => Ok(()),
            all => write!(f, " ... ({all} bytes)"),
        }
    }
}

impl fmt::Display for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.command(), self.session()) {
            (Some(CMD_OPEN), _) => f.write_str("OPEN")?,
            (Some(CMD_CLOSE), Some(session)) => write!(f, "CLOSE of session {session}")?,
            (Some(CMD_IOCTL), Some(session)) => match self.code() {
                Some(code) => write!(f, "ioctl {code} in session {session}")?,
                None => f.write_str("an ioctl cut off")?,
            },
            (Some(CMD_MMAP), Some(session)) => write!(f, "MMAP in session {session}")?,
            (Some(CMD_MUNMAP), _) => f.write_str("MUNMAP")?,
            (Some(other), _) => write!(f, "command {other}")?,
            (None, _) => f.write_str("a command cut off")?,
        }
        f.write_str("; chain:")?;
        for one in &self.descriptors {
            let kind = if one.writable { 'w' } else { 'r' };
            write!(f, " {kind}[{:#x}+{}]", one.addr, one.length)?;
        }
        write!(f, "; request: {}", Hex(&self.request))?;
        match &self.answer {
            None => f.write_str("; no answer"),
            Some(answer) => write!(
                f,
                "; answer: {} (used.len {})",
                Hex(&answer.bytes),
                answer.used
            ),
        }
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// The front end told which features the driver took: the device starts.
    Started {
        /// The features.
        features: u64,
    },
    /// The front end stopped a queue.
    Stopped {
        /// Its index.
        queue: u32,
    },
    /// The front end read the configuration space.
    Config,
    /// A command came.
    Command(Exchange),
    /// The device sent an event.
    Event {
        /// Its bytes, header included.
        bytes: Vec<u8>,
        /// How many the device said it wrote.
        used: u32,
        /// The descriptors of the chain that it is in.
        descriptors: Vec<Descriptor>,
        /// As [`Exchange::endless`].
        endless: bool,
    },
}

/// What happened, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Time since the device was made.
    pub at: Duration,
    /// What happened.
    pub what: What,
}

impl Entry {
    /// Returns the command, if this is one.
    pub fn command(&self) -> Option<&Exchange> {
        match &self.what {
            What::Command(exchange) => Some(exchange),
            _ => None,
        }
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3} s: ", self.at.as_secs_f64())?;
        match &self.what {
            What::Started { features } => write!(f, "the driver took the features {features:#x}"),
            What::Stopped { queue } => write!(f, "queue {queue} was stopped"),
            What::Config => f.write_str("the configuration was read"),
            What::Command(exchange) => exchange.fmt(f),
            What::Event { bytes, used, .. } => {
                write!(f, "event: {} (used.len {used})", Hex(bytes))
            }
        }
    }
}
