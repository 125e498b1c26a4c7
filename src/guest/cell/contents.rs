//! The contents of memory, as the process reads them.

use crate::agent::cell::evidence::FrameSeen;
use crate::dma::{DIGEST_BLOCK, Digest};
use crate::wire::buffer::Buffer;

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
        touched: None,
    }
}

/// Returns the digests of a frame's lines of `line` bytes in the opposite order;
/// nothing if they cannot be read.
pub fn upside_down(access: &MemoryAccess, span: Span, line: usize) -> Blocks {
    let Ok(bytes) = access.read(span) else {
        return Blocks::new();
    };
    let turned: Vec<u8> = bytes.rchunks(line).flatten().copied().collect();
    let blocks = turned.chunks(DIGEST_BLOCK);
    blocks.map(|block| Some(Digest::of(block))).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_of_a_frame_that_is_turned_is_the_first() {
        let access = MemoryAccess::new().unwrap();
        let (line, lines) = (96, 90);
        let frame: Vec<u8> = (0..lines * line).map(|at| (at / line) as u8).collect();
        let other: Vec<u8> = frame.iter().map(|byte| lines as u8 - 1 - byte).collect();
        let span = |bytes: &[u8]| Span::new(bytes.as_ptr() as usize, bytes.len());
        let turned = upside_down(&access, span(&frame), line);
        assert_eq!(turned, digests(&access, span(&other)));
        assert_eq!(turned.len(), 3);
        assert_ne!(turned, digests(&access, span(&frame)));
        let nothing = upside_down(&access, Span::new(0, line), line);
        assert_eq!(nothing, Blocks::new());
    }
}
