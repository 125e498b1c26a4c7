//! A run of the matrix, and one of a device that is judged without a witness.

use pinhole::rig::matrix::Mutant;
use pinhole::rig::matrix::outcome::KernelOutcome;
use pinhole::rig::matrix::run::{self, Judged, MatrixSpec};
use pinhole::rig::testbed::TestbedSpec;
use pinhole::vm::progress::Progress;

/// Runs the cells on the one kernel that the specification names.
pub fn outcome(spec: &MatrixSpec) -> KernelOutcome {
    let mut outcomes = Vec::new();
    run::run(spec, &Progress::silent(), &mut outcomes).unwrap();
    outcomes.remove(0)
}

/// Judges /dev/video0 of a guest in those cells.
pub fn judge(testbed: TestbedSpec, cells: &[&str], mutants: &[Mutant]) -> KernelOutcome {
    outcome(&MatrixSpec {
        judged: Some(Judged {
            device: "/dev/video0".into(),
            here: false,
        }),
        testbed,
        cells: cells.iter().map(|name| name.parse().unwrap()).collect(),
        mutants: mutants.to_vec(),
        jobs: 1,
    })
}
