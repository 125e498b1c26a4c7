//! The matrix on a terminal.

use comfy_table::{Table, presets};

use super::plain;
use crate::agent::cell::{Hazard, Kind};
use crate::rig::matrix::outcome::{CellOutcome, KernelOutcome, MutantVerdict, Verdict};
use crate::rig::matrix::{CellName, Mutant, Pinning};

/// Lays out the results: a row for each kind, each hazard and each mutant, a
/// column for each kernel; below it every finding, and the totals.
pub fn table(outcomes: &[KernelOutcome]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let head = ["".to_owned()].into_iter();
    table.set_header(head.chain(outcomes.iter().map(|one| one.kernel.clone())));
    for kind in Kind::ALL {
        row(&mut table, outcomes, kind.name(), |cell| {
            cell.kind == *kind && cell.hazard == Hazard::None
        });
    }
    for hazard in Hazard::ALL.iter().filter(|h| **h != Hazard::None) {
        row(&mut table, outcomes, hazard.name(), |cell| {
            cell.hazard == *hazard
        });
    }
    for mutant in Mutant::ALL {
        mutant_row(&mut table, outcomes, *mutant);
    }
    let mut text = table.to_string();
    for outcome in outcomes {
        for cell in &outcome.cells {
            for finding in &cell.findings {
                text += &format!(
                    "\nFINDING {} on {}, {}: {}",
                    cell.cell,
                    outcome.kernel,
                    finding.oracle,
                    plain(&finding.what)
                );
            }
        }
        for mutant in &outcome.mutants {
            if mutant.verdict == MutantVerdict::Missed {
                text += &format!(
                    "\nMISSED mutant {} on {}: {}",
                    mutant.mutant,
                    outcome.kernel,
                    mutant.reason.as_deref().unwrap_or_default()
                );
            }
        }
    }
    for outcome in outcomes {
        let totals = outcome.totals();
        text += &format!(
            "\n{} ({}): {} cells as expected, {} findings, {} impossible here; {} of {} mutants missed; {} boots, {:.0} s",
            outcome.kernel,
            plain(&outcome.release),
            totals.expected,
            totals.findings,
            totals.impossible,
            totals.missed,
            outcome.mutants.len(),
            outcome.boots,
            outcome.elapsed_ms as f64 / 1e3,
        );
    }
    text
}

/// Adds a row for the cells that `belongs` picks, unless there are none.
fn row(
    table: &mut Table,
    outcomes: &[KernelOutcome],
    name: &str,
    belongs: impl Fn(&CellName) -> bool,
) {
    let of = |outcome: &KernelOutcome| {
        let cells = outcome.cells.iter();
        summary(cells.filter(|cell| belongs(&cell.cell)))
    };
    let columns: Vec<_> = outcomes.iter().map(of).collect();
    if columns.iter().any(|column| !column.is_empty()) {
        table.add_row([name.to_owned()].into_iter().chain(columns));
    }
}

/// Adds a row for a mutant with the oracles that saw it, unless it was not run.
fn mutant_row(table: &mut Table, outcomes: &[KernelOutcome], mutant: Mutant) {
    let of = |outcome: &KernelOutcome| {
        let mut mutants = outcome.mutants.iter();
        mutants
            .find(|one| one.mutant == mutant)
            .map_or_else(String::new, |one| match one.verdict {
                MutantVerdict::Caught => {
                    let oracles: Vec<_> = one.oracles().iter().map(ToString::to_string).collect();
                    format!("seen by {}", oracles.join(", "))
                }
                MutantVerdict::Missed => "MISSED".to_owned(),
                MutantVerdict::Unseen => "-".to_owned(),
            })
    };
    let columns: Vec<_> = outcomes.iter().map(of).collect();
    if columns.iter().any(|column| !column.is_empty()) {
        table.add_row([format!("mutant {mutant}")].into_iter().chain(columns));
    }
}

/// What cells came to: each result once, those of the kernel's own way to pin
/// only where they differ, findings with how many they are.
fn summary<'a>(cells: impl Iterator<Item = &'a CellOutcome>) -> String {
    let mut seen: Vec<String> = Vec::new();
    let mut findings = 0;
    let mut say = |what: String| {
        if !seen.contains(&what) {
            seen.push(what);
        }
    };
    for cell in cells {
        match (cell.verdict, cell.observation) {
            (Verdict::Finding, _) => findings += 1,
            (Verdict::Impossible, _) => say("-".to_owned()),
            (Verdict::Expected, Some(observation)) => match cell.cell.pinning {
                Pinning::FrameVector => say(observation.to_string()),
                Pinning::Native => say(format!("{observation} (native)")),
            },
            (Verdict::Expected, None) => {}
        }
    }
    let usual: Vec<_> = seen
        .iter()
        .filter(|s| !s.ends_with("(native)"))
        .cloned()
        .collect();
    seen.retain(|said| {
        let own = said.strip_suffix(" (native)");
        own.is_none_or(|own| !usual.iter().any(|said| said == own))
    });
    if findings > 0 {
        seen.push(format!("{findings} FOUND"));
    }
    seen.join(", ")
}
