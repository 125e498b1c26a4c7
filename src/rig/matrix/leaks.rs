//! Leaks: memory that the kernel lost, attributed to the cells in which it was
//! allocated.
//!
//! kmemleak takes tens of seconds to find leaks in a guest, which is too long
//! for every cell, so it is asked after many. It reports when each object was
//! allocated, by the same clock that the agent reads at the start of a cell.
//! The cell is run once more, alone, to see whether it loses the same again.
//! Objects allocated before the first cell were leaked without one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::error::MatrixError;
use super::guest::CellGuest;
use super::health::GuestState;
use super::oracle::Oracle;
use super::outcome::CellOutcome;
use crate::agent::cell::instruments::LeakSeen;
use crate::agent::checks::{Check, Leaks};
use crate::vm::channel::AgentError;

/// How long two scans may take: those of a checked kernel took 21 s beside a
/// load of 8.
const LIMIT: Duration = Duration::from_secs(300);

/// Number of cells after which leaks are searched. A leak is attributed by its
/// time, however many cells there are.
pub(super) const GROUP: usize = 400;

/// Largest number of cells that are run once more after a search.
const RERUNS: usize = 4;

/// Returns whether the kernel in that guest can search for leaks. On a machine in use
/// others lose memory as well.
pub(super) fn can_search(guest: &CellGuest) -> bool {
    !guest.place.is_here()
        && guest.checks.on.get(&Check::Kmemleak) == Some(&true)
        && guest.checks.jiffies.is_some()
}

/// Searches for leaks of the cells that were run in that guest. `cells` holds
/// all of them, in their order. Cells that leaked are judged again. `state` is
/// the state of the guest before; cells are run once more only in a fit guest.
/// Returns the state of the guest afterwards.
///
/// # Errors
///
/// [`MatrixError`] if a cell cannot be run once more.
pub(super) fn search(
    guest: &mut CellGuest,
    cells: &mut [CellOutcome],
    mut state: GuestState,
) -> Result<GuestState, MatrixError> {
    // A guest that does not answer would be waited for in vain.
    if !can_search(guest) || matches!(state, GuestState::Broken(_)) {
        return Ok(state);
    }
    let found = match find(guest)? {
        Ok(found) => found,
        Err(state) => return Ok(state),
    };
    let begins: Vec<_> = cells.iter().map(begin).collect();
    for answer in cells.iter_mut().filter_map(|cell| cell.answer.as_mut()) {
        answer.leaks.get_or_insert_default();
    }
    let mut lost = by_cell(found, &begins);
    let (mut reruns, mut known) = (0, BTreeSet::new());
    while let Some((loser, leaks)) = lost.pop_first() {
        let cell = &mut cells[loser];
        let news = leaks.iter().any(|leak| !known.contains(&leak.trace));
        known.extend(leaks.iter().map(|leak| leak.trace.clone()));
        add(cell, leaks);
        guest.judge_again(cell);
        let mut findings = cell.findings.iter();
        // A leak that the kernel is known to have needs no second run.
        let objects = findings.any(|finding| finding.oracle == Oracle::Leaks);
        if !news || !objects || state != GuestState::Fit || reruns == RERUNS {
            continue;
        }
        reruns += 1;
        let (rerun, after) = guest.run(&cell.cell)?;
        let again = match after {
            GuestState::Fit => find(guest)?,
            worse => Err(worse),
        };
        match again {
            Ok(again) => {
                tell_whether_again(cell, &again);
                guest.judge_again(cell);
                // These leaks were missed by the previous search; those of the
                // rerun itself are known well enough.
                let since = begin(&rerun).unwrap_or_default();
                let missed = again.into_iter().filter(|leak| leak.jiffies < since);
                for (loser, leaks) in by_cell(missed, &begins) {
                    lost.entry(loser).or_default().extend(leaks);
                }
            }
            Err(worse) => state = worse,
        }
    }
    Ok(state)
}

/// Returns the leaks that the kernel finds now; or the state of the guest if it
/// cannot tell.
fn find(guest: &CellGuest) -> Result<Result<Vec<LeakSeen>, GuestState>, MatrixError> {
    match guest.place.agent().call(Leaks {}, LIMIT) {
        Ok(answer) => {
            let (count, took) = (answer.leaks.len(), answer.elapsed_ms);
            log::debug!("{count} objects were lost, it took {took} ms to find out");
            if answer.more > 0 {
                log::warn!("{} more objects were lost than are told", answer.more);
            }
            Ok(Ok(answer.leaks))
        }
        Err(AgentError::Interrupted) => Err(MatrixError::Interrupted),
        Err(error) => {
            log::warn!("lost memory was not looked for: {error}");
            Ok(Err(match error {
                AgentError::Failed { message, .. } => GuestState::Spoilt(message),
                error => GuestState::Broken(error.to_string()),
            }))
        }
    }
}

/// Adds leaks to a cell.
fn add(cell: &mut CellOutcome, leaks: Vec<LeakSeen>) {
    if let Some(answer) = &mut cell.answer {
        answer.leaks.get_or_insert_default().extend(leaks);
    }
}

/// Notes which of a cell's leaks occurred again in another run of it.
fn tell_whether_again(cell: &mut CellOutcome, again: &[LeakSeen]) {
    let leaks = cell
        .answer
        .as_mut()
        .and_then(|answer| answer.leaks.as_mut());
    for leak in leaks.into_iter().flatten() {
        let is_it = |other: &LeakSeen| other.trace == leak.trace;
        leak.again.get_or_insert(again.iter().any(is_it));
    }
}

/// Returns the kernel's clock at the start of a cell.
fn begin(cell: &CellOutcome) -> Option<u64> {
    cell.answer.as_ref()?.jiffies
}

/// Returns the leaks of each cell: the objects that were allocated after its
/// start and before the start of the next.
fn by_cell(
    found: impl IntoIterator<Item = LeakSeen>,
    begins: &[Option<u64>],
) -> BTreeMap<usize, Vec<LeakSeen>> {
    let mut lost: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for leak in found {
        let had_begun = |begin: &Option<u64>| begin.is_some_and(|begin| begin <= leak.jiffies);
        match begins.iter().rposition(had_begun) {
            Some(loser) => lost.entry(loser).or_default().push(leak),
            None => log::debug!("lost before the first cell: {leak:?}"),
        }
    }
    lost
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_lost_is_of_the_cell_that_had_begun_last() {
        let begins = [Some(100), None, Some(120), Some(120), Some(150)];
        let found = [99, 100, 119, 149, 1000].map(|jiffies| LeakSeen {
            jiffies,
            ..LeakSeen::default()
        });
        let lost = by_cell(found, &begins);
        let lost: Vec<(usize, Vec<u64>)> = lost
            .into_iter()
            .map(|(cell, leaks)| (cell, leaks.iter().map(|leak| leak.jiffies).collect()))
            .collect();
        assert_eq!(lost, [(0, vec![100, 119]), (3, vec![149]), (4, vec![1000])]);
    }
}
