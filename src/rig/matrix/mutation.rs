//! Runs the mutants: each cell without the bug, then with it.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use super::error::MatrixError;
use super::guest::CellGuest;
use super::health::GuestState;
use super::jobs::{self, JobOutput, WorkQueue};
use super::leaks;
use super::mutant::Mutant;
use super::name::CellName;
use super::oracle::Oracle;
use super::outcome::{CellOutcome, KernelOutcome, MutantOutcome, MutantVerdict, Verdict};
use super::spec::{Judged, MatrixSpec};
use super::trial;
use crate::card::CardKind;
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
/// first of them run in `first`, if there is such a guest; it is as
/// [`first_testbed`] says.
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
    let mut parts = parts(spec);
    let first_needs = parts.first().map_or_else(Needs::default, |part| part.needs);
    parts.retain_mut(|part| part.is_left_on(version));
    let step = progress.step(format!("running {}", count(spec.mutants.len(), "mutant")));
    let first = Mutex::new(first);
    let (output, ran) = jobs::run(
        &parts,
        spec.jobs(),
        WORTH_A_GUEST,
        &step,
        |queue, output| {
            let mut job = MutantJob {
                testbed: &spec.testbed,
                judged: spec.judged.as_ref(),
                queue,
                output,
                needs: None,
                guest: first.lock().unwrap_or_else(PoisonError::into_inner).take(),
            };
            if job.guest.is_some() {
                job.needs = Some(first_needs);
            }
            while let Some((place, part)) = queue.next_of(job.needs, |part| part.needs) {
                job.turn_to(part.needs);
                let judged = match part.mutant.unseen(version, checks) {
                    Some(why) => MutantOutcome::unseen(part.mutant, why),
                    None => job.judge(part)?,
                };
                job.output.add(place, judged);
            }
            job.finish();
            Ok(())
        },
    );
    outcome.boots += output.boots;
    outcome.mutants.extend(whole(output.results));
    let has_cells = |mutant: &&Mutant| !mutant.cells_without_witness().is_empty();
    let mut others = spec.mutants.iter();
    while let Some(mutant) = others.find(|one| spec.judged.is_some() && !has_cells(one)) {
        let why = "none of its cells can be run without a witness";
        outcome
            .mutants
            .push(MutantOutcome::unseen(*mutant, why.into()));
    }
    ran?;
    step.done();
    Ok(())
}

/// The cells of a mutant that can have the same guest.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Part {
    mutant: Mutant,
    needs: Needs,
    cells: Vec<CellName>,
}

impl Part {
    /// Removes the cells that do not show the bug on a kernel of that version.
    /// Returns whether there are others.
    fn is_left_on(&mut self, kernel: Version) -> bool {
        let mutant = self.mutant;
        self.cells.retain(|cell| mutant.shows_in(cell, kernel));
        !self.cells.is_empty()
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.mutant, self.needs.card.name())
    }
}

/// Returns the parts of the mutants in the order in which they are run: those that
/// can have the same guest together. Those of the cells that need a witness are left
/// out if there is none.
fn parts(spec: &MatrixSpec) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for &mutant in &spec.mutants {
        let cells = match spec.judged {
            None => mutant.cells(),
            Some(_) => mutant.cells_without_witness(),
        };
        for cell in cells {
            let needs = Needs::of(mutant, &cell);
            let mut known = parts.iter_mut();
            match known.find(|part| (part.mutant, part.needs) == (mutant, needs)) {
                Some(part) => part.cells.push(cell),
                None => parts.push(Part {
                    mutant,
                    needs,
                    cells: vec![cell],
                }),
            }
        }
    }
    parts.sort_by_key(|part| part.needs);
    parts
}

/// Returns the outcomes of mutants, each of them once, of those of their parts.
fn whole(parts: Vec<MutantOutcome>) -> Vec<MutantOutcome> {
    let mut whole: Vec<MutantOutcome> = Vec::new();
    for part in parts {
        let mut known = whole.iter_mut();
        match known.find(|one| one.mutant == part.mutant) {
            None => whole.push(part),
            Some(one) => {
                one.verdict = both(one.verdict, part.verdict);
                one.reason = one.reason.take().or(part.reason);
                one.cells.extend(part.cells);
            }
        }
    }
    whole
}

/// Returns the verdict on a mutant of the verdicts on two of its cells, or parts.
fn both(one: MutantVerdict, other: MutantVerdict) -> MutantVerdict {
    let weight = |verdict: &MutantVerdict| match verdict {
        MutantVerdict::Unwitnessed => 0,
        MutantVerdict::Unseen => 1,
        MutantVerdict::Caught => 2,
        MutantVerdict::Missed => 3,
    };
    std::cmp::max_by_key(one, other, weight)
}

/// Returns the testbed of the guest in which the first cell is run.
pub(super) fn first_testbed(spec: &MatrixSpec) -> TestbedSpec {
    let parts = parts(spec);
    let needs = parts.first().map_or_else(Needs::default, |part| part.needs);
    needs.testbed(&spec.testbed)
}

/// What a cell with a mutant needs of its guest, of which a guest has either or
/// not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Needs {
    /// Bounce buffers.
    bounce_buffers: bool,
    /// The kind of the card.
    card: CardKind,
}

impl Needs {
    fn of(mutant: Mutant, cell: &CellName) -> Self {
        Self {
            bounce_buffers: mutant.wants_bounce_buffers(),
            card: cell.card(),
        }
    }

