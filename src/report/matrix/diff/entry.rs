//! Changes with one cause, as far as that can be told from them: cells that came to
//! the same in each run, for reasons and objections that differ in numbers alone.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::change::{Change, Group};
use super::pair::Pair;
use super::said::{Key, Name, Said, Standing};
use crate::report::matrix::groups::hazards;
use crate::rig::matrix::objection::Severity;
use crate::rig::matrix::oracle::{Cause, Finding, Oracle};
use crate::rig::plural::count;

/// Changes with one cause.
#[derive(Debug, Clone, Serialize)]
pub struct Entry<'a> {
    /// What they mean.
    pub group: Group,
    /// What came of the first of them in the first run; `None` if it was not run.
    pub a: Option<Said<'a>>,
    /// The same in the second run.
    pub b: Option<Said<'a>>,
    /// What is changed.
    pub cells: Vec<Changed<'a>>,
}

/// A cell or a mutant that changed.
#[derive(Debug, Clone, Serialize)]
pub struct Changed<'a> {
    /// The names of its kernels.
    pub kernel: String,
    /// Its name.
    pub name: Name,
    /// The objections that are new, the worst first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub appeared: Vec<&'a Finding>,
    /// The objections that are gone, the worst first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub vanished: Vec<&'a Finding>,
    /// The place of its pair of kernels among all.
    #[serde(skip)]
    pub pair: usize,
}

/// What changes with one cause have in common.
type EntryKey = (Group, Option<Key>, Option<Key>, Option<Cause>);

/// The entries, by what their changes have in common.
pub type Entries<'a> = BTreeMap<EntryKey, Entry<'a>>;

/// Adds a change of that group to its entry.
pub fn add<'a>(
    entries: &mut Entries<'a>,
    group: Group,
    pair: (usize, &Pair<'a>),
    name: Name,
    change: Change<'a>,
) {
    let changed = Changed {
        kernel: pair.1.name(),
        name,
        appeared: change.appeared(),
        vanished: change.vanished(),
        pair: pair.0,
    };
    let key = |said: &Option<Said<'_>>| said.as_ref().map(Said::key);
    let cause = changed.worst().map(Finding::cause);
    let entry = entries.entry((group, key(&change.a), key(&change.b), cause));
    let entry = entry.or_insert_with(|| Entry {
        group,
        a: change.a,
        b: change.b,
        cells: Vec::new(),
    });
    entry.cells.push(changed);
}

/// Returns the entries by group, and within a group the worst first, and of those
/// alike the one with most cells.
pub fn sorted(entries: Entries<'_>) -> Vec<Entry<'_>> {
    let mut entries: Vec<_> = entries.into_values().collect();
    entries.sort_by_key(|entry| {
        let severity = entry.worst().map(|finding| finding.severity);
        let mildest = (severity.is_none(), severity.unwrap_or(Severity::Flaky));
        (entry.group, mildest, Reverse(entry.cells.len()))
    });
    entries
}

impl<'a> Changed<'a> {
    /// Returns the objections that are new or, if none is, gone.
    fn objections(&self) -> &[&'a Finding] {
        match self.appeared.is_empty() {
            true => &self.vanished,
            false => &self.appeared,
        }
    }

    /// Returns the worst of these.
    fn worst(&self) -> Option<&'a Finding> {
        self.objections().first().copied()
    }
}

impl<'a> Entry<'a> {
    /// Returns the worst of the objections that are new or, if none is, gone.
    pub fn worst(&self) -> Option<&'a Finding> {
        self.cells.first().and_then(Changed::worst)
    }

    /// Returns the oracles that object in its cells besides [`Self::worst`], of the
    /// objections that are new or, if none is, gone.
    pub fn other_oracles(&self) -> BTreeSet<Oracle> {
        let worst = self.worst().map(|finding| finding.oracle);
        let cells = self.cells.iter();
        let findings = cells.flat_map(Changed::objections);
        let oracles = findings.map(|finding| finding.oracle);
        oracles.filter(|oracle| Some(*oracle) != worst).collect()
    }

    /// Returns whether only the second run has it, and not as it should be.
    pub fn is_new_and_bad(&self) -> bool {
        let is_bad = |said: &Said<'_>| said.standing == Standing::Bad;
        self.group == Group::New && self.b.as_ref().is_some_and(is_bad)
    }

    /// Returns what came of the cells, before and after.
    pub fn change(&self) -> String {
        let said = |of: &Option<Said<'_>>| match of {
            Some(said) => said.to_string(),
            None => "not run".to_owned(),
        };
        format!("{} → {}", said(&self.a), said(&self.b))
    }

    /// Returns how many cells or mutants there are.
    pub fn count(&self) -> String {
        let is_cell = |cell: &Changed<'_>| matches!(cell.name, Name::Cell(_));
        match self.cells.iter().all(is_cell) {
            true => count(self.cells.len(), "cell"),
            false => count(self.cells.len(), "mutant"),
        }
    }

    /// Returns the `most` most frequent hazards, each with the number of its cells;
    /// nothing for mutants.
    pub fn hazards(&self, most: usize) -> String {
        let cells = self.cells.iter().filter_map(|changed| match changed.name {
            Name::Cell(cell) => Some(cell),
            Name::Mutant(_) => None,
        });
        hazards(cells, most)
    }

    /// Returns each cell's name; with its kernel if several were compared.
    pub fn names(&self, pairs: usize) -> Vec<String> {
        let cells = self.cells.iter();
        let name = |changed: &Changed<'_>| match pairs {
            1 => changed.name.to_string(),
            _ => format!("{} on {}", changed.name, changed.kernel),
        };
        cells.map(name).collect()
    }

    /// Returns the lines that say why, each with what it is of: what the worst
    /// objection is, which other oracles object, and the reasons in both runs.
    pub fn causes(&self) -> Vec<(&'static str, String)> {
        let mut causes = Vec::new();
        let objections = self.cells.first().map_or(&[][..], Changed::objections);
        let is_told = |(place, finding): &(usize, &&Finding)| {
            // How often a flaky cell came to what, whatever else is wrong.
            *place == 0 || finding.severity == Severity::Flaky
        };
        let appeared = self.cells.iter().any(|cell| !cell.appeared.is_empty());
        let label = if appeared { "now" } else { "no more" };
        for (_, finding) in objections.iter().enumerate().filter(is_told) {
            let Finding {
                severity,
                oracle,
                what,
            } = finding;
            causes.push((label, format!("{severity}, {oracle}: {what}")));
        }
        let others: Vec<_> = self
            .other_oracles()
            .iter()
            .map(ToString::to_string)
            .collect();
        if !others.is_empty() {
            causes.push(("also", others.join(", ")));
        }
        let reason = |said: &Option<Said<'a>>| said.as_ref()?.reason;
        match (reason(&self.a), reason(&self.b)) {
            (Some(a), Some(b)) if a == b => causes.push(("both", a.to_owned())),
            (a, b) => {
                let both = [("A", a), ("B", b)].into_iter();
                causes.extend(both.filter_map(|(run, why)| Some((run, why?.to_owned()))));
            }
        }
        causes
    }
}
