//! A frame that is known: what a device writes again and again.

use serde::{Deserialize, Serialize};

use crate::dma::{DIGEST_BLOCK, Digest};

/// A picture that a device shows again and again, or makes of one frame each time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Picture {
    /// Length of a frame in bytes (v4l2_buffer::bytesused).
    pub bytes: u32,
    /// Digests of each 4 KiB of a buffer, [`Subject::sizeimage`](super::Subject::sizeimage)
    /// bytes in all, whatever is in it behind the frame.
    pub digests: Vec<Digest>,
}

impl Picture {
    /// Returns the picture that is this frame, in a buffer of that many bytes.
    pub fn of(frame: &[u8], sizeimage: usize) -> Self {
        let mut buffer = frame.to_vec();
        buffer.resize(sizeimage.max(frame.len()), 0);
        let blocks = buffer.chunks(DIGEST_BLOCK);
        Self {
            bytes: frame.len() as u32,
            digests: blocks.map(Digest::of).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_as_long_as_its_buffer() {
        let frame: Vec<u8> = (0..5000).map(|at| (at / 7) as u8).collect();
        let picture = Picture::of(&frame, 8192);
        assert_eq!((picture.bytes, picture.digests.len()), (5000, 2));
        let whole = [&frame[..], &[0; 3192]].concat();
        assert_eq!(picture.digests[1], Digest::of(&whole[4096..]));
        assert_eq!(Picture::of(&frame, 0).digests.len(), 2);
    }
}
