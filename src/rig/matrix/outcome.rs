//! Results of the matrix, in the form of the report.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::cells::{self, judged};
use super::mutant::Mutant;
use super::name::CellName;
use super::observation::Observation;
use super::oracle::{Finding, Oracle};
use super::witness::CardFrames;
use crate::agent::cell::{CellAnswer, Scope};
use crate::agent::checks::Check;

/// The verdict on a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The outcome was as expected, and no oracle objects.
    Expected,
    /// At least one oracle objects.
    Finding,
    /// The cell could not be set up on this kernel.
    Impossible,
}

/// A cell that was run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CellOutcome {
    /// Name of the cell.
    pub cell: CellName,
    /// The verdict.
    pub verdict: Verdict,
    /// The observed outcome; `None` if the cell could not be set up, or its
    /// guest broke.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observation: Option<Observation>,
    /// The reason for an unusual expectation, or for which the cell is
    /// impossible.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The oracles' objections.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
    /// If the cell was run several times, what it came to how often; more than one
    /// if it is flaky.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub runs: Vec<RunsAlike>,
    /// Duration in milliseconds, of all runs together.
    pub elapsed_ms: u64,
    /// The agent's evidence; `None` if the guest broke.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<CellAnswer>,
    /// The frames that the card wrote.
    #[serde(default, rename = "testified")]
    pub card_frames: CardFrames,
}

/// Runs of a cell that came to the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunsAlike {
    /// Their number.
    pub times: usize,
    /// The verdict on each.
    pub verdict: Verdict,
    /// The observed outcome of each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observation: Option<Observation>,
    /// The oracles' objections to the first of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
}

/// The verdict on a mutant of the driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MutantVerdict {
    /// Every one of its cells was as expected without the bug, and a finding
    /// with it; without a witness every one that does not need it.
    Caught,
    /// One of its cells did not show the bug, or was not usable without it.
    Missed,
    /// The bug has no effect on this kernel, or cannot be detected there.
    Unseen,
    /// None of its cells showed the bug, which only a witness can see, and there was
    /// none.
    Unwitnessed,
}

/// A mutant of the driver that was run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MutantOutcome {
    /// Name of the mutant.
    pub mutant: Mutant,
    /// The verdict.
    pub verdict: MutantVerdict,
    /// Why it was missed, or cannot be detected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Its cells with the bug in the driver; findings are intended.
    pub cells: Vec<CellOutcome>,
}

impl MutantOutcome {
    /// Returns a mutant that was not run, with the reason.
    pub const fn unseen(mutant: Mutant, why: String) -> Self {
        Self {
            mutant,
            verdict: MutantVerdict::Unseen,
            reason: Some(why),
            cells: Vec::new(),
        }
    }

    /// Returns the oracles that must detect the bug in the cells that were run, each
    /// once, in their order.
    pub fn meant(&self) -> BTreeSet<Oracle> {
        let cells = self.cells.iter();
        cells.map(|cell| self.meant_in(cell)).collect()
    }

    /// Returns the cells in which the oracle that must detect the bug did not.
    pub fn unseen_as_meant(&self) -> impl Iterator<Item = &CellOutcome> {
        let saw = |cell: &CellOutcome| {
            let mut findings = cell.findings.iter();
            findings.any(|finding| finding.oracle == self.meant_in(cell))
        };
        self.cells.iter().filter(move |cell| !saw(cell))
    }

    fn meant_in(&self, cell: &CellOutcome) -> Oracle {
        self.mutant.oracle(&cell.cell)
    }

    /// Returns the oracles that detected the bug, each once, in their order.
    pub fn oracles(&self) -> Vec<Oracle> {
        let saw = |oracle: &Oracle| {
            let mut findings = self.cells.iter().flat_map(|cell| &cell.findings);
            findings.any(|finding| finding.oracle == *oracle)
        };
        Oracle::ALL.iter().copied().filter(saw).collect()
    }
}

impl CellOutcome {
    /// Returns whether the cell did not come to the same each time it was run.
    pub fn is_flaky(&self) -> bool {
        self.runs.len() > 1
    }

