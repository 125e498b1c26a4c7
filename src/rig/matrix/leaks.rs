//! Memory that the kernel has lost, laid to the cells in which it allocated it.
//!
//! kmemleak takes tens of seconds to find it in a guest, too long for every
//! cell. It is asked after many, and tells when each object was allocated, by
//! the same clock that the agent looks at when a cell begins: that cell is run
//! once more, alone, to see whether it loses the same again. What was allocated
//! before the first cell the kernel lost without one.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use super::health::Fate;
use super::outcome::CellOutcome;
use super::run::{Bed, MatrixError};
use crate::agent::cell::instruments::LeakSeen;
use crate::agent::checks::{Check, Leaks};
use crate::vm::channel::AgentError;

/// How long two scans may take: those of a checked kernel took 21 s beside a
/// load of 8.
const LIMIT: Duration = Duration::from_secs(300);

/// After how many cells it is time to look for what they lost.
pub(super) const GROUP: usize = 150;

/// Most cells that are run once more for what a look has found.
const RERUNS: usize = 4;

/// Whether the kernel in that guest can look for what it lost.
pub(super) fn can_search(bed: &Bed) -> bool {
    bed.checks.on.get(&Check::Kmemleak) == Some(&true) && bed.checks.jiffies.is_some()
}

/// Looks for what was lost by the cells that were run in that guest, all of
/// them, in their order, and has those judged by it that lost something. Says
/// what the guest is good for after that, which before was good for `fate`:
/// only in one that is fit cells are run once more.
///
/// # Errors
///
/// [`MatrixError`] where a cell cannot be run once more.
pub(super) fn search(
    bed: &mut Bed,
    cells: &mut [CellOutcome],
    mut fate: Fate,
) -> Result<Fate, MatrixError> {
    if !can_search(bed) {
        return Ok(fate);
    }
    let mut found = match find(bed)? {
        Ok(found) => VecDeque::from(found),
        Err(fate) => return Ok(fate),
    };
    let begins: Vec<_> = cells.iter().map(begin).collect();
    for answer in cells.iter_mut().filter_map(|cell| cell.answer.as_mut()) {
        answer.leaks.get_or_insert_default();
    }
    let mut traces = BTreeSet::new();
    let mut losers = BTreeSet::new();
    while let Some(mut leak) = found.pop_front() {
        let Some(loser) = whose(&leak, &begins) else {
            log::debug!("lost before the first cell: {leak:?}");
            continue;
        };
        let cell = &mut cells[loser];
        if fate == Fate::Fit && traces.len() < RERUNS && traces.insert(leak.trace.clone()) {
            let (rerun, after) = bed.run(&cell.cell)?;
            let again = match after {
                Fate::Fit => find(bed)?,
                worse => Err(worse),
            };
            match again {
                Ok(again) => {
                    leak.again = Some(again.iter().any(|other| other.trace == leak.trace));
                    // What the look before has missed; of the rerun enough is
                    // known.
                    let since = begin(&rerun).unwrap_or_default();
                    found.extend(again.into_iter().filter(|leak| leak.jiffies < since));
                }
                Err(worse) => fate = worse,
            }
        }
        if let Some(answer) = &mut cell.answer {
            answer.leaks.get_or_insert_default().push(leak);
            losers.insert(loser);
        }
    }
    for loser in losers {
        bed.judge_again(&mut cells[loser]);
    }
    Ok(fate)
}

/// What the kernel finds lost now; or what the guest is good for, which cannot
/// tell.
fn find(bed: &Bed) -> Result<Result<Vec<LeakSeen>, Fate>, MatrixError> {
    match bed.testbed.machine.agent().call(Leaks {}, LIMIT) {
        Ok(answer) => {
            let (count, took) = (answer.leaks.len(), answer.elapsed_ms);
            log::debug!("{count} objects were lost, it took {took} ms to find out");
            if answer.more > 0 {
                log::warn!("{} more objects were lost than are told", answer.more);
            }
            Ok(Ok(answer.leaks))
        }
        Err(AgentError::Interrupted) => Err(MatrixError::Interrupted),
        Err(AgentError::Failed { message, .. }) => Ok(Err(Fate::Spoilt(message))),
        Err(_) => Ok(Err(Fate::Broken)),
    }
}

/// The kernel's clock when a cell began.
fn begin(cell: &CellOutcome) -> Option<u64> {
    cell.answer.as_ref()?.jiffies
}

/// The cell in which an object was allocated: the last that had begun by then.
fn whose(leak: &LeakSeen, begins: &[Option<u64>]) -> Option<usize> {
    begins
        .iter()
        .rposition(|begin| begin.is_some_and(|begin| begin <= leak.jiffies))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_lost_is_of_the_cell_that_had_begun_last() {
        let begins = [Some(100), None, Some(120), Some(120), Some(150)];
        let of = |jiffies| {
            let leak = LeakSeen {
                jiffies,
                ..LeakSeen::default()
            };
            whose(&leak, &begins)
        };
        assert_eq!(of(99), None);
        assert_eq!(of(100), Some(0));
        assert_eq!(of(119), Some(0));
        assert_eq!(of(149), Some(3));
        assert_eq!(of(1000), Some(4));
    }
}
