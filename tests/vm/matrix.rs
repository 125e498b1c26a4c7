//! The matrix on a real kernel: each kind of memory, each hazard, each mutant.

use std::collections::BTreeSet;

use pinhole::agent::cell::{Hazard, Kind, Point};
use pinhole::rig::matrix::outcome::{KernelOutcome, MutantVerdict, Verdict};
use pinhole::rig::matrix::run::{self, MatrixSpec};
use pinhole::rig::matrix::{CellName, Mutant, Pinning};
use pinhole::rig::testbed::TestbedSpec;
use pinhole::vm::progress::Progress;

/// Kinds that Linux 6.12 cannot have: guard regions came with 6.13.
const IMPOSSIBLE: [Kind; 1] = [Kind::GuardRegion];

fn run(cells: Vec<CellName>, mutants: &[Mutant]) -> KernelOutcome {
    let spec = MatrixSpec {
        testbed: TestbedSpec::default(),
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
    Hazard::ALL.iter().flat_map(|hazard| {
        Point::ALL.iter().map(|point| CellName {
            hazard: *hazard,
            point: *point,
            ..CellName::plain(Kind::AnonTouched)
        })
    })
}

#[test]
#[ignore = "boots a guest"]
fn every_kind_and_every_hazard_is_as_expected() {
    let outcome = run(every_kind().chain(every_hazard()).collect(), &[]);
    let mut impossible = BTreeSet::new();
    for cell in &outcome.cells {
        assert_ne!(cell.verdict, Verdict::Finding, "{}: {cell:#?}", cell.cell);
        if cell.verdict == Verdict::Impossible {
            impossible.insert(cell.cell.kind);
        }
    }
    assert_eq!(impossible, BTreeSet::from(IMPOSSIBLE));
}

#[test]
#[ignore = "boots guests"]
fn every_mutant_is_seen_by_the_oracle_that_is_there_for_it() {
    let outcome = run(Vec::new(), Mutant::ALL);
    for mutant in &outcome.mutants {
        let reason = &mutant.reason;
        assert_eq!(
            mutant.verdict,
            MutantVerdict::Caught,
            "{}: {reason:?}",
            mutant.mutant
        );
    }
    for mutant in Mutant::ALL {
        let outcome = outcome.mutants.iter().find(|one| one.mutant == *mutant);
        let oracles = outcome.unwrap().oracles();
        assert!(oracles.contains(&mutant.oracle()), "{mutant}: {oracles:?}");
    }
}
