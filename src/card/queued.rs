//! The memory that a driver queues: whose it is, and which bytes of it are a frame.

use std::ops::Range;

use super::kind::Direction;
use super::refused::{Refused, invalid};
use crate::source::MemoryPlane;
use crate::wire::buffer::{MEMORY_MMAP, MEMORY_USERPTR};

/// Whose the memory of the buffers is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MemoryKind {
    /// The guest's: SHARED_PAGES, V4L2_MEMORY_USERPTR.
    #[default]
    SharedPages,
    /// The card's own: V4L2_MEMORY_MMAP.
    Mmap,
}

impl MemoryKind {
    /// Returns the kind that V4L2_MEMORY_* names.
    pub fn of(memory: u32) -> Option<Self> {
        match memory {
            MEMORY_USERPTR => Some(Self::SharedPages),
            MEMORY_MMAP => Some(Self::Mmap),
            _ => None,
        }
    }

    /// Returns V4L2_MEMORY_*.
    pub fn memory(self) -> u32 {
        match self {
            Self::SharedPages => MEMORY_USERPTR,
            Self::Mmap => MEMORY_MMAP,
        }
    }
}

/// The memory of one plane, as the driver queues it.
#[derive(Debug, Clone, Copy)]
pub struct Queued {
    /// The driver's own pointer.
    pub userptr: u64,
    /// Length in bytes.
    pub length: u32,
    /// Bytes of data, from the first byte of the plane on, if the card is to
    /// read a frame; 0 for a whole frame.
    pub bytesused: u32,
    /// Offset of the data in the plane, likewise.
    pub data_offset: u32,
}

impl Queued {
    /// Returns the bytes of the plane that hold the frame, for a queue of that
    /// direction, in memory of `length` bytes. They are no more than a frame has.
    pub fn data(
        &self,
        direction: Direction,
        length: u32,
        plane: &MemoryPlane,
    ) -> Result<Range<u32>, Refused> {
        if direction == Direction::Capture {
            return Ok(0..plane.sizeimage);
        }
        let start = self.data_offset;
        let whole = start.saturating_add(plane.sizeimage);
        let end = match self.bytesused {
            0 => whole.min(length),
            bytesused => bytesused,
        };
        if end > length {
            return Err(invalid("the data are longer than the buffer"));
        }
        if start >= end {
            return Err(invalid("the data begin after their end"));
        }
        Ok(start..end.min(whole))
    }
}
