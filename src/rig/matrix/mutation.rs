//! Runs the mutants: each cell without the bug, then with it.

use std::sync::{Mutex, PoisonError};

use super::guest::{CellGuest, MatrixError};
use super::health::GuestState;
use super::jobs::{self, JobOutput, WorkQueue};
use super::leaks;
use super::mutant::Mutant;
use super::name::CellName;
use super::oracle::Oracle;
use super::outcome::{CellOutcome, KernelOutcome, MutantOutcome, MutantVerdict, Verdict};
use super::spec::MatrixSpec;
use crate::rig::kernel::Version;
use crate::rig::plural::count;
use crate::rig::testbed::TestbedSpec;
use crate::vm::progress::Progress;

/// The driver's parameter that selects the bug, and its value for no bug.
const PARAMETER: &str = "mutant";
const NONE: &str = "none";

/// Number of mutants that take about as long as to boot a guest.
const WORTH_A_GUEST: usize = 4;

/// Runs the mutants on the kernel of `outcome`, and adds their results to it. The
/// first of them run in `first`, if there is such a guest; its driver has the
/// mutants.
///
/// # Errors
///
/// [`MatrixError`] if no guest can be booted to run them in.
pub fn run(
    spec: &MatrixSpec,
    first: Option<CellGuest>,
    progress: &Progress,
    outcome: &mut KernelOutcome,
) -> Result<(), MatrixError> {
    if spec.mutants.is_empty() {
        return Ok(());
    }
    let version = Version::of(&outcome.release)
        .ok_or_else(|| MatrixError::Release(outcome.release.clone()))?;
    let checks = &outcome.checks;
    // A guest either has bounce buffers or not, so the mutants that want them
    // come last.
    let mut mutants = spec.mutants.clone();
    mutants.sort_by_key(|mutant| mutant.wants_bounce_buffers());
    let step = progress.step(format!("running {}", count(mutants.len(), "mutant")));
    let first = Mutex::new(first);
    let (output, ran) = jobs::run(
        &mutants,
        spec.jobs(),
        WORTH_A_GUEST,
        &step,
        |queue, output| {
            let mut job = MutantJob {
                testbed: &spec.testbed,
                queue,
                output,
                bounce_buffers: false,
                guest: first.lock().unwrap_or_else(PoisonError::into_inner).take(),
            };
            while let Some((place, mutant)) = queue.next() {
                let judged = match mutant.unseen(version, checks) {
                    Some(why) => MutantOutcome::unseen(*mutant, why),
                    None => job.judge(*mutant)?,
                };
                job.output.add(place, judged);
            }
            job.finish();
            Ok(())
        },
    );
    outcome.boots += output.boots;
    outcome.mutants.extend(output.results);
    ran?;
    step.done();
    Ok(())
}

/// A job: runs mutants one after the other.
struct MutantJob<'a> {
    testbed: &'a TestbedSpec,
    queue: &'a WorkQueue<'a, Mutant>,
    output: &'a mut JobOutput<MutantOutcome>,
    /// Whether the guest has bounce buffers.
    bounce_buffers: bool,
    /// The guest; `None` if the last one was broken, or does not suit the next
    /// mutant.
    guest: Option<CellGuest>,
}

impl MutantJob<'_> {
    /// Returns the guest; boots one if there is no usable one.
    fn guest(&mut self) -> Result<&mut CellGuest, MatrixError> {
        let guest = match self.guest.take() {
            Some(guest) => guest,
            None => {
                self.queue.update("booting a guest");
                let spec = TestbedSpec {
                    mutants: true,
                    bounce_buffers: self.bounce_buffers,
                    ..self.testbed.clone()
                };
                let guest = CellGuest::boot(&spec, &Progress::silent())?;
                self.output.boots += guest.boots;
                guest
            }
        };
        Ok(self.guest.insert(guest))
    }

    /// Turns the guest off, if there is one.
    fn finish(&mut self) {
        if let Some(guest) = self.guest.take() {
            guest.finish();
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

    /// Runs a cell without any bug. A guest that earlier bugs damaged is
    /// replaced. Returns why the cell is not usable if it fails in a new guest
    /// as well.
    fn control(&mut self, cell: &CellName) -> Result<Option<String>, MatrixError> {
        let mut fresh = self.guest.is_none();
        loop {
            let (outcome, state) = self.guest()?.run(cell)?;
            if outcome.verdict == Verdict::Expected {
                return Ok(None);
            }
            if state != GuestState::Fit || !fresh {
                self.guest = None;
            }
            if fresh {
                return Ok(Some(no_good(&outcome)));
            }
            fresh = true;
        }
    }

    /// Runs a cell with the bug in the driver.
    fn mutated(&mut self, mutant: Mutant, cell: &CellName) -> Result<CellOutcome, MatrixError> {
        let guest = self.guest()?;
        guest.set(PARAMETER, mutant.name())?;
        let (mut outcome, mut state) = guest.run(cell)?;
        if state == GuestState::Fit {
            state = guest.aftermath(&mut outcome)?;
        }
        if state == GuestState::Fit && mutant.oracle() == Oracle::Leaks {
            state = leaks::search(guest, std::slice::from_mut(&mut outcome), state)?;
        }
        // A guest in which the parameter cannot be reset is broken, too.
        if state != GuestState::Fit || guest.set(PARAMETER, NONE).is_err() {
            self.guest = None;
        }
        Ok(outcome)
    }
}

/// Returns why a cell cannot show a bug.
fn no_good(outcome: &CellOutcome) -> String {
    let why = match outcome.findings.first() {
        Some(finding) => format!("{}: {}", finding.oracle, finding.what),
        None => outcome.reason.clone().unwrap_or_default(),
    };
    format!("{} is no good without the bug: {why}", outcome.cell)
}
