//! The DMA engine: scatter lists, guest memory, digests.
//!
//! A buffer's scatter list is resolved against guest memory once, when the
//! buffer is queued ([`ScatterList::resolve`]), and written through a
//! [`FrameWriter`], or read through a [`FrameReader`], when its frame is due.
//! Either way the card touches each byte of guest memory once, and the witness's
//! digests are computed from the private copy ([`Staging`]) that is about to be
//! written, or was read.
//!
//! The memory of a buffer may also be the card's own ([`own`]); it is reached
//! through a list as well.

mod cursor;
pub mod digest;
pub mod own;
pub mod reader;
pub mod scatter;
pub mod writer;

use std::ops::Range;

use vm_memory::GuestMemoryMmap;

pub use digest::{DIGEST_BLOCK, Digest};
pub use own::OwnMemory;
pub use reader::FrameReader;
pub use scatter::{ScatterList, Segment};
pub use writer::{FrameWriter, PIECE, Staging};

/// Largest number of segments that a list keeps: the page count of the largest
/// frame (3840x2160 at four bytes a pixel) at any offset, and some more.
pub const MAX_SEGMENTS: usize = 8192;

/// The addresses that a DMA may currently reach.
#[derive(Clone, Copy)]
pub struct Bus<'a> {
    /// The guest's memory.
    pub memory: &'a GuestMemoryMmap,
    /// Address ranges in guest memory that must not hold a frame: the
    /// virtqueues' rings.
    pub forbidden: &'a [Range<u64>],
}

/// Why a scatter list cannot be written to or read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DmaError {
    /// A segment has no bytes.
    #[error("the segment at {start:#x} is empty")]
    Empty {
        /// Address of the segment.
        start: u64,
    },
    /// A segment wraps round the end of the address space.
    #[error("the segment of {len} bytes at {start:#x} wraps round the address space")]
    Wraps {
        /// Address of the segment.
        start: u64,
        /// Length of the segment in bytes.
        len: u32,
    },
    /// All or part of a segment is not in guest memory.
    #[error("the segment of {len} bytes at {start:#x} is not in guest memory")]
    Outside {
        /// Address of the segment.
        start: u64,
        /// Length of the segment in bytes.
        len: u32,
    },
    /// A segment overlaps a virtqueue's rings.
    #[error("the segment of {len} bytes at {start:#x} overlaps a virtqueue's rings")]
    Forbidden {
        /// Address of the segment.
        start: u64,
        /// Length of the segment in bytes.
        len: u32,
    },
    /// The segments are shorter than the buffer.
    #[error("the segments hold {held} bytes of a buffer of {length}")]
    TooShort {
        /// Length of all segments together, in bytes.
        held: u64,
        /// Length of the buffer in bytes.
        length: u64,
    },
    /// There are more segments than a list keeps.
    #[error("the frame is spread over more than {} segments", MAX_SEGMENTS)]
    TooMany,
}
