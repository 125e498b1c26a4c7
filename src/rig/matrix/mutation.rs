//! Running the mutants: each cell without the bug, then with it.

use super::deal::{self, Deal, Share};
use super::guest::{Bed, MatrixError};
use super::health::Fate;
use super::leaks;
use super::mutant::Mutant;
use super::name::CellName;
use super::oracle::Oracle;
use super::outcome::{CellOutcome, KernelOutcome, MutantOutcome, MutantVerdict, Verdict};
use super::spec::MatrixSpec;
use crate::rig::kernel::Version;
use crate::rig::testbed::TestbedSpec;
use crate::vm::progress::Progress;

/// The driver's parameter that picks the bug, and its value for none.
const PARAMETER: &str = "mutant";
const NONE: &str = "none";

/// Runs the mutants on the kernel of `outcome`, and adds to it what becomes of
/// them.
///
/// # Errors
///
/// [`MatrixError`] where no guest can be had to run them in.
pub fn run(
    spec: &MatrixSpec,
    progress: &Progress,
    outcome: &mut KernelOutcome,
) -> Result<(), MatrixError> {
    if spec.mutants.is_empty() {
        return Ok(());
    }
    let version = Version::of(&outcome.release)
        .ok_or_else(|| MatrixError::Release(outcome.release.clone()))?;
    let checks = &outcome.checks;
    // A guest has bounce buffers or not: those that want them come last.
    let mut mutants = spec.mutants.clone();
    mutants.sort_by_key(|mutant| mutant.wants_bounce_buffers());
    let step = progress.step(format!("running {} mutants", mutants.len()));
    let (share, ran) = deal::out(&mutants, spec.jobs(), &step, |deal, share| {
        let mut bench = Bench {
            testbed: &spec.testbed,
            deal,
            share,
            bounce_buffers: false,
            bed: None,
        };
        while let Some((place, mutant)) = deal.next() {
            let judged = match mutant.unseen(version, checks) {
                Some(why) => MutantOutcome::unseen(*mutant, why),
                None => bench.judge(*mutant)?,
            };
            bench.share.add(place, judged);
        }
        bench.finish();
        Ok(())
    });
    outcome.boots += share.boots;
    outcome.mutants.extend(share.results);
    ran?;
    step.done();
    Ok(())
}

/// A job: mutants one after the other.
struct Bench<'a> {
    testbed: &'a TestbedSpec,
    deal: &'a Deal<'a, Mutant>,
    share: &'a mut Share<MutantOutcome>,
    /// Whether the guest has them.
    bounce_buffers: bool,
    /// Nothing where the last one was broken, or is not what a mutant wants.
    bed: Option<Bed>,
}

impl Bench<'_> {
    /// The guest; a new one where there is none that is any good.
    fn bed(&mut self) -> Result<&mut Bed, MatrixError> {
        let bed = match self.bed.take() {
            Some(bed) => bed,
            None => {
                self.deal.update("booting a guest");
                let spec = TestbedSpec {
                    mutants: true,
                    bounce_buffers: self.bounce_buffers,
                    ..self.testbed.clone()
                };
                let bed = Bed::boot(&spec, &Progress::silent())?;
                self.share.boots += bed.boots;
                bed
            }
        };
        Ok(self.bed.insert(bed))
    }

    /// Turns the guest off, if there is one.
    fn finish(&mut self) {
        if let Some(bed) = self.bed.take() {
            bed.finish();
        }
    }

    fn judge(&mut self, mutant: Mutant) -> Result<MutantOutcome, MatrixError> {
        let mut outcome = MutantOutcome {
            mutant,
            verdict: MutantVerdict::Caught,
            reason: None,
            cells: Vec::new(),
        };
        if mutant.wants_bounce_buffers() != self.bounce_buffers {
            self.finish();
            self.bounce_buffers = mutant.wants_bounce_buffers();
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
