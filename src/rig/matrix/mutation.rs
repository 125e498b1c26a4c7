//! Running the mutants: each cell without the bug, then with it.

use std::collections::BTreeSet;

use super::expectation::Version;
use super::health::Fate;
use super::leaks;
use super::mutant::Mutant;
use super::name::CellName;
use super::oracle::Oracle;
use super::outcome::{CellOutcome, KernelOutcome, MutantOutcome, MutantVerdict, Verdict};
use super::run::{Bed, MatrixError};
use crate::agent::checks::Check;
use crate::rig::testbed::TestbedSpec;
use crate::vm::progress::Progress;

/// The driver's parameter that picks the bug, and its value for none.
const PARAMETER: &str = "mutant";
const NONE: &str = "none";

/// The guest in which mutants run.
struct Bench<'a> {
    spec: TestbedSpec,
    /// Nothing where the last one was broken.
    bed: Option<Bed>,
    /// Its kernel, and what that checks of itself.
    version: Version,
    checks: BTreeSet<Check>,
    /// Counts those that were booted.
    boots: &'a mut u32,
}

/// Runs the mutants on the kernel of `testbed`, and adds to `outcome` what
/// becomes of them.
///
/// # Errors
///
/// [`MatrixError`] where no guest can be had to run them in.
pub fn run(
    testbed: &TestbedSpec,
    mutants: &[Mutant],
    progress: &Progress,
    outcome: &mut KernelOutcome,
) -> Result<(), MatrixError> {
    for bounce_buffers in [false, true] {
        let wants = |mutant: &&Mutant| mutant.wants_bounce_buffers() == bounce_buffers;
        let mutants: Vec<_> = mutants.iter().filter(wants).collect();
        if mutants.is_empty() {
            continue;
        }
        let spec = TestbedSpec {
            mutants: true,
            bounce_buffers,
            ..testbed.clone()
        };
        let bed = Bed::boot(&spec, progress)?;
        outcome.boots += bed.boots;
        let mut bench = Bench {
            version: bed.version,
            checks: bed.checks.on.keys().copied().collect(),
            bed: Some(bed),
            spec,
            boots: &mut outcome.boots,
        };
        let step = progress.step(format!("running {} mutants", mutants.len()));
        for (number, mutant) in mutants.iter().enumerate() {
            step.update(mutant.name());
            step.position(number as u64, mutants.len() as u64);
            outcome.mutants.push(bench.judge(**mutant)?);
        }
        step.done();
        if let Some(bed) = bench.bed {
            bed.finish();
        }
    }
    Ok(())
}

impl Bench<'_> {
    /// The guest; a new one where the last was broken.
    fn bed(&mut self) -> Result<&mut Bed, MatrixError> {
        let bed = match self.bed.take() {
            Some(bed) => bed,
            None => {
                let bed = Bed::boot(&self.spec, &Progress::silent())?;
                *self.boots += bed.boots;
                bed
            }
        };
        Ok(self.bed.insert(bed))
    }

    fn judge(&mut self, mutant: Mutant) -> Result<MutantOutcome, MatrixError> {
        let mut outcome = MutantOutcome {
            mutant,
            verdict: MutantVerdict::Caught,
            reason: None,
            cells: Vec::new(),
        };
        outcome.reason = mutant.unseen(self.version, &self.checks);
        if outcome.reason.is_some() {
            outcome.verdict = MutantVerdict::Unseen;
            return Ok(outcome);
        }
        for cell in mutant.cells() {
            let missed = match self.control(&cell)? {
                Some(why) => Some(why),
                None => {
                    let mutated = self.mutated(mutant, &cell)?;
                    let green = mutated.verdict != Verdict::Finding;
                    outcome.cells.push(mutated);
                    green.then(|| format!("{cell} does not show it"))
                }
            };
            if let Some(why) = missed {
                outcome.verdict = MutantVerdict::Missed;
                outcome.reason.get_or_insert(why);
            }
        }
        Ok(outcome)
    }

    /// Runs a cell without any bug. A guest that was damaged by the bugs before
    /// is no good; a new one is. Tells why the cell is no good in that one.
    fn control(&mut self, cell: &CellName) -> Result<Option<String>, MatrixError> {
        let mut fresh = self.bed.is_none();
        loop {
            let (outcome, fate) = self.bed()?.run(cell)?;
            if outcome.verdict == Verdict::Expected {
                return Ok(None);
            }
            if fate != Fate::Fit || !fresh {
                self.bed = None;
            }
            if fresh {
                return Ok(Some(no_good(&outcome)));
            }
            fresh = true;
        }
    }

    /// Runs a cell with the bug in the driver.
    fn mutated(&mut self, mutant: Mutant, cell: &CellName) -> Result<CellOutcome, MatrixError> {
        let bed = self.bed()?;
        bed.set(PARAMETER, mutant.name())?;
        let (mut outcome, mut fate) = bed.run(cell)?;
        if fate == Fate::Fit {
            fate = bed.aftermath(&mut outcome)?;
        }
        if fate == Fate::Fit && mutant.oracle() == Oracle::Leaks {
            fate = leaks::search(bed, std::slice::from_mut(&mut outcome), fate)?;
        }
        // A guest in which that does not work any more is broken, too.
        if fate != Fate::Fit || bed.set(PARAMETER, NONE).is_err() {
            self.bed = None;
        }
        Ok(outcome)
    }
}

/// Why a cell cannot show a bug.
fn no_good(outcome: &CellOutcome) -> String {
    let why = match outcome.findings.first() {
        Some(finding) => format!("{}: {}", finding.oracle, finding.what),
        None => outcome.reason.clone().unwrap_or_default(),
    };
    format!("{} is no good without the bug: {why}", outcome.cell)
}