    /// Returns a cell that cannot be set up, and was not begun.
    pub fn impossible(cell: CellName, why: String) -> Self {
        Self {
            cell,
            verdict: Verdict::Impossible,
            observation: None,
            reason: Some(why),
            findings: Vec::new(),
            runs: Vec::new(),
            elapsed_ms: 0,
            answer: None,
            card_frames: CardFrames::default(),
        }
    }
}

/// A device that was judged without a witness, by what a process alone can see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Name of its driver (v4l2_capability::driver).
    pub driver: String,
    /// Name of the device (v4l2_capability::card).
    pub card: String,
    /// Where it is (v4l2_capability::bus_info).
    pub bus: String,
    /// Version of its driver, as `6.12.107`.
    pub version: String,
    /// Path of its node.
    pub node: String,
    /// The module that was loaded for it in a guest without a card, as it was named,
    /// and its parameters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub module: Option<(String, String)>,
    /// Whether it is that of a USB camera of software in the guest.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub usb_camera: bool,
    /// The oracles that could not be asked, or not wholly, each with the reason: a
    /// part of a sentence.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<(Oracle, String)>,
    /// What else there is to know of it, a sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl Device {
    /// Adds what could not be asked of another device of that driver, and what else
    /// there is to know of it. What is known of both is told once.
    pub fn join(&mut self, other: &Self) {
        for (oracle, why) in &other.missing {
            match self.missing.iter_mut().find(|(one, _)| one == oracle) {
                Some((_, known)) if known.split("; ").any(|one| one == why) => {}
                Some((_, known)) => *known = format!("{known}; {why}"),
                None => self.missing.push((*oracle, why.clone())),
            }
        }
        let mut notes = other.notes.clone();
        notes.retain(|note| !self.notes.contains(note));
        self.notes.extend(notes);
    }
}

/// The name of this machine among those of guests ([`KernelOutcome::kernel`]).
pub const HERE: &str = "here";

/// The matrix of one kernel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KernelOutcome {
    /// Name of the guest in the catalogue, or `bzimage` if its kernel is the
    /// user's own, or [`HERE`].
    pub kernel: String,
    /// Release of its kernel.
    pub release: String,
    /// Name of the driver, if it is not Pinhole's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// The device, if it was judged without a witness.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<Device>,
    /// The checks that the kernel makes of itself.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub checks: BTreeSet<Check>,
    /// The moment from which, and the reason for which, the kernel's checks did
    /// not see everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blind: Option<String>,
    /// The cells that were run.
    pub cells: Vec<CellOutcome>,
    /// The mutants of the driver that were run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mutants: Vec<MutantOutcome>,
    /// Number of failures that were injected into calls, in all cells.
    #[serde(default, skip_serializing_if = "is_none")]
    pub injected: usize,
    /// Number of guests that were booted.
    pub boots: u32,
    /// Total duration in milliseconds.
    pub elapsed_ms: u64,
    /// Why the run stopped before all requested cells and mutants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<String>,
}

fn is_none(count: &usize) -> bool {
    *count == 0
}

/// Numbers of cells by verdict.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Cells that were as expected.
    pub expected: usize,
    /// Cells with findings.
    pub findings: usize,
    /// Cells that could not be set up.
    pub impossible: usize,
    /// Mutants that no oracle detected.
    pub missed: usize,
}

impl KernelOutcome {
    /// Returns whether the kernel or driver failed: there is a finding, or a
    /// mutant that no oracle detected.
    pub fn is_wrong(&self) -> bool {
        let totals = self.totals();
        totals.findings + totals.missed > 0
    }

    /// Returns the oracles that were asked for nothing, or not for all, each with the
    /// reason: what the device does not show, or the check that the kernel lacks. Those
    /// that take the place of a witness ([`Oracle::replaces_witness`]) are left out if
    /// there is one.
    pub fn silent(&self) -> Vec<(Oracle, String)> {
        let silent = Oracle::ALL.iter().filter_map(|oracle| {
            let missing = self.device.iter().flat_map(|device| &device.missing);
            let mut missing = missing.filter(|(one, _)| one == oracle);
            let lacks = || {
                let check = oracle.check()?;
                (!self.checks.contains(&check)).then(|| format!("no {check}"))
            };
            let reason = missing.next().map(|(_, why)| why.clone());
            Some((*oracle, reason.or_else(lacks)?))
        });
        silent.collect()
    }

