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
//!
//! But of a mem-to-mem device it shows in what it made of that. The cell has had it make
//! the same in memory of its driver's own ([`ContentsSeen::made`]): of what the process
//! had in the buffer when it queued it, and of what was there after the hazard. The one
//! that is found in the other buffer is what the device has read. If neither is, it has
//! read something else, or written it elsewhere; it is told as the latter.

use super::witness::CardFrames;
use crate::agent::cell::evidence::{ContentsSeen, FrameSeen, TouchedSeen};
use crate::agent::cell::picture::Picture;
use crate::agent::cell::{CellAnswer, Flow};
use crate::card::witness::PlaneRecord;
use crate::card::{CardKind, Direction};
use crate::dma::{DIGEST_BLOCK, Digest};
use crate::wire::buffer::BUF_FLAG_ERROR;

/// Stands for a block that is not what the process has there, and for one of which
/// that is not known.
const OTHER: Digest = Digest(0);

impl CardFrames {
    /// Returns what takes the place of the frames that the device's witness would
    /// record in a cell of that flow, if it had one; `picture` is what the device shows
    /// again and again. A frame that came back in error is none.
    pub fn without_witness(flow: Flow, answer: &CellAnswer, picture: Option<&Picture>) -> Self {
        if flow.card() != CardKind::M2m {
            return of_buffer(answer, |frame, length| plane(frame, length, picture));
        }
        let ends = flow.ends().iter().enumerate().map(|(number, end)| {
            let at = |direction| {
                let other = flow.number_of(end.file, direction);
                answer.of_buffer(other.unwrap_or(number))
            };
            let (read, made) = (at(Direction::Output), at(Direction::Capture));
            let source = source(&read, &made);
            of_buffer(&answer.of_buffer(number), |frame, length| {
                match (end.direction, source) {
                    (Direction::Output, Some(source)) => of_digests(frame, &source.digests),
                    (_, source) => plane(
                        frame,
                        length,
                        source.and_then(|source| source.made.as_ref()),
                    ),
                }
            })
        });
        let mut ends = ends.collect::<Vec<_>>().into_iter();
        ends.next().unwrap_or_default().with(ends.collect())
    }
}

/// Returns what the device had to do with a buffer: for each of its whole frames what
/// `plane` says, which is told the length of the buffer.
fn of_buffer(
    answer: &CellAnswer,
    plane: impl Fn(&FrameSeen, Option<u64>) -> PlaneRecord,
) -> CardFrames {
    let mut frames = CardFrames::unwitnessed();
    let length = answer.memory.map(|memory| memory.length);
    for frame in whole(answer) {
        frames.add(frame.sequence, plane(frame, length));
    }
    frames
}

/// Returns the frames that did not come back in error.
fn whole(answer: &CellAnswer) -> impl Iterator<Item = &FrameSeen> {
    let frames = answer.frames.iter();
    frames.filter(|frame| frame.flags & BUF_FLAG_ERROR == 0)
}

/// Returns what the buffer `read` held when the device made of it what is in the buffer
/// `made`; what it held when it was queued, if that was made of nothing that is known;
/// `None` if nobody knows what is made of it.
fn source<'a>(read: &'a CellAnswer, made: &CellAnswer) -> Option<&'a ContentsSeen> {
    let contents = read.contents.iter();
    let mut known = contents.filter(|seen| seen.made.is_some()).peekable();
    let first = known.peek().copied();
    let length = made.memory.map(|memory| memory.length);
    let is_it = |seen: &&ContentsSeen| {
        whole(made).next().is_some_and(|frame| {
            let plane = plane(frame, length, seen.made.as_ref());
            let written = plane.digests.iter().copied().map(Some);
            frame.bytesused == plane.bytes && written.eq(frame.digests.iter().copied())
        })
    };
    known.find(is_it).or(first)
}

/// Returns the record of a frame that was read, with the digests of what it held.
fn of_digests(frame: &FrameSeen, digests: &[Option<Digest>]) -> PlaneRecord {
    let digests = digests.iter();
    PlaneRecord {
        bytes: frame.bytesused,
        segments: Vec::new(),
        digests: digests.map(|block| block.unwrap_or(OTHER)).collect(),
    }
}

