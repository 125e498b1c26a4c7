//! The observed outcome of a cell: a summary of the agent's evidence and the
//! card's witness.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::witness::CardFrames;
use crate::agent::cell::evidence::{FrameSeen, Moment};
use crate::agent::cell::{CellAnswer, End, Flow};
use crate::card::witness::PlaneRecord;
use crate::card::{CardKind, Direction};
use crate::dma::{DIGEST_BLOCK, Digest};
use crate::rig::kernel::errno_name;
use crate::wire::buffer::BUF_FLAG_ERROR;

/// The observed outcome of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Observation {
    /// QBUF was refused with this error number.
    Refused(i32),
    /// The buffer was accepted, but never returned to the application:
    /// STREAMOFF, close or the end of the process came first.
    TakenBack,
    /// The buffer was returned with the error flag.
    InError,
    /// The buffer was returned with a frame.
    Captured(Reads),
    /// The buffer was returned when the card had read a frame from it.
    Sent(Sent),
    /// Both buffers of a mem-to-mem card were returned: it had read a frame from the
    /// one, and the other holds a frame.
    Converted(Sent, Reads),
    /// The process was killed because something in it hung.
    Hung,
}

/// What the application reads in a buffer that was returned with a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reads {
    /// Every byte is what the card wrote.
    Written,
    /// Some blocks are what the card wrote, others are not.
    Partly,
    /// No block is what the card wrote: the mapping shows pages other than
    /// those that the device had.
    Other,
    /// The application can read none of it.
    Nothing,
}

/// What the card read from a buffer that was returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sent {
    /// Every byte is what the process had written when it queued the buffer.
    Written,
    /// Every byte is what the process's memory holds since something was written
    /// to it after that: the card has the pages that the process has.
    Later,
    /// Some blocks are what the process had written, others are not, or the
    /// process cannot tell because it cannot read them.
    Partly,
    /// Every byte is zero, and the process had not written zeros.
    Zeros,
    /// Something else.
    Other,
}

impl Observation {
    /// Returns the usual observation of a buffer: one reads what the other wrote.
    pub const fn data(direction: Direction) -> Self {
        match direction {
            Direction::Capture => Self::Captured(Reads::Written),
            Direction::Output => Self::Sent(Sent::Written),
        }
    }

    /// Returns the observation from the agent's evidence and the frames that
    /// the card wrote or read. If there are two files, it is that of the first.
    pub fn of(flow: Flow, answer: &CellAnswer, card_frames: &CardFrames) -> Self {
        if flow.card() != CardKind::M2m {
            return Self::of_buffer(answer, card_frames);
        }
        let mut queued = answer
            .calls
            .iter()
            .filter(|call| call.name == "VIDIOC_QBUF");
        if !answer.ended.is_hung()
            && let Some(errno) = queued.find_map(|call| call.errno)
        {
            return Self::Refused(errno);
        }
        let ends = flow.ends().iter().enumerate();
        let at = |direction| {
            let is_it = |(_, end): &(usize, &End)| (end.file, end.direction) == (0, direction);
            let number = ends.clone().find(is_it).map_or(0, |(number, _)| number);
            Self::of_buffer(&answer.of_buffer(number), &card_frames.of_buffer(number))
        };
        match (at(Direction::Output), at(Direction::Capture)) {
            (Self::Sent(sent), Self::Captured(reads)) => Self::Converted(sent, reads),
            (Self::Hung, _) => Self::Hung,
            (Self::InError, _) | (_, Self::InError) => Self::InError,
            _ => Self::TakenBack,
        }
    }

    /// Returns the part of the observation that is of a buffer of that direction.
    pub const fn at(self, direction: Direction) -> Self {
        match (self, direction) {
            (Self::Converted(sent, _), Direction::Output) => Self::Sent(sent),
            (Self::Converted(_, reads), Direction::Capture) => Self::Captured(reads),
            _ => self,
        }
    }

    /// Returns the observation of one buffer.
    pub fn of_buffer(answer: &CellAnswer, card_frames: &CardFrames) -> Self {
        if answer.ended.is_hung() {
            return Self::Hung;
        }
        if let Some(errno) = answer.call("VIDIOC_QBUF").and_then(|call| call.errno) {
            return Self::Refused(errno);
        }
        match answer.frames.first() {
            None => Self::TakenBack,
            Some(frame) if frame.flags & BUF_FLAG_ERROR != 0 => Self::InError,
            Some(frame) if frame.sent.is_empty() => Self::Captured(Reads::of(frame, card_frames)),
            Some(frame) => Self::Sent(Sent::of(frame, answer, card_frames)),
        }
    }
}

