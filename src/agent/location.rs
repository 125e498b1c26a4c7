//! Where in the guest's physical memory a file lies: the request, and its
//! answer.

use serde::{Deserialize, Serialize};

/// Request for the physical addresses of part of a file that a file system
/// keeps in memory (tmpfs).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Locate {
    /// Path of the file.
    pub path: String,
    /// First byte of the part, a multiple of the page size.
    pub from: u64,
    /// Largest number of bytes of the part.
    pub limit: u64,
}

/// The answer to [`Locate`]. The kernel may move the pages at any time; if
/// another answer is the same, they were there in between.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Location {
    /// The segments, which lie one after the other in the file. Together they
    /// have as many bytes as the part, which ends with the file.
    pub segments: Vec<Segment>,
}

/// A range of physical addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// First address.
    pub start: u64,
    /// Length in bytes.
    pub bytes: u64,
}
