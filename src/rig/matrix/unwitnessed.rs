//! What a device wrote that has no witness, as far as the process can tell.
//!
//! It is put in the witness's place, so that the oracles need not know. With a still
//! picture ([`Picture`]) it is known what the device writes: each block of a frame is
//! that of the picture or is not. Without one the process knows only what it had in
//! the buffer before: a block of which nothing has changed was not written, or not
//! there; any other is taken as the device's, also if it should be somebody else's.
//! Of what nobody knows what it held before, all that can be read is taken so.
//!
//! What lies behind the frame is nobody's: a device may pad it, and memory of the
//! driver's own had something else there. The block in which the frame ends is
//! therefore judged by what changed in it and never by the picture, unless it ends
//! with the block or with the buffer.
//!
//! Nobody knows what a device read. What the process had in the buffer is taken for
//! it, so that of a frame that was sent no more is seen than that it was.

use super::witness::CardFrames;
use crate::agent::cell::CellAnswer;
use crate::agent::cell::evidence::{FrameSeen, TouchedSeen};
use crate::agent::survey::Picture;
use crate::card::witness::PlaneRecord;
use crate::dma::{DIGEST_BLOCK, Digest};
use crate::wire::buffer::BUF_FLAG_ERROR;

/// Stands for a block that is not what the process has there, and for one of which
/// that is not known.
const OTHER: Digest = Digest(0);

impl CardFrames {
    /// Returns what takes the place of the frames that the device's witness would
    /// record, if it had one; `picture` is what the device shows again and again.
    /// A frame that came back in error is none.
    pub fn without_witness(answer: &CellAnswer, picture: Option<&Picture>) -> Self {
        let mut frames = Self::unwitnessed();
        let is_whole = |frame: &&FrameSeen| frame.flags & BUF_FLAG_ERROR == 0;
        let length = answer.memory.map(|memory| memory.length);
        for frame in answer.frames.iter().filter(is_whole) {
            frames.add(frame.sequence, plane(frame, length, picture));
        }
        frames
    }
}

/// Returns the record of a frame in a buffer of `length` bytes.
fn plane(frame: &FrameSeen, length: Option<u64>, picture: Option<&Picture>) -> PlaneRecord {
    let of = |bytes, digests| PlaneRecord {
        bytes,
        segments: Vec::new(),
        digests,
    };
    if !frame.sent.is_empty() {
        let sent = frame.sent.iter();
        return of(
            frame.bytesused,
            sent.map(|block| block.unwrap_or(OTHER)).collect(),
        );
    }
    let bytes = picture.map_or(frame.bytesused, |picture| picture.bytes);
    let (used, length) = (u64::from(bytes), length.unwrap_or(u64::MAX));
    let written = |(at, block): (usize, &Option<Digest>)| {
        let begin = at as u64 * DIGEST_BLOCK as u64;
        let end = begin + DIGEST_BLOCK as u64;
        let is_whole = begin < used && end.min(length) <= used;
        if let Some(picture) = picture.filter(|_| is_whole) {
            return picture.digests.get(at).copied().unwrap_or(OTHER);
        }
        let mut touched = frame.touched.iter().filter(|_| begin < used);
        let is_left = touched.any(|touched| is_left(touched, at));
        block.filter(|_| !is_left).unwrap_or(OTHER)
    };
    let digests = frame.digests.iter().enumerate().map(written);
    of(bytes, digests.collect())
}

