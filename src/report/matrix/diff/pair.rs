//! The kernels of two runs that are compared with each other.

use std::collections::{BTreeSet, HashMap};

use serde::Serialize;

use super::change::Change;
use super::said::{Name, Said};
use crate::rig::matrix::outcome::KernelOutcome;
use crate::rig::plural::count;

/// A kernel in one run.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Side<'a> {
    /// Name of the guest.
    pub kernel: &'a str,
    /// Release of its kernel.
    pub release: &'a str,
    /// Name of the driver, if it is not Pinhole's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver: Option<&'a str>,
    /// Number of its cells.
    pub cells: usize,
    #[serde(skip)]
    pub outcome: &'a KernelOutcome,
}

impl<'a> Side<'a> {
    fn of(outcome: &'a KernelOutcome) -> Self {
        Self {
            kernel: &outcome.kernel,
            release: &outcome.release,
            driver: outcome.driver.as_deref(),
            cells: outcome.cells.len(),
            outcome,
        }
    }

    /// Returns everything that was judged, in the order of the run.
    fn said(&self) -> Vec<(Name, Said<'a>)> {
        let cells = self.outcome.cells.iter();
        let cells = cells.map(|cell| (Name::Cell(cell.cell), Said::of_cell(cell)));
        let mutants = self.outcome.mutants.iter();
        let mutants = mutants.map(|one| (Name::Mutant(one.mutant), Said::of_mutant(one)));
        cells.chain(mutants).collect()
    }
}

/// Two kernels, or one in two runs.
#[derive(Debug, Clone, Serialize)]
pub struct Pair<'a> {
    /// The kernel in the first run.
    pub a: Side<'a>,
    /// The kernel in the second run.
    pub b: Side<'a>,
    /// What else is not alike, so that results do not compare as they seem to.
    pub notes: Vec<String>,
}

/// The pairs, and the kernels of each run that are in none.
type Pairs<'a> = (Vec<Pair<'a>>, Vec<Side<'a>>, Vec<Side<'a>>);

/// Pairs the kernels of two runs by their names. If each run has one kernel, these
/// are a pair.
pub fn pairs<'a>(a: &'a [KernelOutcome], b: &'a [KernelOutcome]) -> Pairs<'a> {
    if let ([a], [b]) = (a, b) {
        return (vec![Pair::of(a, b)], Vec::new(), Vec::new());
    }
    let (mut pairs, mut only_a) = (Vec::new(), Vec::new());
    for one in a {
        match b.iter().find(|other| other.kernel == one.kernel) {
            Some(other) => pairs.push(Pair::of(one, other)),
            None => only_a.push(Side::of(one)),
        }
    }
    let is_paired = |other: &&KernelOutcome| a.iter().any(|one| one.kernel == other.kernel);
    let only_b = b.iter().filter(|other| !is_paired(other)).map(Side::of);
    (pairs, only_a, only_b.collect())
}

impl<'a> Pair<'a> {
    fn of(a: &'a KernelOutcome, b: &'a KernelOutcome) -> Self {
        let (a, b) = (Side::of(a), Side::of(b));
        Self {
            notes: notes(a.outcome, b.outcome),
            a,
            b,
        }
    }

    /// Returns its name among the pairs.
    pub fn name(&self) -> String {
        match self.a.kernel == self.b.kernel {
            true => self.a.kernel.to_owned(),
            false => format!("{} → {}", self.a.kernel, self.b.kernel),
        }
    }

    /// Returns what came of everything in both runs, in the order of the first; what
    /// only the second has comes last.
    pub fn changes(&self) -> Vec<(Name, Change<'a>)> {
        let after = self.b.said();
        let mut rest: HashMap<Name, Said<'a>> = after.iter().cloned().collect();
        let mut changes = Vec::new();
        for (name, a) in self.a.said() {
            let b = rest.remove(&name);
            changes.push((name, Change { a: Some(a), b }));
        }
        for (name, _) in after {
            if let Some(b) = rest.remove(&name) {
                changes.push((
                    name,
                    Change {
                        a: None,
                        b: Some(b),
                    },
                ));
            }
        }
        changes
    }
}

/// Returns what else is not alike in two runs: what their kernels check, the oracles
/// that are silent, the checks that gave up, and an early end.
fn notes(a: &KernelOutcome, b: &KernelOutcome) -> Vec<String> {
    let mut notes = Vec::new();
    for (here, of, other) in [("A", a, b), ("B", b, a)] {
        if let Some(why) = &of.stopped {
            notes.push(format!("{here} stopped before the end: {why}"));
        }
        if let Some(why) = &of.blind {
            notes.push(format!("of {here} not all was seen: {why}"));
        }
        let checks = of.checks.difference(&other.checks);
        let checks: Vec<_> = checks.map(ToString::to_string).collect();
        if !checks.is_empty() {
            notes.push(format!("only {here}'s kernel has {}", checks.join(", ")));
        }
        let silent = |outcome: &KernelOutcome| -> BTreeSet<_> {
            outcome.silent().iter().map(|(oracle, _)| *oracle).collect()
        };
        let silent: Vec<_> = silent(of)
            .difference(&silent(other))
            .map(ToString::to_string)
            .collect();
        if !silent.is_empty() {
            notes.push(format!(
                "only in {here} these oracles have nothing to judge: {}",
                silent.join(", ")
            ));
        }
        if of.rounds() != other.rounds() {
            notes.push(format!(
                "{here} ran each cell {}",
                count(of.rounds(), "time")
            ));
        }
    }
    notes
}
