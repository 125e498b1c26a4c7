//! The matrix as rows: a row for each kind of memory and each hazard, with the
//! results of its cells on each kernel.

use std::collections::BTreeSet;

use crate::agent::cell::{Hazard, Kind, Point};
use crate::rig::matrix::outcome::{CellOutcome, KernelOutcome, Verdict};
use crate::rig::matrix::{CellName, Pinning};

/// A kind of memory without a hazard, or a hazard.
#[derive(Debug, Clone)]
pub struct Row<'a> {
    /// A unique identifier: `ksm` is the name of a kind and of a hazard.
    pub id: String,
    /// Its name.
    pub name: &'static str,
    /// Its description, in a line.
    pub what: &'static str,
    /// The cells of each kernel, in the kernels' order.
    pub kernels: Vec<Vec<&'a CellOutcome>>,
}

/// The common result of some cells of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer<'a> {
    /// The verdict on each of them.
    pub verdict: Verdict,
    /// Their observation; `None` for findings, and for cells that could not be
    /// set up.
    pub said: Option<String>,
    /// The reasons for an unusual result.
    pub reasons: BTreeSet<&'a str>,
    /// What distinguishes these cells from the others of the row; `None` for
    /// the usual result and for findings.
    pub which: Option<String>,
    /// Number of the cells.
    pub count: usize,
    /// The first of the cells.
    pub first: CellName,
}

/// Returns the rows of the kinds of memory, without those of which no cell was
/// run.
pub fn kinds(outcomes: &[KernelOutcome]) -> Vec<Row<'_>> {
    let rows = Kind::ALL.iter().map(|kind| {
        row(outcomes, "kind", kind.name(), kind.what(), |cell| {
            cell.kind == *kind && cell.hazard == Hazard::None
        })
    });
    rows.filter(Row::is_run).collect()
}

/// Returns the rows of the hazards, without those of which no cell was run.
pub fn hazards(outcomes: &[KernelOutcome]) -> Vec<Row<'_>> {
    let hazards = Hazard::ALL.iter().filter(|one| **one != Hazard::None);
    let rows = hazards.map(|hazard| {
        row(outcomes, "hazard", hazard.name(), hazard.what(), |cell| {
            cell.hazard == *hazard
        })
    });
    rows.filter(Row::is_run).collect()
}

fn row<'a>(
    outcomes: &'a [KernelOutcome],
    of_what: &str,
    name: &'static str,
    what: &'static str,
    belongs: impl Fn(&CellName) -> bool,
) -> Row<'a> {
    let of = |outcome: &'a KernelOutcome| {
        let cells = outcome.cells.iter();
        cells.filter(|cell| belongs(&cell.cell)).collect()
    };
    Row {
        id: format!("{of_what}-{name}"),
        name,
        what,
        kernels: outcomes.iter().map(of).collect(),
    }
}

impl Row<'_> {
    fn is_run(&self) -> bool {
        self.kernels.iter().any(|cells| !cells.is_empty())
    }
}

/// Returns the results of a row's cells on a kernel: findings first, then the
/// most frequent results. Cells for which the kernel's own code pins pages are
/// counted with the others that have the same result.
pub fn answers<'a>(cells: &[&'a CellOutcome]) -> Vec<Answer<'a>> {
    let mut groups: Vec<(Verdict, Option<String>, Vec<&CellOutcome>)> = Vec::new();
    for &cell in cells {
        let said = match cell.verdict {
            Verdict::Expected => cell.observation.map(|it| it.to_string()),
            Verdict::Finding | Verdict::Impossible => None,
        };
        let mut known = groups.iter_mut();
        match known.find(|group| (group.0, &group.1) == (cell.verdict, &said)) {
            Some(group) => group.2.push(cell),
            None => groups.push((cell.verdict, said, vec![cell])),
        }
    }
    // The sort is stable: of two equally frequent results, the one that was run
    // first comes first.
    groups.sort_by_key(|(verdict, _, of)| {
        (*verdict != Verdict::Finding, std::cmp::Reverse(of.len()))
    });
    // The usual result of the row does not say which cells have it.
    let usual = groups
        .iter()
        .position(|group| group.0 != Verdict::Finding)
        .filter(|_| groups.len() > 1);
    let answers = groups.iter().enumerate();
    answers
        .map(|(place, (verdict, said, of))| Answer {
            verdict: *verdict,
            said: said.clone(),
            reasons: of.iter().filter_map(|one| one.reason.as_deref()).collect(),
            which: match usual {
                Some(usual) if usual != place && *verdict != Verdict::Finding => which(of, cells),
                _ => None,
            },
            count: of.len(),
            first: of[0].cell,
        })
        .collect()
}

