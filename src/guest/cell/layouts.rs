//! The memory of all the buffers of a cell.

use crate::agent::cell::{Cell, Ends, Flow, Given, Kind};
use crate::card::Direction;

use super::memory::layout::{Layout, Want};
use super::span::MemoryAccess;
use super::{Stop, memory};

/// The kind of memory at the end that a cell is not about.
const PLAIN: Kind = Kind::AnonTouched;

/// Why memory whose content is known without reading it is not both buffers'.
const UNREADABLE: &str = "memory of this kind must not be read in two buffers";

/// The lengths of a cell's buffers in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Lengths {
    /// Of one that the device reads.
    pub read: usize,
    /// Of one that it writes to.
    pub written: usize,
}

impl Lengths {
    /// Returns the length of a buffer whose frames go in that direction.
    const fn of(self, direction: Direction) -> usize {
        match direction {
            Direction::Output => self.read,
            Direction::Capture => self.written,
        }
    }
}

/// Lays out the memory of a cell's buffers of those lengths, in their order; `want` says
/// the rest.
pub fn lay_out(
    cell: &Cell,
    want: Want,
    lengths: Lengths,
    access: &MemoryAccess,
) -> Result<Vec<Layout>, Stop> {
    let ends = cell.ends();
    let each = |kind_of: &dyn Fn(usize) -> Kind| {
        let layouts = ends.iter().enumerate().map(|(number, end)| {
            let want = Want {
                direction: end.direction,
                length: lengths.of(end.direction),
                ..want
            };
            memory::lay_out(kind_of(number), want, access)
        });
        layouts.collect()
    };
    let Lengths { read, written } = lengths;
    match cell.flow {
        Flow::Capture | Flow::Output | Flow::M2m(Ends::TwoFiles) => each(&|_| cell.kind),
        Flow::M2m(Ends::Read | Ends::Written) => each(&|number| match number {
            0 => cell.kind,
            _ => PLAIN,
        }),
        Flow::M2m(Ends::Adjacent) => {
            let (read, written) = side_by_side(cell.kind, want, (read, written), access)?;
            Ok(vec![read, written])
        }
        Flow::M2m(Ends::Turned) => {
            let (written, read) = side_by_side(cell.kind, want, (written, read), access)?;
            Ok(vec![read, written])
        }
        Flow::M2m(Ends::InPlace) => {
            let want = Want {
                length: read.max(written),
                ..want
            };
            let mut both = memory::lay_out(cell.kind, want, access)?;
            if !both.is_readable() {
                return Err(Stop::Impossible(UNREADABLE.into()));
            }
            let mut again = both.again();
            again.buffer = both.buffer.part(0, written);
            both.buffer.len = read;
            Ok(vec![both, again])
        }
    }
}

/// Lays out two buffers of those lengths in one mapping, the second where the first ends.
fn side_by_side(
    kind: Kind,
    want: Want,
    (first, second): (usize, usize),
    access: &MemoryAccess,
) -> Result<(Layout, Layout), Stop> {
    let both = Want {
        length: first + second,
        ..want
    };
    if kind.given() == Given::Dmabuf {
        return Err(Stop::Impossible(
            "a dma-buf is given from its first byte on: it has no two buffers side by side".into(),
        ));
    }
    let layout = memory::lay_out(kind, both, access)?;
    let unreadable = || Stop::Impossible(UNREADABLE.into());
    layout.split(first).ok_or_else(unreadable)
}

#[cfg(test)]
mod tests {
    use crate::agent::cell::PAGE;
    use crate::agent::cell::evidence::{CanaryState, Place};

    use super::*;

    const WANT: Want = Want {
        offset: 17,
        length: 3 * PAGE + 100,
        roomy: false,
        direction: Direction::Output,
    };

    const SAME: Lengths = Lengths {
        read: WANT.length,
        written: WANT.length,
    };

    fn laid_out(ends: Ends, kind: Kind, access: &MemoryAccess) -> Vec<Layout> {
        let cell = Cell {
            flow: Flow::M2m(ends),
            ..Cell::new(kind)
        };
        let layouts = lay_out(&cell, WANT, SAME, access).unwrap_or_else(|stop| panic!("{stop:?}"));
        assert_eq!(layouts.len(), cell.flow.ends().len());
        for layout in &layouts {
            assert_eq!(layout.buffer.len, WANT.length);
        }
        layouts
    }

