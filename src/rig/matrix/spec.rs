//! What is to be run on one kernel.

use super::mutant::Mutant;
use super::name::CellName;
use crate::rig::testbed::TestbedSpec;

/// Cells for one kernel.
#[derive(Debug, Clone)]
pub struct MatrixSpec {
    /// The guest and its machine; what the matrix itself needs is added. A card
    /// that runs already must fill buffers as fast as they come, with the
    /// pattern `integrity`.
    pub testbed: TestbedSpec,
    /// The cells, in the order in which to run them.
    pub cells: Vec<CellName>,
    /// The mutants of the driver to run after them.
    pub mutants: Vec<Mutant>,
    /// In how many guests at once, at least 1; in one where `testbed` has what
    /// only one guest can have.
    pub jobs: usize,
}

impl MatrixSpec {
    /// In how many guests cells can run at once.
    pub(super) fn jobs(&self) -> usize {
        match self.testbed.is_unique() {
            true => 1,
            false => self.jobs,
        }
    }
}
