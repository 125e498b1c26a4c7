//! The matrix is shown cards that break their promises, and must see it.
//!
//! An oracle that has objected to nothing yet proves little. Each mutant has
//! cells in which oracles must object; with the card as it should be none does.

use std::collections::BTreeMap;

use pinhole::card::CardKind;
use pinhole::rig::matrix::CellName;
use pinhole::rig::matrix::guest::{CellGuest, GuestState};
use pinhole::rig::matrix::oracle::Oracle;
use pinhole::rig::matrix::outcome::{CellOutcome, Verdict};
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

/// A card whose faults come and go, and the guest that has it.
struct Bench {
    card: Served,
    direction: CardKind,
    /// The guest; `None` when the next one is to be booted. The card serves one at a time.
    guest: Option<CellGuest>,
}

impl Bench {
    fn of(direction: CardKind) -> Self {
        Self {
            card: Served::start(direction, None),
            direction,
            guest: None,
        }
    }

    fn guest(&mut self) -> &mut CellGuest {
        self.guest.get_or_insert_with(|| {
            let spec = TestbedSpec {
                card: self.card.process(),
                kind: self.direction,
                ..TestbedSpec::default()
            };
            CellGuest::boot(&spec, None, &Progress::silent()).unwrap()
        })
    }

    /// Runs a cell with the card as it should be. In a guest that a fault has damaged it is
    /// not as expected; another takes its place.
    fn control(&mut self, cell: &CellName) {
        self.card.turn_to(None);
        let (outcome, _) = self.guest().run(cell).unwrap();
        if outcome.verdict != Verdict::Expected {
            self.guest = None;
            let (again, _) = self.guest().run(cell).unwrap();
            assert_eq!(again.verdict, Verdict::Expected, "{cell}: {again:#?}");
        }
    }

    /// Runs a cell with a fault in the card.
    fn mutated(&mut self, mutation: Mutation, cell: &CellName) -> CellOutcome {
        self.card.turn_to(Some(mutation));
        let (mut outcome, state) = self.guest().run(cell).unwrap();
        if state == GuestState::Fit {
            self.guest().aftermath(&mut outcome).unwrap();
        } else {
            self.guest = None;
        }
        outcome
    }
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
        let mut bench = Bench::of(direction);
        let rows = TABLE.iter().map(|(mutation, name, oracles)| {
            let cell = name.parse::<CellName>().unwrap();
            (*mutation, cell, *oracles)
        });
        for (mutation, cell, oracles) in rows.filter(|(_, cell, _)| cell.card() == direction) {
            bench.control(&cell);
            println!("{mutation:?} in {cell}:");
            let seen = bench.mutated(mutation, &cell);
            let objections = objections(&seen);
            for (oracle, what) in &objections {
                println!("  {oracle:<8} {what}");
            }
            let silent = oracles.iter().filter(|one| !objections.contains_key(one));
            unseen.extend(silent.map(|oracle| format!("{mutation:?} in {cell}: {oracle}")));
        }
        bench.guest.take().into_iter().for_each(CellGuest::finish);
    }
    assert!(unseen.is_empty(), "these oracles saw nothing: {unseen:#?}");
}
