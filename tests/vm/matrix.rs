//! The matrix on a real kernel.

use pinhole::agent::cell::Kind;
use pinhole::rig::matrix::outcome::Verdict;
use pinhole::rig::matrix::run::{self, MatrixSpec};
use pinhole::rig::matrix::{CellName, Pinning};
use pinhole::rig::testbed::TestbedSpec;
use pinhole::vm::progress::Progress;

/// Every kind, pinned in both ways, at an offset that nothing is aligned to.
fn cells() -> Vec<CellName> {
    let cell = |pinning| {
        move |kind: &Kind| CellName {
            offset: 2055,
            tail: 2056,
            pinning,
            ..CellName::plain(*kind)
        }
    };
    let own = Kind::ALL.iter().map(cell(Pinning::FrameVector));
    own.chain(Kind::ALL.iter().map(cell(Pinning::Native)))
        .collect()
}

#[test]
#[ignore = "boots a guest"]
fn every_kind_of_memory_is_as_expected() {
    let spec = MatrixSpec {
        testbed: TestbedSpec::default(),
        cells: cells(),
        mutants: Vec::new(),
    };
    let outcome = run::run(&spec, &Progress::silent(), |_| {}).unwrap();
    assert_eq!(outcome.cells.len(), spec.cells.len());
    assert_eq!(outcome.boots, 1);
    for cell in &outcome.cells {
        assert_ne!(cell.verdict, Verdict::Finding, "{}: {cell:#?}", cell.cell);
    }
    assert!(outcome.totals().expected >= 20);
}