    /// Returns whether it is this machine's kernel, and not a guest's.
    pub fn is_here(&self) -> bool {
        self.kernel == HERE
    }

    /// Returns how often a cell was run, at most.
    pub fn rounds(&self) -> usize {
        // The numbers may be those of a file.
        let times = |cell: &CellOutcome| {
            let times = cell.runs.iter().map(|of| of.times);
            times.fold(0, usize::saturating_add)
        };
        self.cells.iter().map(times).max().unwrap_or(0).max(1)
    }

    /// Returns all cells that there are for what was judged: those of the matrix, or of
    /// a device without a witness those of its kind.
    pub fn all_cells(&self) -> Vec<CellName> {
        if self.device.is_none() {
            return cells::all();
        }
        let scope = match self.is_here() {
            true => Scope::Machine,
            false => Scope::Guest,
        };
        let kinds: BTreeSet<_> = self.cells.iter().map(|cell| cell.cell.card()).collect();
        let mut all = judged::all(scope);
        all.retain(|cell| kinds.contains(&cell.card()));
        all
    }

    /// Returns whether nothing was judged because no cell could be set up.
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

    /// Notes why the kernel's checks did not see everything in a part of the run. The
    /// first such part counts.
    pub fn note_blind(&mut self, why: Option<String>) {
        self.blind = self.blind.take().or(why);
    }

    /// Returns the numbers of cells by verdict.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_of_two_devices_is_told_once() {
        let device = |missing: &[(Oracle, &str)], notes: &[&str]| Device {
            driver: "pinhole".into(),
            card: "Pinhole".into(),
            bus: "virtio:0".into(),
            version: "6.12.0".into(),
            node: "/dev/video0".into(),
            module: None,
            usb_camera: false,
            missing: missing
                .iter()
                .map(|(one, why)| (*one, (*why).into()))
                .collect(),
            notes: notes.iter().map(|note| (*note).to_owned()).collect(),
        };
        let captures = [
            (Oracle::Address, "nobody tells"),
            (Oracle::Data, "it moves"),
        ];
        let outputs = [
            (Oracle::Address, "nobody tells"),
            (Oracle::Data, "it reads"),
            (Oracle::Untouched, "it only reads"),
        ];
        let mut joined = device(&captures, &["It moves."]);
        for _ in 0..2 {
            joined.join(&device(&outputs, &["It moves.", "It reads."]));
        }
        let all = [
            (Oracle::Address, "nobody tells"),
            (Oracle::Data, "it moves; it reads"),
            (Oracle::Untouched, "it only reads"),
        ];
        assert_eq!(joined, device(&all, &["It moves.", "It reads."]));
    }

    #[test]
    fn results_of_this_machine_are_read_again_and_so_are_older_ones() {
        let old = r#"{"kernel":"trixie","release":"6.12.0","checks":[],"cells":[],
            "mutants":[],"injected":0,"boots":1,"elapsed_ms":7}"#;
        let mut outcome: KernelOutcome = serde_json::from_str(old).unwrap();
        assert!(!outcome.is_here() && outcome.device.is_none());
        outcome.kernel = HERE.into();
        outcome.device = Some(Device {
            driver: "uvcvideo".into(),
            card: "Camera".into(),
            bus: "usb-0000:00:14.0-1".into(),
            version: "6.12.0".into(),
            node: "/dev/video2".into(),
            module: None,
            usb_camera: false,
            missing: vec![(Oracle::Leaks, "a machine in use".into())],
            notes: Vec::new(),
        });
        let text = serde_json::to_string(&outcome).unwrap();
        let read: KernelOutcome = serde_json::from_str(&text).unwrap();
        assert_eq!(read, outcome);
        assert!(read.is_here());
        let leaks = (Oracle::Leaks, "a machine in use".to_owned());
        assert!(read.silent().contains(&leaks));
    }
}