    #[test]
    fn two_buffers_of_one_mapping_meet_within_a_page() {
        let access = MemoryAccess::new().unwrap();
        for ends in [Ends::Adjacent, Ends::Turned] {
            for kind in [Kind::AnonTouched, Kind::MemfdShared] {
                let mut layouts = laid_out(ends, kind, &access);
                if ends == Ends::Turned {
                    layouts.reverse();
                }
                let [one, other] = &layouts[..] else { panic!() };
                assert_eq!(one.buffer.start % PAGE, 17);
                assert_eq!(one.buffer.end(), other.buffer.start);
                assert_ne!(other.buffer.start % PAGE, 0);
                // A device that fills one of them does not touch the other, nor what is
                // around the two.
                let before = one.content(&access);
                access
                    .write(other.buffer.start, &vec![1; other.buffer.len])
                    .unwrap();
                assert_eq!(one.content(&access), before);
                let seen = |layout: &Layout| layout.canaries(&access).collect::<Vec<_>>();
                let (first, last) = (seen(one), seen(other));
                assert_eq!((first.len(), last.len()), (1, 1));
                assert_eq!(first[0].place, Place::Before);
                assert_eq!(last[0].place, Place::After);
                assert_eq!(first[0].state, CanaryState::Intact);
                assert_eq!(last[0].state, CanaryState::Intact);
                assert_eq!(last[0].address as usize, other.buffer.end());
            }
        }
    }

    #[test]
    fn one_buffer_may_be_both() {
        let access = MemoryAccess::new().unwrap();
        let layouts = laid_out(Ends::InPlace, Kind::Heap, &access);
        assert_eq!(layouts[0].buffer, layouts[1].buffer);
        assert_eq!(layouts[0].canaries(&access).count(), 2);
        assert_eq!(layouts[1].canaries(&access).count(), 0);
    }

    #[test]
    fn the_other_end_is_plain_memory() {
        let access = MemoryAccess::new().unwrap();
        let layouts = laid_out(Ends::Written, Kind::ReadOnly, &access);
        let write = |layout: &Layout| access.write(layout.buffer.start, &[1]);
        assert!(write(&layouts[0]).is_err());
        assert!(write(&layouts[1]).is_ok());
        let four = laid_out(Ends::TwoFiles, Kind::ReadOnly, &access);
        assert!(four.iter().all(|layout| write(layout).is_err()));
    }

    #[test]
    fn memory_that_must_not_be_read_is_not_both_buffers() {
        let access = MemoryAccess::new().unwrap();
        for ends in [Ends::Adjacent, Ends::InPlace] {
            let cell = Cell {
                flow: Flow::M2m(ends),
                ..Cell::new(Kind::ProtNoneTail)
            };
            let dark = lay_out(&cell, WANT, SAME, &access);
            assert!(matches!(dark, Err(Stop::Impossible(_))), "{ends}");
        }
    }

    #[test]
    fn the_two_ends_may_be_of_two_lengths() {
        let access = MemoryAccess::new().unwrap();
        let lengths = Lengths {
            read: 2 * PAGE + 50,
            written: PAGE + 7,
        };
        for ends in Ends::ALL {
            let cell = Cell {
                flow: Flow::M2m(*ends),
                ..Cell::new(Kind::AnonTouched)
            };
            let layouts = lay_out(&cell, WANT, lengths, &access).unwrap();
            for (layout, end) in layouts.iter().zip(cell.flow.ends()) {
                assert_eq!(layout.buffer.len, lengths.of(end.direction), "{ends}");
            }
            let meet = match ends {
                Ends::Adjacent => layouts[0].buffer.end() == layouts[1].buffer.start,
                Ends::Turned => layouts[1].buffer.end() == layouts[0].buffer.start,
                Ends::InPlace => layouts[1].buffer.start == layouts[0].buffer.start,
                Ends::Read | Ends::Written | Ends::TwoFiles => true,
            };
            assert!(meet, "{ends}");
        }
    }
}
