//! What the other end did that the driver cannot go on with, or should not have
//! seen.

use std::io;
use std::time::Duration;

/// Why the driver cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Nothing came.
    #[error("no {what} within {} s", limit.as_secs_f32())]
    NoAnswer {
        /// What was waited for.
        what: String,
        /// For how long.
        limit: Duration,
    },
    /// A vhost-user message was refused, or its answer is none.
    #[error("{message} failed: {error}")]
    Message {
        /// Its name.
        message: String,
        /// What vhost-user's library says.
        error: String,
    },
    /// A response is shorter than its header.
    #[error("the answer to {command} has no header: {bytes} bytes")]
    NoResponse {
        /// The command.
        command: String,
        /// Bytes of the answer.
        bytes: usize,
    },
    /// A command that must succeed, so that the others make sense, did not.
    #[error("{command} is refused with errno {errno}")]
    Refused {
        /// The command.
        command: String,
        /// Its status.
        errno: u32,
    },
    /// The used ring names a descriptor at which no chain begins.
    #[error("the used ring returns descriptor {0}, which the device does not have")]
    UsedHead(u32),
    /// More comes than anybody takes.
    #[error("{0} events came that nobody waited for")]
    Flood(usize),
    /// There is no descriptor left for a chain.
    #[error("no descriptor is free: {0} are with the device, which returns none")]
    NoDescriptors(usize),
    /// This system refuses something.
    #[error("{what}: {error}")]
    System {
        /// What was wanted.
        what: &'static str,
        /// The system's error.
        error: String,
    },
}

impl Fault {
    /// Returns the fault of a system call.
    pub fn system(what: &'static str, error: impl Into<io::Error>) -> Self {
        Self::System {
            what,
            error: error.into().to_string(),
        }
    }
}

/// What should not have been, and does not keep the driver from going on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Anomaly {
    /// The used length is more than the chain had room for.
    #[error("{used} bytes written into {room}")]
    Overlong {
        /// What the device says.
        used: u32,
        /// What there was.
        room: usize,
    },
    /// The device wrote more than it said.
    #[error("bytes beyond the {used} that the device told of were written: {bytes:02x?}")]
    Beyond {
        /// What the device says.
        used: u32,
        /// All of the writable part.
        bytes: Vec<u8>,
    },
    /// A reserved field of a response is not zero.
    #[error("the reserved field of the response to {command} is {value:#x}")]
    Reserved {
        /// The command.
        command: String,
        /// Its value.
        value: u32,
    },
    /// A status is no error number.
    #[error("the status of {command} is {status:#x}, which is no errno")]
    NoErrno {
        /// The command.
        command: String,
        /// The status.
        status: u32,
    },
    /// An answer is shorter than it should be. The rest reads as zero.
    #[error("{what} has {bytes} bytes instead of {whole}")]
    Short {
        /// What it is.
        what: String,
        /// How much there is.
        bytes: usize,
        /// How much there should be.
        whole: usize,
    },
    /// An event makes no sense.
    #[error("{0}")]
    Event(String),
    /// A request for the shared memory region makes no sense.
    #[error("{0}")]
    Region(String),
}
