//! The kinds of memory in one table, by what the card does with them: what differs
//! between memory that is written to and memory that is read.

use super::rows::{self, Answer};
use crate::agent::cell::{Ends, Flow, Hazard, Kind};
use crate::rig::matrix::outcome::{CellOutcome, KernelOutcome};
use crate::rig::matrix::{CellName, Pinning};

/// What a card does with memory, and the cells of it.
const WAYS: [(&str, Flow); 4] = [
    ("written", Flow::Capture),
    ("read", Flow::Output),
    ("m2m written", Flow::M2m(Ends::Written)),
    ("m2m read", Flow::M2m(Ends::Read)),
];

/// A kind, and what came of it on each kernel: the ways that came to the same, and
/// what that is.
pub type Row<'a> = (Kind, Vec<Vec<(Vec<&'static str>, Vec<Answer<'a>>)>>);

/// Returns the rows of all kinds of which cells were run in several directions. Only
/// memory that the driver pins itself, and to which nothing happens, counts.
pub fn rows(outcomes: &[KernelOutcome]) -> Vec<Row<'_>> {
    let kinds = Kind::ALL.iter().map(|kind| {
        let kernels = outcomes.iter().map(|outcome| of_kernel(outcome, *kind));
        (*kind, kernels.collect::<Vec<_>>())
    });
    let is_run = |row: &Row<'_>| {
        let mut kernels = row.1.iter();
        kernels.any(|ways| ways.iter().map(|(ways, _)| ways.len()).sum::<usize>() > 1)
    };
    kinds.filter(is_run).collect()
}

fn of_kernel(outcome: &KernelOutcome, kind: Kind) -> Vec<(Vec<&'static str>, Vec<Answer<'_>>)> {
    let mut groups: Vec<(Vec<&'static str>, Vec<Answer<'_>>)> = Vec::new();
    for (way, flow) in WAYS {
        let belongs = |cell: &CellName| {
            (cell.flow, cell.kind, cell.hazard) == (flow, kind, Hazard::None)
                && cell.pinning == Pinning::FrameVector
        };
        let cells = outcome.cells.iter();
        let cells: Vec<&CellOutcome> = cells.filter(|cell| belongs(&cell.cell)).collect();
        let answers = rows::answers(&cells);
        if answers.is_empty() {
            continue;
        }
        let is_alike = |(_, others): &(_, Vec<Answer<'_>>)| {
            let pairs = others.iter().zip(&answers);
            others.len() == answers.len() && pairs.into_iter().all(|(one, other)| same(one, other))
        };
        let known = groups.iter().position(is_alike);
        match known {
            Some(group) => groups[group].0.push(way),
            None => groups.push((vec![way], answers)),
        }
    }
    groups
}

/// Returns whether two answers are the same, and for the same reasons.
fn same(one: &Answer<'_>, other: &Answer<'_>) -> bool {
    (one.verdict, &one.said, &one.reasons) == (other.verdict, &other.said, &other.reasons)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{cell, kernel};
    use super::*;
    use crate::rig::matrix::observation::{Observation, Reads, Sent};

    #[test]
    fn ways_that_come_to_the_same_are_told_once() {
        let of = |name: &str, observation| CellOutcome {
            observation: Some(observation),
            ..cell(name)
        };
        let data = Observation::Converted(Sent::Written, Reads::Written);
        let mut outcome = kernel("trixie");
        outcome.cells = vec![
            cell("thp"),
            of("output/thp", Observation::Sent(Sent::Written)),
            of("m2m/read/thp", data),
            of("ext4-shared", Observation::Refused(libc::EFAULT)),
            of("output/ext4-shared", Observation::Sent(Sent::Written)),
            of(
                "m2m/written/ext4-shared",
                Observation::Refused(libc::EFAULT),
            ),
            of("ext4-shared/sg", Observation::Refused(libc::ENOMEM)),
            // What is run in one direction alone compares with nothing.
            cell("heap"),
            cell("hole/munmap"),
        ];
        let outcomes = [outcome];
        let told: Vec<_> = rows(&outcomes)
            .into_iter()
            .map(|(kind, kernels)| {
                let ways = kernels[0].iter().map(|(ways, answers)| {
                    let said = answers[0].said.clone().unwrap();
                    format!("{}: {said}", ways.join(" and "))
                });
                (kind, ways.collect::<Vec<_>>())
            })
            .collect();
        assert_eq!(
            told,
            [
                (
                    Kind::Thp,
                    vec!["written and read and m2m read: data".into()]
                ),
                (
                    Kind::Ext4Shared,
                    vec![
                        "written and m2m written: EFAULT".to_owned(),
                        "read: data".into()
                    ]
                ),
            ]
        );
    }
}
