//! The run of the matrix on one kernel: its cells, those of each kind of card
//! in guests that have it, then its mutants.

use std::time::Instant;

use super::cell_job;
use super::error::MatrixError;
use super::guest::CellGuest;
use super::mutation;
use super::name::CellName;
use super::outcome::{CellOutcome, KernelOutcome};
use super::repeat;
pub use super::spec::{Judged, MatrixSpec};
use super::trial;
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
    // The first guest is for what is run first.
    let mut parts = spec.parts();
    let mut refused = Vec::new();
    let guest = loop {
        let testbed = match parts.first() {
            Some((kind, _)) => spec.with_card(*kind),
            None => mutation::first_testbed(spec),
        };
        match trial::boot(&testbed, spec.judged.as_ref(), progress) {
            Ok(guest) => break guest,
            Err(error) if parts.len() > 1 && spec.is_of_the_card(&error) => {
                refused.extend(impossible(parts.remove(0).1, &error));
            }
            Err(error) => return Err(error),
        }
    };
    if let Some(surveyed) = guest.surveyed().filter(|_| !spec.has_card()) {
        parts.retain(|(kind, _)| *kind == surveyed.flow.card());
        if parts.is_empty() {
            return Err(MatrixError::NoCells {
                device: surveyed.device.clone(),
                kind: surveyed.flow.card().name(),
            });
        }
    }
    let device = guest.surveyed();
    let device = device.map(|surveyed| surveyed.report(&spec.testbed));
    let others = spec.testbed.driver.as_ref();
    let loaded = others.map(|_| guest.driver().to_owned());
    let mut outcome = KernelOutcome {
        kernel: guest.place.name().to_owned(),
        release: guest.place.hello().release.clone(),
        driver: device
            .as_ref()
            .map(|device| device.driver.clone())
            .or(loaded),
        device,
        checks: guest.checks.on.keys().copied().collect(),
        blind: None,
        cells: Vec::with_capacity(spec.cells.len()),
        mutants: Vec::new(),
        injected: 0,
        boots: guest.boots,
        elapsed_ms: 0,
        stopped: None,
    };
    for cell in refused {
        outcome.add(cell);
    }
    let cells = parts.into_iter().flat_map(|(_, cells)| cells).collect();
    let ran = all(spec, cells, guest, progress, &mut outcome);
    outcome.cells = repeat::fold(outcome.cells);
    outcome.elapsed_ms = begun.elapsed().as_millis() as u64;
    outcome.stopped = ran.as_ref().err().map(ToString::to_string);
    outcomes.push(outcome);
    ran
}

/// Runs the cells and then the mutants, the first of them in `guest`.
fn all(
    spec: &MatrixSpec,
    cells: Vec<CellName>,
    mut guest: CellGuest,
    progress: &Progress,
    outcome: &mut KernelOutcome,
) -> Result<(), MatrixError> {
    if cells.is_empty() {
        return mutation::run(spec, Some(guest), progress, outcome);
    }
    if let Some((cell, error)) = guest.ended.take() {
        outcome.add(*cell);
        return Err(error);
    }
    let spec = MatrixSpec {
        cells,
        ..spec.clone()
    };
    cell_job::run(&spec, guest, progress, outcome)?;
    mutation::run(&spec, None, progress, outcome)
}

/// Returns the cells of a card that the driver has no use for.
fn impossible(cells: Vec<CellName>, error: &MatrixError) -> impl Iterator<Item = CellOutcome> {
    let why = error.to_string();
    cells
        .into_iter()
        .map(move |cell| CellOutcome::impossible(cell, why.clone()))
}
