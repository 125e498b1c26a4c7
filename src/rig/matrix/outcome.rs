//! Results of the matrix, as they are reported.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::mutant::Mutant;
use super::name::CellName;
use super::observation::Observation;
use super::oracle::{Finding, Oracle};
use super::witness::CardFrames;
use crate::agent::cell::CellAnswer;
use crate::agent::checks::Check;

/// What became of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It came to what was expected, and no oracle objects.
    Expected,
    /// Something is not as it should be.
    Finding,
    /// It could not be set up on this kernel.
    Impossible,
}

/// A cell that was run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CellOutcome {
    /// Which.
    pub cell: CellName,
    /// The result.
    pub verdict: Verdict,
    /// What it came to; nothing if it could not be set up, or its guest broke.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observation: Option<Observation>,
    /// Why that is expected where it is unusual, or why it is impossible.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What the oracles object to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
    /// Time that it took, in milliseconds.
    pub elapsed_ms: u64,
    /// What the agent saw; nothing of a guest that broke.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<CellAnswer>,
    /// What the card wrote.
    #[serde(default, rename = "testified")]
    pub card_frames: CardFrames,
}

/// What became of a mutant of the driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MutantVerdict {
    /// Every one of its cells was as expected without the bug, and a finding
    /// with it.
    Caught,
    /// One of its cells did not show the bug, or was no good without it.
    Missed,
    /// On this kernel the bug makes no difference.
    Unseen,
}

/// A mutant of the driver that was run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MutantOutcome {
    /// Which.
    pub mutant: Mutant,
    /// The result.
    pub verdict: MutantVerdict,
    /// Why it was missed, or cannot be seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Its cells with the bug in the driver: a finding is what is wanted.
    pub cells: Vec<CellOutcome>,
}

impl MutantOutcome {
    /// A mutant that makes no difference, and was not run.
    pub const fn unseen(mutant: Mutant, why: String) -> Self {
        Self {
            mutant,
            verdict: MutantVerdict::Unseen,
            reason: Some(why),
            cells: Vec::new(),
        }
    }

    /// The oracles that saw the bug, each once, in their order.
    pub fn oracles(&self) -> Vec<Oracle> {
        let saw = |oracle: &Oracle| {
            let mut findings = self.cells.iter().flat_map(|cell| &cell.findings);
            findings.any(|finding| finding.oracle == *oracle)
        };
        Oracle::ALL.iter().copied().filter(saw).collect()
    }
}

impl CellOutcome {
    /// A cell that cannot be set up, and was not begun.
    pub fn impossible(cell: CellName, why: String) -> Self {
        Self {
            cell,
            verdict: Verdict::Impossible,
            observation: None,
            reason: Some(why),
            findings: Vec::new(),
            elapsed_ms: 0,
            answer: None,
            card_frames: CardFrames::default(),
        }
    }
}

/// The matrix of one kernel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KernelOutcome {
    /// The guest's name in the catalogue, or `bzimage` if its kernel is the
    /// user's own.
    pub kernel: String,
    /// Its kernel's release.
    pub release: String,
    /// The driver that was judged, if it is not Pinhole's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// What the kernel checks of itself.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub checks: BTreeSet<Check>,
    /// Since when, and why, not everything was seen that the kernel checks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blind: Option<String>,
    /// Every cell that was run.
    pub cells: Vec<CellOutcome>,
    /// Every mutant of the driver that was run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mutants: Vec<MutantOutcome>,
    /// Failures that were injected into calls, in all cells.
    #[serde(default, skip_serializing_if = "is_none")]
    pub injected: usize,
    /// Guests that were booted.
    pub boots: u32,
    /// Time that all of it took, in milliseconds.
    pub elapsed_ms: u64,
    /// Why it stopped before everything that was asked for had been run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<String>,
}

fn is_none(count: &usize) -> bool {
    *count == 0
}

/// How many cells there are of each verdict.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// As expected.
    pub expected: usize,
    /// With findings.
    pub findings: usize,
    /// That could not be set up.
    pub impossible: usize,
    /// Mutants that no oracle saw.
    pub missed: usize,
}

impl KernelOutcome {
    /// Whether there is anything that should not be: a finding, or a mutant that
    /// no oracle saw.
    pub fn is_wrong(&self) -> bool {
        let totals = self.totals();
        totals.findings + totals.missed > 0
    }

    /// The oracles that had nothing to say on this kernel, each with the check
    /// that the kernel lacks.
    pub fn silent(&self) -> Vec<(Oracle, Check)> {
        let oracles = Oracle::ALL.iter();
        let needs = oracles.filter_map(|oracle| Some((*oracle, oracle.check()?)));
        needs
            .filter(|(_, check)| !self.checks.contains(check))
            .collect()
    }

    /// Whether nothing was judged: no cell could be set up.
    pub fn is_untested(&self) -> bool {
        let mut cells = self.cells.iter();
        self.mutants.is_empty() && cells.all(|cell| cell.verdict == Verdict::Impossible)
    }

    /// Adds a cell that was run.
    pub fn add(&mut self, cell: CellOutcome) {
        let injected = cell.answer.as_ref().map_or(0, |it| it.injected.len());
        self.injected += injected;
        self.cells.push(cell);
    }

    /// How many cells there are of each verdict.
    pub fn totals(&self) -> Totals {
        let count = |verdict| {
            let cells = self.cells.iter();
            cells.filter(|cell| cell.verdict == verdict).count()
        };
        Totals {
            expected: count(Verdict::Expected),
            findings: count(Verdict::Finding),
            impossible: count(Verdict::Impossible),
            missed: {
                let missed = |one: &&MutantOutcome| one.verdict == MutantVerdict::Missed;
                self.mutants.iter().filter(missed).count()
            },
        }
    }
}
