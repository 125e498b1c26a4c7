//! The DMA engine: scatter lists, guest memory, digests.
//!
//! A buffer's scatter list is resolved against guest memory once, when it is
//! queued ([`ScatterList::resolve`]), and written through a [`FrameWriter`]
//! when its frame is due. No frame is ever read from guest memory: what the
//! witness says was written is computed from the private block that is about
//! to be copied.

pub mod digest;
pub mod scatter;
pub mod writer;

use std::ops::Range;

use vm_memory::GuestMemoryMmap;

pub use digest::{DIGEST_BLOCK, Digest};
pub use scatter::{ScatterList, Segment};
pub use writer::FrameWriter;

/// Segments a list keeps at most: those of the largest frame (3840x2160 in four
/// bytes a pixel) in pages, at any offset, and some more.
pub const MAX_SEGMENTS: usize = 8192;

/// Where a DMA may go at the moment.
#[derive(Clone, Copy)]
pub struct Bus<'a> {
    /// The guest's memory.
    pub memory: &'a GuestMemoryMmap,
    /// Address ranges that are in guest memory and yet no place for a frame:
    /// the virtqueues' rings.
    pub forbidden: &'a [Range<u64>],
}

/// Why a scatter list cannot be written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DmaError {
    /// A segment has no bytes.
    #[error("the segment at {start:#x} is empty")]
    Empty {
        /// Its address.
        start: u64,
    },
    /// A segment ends beyond the address space.
    #[error("the segment of {len} bytes at {start:#x} wraps round the address space")]
    Wraps {
        /// Its address.
        start: u64,
        /// Its length.
        len: u32,
    },
    /// A segment, or a part of it, is not guest memory.
    #[error("the segment of {len} bytes at {start:#x} is not in guest memory")]
    Outside {
        /// Its address.
        start: u64,
        /// Its length.
        len: u32,
    },
    /// A segment touches a virtqueue.
    #[error("the segment of {len} bytes at {start:#x} overlaps a virtqueue's rings")]
    Forbidden {
        /// Its address.
        start: u64,
        /// Its length.
        len: u32,
    },
    /// The segments end before the buffer does.
    #[error("the segments hold {held} bytes of a buffer of {length}")]
    TooShort {
        /// Bytes of all segments.
        held: u64,
        /// Bytes of the buffer.
        length: u64,
    },
    /// There are more segments than the card keeps.
    #[error("the frame is spread over more than {} segments", MAX_SEGMENTS)]
    TooMany,
}
