//! The memory of all the buffers of a cell.

use crate::agent::cell::{Cell, Ends, Flow, Given, Kind};

use super::memory::layout::{Layout, Want};
use super::span::MemoryAccess;
use super::{Stop, memory};

/// The kind of memory at the end that a cell is not about.
const PLAIN: Kind = Kind::AnonTouched;

/// Why memory whose content is known without reading it is not both buffers'.
const UNREADABLE: &str = "memory of this kind must not be read in two buffers";

/// Lays out the memory of a cell's buffers, in their order.
pub fn lay_out(cell: &Cell, want: Want, access: &MemoryAccess) -> Result<Vec<Layout>, Stop> {
    let ends = cell.flow.ends();
    let each = |kind_of: &dyn Fn(usize) -> Kind| {
        let layouts = ends.iter().enumerate().map(|(number, end)| {
            let want = Want {
                direction: end.direction,
                ..want
            };
            memory::lay_out(kind_of(number), want, access)
        });
        layouts.collect()
    };
    match cell.flow {
        Flow::Capture | Flow::Output | Flow::M2m(Ends::TwoFiles) => each(&|_| cell.kind),
        Flow::M2m(Ends::Read | Ends::Written) => each(&|number| match number {
            0 => cell.kind,
            _ => PLAIN,
        }),
        Flow::M2m(Ends::Adjacent) => {
            let (read, written) = side_by_side(cell.kind, want, access)?;
            Ok(vec![read, written])
        }
        Flow::M2m(Ends::Turned) => {
            let (written, read) = side_by_side(cell.kind, want, access)?;
            Ok(vec![read, written])
        }
        Flow::M2m(Ends::InPlace) => {
            let both = memory::lay_out(cell.kind, want, access)?;
            if !both.is_readable() {
                return Err(Stop::Impossible(UNREADABLE.into()));
            }
            let again = both.again();
            Ok(vec![both, again])
        }
    }
}

/// Lays out two buffers in one mapping, the second where the first ends.
fn side_by_side(kind: Kind, want: Want, access: &MemoryAccess) -> Result<(Layout, Layout), Stop> {
    let both = Want {
        length: 2 * want.length,
        ..want
    };
    if kind.given() == Given::Dmabuf {
        return Err(Stop::Impossible(
            "a dma-buf is given from its first byte on: it has no two buffers side by side".into(),
        ));
    }
    let layout = memory::lay_out(kind, both, access)?;
    let unreadable = || Stop::Impossible(UNREADABLE.into());
    layout.split(want.length).ok_or_else(unreadable)
}

#[cfg(test)]
mod tests {
    use crate::agent::cell::PAGE;
    use crate::agent::cell::evidence::{CanaryState, Place};
    use crate::card::Direction;

    use super::*;

    const WANT: Want = Want {
        offset: 17,
        length: 3 * PAGE + 100,
        roomy: false,
        direction: Direction::Output,
    };

    fn laid_out(ends: Ends, kind: Kind, access: &MemoryAccess) -> Vec<Layout> {
        let cell = Cell {
            flow: Flow::M2m(ends),
            ..Cell::new(kind)
        };
        let layouts = lay_out(&cell, WANT, access).unwrap_or_else(|stop| panic!("{stop:?}"));
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
            let dark = lay_out(&cell, WANT, &access);
            assert!(matches!(dark, Err(Stop::Impossible(_))), "{ends}");
        }
    }
}
