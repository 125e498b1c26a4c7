//! Where the time of the matrix's cells goes.

use serde::Serialize;

use super::BenchError;
use crate::agent::cell::phases::{Phase, Phases};
use crate::rig::matrix::cells;
use crate::rig::matrix::run::{self, MatrixSpec};
use crate::rig::testbed::TestbedSpec;
use crate::vm::progress::Progress;

/// Every how many of the cells is run, at one run: they are then as mixed as all
/// are.
const PART: usize = 16;

/// A phase of the cells.
#[derive(Debug, Clone, Serialize)]
pub struct CellPhase {
    /// Name of the phase.
    pub phase: Phase,
    /// What it is.
    pub what: &'static str,
    /// Number of cells that were run.
    pub cells: usize,
    /// Time a cell in microseconds, the mean of all cells.
    pub mean_us: f64,
    /// Part of the time of all phases.
    pub share: f64,
}

/// Runs a part of the matrix's captures in one guest, the larger the more `runs`
/// there are.
pub fn measure(
    spec: &TestbedSpec,
    runs: u32,
    progress: &Progress,
) -> Result<Vec<CellPhase>, BenchError> {
    let part = (PART / runs.max(1) as usize).max(1);
    let mut captures = cells::all();
    captures.retain(|cell| cell.flow.is_capture());
    let spec = MatrixSpec {
        testbed: spec.clone(),
        judged: None,
        cells: cells::shard(captures, 1, part),
        mutants: Vec::new(),
        jobs: 1,
    };
    let mut outcomes = Vec::new();
    run::run(&spec, progress, &mut outcomes)?;
    let cells = outcomes.into_iter().flat_map(|outcome| outcome.cells);
    Ok(of(cells
        .filter_map(|cell| Some(cell.answer?.phases))
        .collect()))
}

/// Returns the phases of the cells, the longest first.
fn of(cells: Vec<Phases>) -> Vec<CellPhase> {
    let sum = |phase| {
        let times = cells.iter().filter_map(|cell| cell.get(&phase));
        times.sum::<u64>() as f64
    };
    let all: f64 = Phase::ALL.iter().copied().map(sum).sum();
    let mut phases: Vec<CellPhase> = Phase::ALL
        .iter()
        .map(|&phase| CellPhase {
            phase,
            what: phase.what(),
            cells: cells.len(),
            mean_us: sum(phase) / cells.len().max(1) as f64,
            share: sum(phase) / all.max(1.0),
        })
        .collect();
    phases.sort_by(|one, other| other.mean_us.total_cmp(&one.mean_us));
    phases
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_phase_is_the_first() {
        let cells = vec![
            Phases::from([(Phase::Pages, 10), (Phase::Device, 60)]),
            Phases::from([(Phase::Pages, 30)]),
        ];
        let phases = of(cells);
        let seen: Vec<_> = phases[..3]
            .iter()
            .map(|one| (one.phase, one.mean_us, one.share))
            .collect();
        assert_eq!(
            seen,
            [
                (Phase::Device, 30.0, 0.6),
                (Phase::Pages, 20.0, 0.4),
                (Phase::Prepare, 0.0, 0.0)
            ]
        );
        assert!(of(Vec::new()).iter().all(|one| one.mean_us == 0.0));
    }
}