/// Returns whether all of the frame in the block of that number is as it was.
fn is_left(touched: &TouchedSeen, number: usize) -> bool {
    let mut blocks = touched.blocks.iter();
    blocks.any(|block| usize::try_from(*block) == Ok(number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::cell::evidence::Memory;
    use crate::rig::matrix::observation::{Observation, Reads, Sent};

    const BLOCK: u64 = DIGEST_BLOCK as u64;

    /// Returns a cell with a frame of `bytesused` bytes in a buffer of `length`, in
    /// whose blocks the process reads that.
    fn cell(length: u64, bytesused: u32, blocks: &[Option<u64>]) -> CellAnswer {
        CellAnswer {
            memory: Some(Memory {
                address: 0x7000_0000,
                length,
                width: 64,
                height: 64,
                is_dmabuf: false,
                is_hidden: false,
            }),
            frames: vec![FrameSeen {
                index: 0,
                sequence: 5,
                flags: 0,
                bytesused,
                digests: blocks.iter().map(|block| block.map(Digest)).collect(),
                sent: Vec::new(),
                touched: None,
            }],
            ..CellAnswer::default()
        }
    }

    fn picture(bytes: u32, blocks: &[u64]) -> Picture {
        Picture {
            bytes,
            digests: blocks.iter().copied().map(Digest).collect(),
        }
    }

    fn reads(answer: &CellAnswer, picture: Option<&Picture>) -> Observation {
        let frames = CardFrames::without_witness(answer, picture);
        Observation::of_buffer(answer, &frames)
    }

    const DATA: Observation = Observation::Captured(Reads::Written);
    const PARTLY: Observation = Observation::Captured(Reads::Partly);

    #[test]
    fn a_still_picture_is_what_the_device_writes() {
        let shown = picture(8192, &[1, 2]);
        let of = |blocks: &[Option<u64>]| reads(&cell(8192, 8192, blocks), Some(&shown));
        assert_eq!(of(&[Some(1), Some(2)]), DATA);
        assert_eq!(of(&[Some(1), Some(3)]), PARTLY);
        assert_eq!(of(&[Some(1), None]), PARTLY);
        assert_eq!(of(&[Some(2), Some(1)]), Observation::Captured(Reads::Other));
        assert_eq!(of(&[None, None]), Observation::Captured(Reads::Nothing));
        // The data oracle sees that the frame is as long as the picture.
        let short = cell(8192, 4096, &[Some(1), Some(2)]);
        let frames = CardFrames::without_witness(&short, Some(&shown));
        assert_eq!(frames.frames()[0].1.bytes, 8192);
        assert!(!frames.is_witnessed());
    }

    #[test]
    fn what_is_behind_the_frame_is_nobodys() {
        // The driver's own memory had zeros there, and the process's a pattern.
        let shown = picture(5000, &[1, 2, 3]);
        let of = |blocks: &[Option<u64>]| reads(&cell(12288, 5000, blocks), Some(&shown));
        assert_eq!(of(&[Some(1), Some(8), Some(9)]), DATA);
        assert_eq!(of(&[Some(7), Some(8), Some(9)]), PARTLY);
        // The end of the buffer is no padding.
        let whole = |last| reads(&cell(5000, 5000, &[Some(1), Some(last)]), Some(&shown));
        assert_eq!((whole(2), whole(8)), (DATA, PARTLY));
        // Nothing of the frame is in its last block.
        let mut left = cell(12288, 5000, &[Some(1), Some(8), Some(9)]);
        left.frames[0].touched = Some(TouchedSeen {
            blocks: vec![1],
            ..TouchedSeen::default()
        });
        assert_eq!(reads(&left, Some(&shown)), PARTLY);
    }

    #[test]
    fn without_a_picture_what_has_changed_was_written() {
        let mut answer = cell(3 * BLOCK, 3 * BLOCK as u32, &[Some(1), Some(2), Some(3)]);
        let mut left = |blocks: &[u32]| {
            answer.frames[0].touched = Some(TouchedSeen {
                // What is told of it in bytes may be cut.
                left: vec![(0, 3 * BLOCK)],
                left_bytes: 3 * BLOCK,
                blocks: blocks.to_vec(),
                ..TouchedSeen::default()
            });
            reads(&answer, None)
        };
        assert_eq!(left(&[]), DATA);
        assert_eq!(left(&[1]), PARTLY);
        assert_eq!(left(&[2, 0]), PARTLY);
        assert_eq!(left(&[0, 1, 2]), Observation::Captured(Reads::Other));
        assert_eq!(left(&[3, u32::MAX]), DATA);
    }

    #[test]
    fn of_what_was_not_known_before_all_that_is_readable_is_taken_as_written() {
        assert_eq!(reads(&cell(8192, 8192, &[Some(1), Some(2)]), None), DATA);
        assert_eq!(reads(&cell(8192, 8192, &[Some(1), None]), None), PARTLY);
        assert_eq!(
            reads(&cell(8192, 8192, &[None, None]), None),
            Observation::Captured(Reads::Nothing)
        );
    }

    #[test]
    fn what_a_device_read_is_taken_to_be_what_it_was_given() {
        let mut answer = cell(8192, 8192, &[Some(1), Some(2)]);
        answer.frames[0].sent = vec![Some(Digest(7)), Some(Digest(8))];
        let shown = picture(4096, &[1]);
        let written = Observation::Sent(Sent::Written);
        assert_eq!(reads(&answer, Some(&shown)), written);
        answer.frames[0].sent[1] = None;
        assert_eq!(reads(&answer, None), Observation::Sent(Sent::Partly));
    }

    #[test]
    fn a_frame_in_error_is_none() {
        let mut answer = cell(8192, 0, &[Some(1), Some(2)]);
        answer.frames[0].flags = BUF_FLAG_ERROR;
        let frames = CardFrames::without_witness(&answer, None);
        assert_eq!((frames.frames().len(), frames.is_witnessed()), (0, false));
        let text = serde_json::to_string(&frames).unwrap();
        assert_eq!(serde_json::from_str::<CardFrames>(&text).unwrap(), frames);
    }
}