impl Reads {
    fn of(frame: &FrameSeen, card_frames: &CardFrames) -> Self {
        let written = card_frames.frame(frame);
        let written = written.map_or(&[][..], |plane| &plane.digests);
        let seen = &frame.digests;
        let blocks = seen.len().max(written.len());
        let same = seen.iter().zip(written);
        let same = same.filter(|(seen, written)| **seen == Some(**written));
        match same.count() {
            _ if seen.iter().all(Option::is_none) => Self::Nothing,
            0 => Self::Other,
            same if same == blocks => Self::Written,
            _ => Self::Partly,
        }
    }
}

impl Sent {
    fn of(frame: &FrameSeen, answer: &CellAnswer, card_frames: &CardFrames) -> Self {
        let Some(plane) = card_frames.frame(frame) else {
            return Self::Other;
        };
        let read = &plane.digests;
        let is_read =
            |blocks: &[Option<Digest>]| blocks.iter().copied().eq(read.iter().copied().map(Some));
        let mut same = frame.sent.iter().zip(read);
        match answer.contents_at(Moment::AfterHazard) {
            _ if is_read(&frame.sent) => Self::Written,
            Some(later) if is_read(later) => Self::Later,
            _ if is_zero(plane) => Self::Zeros,
            _ if same.any(|(sent, read)| *sent == Some(*read)) => Self::Partly,
            _ => Self::Other,
        }
    }
}

/// Returns whether all bytes of a plane are zero.
fn is_zero(plane: &PlaneRecord) -> bool {
    let zeros = [0; DIGEST_BLOCK];
    let lengths = (0..plane.bytes as usize).step_by(DIGEST_BLOCK);
    let lengths = lengths.map(|at| DIGEST_BLOCK.min(plane.bytes as usize - at));
    let digests = lengths.map(|length| Digest::of(&zeros[..length]));
    digests.eq(plane.digests.iter().copied())
}

