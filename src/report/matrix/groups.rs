//! Findings with one cause, as far as that can be told from them: those of one
//! oracle that differ only in their numbers.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::agent::cell::Hazard;
use crate::rig::matrix::CellName;
use crate::rig::matrix::objection::Severity;
use crate::rig::matrix::oracle::{Finding, Oracle};
use crate::rig::matrix::outcome::KernelOutcome;

/// Findings with one cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group<'a> {
    /// How bad they are.
    pub severity: Severity,
    /// The oracle that objects.
    pub oracle: Oracle,
    /// The first of the findings in each cell, with the kernel and the cell, in the
    /// order in which the cells were run.
    pub findings: Vec<(&'a str, CellName, &'a Finding)>,
}

/// Returns the findings in the cells of all kernels, in groups: the worst first,
/// and of those alike the one with most cells.
pub fn groups(outcomes: &[KernelOutcome]) -> Vec<Group<'_>> {
    let mut groups: BTreeMap<_, Group<'_>> = BTreeMap::new();
    for outcome in outcomes {
        for cell in &outcome.cells {
            for finding in &cell.findings {
                let group = groups.entry(finding.cause()).or_insert_with(|| Group {
                    severity: finding.severity,
                    oracle: finding.oracle,
                    findings: Vec::new(),
                });
                let found = (outcome.kernel.as_str(), cell.cell, finding);
                let last = group.findings.last();
                if last.is_none_or(|(kernel, cell, _)| (*kernel, *cell) != (found.0, found.1)) {
                    group.findings.push(found);
                }
            }
        }
    }
    let mut groups: Vec<_> = groups.into_values().collect();
    groups.sort_by_key(|group| (group.severity, Reverse(group.findings.len())));
    groups
}

impl Group<'_> {
    /// Returns what the first of the findings says.
    pub fn what(&self) -> &str {
        self.findings
            .first()
            .map_or("", |(.., finding)| &finding.what)
    }

    /// Returns the `most` most frequent hazards, each with the number of its
    /// cells.
    pub fn hazards(&self, most: usize) -> String {
        hazards(self.findings.iter().map(|(_, cell, _)| *cell), most)
    }

    /// Returns the first `most` of the cells; with their kernel if there are several
    /// kernels.
    pub fn cells(&self, kernels: usize, most: usize) -> String {
        let said = self.findings.iter().map(|(kernel, cell, _)| match kernels {
            1 => cell.to_string(),
            _ => format!("{cell} on {kernel}"),
        });
        first(&said.collect::<Vec<_>>(), most)
    }
}

/// Returns the `most` most frequent hazards of cells, each with the number of its
/// cells.
pub fn hazards(cells: impl Iterator<Item = CellName>, most: usize) -> String {
    let mut hazards: BTreeMap<Hazard, usize> = BTreeMap::new();
    for cell in cells {
        *hazards.entry(cell.hazard).or_default() += 1;
    }
    let mut hazards: Vec<_> = hazards.into_iter().collect();
    hazards.sort_by_key(|(_, count)| Reverse(*count));
    let said = hazards.iter().map(|(hazard, count)| match hazard {
        Hazard::None => format!("no hazard {count}"),
        hazard => format!("{hazard} {count}"),
    });
    first(&said.collect::<Vec<_>>(), most)
}

/// Returns the first `most` of a list, and how many more there are.
pub fn first(list: &[String], most: usize) -> String {
    let mut said = list[..list.len().min(most)].join(", ");
    if list.len() > most {
        said += &format!(" and {} more", list.len() - most);
    }
    said
}

#[cfg(test)]
mod tests {
    use super::super::tests::{cell, kernel};
    use super::*;
    use crate::rig::matrix::outcome::CellOutcome;

    #[test]
    fn what_differs_in_numbers_has_one_cause_and_the_worst_comes_first() {
        let finding = |severity, oracle, what: &str| Finding {
            oracle,
            severity,
            what: what.into(),
        };
        let pins = |pages: u32| {
            let what = format!("0 pages were pinned while the buffer of {pages} was queued");
            finding(Severity::MemoryWritten, Oracle::Pins, &what)
        };
        let dirty = finding(Severity::DataLost, Oracle::Dirty, "16 pages are clean");
        let error = finding(Severity::WrongError, Oracle::Outcome, "EOVERFLOW");
        let found = |name: &str, findings: &[&Finding]| CellOutcome {
            findings: findings.iter().copied().cloned().collect(),
            ..cell(name)
        };
        let outcome = KernelOutcome {
            cells: vec![
                found("hole", &[&error]),
                found("wrapping-length", &[&error]),
                found("thp/munmap", &[&pins(512), &dirty]),
                found("heap", &[&pins(16)]),
                found("heap@64", &[&pins(17)]),
                found("stack", &[&dirty]),
                // A finding for each frame of a cell.
                found("mlocked", &[&pins(16), &pins(17)]),
            ],
            ..kernel("trixie")
        };
        let outcomes = [outcome];
        let groups = groups(&outcomes);
        let oracles: Vec<_> = groups.iter().map(|group| group.oracle).collect();
        assert_eq!(oracles, [Oracle::Pins, Oracle::Dirty, Oracle::Outcome]);
        let pins = &groups[0];
        assert_eq!(pins.findings.len(), 4);
        assert_eq!(
            pins.what(),
            "0 pages were pinned while the buffer of 512 was queued"
        );
        assert_eq!(pins.hazards(2), "no hazard 3, munmap 1");
        assert_eq!(pins.cells(1, 3), "thp/munmap, heap, heap@64 and 1 more");
        assert_eq!(
            groups[2].cells(2, 3),
            "hole on trixie, wrapping-length on trixie"
        );
    }
}
