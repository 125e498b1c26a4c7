//! The specification of a run on one kernel.

use super::mutant::Mutant;
use super::name::CellName;
use crate::rig::testbed::TestbedSpec;

/// The cells and mutants to run on one kernel.
#[derive(Debug, Clone)]
pub struct MatrixSpec {
    /// The guest and its machine; the matrix adds its equipment. A card that is
    /// already running must fill buffers as fast as they come, with the pattern
    /// `integrity`.
    pub testbed: TestbedSpec,
    /// The cells, in the order in which to run them.
    pub cells: Vec<CellName>,
    /// The mutants of the driver to run after them.
    pub mutants: Vec<Mutant>,
    /// Number of guests that run at once, at least 1; if `testbed` uses a
    /// resource that only one guest can have, one guest runs.
    pub jobs: usize,
}

impl MatrixSpec {
    /// Returns how many guests can run cells at once.
    pub(super) fn jobs(&self) -> usize {
        match self.testbed.is_unique() {
            true => 1,
            false => self.jobs,
        }
    }
}
