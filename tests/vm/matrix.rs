//! The matrix on a real kernel: each kind of memory, each hazard, each mutant.

use std::collections::BTreeSet;

use pinhole::agent::cell::{Hazard, Kind, Point};
use pinhole::agent::checks::Check;
use pinhole::rig::matrix::outcome::{KernelOutcome, MutantVerdict, Verdict};
use pinhole::rig::matrix::run::{self, MatrixSpec};
use pinhole::rig::matrix::{CellName, Mutant, Pinning};
use pinhole::rig::testbed::TestbedSpec;
use pinhole::vm::progress::Progress;

/// Kinds that Linux 6.12 cannot have: guard regions came with 6.13.
const IMPOSSIBLE: [Kind; 1] = [Kind::GuardRegion];

fn run(kernel: &str, cells: Vec<CellName>, mutants: &[Mutant]) -> KernelOutcome {
    let spec = MatrixSpec {
        testbed: TestbedSpec {
            kernel: Some(kernel.into()),
            ..TestbedSpec::default()
        },
        cells,
        mutants: mutants.to_vec(),
    };
    let mut outcomes = Vec::new();
    run::run(&spec, &Progress::silent(), &mut outcomes).unwrap();
    let outcome = outcomes.remove(0);
    assert_eq!(outcome.cells.len(), spec.cells.len());
    outcome
}

/// Every kind at an offset that nothing is aligned to, pinned in both ways.
fn every_kind() -> impl Iterator<Item = CellName> {
    let pinnings = [Pinning::FrameVector, Pinning::Native];
    pinnings.into_iter().flat_map(|pinning| {
        Kind::ALL.iter().map(move |kind| CellName {
            offset: 2055,
            tail: 2056,
            pinning,
            ..CellName::plain(*kind)
        })
    })
}

/// Every hazard before and after the DMA, on anonymous memory.
fn every_hazard() -> impl Iterator<Item = CellName> {
    // Of a kernel that checks nothing no allocation can be made to fail.
    let hazards = Hazard::ALL.iter().filter(|one| **one != Hazard::FailNth);
    hazards.flat_map(|hazard| {
        hazard.points().iter().map(|point| CellName {
            hazard: *hazard,
            point: *point,
            ..CellName::plain(Kind::AnonTouched)
        })
    })
}

#[test]
#[ignore = "boots a guest"]
fn every_kind_and_every_hazard_is_as_expected() {
    let outcome = run("trixie", every_kind().chain(every_hazard()).collect(), &[]);
    let mut impossible = BTreeSet::new();
    for cell in &outcome.cells {
        assert_ne!(cell.verdict, Verdict::Finding, "{}: {cell:#?}", cell.cell);
        if cell.verdict == Verdict::Impossible {
            impossible.insert(cell.cell.kind);
        }
    }
    assert_eq!(impossible, BTreeSet::from(IMPOSSIBLE));
}

/// Every call of a capture's life and of the driver's, each of whose allocations
/// fails once.
#[test]
#[ignore = "boots a guest"]
fn every_call_stands_each_of_its_failures() {
    let calls = Point::CALLS.iter().map(|point| CellName {
        hazard: Hazard::FailNth,
        point: *point,
        ..CellName::plain(Kind::AnonTouched)
    });
    let outcome = run("trixie-checked", calls.collect(), &[]);
    for cell in &outcome.cells {
        assert_eq!(cell.verdict, Verdict::Expected, "{}: {cell:#?}", cell.cell);
        let injected = &cell.answer.as_ref().unwrap().injected;
        assert!(!injected.is_empty(), "{}", cell.cell);
    }
    assert!(outcome.injected >= 150, "{}", outcome.injected);
}

/// Runs all mutants: the oracle that is there for one sees it, unless it takes a
/// check that the kernel is known to lack.
fn mutants_are_seen(kernel: &str, lacks: impl Fn(Check) -> bool) {
    let outcome = run(kernel, Vec::new(), Mutant::ALL);
    for mutant in Mutant::ALL {
        let outcome = outcome.mutants.iter().find(|one| one.mutant == *mutant);
        let outcome = outcome.unwrap();
        let expected = match mutant.check().is_some_and(&lacks) {
            true => MutantVerdict::Unseen,
            false => MutantVerdict::Caught,
        };
        assert_eq!(outcome.verdict, expected, "{mutant}: {:?}", outcome.reason);
        let oracles = outcome.oracles();
        let seen = oracles.contains(&mutant.oracle());
        let caught = expected == MutantVerdict::Caught;
        assert_eq!(seen, caught, "{mutant}: {oracles:?}");
    }
}

#[test]
#[ignore = "boots guests"]
fn every_mutant_that_a_stock_kernel_can_show_is_seen_by_its_oracle() {
    mutants_are_seen("trixie", |_| true);
}

#[test]
#[ignore = "boots guests"]
fn every_mutant_is_seen_by_its_oracle_on_a_kernel_that_checks_itself() {
    mutants_are_seen("trixie-checked", |_| false);
}
