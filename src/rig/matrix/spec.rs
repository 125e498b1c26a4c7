//! The specification of a run on one kernel.

use super::error::MatrixError;
use super::mutant::Mutant;
use super::name::CellName;
use crate::card::CardKind;
use crate::rig::testbed::{CardProcess, TestbedSpec};

/// A device that is judged by what a process alone can see, without a witness.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// Path of its node.
    pub device: String,
    /// Whether it is one of this machine; else it is one of the testbed's guest.
    pub here: bool,
}

/// The cells and mutants to run on one kernel.
#[derive(Debug, Clone)]
pub struct MatrixSpec {
    /// The guest and its machine; the matrix adds its equipment, and the kind of
    /// the card as the cells want it. A card that is already running must be of the
    /// kind of all cells, and do with buffers what it has to as fast as they come; a
    /// capture card with the pattern `integrity`.
    pub testbed: TestbedSpec,
    /// The device, if it is judged without a witness.
    pub judged: Option<Judged>,
    /// The cells, in the order in which to run them. The runs of one that is there
    /// several times are judged as one.
    pub cells: Vec<CellName>,
    /// The mutants of the driver to run after them.
    pub mutants: Vec<Mutant>,
    /// Number of guests that run at once, at least 1; if `testbed` uses a
    /// resource that only one guest can have, one guest runs.
    pub jobs: usize,
}

impl MatrixSpec {
    /// Returns the cells of each kind of card, in their order; a guest has one
    /// card. Kinds without cells are left out.
    pub(super) fn parts(&self) -> Vec<(CardKind, Vec<CellName>)> {
        let kinds = [CardKind::Capture, CardKind::Output, CardKind::M2m].into_iter();
        let parts = kinds.map(|kind| {
            let cells = self.cells.iter().copied();
            let of_it = cells.filter(|cell| cell.card() == kind);
            (kind, of_it.collect::<Vec<_>>())
        });
        parts.filter(|(_, cells)| !cells.is_empty()).collect()
    }

    /// Returns the testbed with a card of that kind.
    pub(super) fn with_card(&self, kind: CardKind) -> TestbedSpec {
        TestbedSpec {
            kind,
            ..self.testbed.clone()
        }
    }

    /// Returns whether an error is one of a driver that is not for every kind of card,
    /// as Pinhole's own is.
    pub(super) fn is_of_the_card(&self, error: &MatrixError) -> bool {
        self.has_card() && self.testbed.driver.is_some() && error.is_of_the_driver()
    }

    /// Returns whether there is a card of the cells' kind, and not a device of its own
    /// kind.
    pub(super) fn has_card(&self) -> bool {
        self.testbed.card != CardProcess::Absent && !self.is_here()
    }

    /// Returns whether the cells are run on this machine.
    fn is_here(&self) -> bool {
        self.judged.as_ref().is_some_and(|judged| judged.here)
    }

    /// Returns how many guests can run cells at once.
    pub(super) fn jobs(&self) -> usize {
        match self.testbed.is_unique() || self.is_here() {
            true => 1,
            false => self.jobs,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cells_are_parted_by_what_the_card_does() {
        let cell = |name: &str| name.parse::<CellName>().unwrap();
        let parts = |names: &[&str]| {
            let spec = MatrixSpec {
                testbed: TestbedSpec::default(),
                judged: None,
                cells: names.iter().map(|name| cell(name)).collect(),
                mutants: Vec::new(),
                jobs: 1,
            };
            spec.parts()
        };
        assert_eq!(parts(&[]), []);
        let (thp, heap) = (cell("output/thp"), cell("output/heap"));
        assert_eq!(
            parts(&["output/thp", "hole", "output/heap"]),
            [
                (CardKind::Capture, vec![cell("hole")]),
                (CardKind::Output, vec![thp, heap])
            ]
        );
        let both = (
            CardKind::M2m,
            vec![cell("m2m/read/heap"), cell("m2m/in-place/heap")],
        );
        assert_eq!(
            parts(&["m2m/read/heap", "hole", "m2m/in-place/heap"]),
            [(CardKind::Capture, vec![cell("hole")]), both]
        );
        let outputs = (CardKind::Output, vec![heap, thp]);
        assert_eq!(parts(&["output/heap", "output/thp"]), [outputs]);
    }
}