/// Returns the record of a frame in a buffer of `length` bytes.
fn plane(frame: &FrameSeen, length: Option<u64>, picture: Option<&Picture>) -> PlaneRecord {
    if !frame.sent.is_empty() {
        return of_digests(frame, &frame.sent);
    }
    let bytes = picture.map_or(frame.bytesused, |picture| picture.bytes);
    let (used, length) = (u64::from(bytes), length.unwrap_or(u64::MAX));
    let begin = |at: usize| at as u64 * DIGEST_BLOCK as u64;
    let shown = |at: usize| {
        let end = begin(at) + DIGEST_BLOCK as u64;
        let picture = picture.filter(|_| begin(at) < used && end.min(length) <= used)?;
        Some(picture.digests.get(at).copied().unwrap_or(OTHER))
    };
    // Where nothing of the picture is, the rest of the buffer is not the device's either.
    let mut known = (0..)
        .zip(&frame.digests)
        .filter_map(|(at, block)| Some((shown(at)?, block)));
    let is_found =
        known.clone().next().is_none() || known.any(|(shown, block)| *block == Some(shown));
    let written = |(at, block): (usize, &Option<Digest>)| {
        let begin = begin(at);
        if let Some(shown) = shown(at) {
            return shown;
        }
        let mut touched = frame.touched.iter().filter(|_| begin < used);
        let is_left = touched.any(|touched| is_left(touched, at));
        block.filter(|_| is_found && !is_left).unwrap_or(OTHER)
    };
    let digests = frame.digests.iter().enumerate().map(written);
    PlaneRecord {
        bytes,
        segments: Vec::new(),
        digests: digests.collect(),
    }
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
        let frames = CardFrames::without_witness(Flow::Capture, answer, picture);
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
        let frames = CardFrames::without_witness(Flow::Capture, &short, Some(&shown));
        assert_eq!(frames.frames()[0].1.bytes, 8192);
        assert!(!frames.is_witnessed());
    }

    #[test]
    fn what_is_behind_the_frame_is_nobodys() {
        // The driver's own memory had zeros there, and the process's a pattern.
        let shown = picture(5000, &[1, 2, 3]);
        let of = |blocks: &[Option<u64>]| reads(&cell(12288, 5000, blocks), Some(&shown));
        assert_eq!(of(&[Some(1), Some(8), Some(9)]), DATA);
        // Other memory than the device had, in which it cannot have written anything.
        let other = Observation::Captured(Reads::Other);
        assert_eq!(of(&[Some(7), Some(8), Some(9)]), other);
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
        let frames = CardFrames::without_witness(Flow::Capture, &answer, None);
        assert_eq!((frames.frames().len(), frames.is_witnessed()), (0, false));
        let text = serde_json::to_string(&frames).unwrap();
        assert_eq!(serde_json::from_str::<CardFrames>(&text).unwrap(), frames);
    }

    #[test]
    fn what_a_device_has_read_shows_in_what_it_made_of_it() {
        use crate::agent::cell::Ends;
        use crate::agent::cell::answer::BufferSeen;
        use crate::agent::cell::evidence::Moment;
        // It makes 11, 12 of 1, 2, and 13, 14 of 3, 4, to which the hazard changes them.
        let contents = |moment, held: [u64; 2]| ContentsSeen {
            moment,
            digests: held.map(|block| Some(Digest(block))).to_vec(),
            upside_down: Vec::new(),
            made: Some(picture(8192, &held.map(|block| 10 + block))),
        };
        let of = |ends, blocks: &[Option<u64>], contents: &[ContentsSeen]| {
            let mut read = cell(8192, 8192, &[Some(3), Some(4)]);
            read.frames[0].sent = vec![Some(Digest(1)), Some(Digest(2))];
            read.contents = contents.to_vec();
            let made = cell(8192, 8192, blocks);
            let (mut first, second) = match ends {
                Ends::Written => (made, read),
                _ => (read, made),
            };
            first.further.push(BufferSeen {
                memory: second.memory,
                frames: second.frames,
                contents: second.contents,
                ..BufferSeen::default()
            });
            let flow = Flow::M2m(ends);
            let frames = CardFrames::without_witness(flow, &first, None);
            assert!(!frames.is_witnessed() && !frames.of_buffer(1).is_witnessed());
            Observation::of(flow, &first, &frames)
        };
        let known = [
            contents(Moment::Filled, [1, 2]),
            contents(Moment::AfterHazard, [3, 4]),
        ];
        let (data, later) = (
            Observation::Converted(Sent::Written, Reads::Written),
            Observation::Converted(Sent::Later, Reads::Written),
        );
        for ends in [Ends::Read, Ends::Written] {
            assert_eq!(of(ends, &[Some(11), Some(12)], &known), data);
            assert_eq!(of(ends, &[Some(13), Some(14)], &known), later);
            // Half of the one and half of the other.
            let mixed = of(ends, &[Some(11), Some(14)], &known);
            assert_eq!(mixed, Observation::Converted(Sent::Written, Reads::Partly));
            let other = of(ends, &[Some(5), Some(6)], &known);
            assert_eq!(other, Observation::Converted(Sent::Written, Reads::Other));
            // What is made of it is not known.
            assert_eq!(of(ends, &[Some(5), Some(6)], &[]), data);
        }
    }
}
