//! What a device says: answers and events.

use super::super::v4l2::{Buffer, Fields, RESPONSE};

/// The device's answer to a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// All that the device says it wrote.
    pub bytes: Vec<u8>,
}

impl Reply {
    /// The status of the response, if there is one.
    pub fn status(&self) -> Option<u32> {
        (self.bytes.len() >= RESPONSE).then(|| self.bytes.le32(0))
    }

    /// What follows the response's header.
    pub fn payload(&self) -> &[u8] {
        self.bytes.get(RESPONSE..).unwrap_or_default()
    }
}

/// An event that the device sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The device gave up the session.
    Error {
        /// The session.
        session: u32,
        /// Why.
        errno: u32,
    },
    /// A buffer comes back.
    Dqbuf {
        /// The session.
        session: u32,
        /// The buffer.
        buffer: Buffer,
        /// Room for eight v4l2_planes.
        planes: Vec<u8>,
    },
    /// A v4l2_event.
    V4l2 {
        /// The session.
        session: u32,
        /// The structure.
        event: Vec<u8>,
    },
    /// None that there is.
    Unknown(Vec<u8>),
}
