//! The matrix as rows: a row for each kind of memory and each hazard, with the
//! results of its cells on each kernel.

use std::collections::BTreeSet;

use crate::agent::cell::{Ends, Flow, Hazard, Kind, Point};
use crate::card::CardKind;
use crate::rig::matrix::outcome::{CellOutcome, KernelOutcome, Verdict};
use crate::rig::matrix::{CellName, Pinning};

/// Rows under a heading: the kinds of memory or the hazards of one direction, or of
/// one end of a mem-to-mem card.
#[derive(Debug, Clone)]
pub struct Section<'a> {
    /// A unique identifier.
    pub id: &'static str,
    /// The heading.
    pub title: &'static str,
    /// The rows.
    pub rows: Vec<Row<'a>>,
}

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

/// Returns all rows, without those and the headings of which no cell was run.
pub fn sections(outcomes: &[KernelOutcome]) -> Vec<Section<'_>> {
    use CardKind::{Capture, M2m, Output};
    let m2m = |ends| Flow::M2m(ends);
    let sections = [
        ("kinds", "Kinds of memory", kinds(outcomes, Flow::Capture)),
        ("hazards", "Hazards", hazards(outcomes, Capture)),
        (
            "output-kinds",
            "Kinds of memory that the card reads",
            kinds(outcomes, Flow::Output),
        ),
        (
            "output-hazards",
            "Hazards to memory that the card reads",
            hazards(outcomes, Output),
        ),
        (
            "m2m-read-kinds",
            "Kinds of memory that a mem-to-mem card reads",
            kinds(outcomes, m2m(Ends::Read)),
        ),
        (
            "m2m-written-kinds",
            "Kinds of memory that a mem-to-mem card writes to",
            kinds(outcomes, m2m(Ends::Written)),
        ),
        (
            "m2m-both",
            "Both buffers of a mem-to-mem card in memory of one kind",
            both(outcomes),
        ),
        (
            "m2m-hazards",
            "Hazards to memory of a mem-to-mem card",
            hazards(outcomes, M2m),
        ),
    ];
    let sections = sections.into_iter().map(|(id, title, mut rows)| {
        rows.retain(Row::is_run);
        Section { id, title, rows }
    });
    sections
        .filter(|section| !section.rows.is_empty())
        .collect()
}

/// Returns the name and the description of each row, once for all directions.
pub fn descriptions(sections: &[Section<'_>]) -> Vec<(&'static str, &'static str)> {
    let mut descriptions = Vec::new();
    for row in sections.iter().flat_map(|section| &section.rows) {
        if !descriptions.contains(&(row.name, row.what)) {
            descriptions.push((row.name, row.what));
        }
    }
    descriptions
}

fn kinds(outcomes: &[KernelOutcome], flow: Flow) -> Vec<Row<'_>> {
    let of_what = match flow {
        Flow::Capture => "kind".to_owned(),
        Flow::Output => "output-kind".to_owned(),
        Flow::M2m(ends) => format!("m2m-{ends}-kind"),
    };
    let rows = Kind::ALL.iter().map(|kind| {
        let id = format!("{of_what}-{kind}");
        row(outcomes, id, kind.name(), kind.what(), |cell| {
            let of_it = (cell.flow, cell.kind) == (flow, *kind);
            of_it && cell.hazard == Hazard::None
        })
    });
    rows.collect()
}

/// Returns a row for each way in which both buffers lie in memory of one kind.
fn both(outcomes: &[KernelOutcome]) -> Vec<Row<'_>> {
    let ends = Ends::ALL.iter();
    let ends = ends.filter(|ends| !matches!(ends, Ends::Read | Ends::Written));
    let rows = ends.map(|ends| {
        let id = format!("m2m-{ends}");
        row(outcomes, id, ends.name(), ends.what(), |cell| {
            cell.flow == Flow::M2m(*ends) && cell.hazard == Hazard::None
        })
    });
    rows.collect()
}

fn hazards(outcomes: &[KernelOutcome], card: CardKind) -> Vec<Row<'_>> {
    let hazards = Hazard::ALL.iter().filter(|one| **one != Hazard::None);
    let rows = hazards.map(|hazard| {
        let id = match card {
            CardKind::Capture => format!("hazard-{hazard}"),
            other => format!("{}-hazard-{hazard}", other.name()),
        };
        row(outcomes, id, hazard.name(), hazard.what(), |cell| {
            (cell.card(), cell.hazard) == (card, *hazard)
        })
    });
    rows.collect()
}

