//! The contents of memory, as the process reads them.

use pinhole::agent::cell::evidence::FrameSeen;
use pinhole::dma::{DIGEST_BLOCK, Digest};
use pinhole::wire::buffer::Buffer;

use super::span::{MemoryAccess, Span};

/// The digests of a buffer's blocks; `None` for a block that cannot be read.
pub type Blocks = Vec<Option<Digest>>;

/// Returns the evidence of a dequeued buffer, with the digests of its memory;
/// `sent` are those from before it was queued, if the card was to read it.
pub fn frame(access: &MemoryAccess, memory: Span, buffer: &Buffer, sent: &Blocks) -> FrameSeen {
    FrameSeen {
        index: buffer.index.get(),
        sequence: buffer.sequence.get(),
        flags: buffer.flags.get(),
        bytesused: buffer.bytesused.get(),
        digests: digests(access, memory),
        sent: sent.clone(),
    }
}

/// Returns the digests of a range, one for each block; `None` for a block that
/// cannot be read.
pub fn digests(access: &MemoryAccess, span: Span) -> Blocks {
    (0..span.len)
        .step_by(DIGEST_BLOCK)
        .map(|at| {
            let block = span.part(at, DIGEST_BLOCK.min(span.len - at));
            access.read(block).ok().map(|bytes| Digest::of(&bytes))
        })
        .collect()
}
