//! The matrix is shown cards that break their promises, and must see it.
//!
//! An oracle that has objected to nothing yet proves little. Each mutant has
//! cells in which oracles must object; with the card as it should be none does.

use std::collections::BTreeMap;

use pinhole::card::CardKind;
use pinhole::rig::matrix::CellName;
use pinhole::rig::matrix::oracle::Oracle;
use pinhole::rig::matrix::outcome::{CellOutcome, Verdict};
use pinhole::rig::matrix::run::MatrixSpec;
use pinhole::rig::testbed::TestbedSpec;

use crate::judging;
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
    (
        WriteAfterStreamoff,
        "output/anon-touched/streamoff",
        &[Fences],
    ),
    (WrongIndex, "output/anon-touched/mmap-contention", &[Data]),
    (FrameTwice, "output/anon-touched", &[Log]),
    (
        ReadOneByteOff,
        "output/anon-touched@2055+2056",
        &[Outcome, Data, Address],
    ),
    (
        ReadOneByteOff,
        "output/memfd-shared@2055+2056",
        &[Outcome, Data, Address],
    ),
    (WriteToRead, "output/anon-touched", &[Fences]),
    (WriteToRead, "output/hugetlb@2055+2056", &[Fences]),
    (
        WriteAfterStreamoff,
        "m2m/written/anon-touched/streamoff",
        &[Fences],
    ),
    (FrameTwice, "m2m/read/anon-touched", &[Log]),
    (
        ReadOneByteOff,
        "m2m/read/anon-touched@2055+2056",
        &[Outcome, Data, Address],
    ),
    (WriteToRead, "m2m/read/anon-touched", &[Fences]),
    // The frame of one file gets to the process by way of the other.
    (OtherSession, "m2m/two-files/anon-touched", &[Data, Address]),
    (Mirrors, "m2m/read/anon-touched", &[Data]),
    (Mirrors, "m2m/in-place/memfd-shared", &[Data]),
];

/// Runs cells of one direction with a card that has this fault, or none.
fn run(mutation: Option<Mutation>, cells: Vec<CellName>) -> Vec<CellOutcome> {
    let card = Served::start(cells[0].card(), mutation);
    let spec = MatrixSpec {
        judged: None,
        testbed: TestbedSpec {
            card: card.process(),
            ..TestbedSpec::default()
        },
        cells,
        mutants: Vec::new(),
        jobs: 1,
    };
    let outcome = judging::outcome(&spec);
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
    let mut unseen = Vec::new();
    for direction in [CardKind::Capture, CardKind::Output, CardKind::M2m] {
        let rows: Vec<_> = TABLE
            .iter()
            .map(|(mutation, name, oracles)| {
                let cell = name.parse::<CellName>().unwrap();
                (*mutation, cell, *oracles)
            })
            .filter(|(_, cell, _)| cell.card() == direction)
            .collect();
        let mut all: Vec<_> = rows.iter().map(|(_, cell, _)| *cell).collect();
        all.sort();
        all.dedup();
        for cell in run(None, all) {
            assert_eq!(cell.verdict, Verdict::Expected, "{}: {cell:#?}", cell.cell);
        }
        for of_one in rows.chunk_by(|one, next| one.0 == next.0) {
            let mutation = of_one[0].0;
            let cells = of_one.iter().map(|(_, cell, _)| *cell).collect();
            for ((_, cell, oracles), seen) in of_one.iter().zip(run(Some(mutation), cells)) {
                println!("{mutation:?} in {cell}:");
                let objections = objections(&seen);
                for (oracle, what) in &objections {
                    println!("  {oracle:<8} {what}");
                }
                let silent = oracles.iter().filter(|one| !objections.contains_key(one));
                unseen.extend(silent.map(|oracle| format!("{mutation:?} in {cell}: {oracle}")));
            }
        }
    }
    assert!(unseen.is_empty(), "these oracles saw nothing: {unseen:#?}");
}