fn row<'a>(
    outcomes: &'a [KernelOutcome],
    id: String,
    name: &'static str,
    what: &'static str,
    belongs: impl Fn(&CellName) -> bool,
) -> Row<'a> {
    let of = |outcome: &'a KernelOutcome| {
        let cells = outcome.cells.iter();
        cells.filter(|cell| belongs(&cell.cell)).collect()
    };
    Row {
        id,
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
        common(|one| match one.cell.flow {
            Flow::M2m(ends) => ends.name(),
            Flow::Capture | Flow::Output => "",
        }),
        common(|one| one.cell.kind.name()),
        common(|one| match one.cell.point {
            _ if one.cell.schedule.is_some() => "on a schedule",
            Point::BeforeDma => "before the DMA",
            Point::AfterDma => "after the DMA",
            Point::DuringPin => "during the pin",
            call => call.name(),
        }),
        common(|one| match one.cell.pinning {
            Pinning::FrameVector => "get_vaddr_frames",
            model => model.name(),
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
            said(&[cell("thp"), cell("thp@64"), other("thp/vmalloc")]),
            ["2 data", "1 other pages (vmalloc)"]
        );
        assert_eq!(said(&[other("thp"), other("thp/sg")]), ["2 other pages"]);
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
    fn the_ends_tell_cells_of_a_mem_to_mem_card_apart() {
        assert_eq!(
            said(&[
                cell("m2m/read/heap/munmap"),
                cell("m2m/read/heap/munmap:after-dma"),
                other("m2m/written/heap/munmap"),
            ]),
            ["2 data", "1 other pages (written, before the DMA)"]
        );
    }

    #[test]
    fn rows_are_of_what_was_run() {
        let outcomes = [kernel("trixie"), kernel("bookworm")];
        let names = |section: &Section<'_>| -> Vec<_> {
            let rows = section.rows.iter();
            rows.map(|row| row.id.clone()).collect()
        };
        let both = sections(&outcomes);
        let [kinds, hazards] = &both[..] else {
            panic!("{both:?}")
        };
        assert_eq!(
            names(kinds),
            [
                "kind-anon-touched",
                "kind-heap",
                "kind-hole",
                "kind-guard-region"
            ]
        );
        assert_eq!(hazards.rows[0].kernels.len(), 2);
        assert_eq!(names(hazards), ["hazard-munmap"]);
    }

    #[test]
    fn each_direction_has_rows_of_its_own() {
        let mut outcome = kernel("trixie");
        outcome.cells = [
            "thp",
            "output/thp",
            "output/thp/ksm",
            "m2m/written/thp",
            "m2m/in-place/thp",
            "m2m/in-place/thp/ksm",
        ]
        .map(cell)
        .into();
        let outcomes = [outcome];
        let sections = sections(&outcomes);
        let told: Vec<_> = sections
            .iter()
            .map(|section| {
                let row = &section.rows[0];
                assert_eq!(section.rows.len(), 1);
                (
                    section.id,
                    row.id.as_str(),
                    row.kernels[0][0].cell.to_string(),
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                ("kinds", "kind-thp", "thp".into()),
                ("output-kinds", "output-kind-thp", "output/thp".into()),
                (
                    "output-hazards",
                    "output-hazard-ksm",
                    "output/thp/ksm".into()
                ),
                (
                    "m2m-written-kinds",
                    "m2m-written-kind-thp",
                    "m2m/written/thp".into()
                ),
                ("m2m-both", "m2m-in-place", "m2m/in-place/thp".into()),
                (
                    "m2m-hazards",
                    "m2m-hazard-ksm",
                    "m2m/in-place/thp/ksm".into()
                ),
            ]
        );
        let names = descriptions(&sections).into_iter().map(|(name, _)| name);
        assert_eq!(names.collect::<Vec<_>>(), ["thp", "ksm", "in-place"]);
    }

    #[test]
    fn reasons_are_numbered_once() {
        let mut notes = Notes::default();
        let numbers = ["a", "b", "a"].map(|reason| notes.number(reason));
        assert_eq!(numbers, [1, 2, 1]);
        assert_eq!(notes.all().collect::<Vec<_>>(), [(1, "a"), (2, "b")]);
    }
}
