//! The kernel log of the guest: how it is asked for, and what is answered.

use serde::{Deserialize, Serialize};

/// Read the kernel log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Log {
    /// First sequence number wanted.
    pub since: u64,
}

/// Read what has come to the kernel log since this was last asked, or since the
/// end of the last [`Cell`](super::cell::Cell); when neither has been, all of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct News {}

/// Part of the kernel log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogAnswer {
    /// The records from the one asked for on.
    pub records: Vec<LogRecord>,
    /// What to give as [`Log::since`] next time.
    pub next: u64,
    /// Records in between were overwritten before they were read.
    pub lost: bool,
}

impl LogAnswer {
    /// What of it is from the sequence number `first` on. What was lost before
    /// that does not matter.
    pub fn since(mut self, first: u64) -> Self {
        let begins = self.records.first().map(|record| record.sequence);
        self.lost &= begins.is_some_and(|begins| begins > first);
        self.records.retain(|record| record.sequence >= first);
        self
    }
}

/// A record of the kernel log, as /dev/kmsg gives it
/// (Documentation/ABI/testing/dev-kmsg).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogRecord {
    /// Its sequence number.
    pub sequence: u64,
    /// Its level: 0 emergency, 3 error, 4 warning, 6 information, 7 debug.
    pub level: u8,
    /// Its facility: 0 is the kernel itself, 1 user space.
    pub facility: u32,
    /// When it was written, by the monotonic clock, in microseconds.
    pub time_us: u64,
    /// Its text.
    pub text: String,
}
