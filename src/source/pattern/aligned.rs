//! Bytes that lie in memory as the card's own piece of a frame does.

use std::ops::{Deref, DerefMut};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Length of a block, which is a line of the processor's cache. Copying a line
/// takes a third less time if its blocks become blocks.
const BLOCK: usize = 64;

/// Bytes of which the first one begins a block.
#[derive(Debug)]
pub struct Aligned {
    blocks: Vec<Block>,
    len: usize,
}

#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C, align(64))]
struct Block([u8; BLOCK]);

impl Aligned {
    /// Returns that many bytes; each is 0.
    pub fn new(len: usize) -> Self {
        Self {
            blocks: vec![Block([0; BLOCK]); len.div_ceil(BLOCK)],
            len,
        }
    }
}

impl Deref for Aligned {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.blocks.as_bytes()[..self.len]
    }
}

impl DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.blocks.as_mut_bytes()[..self.len]
    }
}
