//! Which way the frames of a cell go, and the buffers that it has for them.

use serde::{Deserialize, Serialize};

use super::{Given, Hazard, Kind, Schedule};
use crate::card::{CardKind, Direction};

table! {
    /// Where the two buffers of a mem-to-mem card's job lie.
    Ends:
    Read = "read", "the card reads memory of that kind, and writes to anonymous memory";
    Written = "written", "the card writes to memory of that kind, and reads anonymous memory";
    Adjacent = "adjacent", "both buffers are in one mapping, the one that is read first; the other begins where it ends";
    Turned = "turned", "both buffers are in one mapping, the one that is written to first; the other begins where it ends";
    InPlace = "in-place", "the card writes to the very buffer that it reads";
    TwoFiles = "two-files", "two open files, each with buffers of its own, stream at once; the hazard is to the first";
}

/// Which way the frames of a cell go.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Flow {
    /// The card writes them into memory.
    #[default]
    Capture,
    /// The card reads them from memory.
    Output,
    /// The card reads them from memory, and writes them into memory.
    M2m(Ends),
}

/// One of a cell's buffers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// The open file that has it: 0 or 1.
    pub file: usize,
    /// Which way the card's frames go.
    pub direction: Direction,
}

impl End {
    const fn of(file: usize, direction: Direction) -> Self {
        Self { file, direction }
    }

    /// Returns what it is called beside others.
    pub const fn name(self) -> &'static str {
        match (self.file, self.direction) {
            (0, Direction::Output) => "OUTPUT",
            (0, Direction::Capture) => "CAPTURE",
            (_, Direction::Output) => "OUTPUT of the second file",
            (_, Direction::Capture) => "CAPTURE of the second file",
        }
    }
}

const READ: End = End::of(0, Direction::Output);
const WRITTEN: End = End::of(0, Direction::Capture);
const READ_TOO: End = End::of(1, Direction::Output);
const WRITTEN_TOO: End = End::of(1, Direction::Capture);

impl Flow {
    /// Returns the kind of the card.
    pub const fn card(self) -> CardKind {
        match self {
            Self::Capture => CardKind::Capture,
            Self::Output => CardKind::Output,
            Self::M2m(_) => CardKind::M2m,
        }
    }

    /// Returns whether the card only writes.
    pub fn is_capture(&self) -> bool {
        *self == Self::Capture
    }

    /// Returns the cell's buffers. The first is the one that the kind of memory and
    /// the hazard are about.
    pub const fn ends(self) -> &'static [End] {
        match self {
            Self::Capture => &[WRITTEN],
            Self::Output => &[READ],
            Self::M2m(Ends::Written) => &[WRITTEN, READ],
            Self::M2m(Ends::TwoFiles) => &[READ, WRITTEN, READ_TOO, WRITTEN_TOO],
            Self::M2m(_) => &[READ, WRITTEN],
        }
    }

    /// Returns the buffers of a cell with that schedule, or without one. Those of a
    /// schedule are two of the same queue, and the hazard is to the first one's memory.
    pub const fn ends_by(self, schedule: Option<Schedule>) -> &'static [End] {
        match (self, schedule) {
            (Self::Capture, Some(_)) => &[WRITTEN, WRITTEN],
            (Self::Output, Some(_)) => &[READ, READ],
            (_, _) => self.ends(),
        }
    }

    /// Returns why cells of that kind and hazard have no schedules, a part of a sentence;
    /// `None` if they do.
    pub fn without_schedules(self, kind: Kind, hazard: Hazard) -> Option<&'static str> {
        if matches!(self, Self::M2m(_)) {
            return Some("the buffers of a mem-to-mem card are of two queues");
        }
        if kind.given() != Given::UserPointer {
            return Some("a dma-buf is pinned by nobody");
        }
        match hazard {
            Hazard::None => Some("a schedule is about a hazard, and there is none"),
            Hazard::FailNth => Some("it is to a call, and not to the memory"),
            Hazard::MmapContention | Hazard::QueuedTwice => Some("it queues buffers of its own"),
            _ if !hazard.leaves_a_stream() => Some("it ends the stream, and the steps with it"),
            _ => None,
        }
    }

    /// Returns what the buffer of that number is called beside the others
    /// ([`ends_by`](Self::ends_by)).
    pub fn name_of(self, schedule: Option<Schedule>, number: usize) -> &'static str {
        match (schedule, number) {
            (Some(_), 0) => "the first buffer",
            (Some(_), _) => "the second buffer",
            (None, _) => self.ends().get(number).map_or("", |end| end.name()),
        }
    }

    /// Returns the number of the buffer of an open file whose frames go that way, counted
    /// from 0, if the cell has one.
    pub fn number_of(self, file: usize, direction: Direction) -> Option<usize> {
        let mut ends = self.ends().iter();
        ends.position(|end| (end.file, end.direction) == (file, direction))
    }

    /// Returns which way the frames of the first buffer go.
    pub const fn subject(self) -> Direction {
        self.ends()[0].direction
    }

    /// Returns whether the card turns the frames upside down: the buffer that it writes
    /// to would else hold what it is to write before it does.
    pub fn turns_frames(self) -> bool {
        self == Self::M2m(Ends::InPlace)
    }

    /// Returns whether cells of it have that hazard. The cells of a mem-to-mem card
    /// have one buffer at each end, and no failures: pinning fails there as it does
    /// for the other cards. A system that slept has ended the streams of both files.
    pub const fn has(self, hazard: Hazard) -> bool {
        !matches!(
            (self, hazard),
            (
                Self::M2m(_),
                Hazard::MmapContention | Hazard::QueuedTwice | Hazard::FailNth
            ) | (Self::M2m(Ends::TwoFiles), Hazard::Suspend)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_buffer_is_what_the_cell_is_about() {
        assert_eq!(Flow::Capture.ends(), [WRITTEN]);
        assert_eq!(Flow::Output.ends(), [READ]);
        assert_eq!(Flow::M2m(Ends::Written).ends(), [WRITTEN, READ]);
        assert_eq!(
            Flow::M2m(Ends::Written).number_of(0, Direction::Output),
            Some(1)
        );
        assert_eq!(
            Flow::M2m(Ends::TwoFiles).number_of(1, Direction::Output),
            Some(2)
        );
        assert_eq!(Flow::Capture.number_of(0, Direction::Output), None);
        for ends in Ends::ALL {
            let flow = Flow::M2m(*ends);
            assert_eq!(flow.card(), CardKind::M2m);
            for file in flow.ends().chunk_by(|one, next| one.file == next.file) {
                let [one, other] = file else {
                    panic!("{ends}: {file:?}")
                };
                assert_ne!(one.direction, other.direction, "{ends}");
            }
            assert!(
                flow.has(Hazard::Munmap)
                    && !flow.has(Hazard::FailNth)
                    && !flow.has(Hazard::QueuedTwice)
            );
        }
        assert!(Flow::Output.has(Hazard::MmapContention));
        let sleeps = |ends| Flow::M2m(ends).has(Hazard::Suspend);
        assert!(sleeps(Ends::Read) && !sleeps(Ends::TwoFiles));
        let turned = Ends::ALL
            .iter()
            .filter(|ends| Flow::M2m(**ends).turns_frames());
        assert_eq!(turned.collect::<Vec<_>>(), [&Ends::InPlace]);
    }
}
