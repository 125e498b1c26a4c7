//! Merging the results of shards that several machines have run.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::oracles;
use crate::rig::kernel::Version;
use crate::rig::matrix::outcome::KernelOutcome;
use crate::rig::matrix::{CellName, Mutant, cells};

/// Results that cannot be merged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    /// Kernels of the same name are different ones.
    #[error("{kernel} is {one:?} in one file and {other:?} in another")]
    Releases {
        /// The guest's name.
        kernel: String,
        /// One release.
        one: String,
        /// The other release.
        other: String,
    },
    /// Devices that were judged on kernels of the same name are different ones.
    #[error("on {kernel} {one} was judged in one file, and {other} in another")]
    Devices {
        /// The guest's name.
        kernel: String,
        /// One device.
        one: String,
        /// The other device.
        other: String,
    },
    /// There is more than one result.
    #[error("{what} was run on {kernel} more than once")]
    Twice {
        /// The guest's name.
        kernel: String,
        /// The cell, or the mutant.
        what: String,
    },
}

/// Merges the parts of each kernel into one result, with its cells in the order
/// of a run; the oldest kernel comes first.
///
/// # Errors
///
/// [`MergeError`] if one name stands for several kernels, or devices, or a cell or a
/// mutant was run twice.
pub fn merge(parts: Vec<KernelOutcome>) -> Result<Vec<KernelOutcome>, MergeError> {
    let mut kernels: BTreeMap<String, KernelOutcome> = BTreeMap::new();
    // The kernels with more than one part.
    let mut others = BTreeSet::new();
    for part in parts {
        match kernels.get_mut(&part.kernel) {
            None => {
                kernels.insert(part.kernel.clone(), part);
            }
            Some(whole) if whole.release != part.release => {
                return Err(MergeError::Releases {
                    kernel: part.kernel,
                    one: whole.release.clone(),
                    other: part.release,
                });
            }
            Some(whole) if oracles::device(whole) != oracles::device(&part) => {
                let named = |outcome: &KernelOutcome| {
                    oracles::device(outcome).unwrap_or_else(|| "Pinhole's card".into())
                };
                return Err(MergeError::Devices {
                    one: named(whole),
                    other: named(&part),
                    kernel: part.kernel,
                });
            }
            Some(whole) => {
                whole.cells.extend(part.cells);
                whole.mutants.extend(part.mutants);
                whole.checks.extend(part.checks);
                whole.note_blind(part.blind);
                if let (Some(device), Some(other)) = (&mut whole.device, &part.device) {
                    device.join(other);
                }
                whole.injected = whole.injected.saturating_add(part.injected);
                whole.stopped = whole.stopped.take().or(part.stopped);
                others.insert(part.kernel);
                whole.boots = whole.boots.saturating_add(part.boots);
                whole.elapsed_ms = whole.elapsed_ms.saturating_add(part.elapsed_ms);
            }
        }
    }
    let mut merged: Vec<_> = kernels.into_values().collect();
    let order = cells::all().into_iter().enumerate();
    let order: HashMap<CellName, usize> = order.map(|(place, cell)| (cell, place)).collect();
    for outcome in &mut merged {
        once(outcome)?;
        // A cell that this version does not know comes last.
        let place = |cell: CellName| order.get(&cell).copied().unwrap_or(order.len());
        outcome.cells.sort_by_key(|cell| place(cell.cell));
        outcome.mutants.sort_by_key(|mutant| mutant.mutant);
        let has_all_mutants =
            outcome.mutants.is_empty() || outcome.mutants.len() == Mutant::ALL.len();
        if others.contains(&outcome.kernel) && missing(outcome) == 0 && has_all_mutants {
            // Another part has done what the stopped part left undone.
            outcome.stopped = None;
        }
    }
    merged.sort_by_key(|outcome| Version::of(&outcome.release));
    Ok(merged)
}

/// Refuses a cell or a mutant that was run more than once.
fn once(outcome: &KernelOutcome) -> Result<(), MergeError> {
    let twice = |what: String| MergeError::Twice {
        kernel: outcome.kernel.clone(),
        what,
    };
    let mut cells = BTreeSet::new();
    if let Some(again) = outcome.cells.iter().find(|cell| !cells.insert(cell.cell)) {
        return Err(twice(format!("the cell {}", again.cell)));
    }
    let mut mutants = BTreeSet::new();
    let mut all = outcome.mutants.iter();
    match all.find(|one| !mutants.insert(one.mutant)) {
        Some(again) => Err(twice(format!("the mutant {}", again.mutant))),
        None => Ok(()),
    }
}

