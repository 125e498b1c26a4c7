//! All that is to be run on one kernel: its cells, then its mutants.

use std::time::Instant;

use super::course;
use super::guest::{Bed, MatrixError};
use super::mutation;
use super::outcome::KernelOutcome;
pub use super::spec::MatrixSpec;
use crate::vm::progress::Progress;

/// Runs the cells and then the mutants. Once its guest has booted, the kernel's
/// outcome is added to `outcomes`, also when it stops with an error after that:
/// what has been seen by then is not lost.
///
/// # Errors
///
/// [`MatrixError`] where no guest can be had to run them in.
pub fn run(
    spec: &MatrixSpec,
    progress: &Progress,
    outcomes: &mut Vec<KernelOutcome>,
) -> Result<(), MatrixError> {
    let begun = Instant::now();
    let bed = Bed::boot(&spec.testbed, progress)?;
    let mut outcome = KernelOutcome {
        kernel: bed.testbed.guest.id.clone(),
        release: bed.testbed.machine.hello().release.clone(),
        driver: spec
            .testbed
            .driver
            .as_ref()
            .map(|_| bed.testbed.driver.clone()),
        checks: bed.checks.on.keys().copied().collect(),
        blind: None,
        cells: Vec::with_capacity(spec.cells.len()),
        mutants: Vec::new(),
        injected: 0,
        boots: bed.boots,
        elapsed_ms: 0,
        stopped: None,
    };
    let ran = course::run(spec, bed, progress, &mut outcome)
        .and_then(|()| mutation::run(spec, progress, &mut outcome));
    outcome.elapsed_ms = begun.elapsed().as_millis() as u64;
    outcome.stopped = ran.as_ref().err().map(ToString::to_string);
    outcomes.push(outcome);
    ran
}
