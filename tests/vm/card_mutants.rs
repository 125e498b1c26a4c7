//! The matrix is shown cards that break their promises, and must see it.
//!
//! An oracle that has objected to nothing yet proves little. Each mutant has
//! cells in which oracles must object; with the card as it should be none does.

use std::collections::BTreeMap;

use pinhole::rig::matrix::CellName;
use pinhole::rig::matrix::oracle::Oracle;
use pinhole::rig::matrix::outcome::{CellOutcome, Verdict};
use pinhole::rig::matrix::run::{self, MatrixSpec};
use pinhole::rig::testbed::TestbedSpec;
use pinhole::vm::progress::Progress;

use crate::mutated::{Mutation, Served};

use Mutation::*;
use Oracle::*;

/// A mutant, a cell, and who must object to what comes of them. Others may.
const TABLE: &[(Mutation, &str, &[Oracle])] = &[
    (WriteAfterStreamoff, "anon-touched/streamoff", &[Fences]),
    (
        WriteAfterStreamoff,
        "anon-touched/streamoff:after-dma",
        &[Fences],
    ),
    (WriteAfterStreamoff, "memfd-shared/streamoff", &[Fences]),
    // There is one buffer, and so none of that index.
    (WrongIndex, "anon-touched", &[Outcome, Log]),
    // Two buffers are taken for each other, which the driver cannot know.
    (WrongIndex, "anon-touched/mmap-contention", &[Data]),
    (
        OneByteOff,
        "anon-touched@2055+2056",
        &[Outcome, Data, Fences],
    ),
    (
        OneByteOff,
        "memfd-shared@2055+2056",
        &[Outcome, Data, Fences],
    ),
    (OneByteOff, "hugetlb@2055+2056", &[Outcome, Data, Fences]),
    (FrameTwice, "anon-touched", &[Log]),
    (FrameTwice, "anon-touched/mmap-contention", &[Log]),
];

/// Runs cells with a card that has this fault, or none.
fn run(mutation: Option<Mutation>, cells: Vec<CellName>) -> Vec<CellOutcome> {
    let card = Served::start(mutation);
    let spec = MatrixSpec {
        testbed: TestbedSpec {
            card: card.process(),
            ..TestbedSpec::default()
        },
        cells,
        mutants: Vec::new(),
        jobs: 1,
    };
    let mut outcomes = Vec::new();
    run::run(&spec, &Progress::silent(), &mut outcomes).unwrap();
    let outcome = outcomes.remove(0);
    assert_eq!(outcome.cells.len(), spec.cells.len());
    outcome.cells
}

/// What each oracle objected to first.
fn objections(cell: &CellOutcome) -> BTreeMap<Oracle, &str> {
    let findings = cell.findings.iter().rev();
    findings
        .map(|one| (one.oracle, one.what.as_str()))
        .collect()
}

#[test]
#[ignore = "boots a guest"]
fn the_oracles_see_every_mutant_of_the_card() {
    let cell = |name: &str| name.parse::<CellName>().unwrap();
    let mut all: Vec<_> = TABLE.iter().map(|(_, name, _)| cell(name)).collect();
    all.sort();
    all.dedup();
    for cell in run(None, all) {
        assert_eq!(cell.verdict, Verdict::Expected, "{}: {cell:#?}", cell.cell);
    }

    let mut unseen = Vec::new();
    for mutation in [WriteAfterStreamoff, WrongIndex, OneByteOff, FrameTwice] {
        let rows = TABLE.iter().filter(|(of, ..)| *of == mutation);
        let cells: Vec<_> = rows.clone().map(|(_, name, _)| cell(name)).collect();
        assert!(!cells.is_empty(), "no cell is for {mutation:?}");
        for ((_, name, oracles), seen) in rows.zip(run(Some(mutation), cells)) {
            println!("{mutation:?} in {name}:");
            let objections = objections(&seen);
            for (oracle, what) in &objections {
                println!("  {oracle:<8} {what}");
            }
            let silent = oracles.iter().filter(|one| !objections.contains_key(one));
            unseen.extend(silent.map(|oracle| format!("{mutation:?} in {name}: {oracle}")));
        }
    }
    assert!(unseen.is_empty(), "these oracles saw nothing: {unseen:#?}");
}