/// Returns how many of all cells were not run on a kernel.
pub fn missing(outcome: &KernelOutcome) -> usize {
    let run: BTreeSet<_> = outcome.cells.iter().map(|cell| cell.cell).collect();
    let all = outcome.all_cells();
    all.iter().filter(|cell| !run.contains(cell)).count()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{cell, kernel};
    use super::*;

    fn part(kernel: &str, release: &str, cells: &[&str]) -> KernelOutcome {
        KernelOutcome {
            release: release.into(),
            cells: cells.iter().map(|name| cell(name)).collect(),
            mutants: Vec::new(),
            ..super::super::tests::kernel(kernel)
        }
    }

    #[test]
    fn two_devices_are_no_shards_of_one() {
        let judged = KernelOutcome {
            device: Some(super::super::tests::judged()),
            ..part("here", "6.12.1", &["heap"])
        };
        let other = part("here", "6.12.1", &["thp"]);
        let error = merge(vec![judged.clone(), other]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "on here A <b>camera (usb-1), driver cam 6.12.1 was judged in one file, and \
             Pinhole's card in another"
        );
        let same = KernelOutcome {
            device: judged.device.clone(),
            ..part("here", "6.12.1", &["thp"])
        };
        assert_eq!(merge(vec![judged, same]).unwrap()[0].cells.len(), 2);
    }

    #[test]
    fn shards_become_one_whatever_their_order() {
        let all: Vec<_> = cells::all().iter().map(ToString::to_string).collect();
        let shard = |k: usize| -> Vec<&str> {
            let cells = all.iter().skip(k).step_by(3);
            cells.map(String::as_str).collect()
        };
        let merged = merge(vec![
            part("new", "6.12.1", &shard(1)),
            part("old", "6.1.9", &shard(0)),
            part("new", "6.12.1", &shard(2)),
            part("new", "6.12.1", &shard(0)),
        ])
        .unwrap();
        let [old, new] = &merged[..] else {
            panic!("{merged:?}");
        };
        assert_eq!((old.kernel.as_str(), new.kernel.as_str()), ("old", "new"));
        let names: Vec<_> = new.cells.iter().map(|one| one.cell.to_string()).collect();
        assert_eq!(names, all);
        assert_eq!((new.boots, new.injected, missing(new)), (6, 21, 0));
        assert_eq!(missing(old), all.len() - shard(0).len());
    }

    #[test]
    fn a_part_that_stopped_is_made_up_for_by_the_others() {
        let all: Vec<_> = cells::all().iter().map(ToString::to_string).collect();
        let all: Vec<_> = all.iter().map(String::as_str).collect();
        let (begun, rest) = all.split_at(7);
        let begun = KernelOutcome {
            stopped: Some("interrupted".into()),
            ..part("a", "6.1", begun)
        };
        let stopped = |parts: &[&KernelOutcome]| {
            let parts = parts.iter().map(|&part| part.clone()).collect();
            merge(parts).unwrap()[0].stopped.is_some()
        };
        assert!(stopped(&[&begun]));
        assert!(stopped(&[&begun, &part("a", "6.1", &rest[1..])]));
        assert!(stopped(&[&part("a", "6.1", &rest[1..]), &begun]));
        assert!(!stopped(&[&begun, &part("a", "6.1", rest)]));
    }

    #[test]
    fn what_one_part_did_not_see_was_not_seen() {
        let part = |cell, blind: Option<&str>| KernelOutcome {
            blind: blind.map(Into::into),
            ..part("a", "6.1", &[cell])
        };
        for (parts, blind) in [
            ([part("hole", None), part("thp", None)], None),
            ([part("hole", Some("why")), part("thp", None)], Some("why")),
            ([part("hole", None), part("thp", Some("why"))], Some("why")),
            (
                [part("hole", Some("why")), part("thp", Some("else"))],
                Some("why"),
            ),
        ] {
            assert_eq!(merge(parts.into()).unwrap()[0].blind.as_deref(), blind);
        }
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        let twice = merge(vec![
            part("a", "6.1", &["hole", "thp"]),
            part("a", "6.1", &["stack", "thp"]),
        ]);
        assert_eq!(
            twice.unwrap_err().to_string(),
            "the cell thp was run on a more than once"
        );
        let mutants = merge(vec![
            KernelOutcome {
                cells: Vec::new(),
                ..kernel("a")
            },
            kernel("a"),
        ]);
        assert_eq!(
            mutants.unwrap_err().to_string(),
            "the mutant leak-pin was run on a more than once"
        );
        let releases = merge(vec![
            part("a", "6.1", &["hole"]),
            part("a", "6.2\n", &["thp"]),
        ]);
        assert_eq!(
            releases.unwrap_err().to_string(),
            r#"a is "6.1" in one file and "6.2\n" in another"#
        );
    }
}
