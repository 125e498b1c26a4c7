//! Two runs of the matrix side by side: what changed from the one (A) to the other
//! (B), and why.
//!
//! | file | what is in it |
//! |---|---|
//! | `said` | what came of a cell or a mutant in one run |
//! | `change` | what changed, and whether that is worse |
//! | `pair` | the kernels of two runs that are compared with each other |
//! | `entry` | changes that have one cause |
//! | `text` | the changes on a terminal |
//! | `page` | the changes as a page, with evidence of both runs |

mod change;
mod entry;
mod page;
mod pair;
mod said;
mod text;

use std::collections::BTreeMap;

use serde::Serialize;

pub use self::change::Group;
use self::entry::Entry;
pub use self::page::page;
use self::pair::{Pair, Side};
use self::said::Name;
pub use self::text::text;
use crate::rig::matrix::outcome::KernelOutcome;
use crate::rig::plural::count;

/// What changed from one run (A) to another (B).
#[derive(Debug, Serialize)]
pub struct Diff<'a> {
    /// What got worse; empty if nothing did.
    worse: Vec<String>,
    /// The kernels that were compared.
    kernels: Vec<Pair<'a>>,
    /// Kernels of the first run alone.
    only_a: Vec<Side<'a>>,
    /// Kernels of the second run alone.
    only_b: Vec<Side<'a>>,
    /// Numbers of cells.
    cells: Numbers,
    /// Numbers of mutants.
    mutants: Numbers,
    /// The changes: by group, and within a group the worst first.
    changes: Vec<Entry<'a>>,
}

/// Two runs that cannot be compared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DiffError {
    /// They have no kernel in common, and one has several.
    #[error(
        "the runs have no kernel in common, A has {a} and B {b}: give the KERNEL.json of one \
         kernel each to compare two kernels"
    )]
    Kernels {
        /// The kernels of the first.
        a: String,
        /// The kernels of the second.
        b: String,
    },
    /// They have no cell and no mutant in common.
    #[error(
        "the runs have no cell and no mutant in common: run pinhole matrix with the same --cell, \
         --kind, --hazard and --mutant both times"
    )]
    Cells,
    /// A run stopped before there was anything in common.
    #[error("{run} stopped before it had run anything that the other has: {why}")]
    Stopped {
        /// The run, A or B.
        run: &'static str,
        /// Why it stopped.
        why: String,
    },
}

/// Numbers of cells or mutants.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
struct Numbers {
    /// In both runs.
    compared: usize,
    /// The same in both runs.
    same: usize,
    worse: usize,
    better: usize,
    different: usize,
    /// In the second run only.
    new: usize,
    /// In the first run only.
    gone: usize,
}

impl Numbers {
    fn add(&mut self, group: Option<Group>) {
        let field = match group {
            None => &mut self.same,
            Some(Group::Worse) => &mut self.worse,
            Some(Group::Better) => &mut self.better,
            Some(Group::Different) => &mut self.different,
            Some(Group::New) => &mut self.new,
            Some(Group::Gone) => &mut self.gone,
        };
        *field += 1;
        if !matches!(group, Some(Group::New | Group::Gone)) {
            self.compared += 1;
        }
    }
}

impl Diff<'_> {
    /// Returns whether something got worse: there is an objection that there was
    /// not, or something is not judged any more, if only because the second run has
    /// not its kernel.
    pub fn is_worse(&self) -> bool {
        !self.worse.is_empty()
    }

    /// Returns what got worse, in a line.
    fn verdict(&self) -> String {
        match self.is_worse() {
            false => "Nothing got worse.".to_owned(),
            true => format!("WORSE: {}", self.worse.join("; ")),
        }
    }

    /// Returns what got worse, a part of a sentence each.
    fn what_got_worse(&self) -> Vec<String> {
        let mut worse = Vec::new();
        for (number, noun) in [(self.cells.worse, "cell"), (self.mutants.worse, "mutant")] {
            if number > 0 {
                worse.push(format!("{} got worse", count(number, noun)));
            }
        }
        let new = self.changes.iter().filter(|entry| entry.is_new_and_bad());
        let new = new.flat_map(|entry| &entry.cells);
        let (cells, mutants): (Vec<_>, Vec<_>) =
            new.partition(|changed| matches!(changed.name, Name::Cell(_)));
        for (new, noun, what) in [
            (cells, "cell", "with findings"),
            (mutants, "mutant", "missed"),
        ] {
            if !new.is_empty() {
                worse.push(format!("{} {what} that only B has", count(new.len(), noun)));
            }
        }
        for (place, pair) in self.kernels.iter().enumerate() {
            let changes = self.changes.iter();
            let gone = changes.filter(|entry| entry.group == Group::Gone);
            let gone = gone.flat_map(|entry| &entry.cells);
            let gone = gone.filter(|changed| changed.pair == place).count();
            if let (Some(why), 1..) = (&pair.b.outcome.stopped, gone) {
                worse.push(format!("B stopped before it had run {gone} of A's: {why}"));
            }
        }
        for kernel in &self.only_a {
            worse.push(format!("B has no results of {}", kernel.kernel));
        }
        for kernel in self.only_b.iter().filter(|it| it.outcome.is_wrong()) {
            let kernel = kernel.kernel;
            worse.push(format!("B has findings on {kernel}, which only B has"));
        }
        worse
    }
}

/// Compares two runs, each with every kernel once. Kernels are paired by name; if
/// each run has a single kernel, these two are. Times, boots, and numbers in what
/// oracles say are no change.
///
/// # Errors
///
/// [`DiffError`] if there is nothing to compare.
pub fn diff<'a>(a: &'a [KernelOutcome], b: &'a [KernelOutcome]) -> Result<Diff<'a>, DiffError> {
    let (kernels, only_a, only_b) = pair::pairs(a, b);
    if kernels.is_empty() {
        let names = |of: &[KernelOutcome]| -> Vec<_> {
            of.iter().map(|outcome| outcome.kernel.clone()).collect()
        };
        let names = |of| names(of).join(", ");
        return Err(DiffError::Kernels {
            a: names(a),
            b: names(b),
        });
    }
    let (mut cells, mut mutants) = (Numbers::default(), Numbers::default());
    let mut entries = BTreeMap::new();
    for (place, pair) in kernels.iter().enumerate() {
        for (name, change) in pair.changes() {
            let group = change.group();
            match name {
                Name::Cell(_) => cells.add(group),
                Name::Mutant(_) => mutants.add(group),
            }
            if let Some(group) = group {
                entry::add(&mut entries, group, (place, pair), name, change);
            }
        }
    }
    if cells.compared + mutants.compared == 0 {
        return Err(nothing_in_common(&kernels));
    }
    let mut diff = Diff {
        worse: Vec::new(),
        kernels,
        only_a,
        only_b,
        cells,
        mutants,
        changes: entry::sorted(entries),
    };
    diff.worse = diff.what_got_worse();
    Ok(diff)
}

/// Returns why no cell and no mutant of these kernels is in both runs.
fn nothing_in_common(kernels: &[Pair<'_>]) -> DiffError {
    let sides = kernels
        .iter()
        .flat_map(|pair| [("A", &pair.a), ("B", &pair.b)]);
    let mut stopped = sides.filter_map(|(run, side)| Some((run, side.outcome.stopped.as_ref()?)));
    match stopped.next() {
        Some((run, why)) => DiffError::Stopped {
            run,
            why: why.clone(),
        },
        None => DiffError::Cells,
    }
}

#[cfg(test)]
mod tests;