/// Returns what `some` cells of a row have in common that not `all` have.
fn which(some: &[&CellOutcome], all: &[&CellOutcome]) -> Option<String> {
    let common = |part: fn(&CellOutcome) -> &'static str| {
        let of =
            |cells: &[&CellOutcome]| -> BTreeSet<_> { cells.iter().map(|c| part(c)).collect() };
        let some = of(some);
        (some != of(all)).then(|| some.into_iter().collect::<Vec<_>>().join(" and "))
    };
    let parts = [
        common(|one| one.cell.kind.name()),
        common(|one| match one.cell.point {
            Point::BeforeDma => "before the DMA",
            Point::AfterDma => "after the DMA",
            call => call.name(),
        }),
        common(|one| match one.cell.pinning {
            Pinning::FrameVector => "get_vaddr_frames",
            Pinning::Native => "native",
        }),
    ];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// Reasons, numbered in the order in which they are first asked for.
#[derive(Debug, Default)]
pub struct Notes(Vec<String>);

impl Notes {
    /// Returns the number of that reason, from 1 on.
    pub fn number(&mut self, reason: &str) -> usize {
        let known = self.0.iter().position(|one| one == reason);
        known.unwrap_or_else(|| {
            self.0.push(reason.to_owned());
            self.0.len() - 1
        }) + 1
    }

    /// Returns all reasons with their numbers.
    pub fn all(&self) -> impl Iterator<Item = (usize, &str)> {
        (1..).zip(self.0.iter().map(String::as_str))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{cell, kernel};
    use super::*;
    use crate::rig::matrix::observation::{Observation, Reads};

    fn said(cells: &[CellOutcome]) -> Vec<String> {
        let cells: Vec<_> = cells.iter().collect();
        let answers = answers(&cells).into_iter().map(|answer| {
            let said = answer
                .said
                .unwrap_or_else(|| format!("{:?}", answer.verdict));
            let which = answer.which.map(|which| format!(" ({which})"));
            format!("{} {said}{}", answer.count, which.unwrap_or_default())
        });
        answers.collect()
    }

    fn other(name: &str) -> CellOutcome {
        CellOutcome {
            observation: Some(Observation::Captured(Reads::Other)),
            reason: Some("shared".into()),
            ..cell(name)
        }
    }

    #[test]
    fn what_is_alike_is_said_once() {
        assert_eq!(said(&[cell("thp"), cell("thp@64")]), ["2 data"]);
        assert_eq!(
            said(&[cell("thp"), cell("thp@64"), other("thp/native")]),
            ["2 data", "1 other pages (native)"]
        );
        assert_eq!(
            said(&[other("thp"), other("thp/native")]),
            ["2 other pages"]
        );
        assert_eq!(
            said(&[
                cell("thp/munmap"),
                cell("thp/munmap:after-dma"),
                cell("heap/munmap"),
                other("heap/munmap:after-dma"),
            ]),
            ["3 data", "1 other pages (heap, after the DMA)"]
        );
        let kernel = kernel("trixie");
        let [_, _, impossible, finding, _] = &kernel.cells[..] else {
            panic!()
        };
        assert_eq!(
            said(&[cell("thp"), impossible.clone(), finding.clone()]),
            ["1 Finding", "1 data", "1 Impossible (guard-region)"]
        );
    }

    #[test]
    fn rows_are_of_what_was_run() {
        let outcomes = [kernel("trixie"), kernel("bookworm")];
        let names = |rows: Vec<Row<'_>>| rows.iter().map(|row| row.name).collect::<Vec<_>>();
        assert_eq!(
            names(kinds(&outcomes)),
            ["anon-touched", "heap", "hole", "guard-region"]
        );
        let hazards = hazards(&outcomes);
        assert_eq!(hazards[0].kernels.len(), 2);
        assert_eq!(names(hazards), ["munmap"]);
    }

    #[test]
    fn reasons_are_numbered_once() {
        let mut notes = Notes::default();
        let numbers = ["a", "b", "a"].map(|reason| notes.number(reason));
        assert_eq!(numbers, [1, 2, 1]);
        assert_eq!(notes.all().collect::<Vec<_>>(), [(1, "a"), (2, "b")]);
    }
}