impl fmt::Display for Observation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(errno) => write!(f, "{}", errno_name(*errno)),
            Self::TakenBack => f.write_str("taken back"),
            Self::InError => f.write_str("error flag"),
            Self::Captured(Reads::Written) => f.write_str("data"),
            Self::Captured(Reads::Partly) => f.write_str("part of the data"),
            Self::Captured(Reads::Other) => f.write_str("other pages"),
            Self::Captured(Reads::Nothing) => f.write_str("unreadable"),
            Self::Sent(Sent::Written) => f.write_str("data"),
            Self::Sent(Sent::Later) => f.write_str("later data"),
            Self::Sent(Sent::Partly) => f.write_str("part of the data"),
            Self::Sent(Sent::Zeros) => f.write_str("zeros"),
            Self::Sent(Sent::Other) => f.write_str("other data"),
            Self::Converted(sent, Reads::Written) => Self::Sent(*sent).fmt(f),
            Self::Converted(Sent::Written, reads) => Self::Captured(*reads).fmt(f),
            Self::Converted(sent, reads) => {
                write!(f, "{}, {}", Self::Sent(*sent), Self::Captured(*reads))
            }
            Self::Hung => f.write_str("hung"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::cell::evidence::{CallSeen, ContentsSeen, Ended};

    fn frame(digests: &[Option<u64>]) -> CellAnswer {
        CellAnswer {
            frames: vec![FrameSeen {
                index: 0,
                sequence: 3,
                flags: 0,
                bytesused: 8192,
                digests: digests.iter().map(|d| d.map(Digest)).collect(),
                sent: Vec::new(),
                touched: None,
            }],
            ..CellAnswer::default()
        }
    }

    #[test]
    fn what_is_read_is_held_against_what_was_written() {
        let mut card_frames = CardFrames::default();
        card_frames.add(
            3,
            PlaneRecord {
                bytes: 8192,
                segments: vec![(0x1000, 8192)],
                digests: vec![Digest(1), Digest(2)],
            },
        );
        for (seen, reads) in [
            (&[Some(1), Some(2)][..], Reads::Written),
            (&[Some(1)], Reads::Partly),
            (&[Some(1), Some(2), Some(3)], Reads::Partly),
            (&[Some(1), None], Reads::Partly),
            (&[Some(2), Some(1)], Reads::Other),
            (&[None, None], Reads::Nothing),
        ] {
            let answer = frame(seen);
            assert_eq!(
                Observation::of_buffer(&answer, &card_frames),
                Observation::Captured(reads),
                "{seen:?}"
            );
        }
        // A frame that the card never wrote is no data, whatever it holds.
        let nobody = CardFrames::default();
        assert_eq!(
            Observation::of_buffer(&frame(&[Some(1), Some(2)]), &nobody),
            Observation::Captured(Reads::Other)
        );
    }

    #[test]
    fn what_the_card_read_is_held_against_what_was_written_before_and_after() {
        let zero = Digest::of(&[0; DIGEST_BLOCK]).0;
        let short = Digest::of(&[0; 100]).0;
        for (read, sent) in [
            (&[1, 2][..], Sent::Written),
            (&[3, 4], Sent::Later),
            (&[1, 4], Sent::Partly),
            (&[3, 2], Sent::Partly),
            (&[1], Sent::Partly),
            (&[zero, short], Sent::Zeros),
            (&[zero, zero], Sent::Other),
            (&[5, 6], Sent::Other),
        ] {
            let mut card_frames = CardFrames::default();
            card_frames.add(
                3,
                PlaneRecord {
                    bytes: 4196,
                    segments: vec![(0x1000, 4196)],
                    digests: read.iter().copied().map(Digest).collect(),
                },
            );
            let mut answer = frame(&[Some(3), Some(4)]);
            answer.frames[0].sent = vec![Some(Digest(1)), Some(Digest(2))];
            answer.contents.push(ContentsSeen {
                moment: Moment::AfterHazard,
                digests: answer.frames[0].digests.clone(),
                upside_down: Vec::new(),
                made: None,
            });
            let seen = Observation::of_buffer(&answer, &card_frames);
            assert_eq!(seen, Observation::Sent(sent), "{read:?}");
            let never = Observation::of_buffer(&answer, &CardFrames::default());
            assert_eq!(never, Observation::Sent(Sent::Other));
        }
    }

    #[test]
    fn a_buffer_may_not_come_back() {
        let card_frames = CardFrames::default();
        let mut answer = CellAnswer::default();
        assert_eq!(
            Observation::of_buffer(&answer, &card_frames),
            Observation::TakenBack
        );
        answer.calls.push(CallSeen {
            name: "VIDIOC_QBUF".into(),
            errno: Some(libc::EFAULT),
            at_us: 0,
            took_us: 0,
            queue: 0,
        });
        let refused = Observation::of_buffer(&answer, &card_frames);
        assert_eq!(refused, Observation::Refused(libc::EFAULT));
        assert_eq!(refused.to_string(), "EFAULT");
        for ended in [Ended::TimedOut, Ended::Stuck] {
            answer.ended = ended;
            let hung = Observation::of_buffer(&answer, &card_frames);
            assert_eq!(hung, Observation::Hung);
        }
        let mut flagged = frame(&[Some(1)]);
        flagged.frames[0].flags = BUF_FLAG_ERROR;
        assert_eq!(
            Observation::of_buffer(&flagged, &card_frames),
            Observation::InError
        );
    }

    #[test]
    fn what_came_of_two_buffers_is_told_in_one() {
        let told = |sent, reads| Observation::Converted(sent, reads).to_string();
        assert_eq!(told(Sent::Written, Reads::Written), "data");
        assert_eq!(told(Sent::Written, Reads::Nothing), "unreadable");
        assert_eq!(told(Sent::Later, Reads::Written), "later data");
        assert_eq!(told(Sent::Zeros, Reads::Other), "zeros, other pages");
        let flow = Flow::M2m(crate::agent::cell::Ends::Read);
        let of = |answer: &_| Observation::of(flow, answer, &CardFrames::default());
        let mut answer = frame(&[Some(1)]);
        assert_eq!(of(&answer), Observation::TakenBack, "one came back alone");
        let call = |errno| CallSeen {
            name: "VIDIOC_QBUF".into(),
            errno,
            at_us: 0,
            took_us: 0,
            queue: 0,
        };
        // The second buffer may be the one that is refused.
        answer.calls = vec![call(None), call(Some(libc::EFAULT))];
        assert_eq!(of(&answer), Observation::Refused(libc::EFAULT));
    }
}
