//! The run of the matrix on one kernel: its cells, then its mutants.

use std::time::Instant;

use super::cell_job;
use super::guest::{CellGuest, MatrixError};
use super::mutation;
use super::outcome::KernelOutcome;
pub use super::spec::MatrixSpec;
use crate::rig::testbed::TestbedSpec;
use crate::vm::progress::Progress;

/// Runs the cells and then the mutants. Once its guest has booted, the kernel's
/// outcome is added to `outcomes`, even if a later error stops the run, so that
/// the results so far are not lost.
///
/// # Errors
///
/// [`MatrixError`] if no guest can be booted to run them in.
pub fn run(
    spec: &MatrixSpec,
    progress: &Progress,
    outcomes: &mut Vec<KernelOutcome>,
) -> Result<(), MatrixError> {
    let begun = Instant::now();
    // The first guest is for what is run first; the mutants' has the driver that
    // has them.
    let testbed = TestbedSpec {
        mutants: spec.cells.is_empty(),
        ..spec.testbed.clone()
    };
    let guest = CellGuest::boot(&testbed, progress)?;
    let mut outcome = KernelOutcome {
        kernel: guest.testbed.guest.id.clone(),
        release: guest.testbed.machine.hello().release.clone(),
        driver: spec
            .testbed
            .driver
            .as_ref()
            .map(|_| guest.testbed.driver.clone()),
        checks: guest.checks.on.keys().copied().collect(),
        blind: None,
        cells: Vec::with_capacity(spec.cells.len()),
        mutants: Vec::new(),
        injected: 0,
        boots: guest.boots,
        elapsed_ms: 0,
        stopped: None,
    };
    let ran = match spec.cells.is_empty() {
        true => mutation::run(spec, Some(guest), progress, &mut outcome),
        false => cell_job::run(spec, guest, progress, &mut outcome)
            .and_then(|()| mutation::run(spec, None, progress, &mut outcome)),
    };
    outcome.elapsed_ms = begun.elapsed().as_millis() as u64;
    outcome.stopped = ran.as_ref().err().map(ToString::to_string);
    outcomes.push(outcome);
    ran
}