    fn testbed(self, spec: &TestbedSpec) -> TestbedSpec {
        TestbedSpec {
            mutants: true,
            kind: self.card,
            bounce_buffers: self.bounce_buffers,
            ..spec.clone()
        }
    }
}

/// A job: runs mutants one after the other.
struct MutantJob<'a> {
    testbed: &'a TestbedSpec,
    judged: Option<&'a Judged>,
    queue: &'a WorkQueue<'a, Part>,
    output: &'a mut JobOutput<MutantOutcome>,
    /// What the guest has, or the next one is to have; `None` before the first
    /// mutant.
    needs: Option<Needs>,
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
                let spec = self.needs.unwrap_or_default().testbed(self.testbed);
                let guest = trial::boot(&spec, self.judged, &Progress::silent())?;
                self.output.boots += guest.boots;
                guest
            }
        };
        Ok(self.guest.insert(guest))
    }

    /// Sets what the guest has to have. One that does not have it is turned off.
    fn turn_to(&mut self, needs: Needs) {
        if self.needs.replace(needs) != Some(needs) {
            self.finish();
        }
    }

    /// Turns the guest off, if there is one.
    fn finish(&mut self) {
        if let Some(guest) = self.guest.take() {
            guest.finish();
        }
    }

    fn judge(&mut self, part: &Part) -> Result<MutantOutcome, MatrixError> {
        let mut outcome = MutantOutcome {
            mutant: part.mutant,
            verdict: MutantVerdict::Unwitnessed,
            reason: None,
            cells: Vec::new(),
        };
        for cell in &part.cells {
            let missed = match self.control(cell)? {
                Some(why) => Some(why),
                None => {
                    let mutated = self.mutated(part.mutant, cell)?;
                    let green = mutated.verdict != Verdict::Finding;
                    outcome.cells.push(mutated);
                    green.then(|| format!("{cell} does not show it"))
                }
            };
            let needs = part.mutant.needs_witness(cell);
            let (verdict, why) = match (missed, needs.filter(|_| self.judged.is_some())) {
                (None, _) => (MutantVerdict::Caught, None),
                (Some(why), None) => (MutantVerdict::Missed, Some(why)),
                (Some(why), Some(needs)) => {
                    (MutantVerdict::Unwitnessed, Some(format!("{why}: {needs}")))
                }
            };
            let before = outcome.verdict;
            outcome.verdict = both(before, verdict);
            // A miss that counts is told before others.
            let is_first = outcome.reason.is_none();
            if is_first || (verdict == MutantVerdict::Missed && before != verdict) {
                outcome.reason = why;
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
        if state == GuestState::Fit && mutant.oracle(cell) == Oracle::Leaks {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(judged: Option<Judged>) -> MatrixSpec {
        MatrixSpec {
            testbed: TestbedSpec::default(),
            judged,
            cells: Vec::new(),
            mutants: Mutant::ALL.to_vec(),
            jobs: 1,
        }
    }

    #[test]
    fn what_can_have_the_same_guest_is_run_together() {
        let parts = parts(&spec(None));
        assert!(parts.is_sorted_by_key(|part| part.needs));
        for mutant in Mutant::ALL {
            let of_it = parts.iter().filter(|part| part.mutant == *mutant);
            let mut cells: Vec<_> = of_it.flat_map(|part| part.cells.clone()).collect();
            let mut all = mutant.cells();
            cells.sort();
            all.sort();
            assert_eq!(cells, all, "{mutant}");
        }
        let guests: std::collections::BTreeSet<_> = parts.iter().map(|part| part.needs).collect();
        assert_eq!(guests.len(), 5);
    }

    #[test]
    fn without_a_witness_every_kind_of_card_is_booted() {
        let judged = Judged {
            device: "/dev/video0".into(),
            here: false,
        };
        let parts = parts(&spec(Some(judged)));
        for card in [CardKind::Capture, CardKind::Output, CardKind::M2m] {
            assert!(parts.iter().any(|part| part.needs.card == card));
        }
        let mutants: std::collections::BTreeSet<_> = parts.iter().map(|part| part.mutant).collect();
        let without = Mutant::ALL
            .iter()
            .filter(|one| one.cells_without_witness().is_empty());
        assert_eq!(mutants.len() + without.count(), Mutant::ALL.len());
    }

    #[test]
    fn a_mutant_that_is_missed_in_one_direction_is_missed() {
        let part = |verdict, reason: Option<&str>, cells: &[&str]| MutantOutcome {
            mutant: Mutant::SwapPages,
            verdict,
            reason: reason.map(Into::into),
            cells: cells
                .iter()
                .map(|name| CellOutcome::impossible(name.parse().unwrap(), String::new()))
                .collect(),
        };
        let caught = part(MutantVerdict::Caught, None, &["thp"]);
        let missed = part(MutantVerdict::Missed, Some("why"), &["output/thp"]);
        let both = part(MutantVerdict::Missed, Some("why"), &["thp", "output/thp"]);
        assert_eq!(whole(vec![caught.clone(), missed]), [both]);
        assert_eq!(whole(vec![caught.clone()]), std::slice::from_ref(&caught));
        // One direction shows it, and the other cannot.
        let hidden = part(MutantVerdict::Unwitnessed, Some("why"), &["output/thp"]);
        let [both] = &whole(vec![hidden, caught])[..] else {
            panic!()
        };
        assert_eq!(both.verdict, MutantVerdict::Caught);
    }
}
