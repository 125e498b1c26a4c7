//! The matrix on a terminal.

use comfy_table::{Table, presets};

use super::oracles;
use super::plain::plain;
use super::rows;
use crate::rig::matrix::Mutant;
use crate::rig::matrix::outcome::{CellOutcome, KernelOutcome, MutantVerdict, Verdict};

/// Lays out the results: a row for each kind, each hazard and each mutant, a
/// column for each kernel; below it every finding, and the totals.
pub fn table(outcomes: &[KernelOutcome]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let head = ["".to_owned()].into_iter();
    table.set_header(head.chain(outcomes.iter().map(|one| one.kernel.clone())));
    for row in rows::kinds(outcomes).iter().chain(&rows::hazards(outcomes)) {
        let columns = row.kernels.iter().map(|cells| summary(cells));
        table.add_row([row.name.to_owned()].into_iter().chain(columns));
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
                    plain(mutant.reason.as_deref().unwrap_or_default())
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
        if outcome.injected > 0 {
            text += &format!("; {} failures injected", outcome.injected);
        }
        if let Some(why) = &outcome.stopped {
            text += &format!("; STOPPED before the end: {}", plain(why));
        }
        for (name, said) in oracles::lines(outcome) {
            text += &format!("\n  {name}: {}", plain(&said));
        }
    }
    text
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

/// What cells came to: each result once, and findings with how many they are.
fn summary(cells: &[&CellOutcome]) -> String {
    let answers = rows::answers(cells).into_iter().map(|answer| {
        let said = match (answer.verdict, answer.said) {
            (Verdict::Finding, _) => format!("{} FOUND", answer.count),
            (Verdict::Impossible, _) | (_, None) => "-".to_owned(),
            (Verdict::Expected, Some(said)) => said,
        };
        match answer.which {
            Some(which) => format!("{said} ({which})"),
            None => said,
        }
    });
    answers.collect::<Vec<_>>().join(", ")
}
