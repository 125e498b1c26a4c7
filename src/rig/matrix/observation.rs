//! The observed outcome of a cell: a summary of the agent's evidence and the
//! card's witness.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::witness::CardFrames;
use crate::agent::cell::CellAnswer;
use crate::agent::cell::evidence::{Ended, FrameSeen};
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

impl Observation {
    /// Returns the observation from the agent's evidence and the frames that
    /// the card wrote.
    pub fn of(answer: &CellAnswer, card_frames: &CardFrames) -> Self {
        if answer.ended == Ended::TimedOut {
            return Self::Hung;
        }
        if let Some(errno) = answer.call("VIDIOC_QBUF").and_then(|call| call.errno) {
            return Self::Refused(errno);
        }
        match answer.frames.first() {
            None => Self::TakenBack,
            Some(frame) if frame.flags & BUF_FLAG_ERROR != 0 => Self::InError,
            Some(frame) => Self::Captured(Reads::of(frame, card_frames)),
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
            Self::Hung => f.write_str("hung"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::cell::evidence::CallSeen;
    use crate::card::witness::PlaneRecord;
    use crate::dma::Digest;

    fn frame(digests: &[Option<u64>]) -> CellAnswer {
        CellAnswer {
            frames: vec![FrameSeen {
                index: 0,
                sequence: 3,
                flags: 0,
                bytesused: 8192,
                digests: digests.iter().map(|d| d.map(Digest)).collect(),
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
                Observation::of(&answer, &card_frames),
                Observation::Captured(reads),
                "{seen:?}"
            );
        }
        // A frame that the card never wrote is no data, whatever it holds.
        let nobody = CardFrames::default();
        assert_eq!(
            Observation::of(&frame(&[Some(1), Some(2)]), &nobody),
            Observation::Captured(Reads::Other)
        );
    }

    #[test]
    fn a_buffer_may_not_come_back() {
        let card_frames = CardFrames::default();
        let mut answer = CellAnswer::default();
        assert_eq!(
            Observation::of(&answer, &card_frames),
            Observation::TakenBack
        );
        answer.calls.push(CallSeen {
            name: "VIDIOC_QBUF".into(),
            errno: Some(libc::EFAULT),
            at_us: 0,
            took_us: 0,
        });
        let refused = Observation::of(&answer, &card_frames);
        assert_eq!(refused, Observation::Refused(libc::EFAULT));
        assert_eq!(refused.to_string(), "EFAULT");
        answer.ended = Ended::TimedOut;
        assert_eq!(Observation::of(&answer, &card_frames), Observation::Hung);
        let mut flagged = frame(&[Some(1)]);
        flagged.frames[0].flags = BUF_FLAG_ERROR;
        assert_eq!(
            Observation::of(&flagged, &card_frames),
            Observation::InError
        );
    }
}
