//! The kernel log of the guest: the requests for it, and their answer.

use serde::{Deserialize, Serialize};

/// Request to read the kernel log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Log {
    /// First sequence number to return.
    pub since: u64,
}

/// Request to read the records that came to the kernel log since the previous
/// request of this kind, or since the end of the last
/// [`Cell`](super::cell::Cell); if there was neither, the whole log.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct NewRecords {}

/// Part of the kernel log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogAnswer {
    /// The records from the requested sequence number on.
    pub records: Vec<LogRecord>,
    /// The value for [`Log::since`] in the next request.
    pub next: u64,
    /// Whether records in between were overwritten before they were read.
    pub lost: bool,
}

impl LogAnswer {
    /// Returns the records from the sequence number `first` on. Records lost
    /// before `first` do not count as lost.
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
    /// Sequence number.
    pub sequence: u64,
    /// Level: 0 emergency, 3 error, 4 warning, 6 information, 7 debug.
    pub level: u8,
    /// Facility: 0 is the kernel itself, 1 user space.
    pub facility: u32,
    /// Time at which it was written, by the monotonic clock, in microseconds.
    pub time_us: u64,
    /// Text of the record.
    pub text: String,
}
