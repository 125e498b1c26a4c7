//! The matrix as a table for a terminal.

use comfy_table::{Table, presets};

use super::groups::groups;
use super::oracles;
use super::rows;
use crate::report::plain::plain;
use crate::rig::matrix::Mutant;
use crate::rig::matrix::outcome::{CellOutcome, KernelOutcome, MutantVerdict, Verdict};
use crate::rig::plural::count;

/// The marks of the results, which the page uses too.
pub const LEGEND: &str =
    "✓ the one reads what the other wrote   ◆ expected, but not that   ✗ finding   – impossible";

/// Returns the table of results: a row for each kind, each hazard and each
/// mutant, a column for each kernel, and below it the findings, those with one cause
/// together, and the totals.
pub fn table(outcomes: &[KernelOutcome]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let head = ["".to_owned()].into_iter();
    table.set_header(head.chain(outcomes.iter().map(|one| one.kernel.clone())));
    for of in rows::sections(outcomes) {
        let rows = of.rows.iter().map(|row| {
            let columns = row.kernels.iter().map(|cells| summary(cells));
            [row.name.to_owned()].into_iter().chain(columns).collect()
        });
        section(&mut table, of.title, rows.collect());
    }
    let mutants = Mutant::ALL.iter();
    let mutants = mutants.filter_map(|mutant| mutant_row(outcomes, *mutant));
    section(&mut table, "Mutants of the driver", mutants.collect());
    let mut text = format!("{table}\n\n{LEGEND}\n");
    for group in groups(outcomes) {
        text += &format!(
            "\nFINDING {:<14}  {:<8}  {}\n        in {} ({}): {}",
            group.severity,
            group.oracle,
            plain(group.what()),
            count(group.findings.len(), "cell"),
            group.hazards(3),
            plain(&group.cells(outcomes.len(), 2)),
        );
    }
    for outcome in outcomes {
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
        text += &format!("\n{} ({}): ", outcome.kernel, plain(&outcome.release));
        if !outcome.cells.is_empty() || outcome.mutants.is_empty() {
            text += &format!(
                "{} as expected, {}, {} impossible here; ",
                count(totals.expected, "cell"),
                count(totals.findings, "finding"),
                totals.impossible,
            );
        }
        if !outcome.mutants.is_empty() {
            let mutants = count(outcome.mutants.len(), "mutant");
            text += &format!("{} of {mutants} missed; ", totals.missed);
        }
        text += &format!(
            "{}, {:.0} s",
            count(outcome.boots as usize, "boot"),
            outcome.elapsed_ms as f64 / 1e3,
        );
        if outcome.injected > 0 {
            text += &format!("; {} injected", count(outcome.injected, "failure"));
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

/// Adds rows under a heading, if there are any. The heading is needed because
/// `ksm` is a kind and a hazard.
fn section(table: &mut Table, title: &str, rows: Vec<Vec<String>>) {
    if !rows.is_empty() {
        table.add_row([title]);
        for mut row in rows {
            row[0].insert_str(0, "  ");
            table.add_row(row);
        }
    }
}

/// Returns the row of a mutant with the oracles that saw it; `None` if the
/// mutant was not run.
fn mutant_row(outcomes: &[KernelOutcome], mutant: Mutant) -> Option<Vec<String>> {
    let of = |outcome: &KernelOutcome| {
        let mut mutants = outcome.mutants.iter();
        mutants
            .find(|one| one.mutant == mutant)
            .map_or_else(String::new, |one| match one.verdict {
                MutantVerdict::Caught => {
                    let oracles: Vec<_> = one.oracles().iter().map(ToString::to_string).collect();
                    format!("✓ seen by {}", oracles.join(", "))
                }
                MutantVerdict::Missed => "✗ MISSED".to_owned(),
                MutantVerdict::Unseen => "–".to_owned(),
                MutantVerdict::Unwitnessed => "– missed, needs a witness".to_owned(),
            })
    };
    let columns: Vec<_> = outcomes.iter().map(of).collect();
    let is_run = columns.iter().any(|column| !column.is_empty());
    is_run.then(|| [mutant.to_string()].into_iter().chain(columns).collect())
}

/// Returns the results of cells: each once, and findings with their number.
fn summary(cells: &[&CellOutcome]) -> String {
    let answers = rows::answers(cells).into_iter().map(|answer| {
        let said = match (answer.verdict, answer.said) {
            (Verdict::Finding, _) => format!("✗ {} FOUND", answer.count),
            (Verdict::Impossible, _) | (_, None) => "–".to_owned(),
            (Verdict::Expected, Some(said)) if answer.reasons.is_empty() => format!("✓ {said}"),
            (Verdict::Expected, Some(said)) => format!("◆ {said}"),
        };
        match answer.which {
            Some(which) => format!("{said} ({which})"),
            None => said,
        }
    });
    answers.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::super::tests::{cell, kernel};
    use super::*;
    use crate::rig::matrix::observation::{Observation, Sent};

    #[test]
    fn a_result_has_its_mark_and_a_row_its_heading() {
        let text = table(&[kernel("trixie")]);
        let rows: Vec<_> = text.lines().map(str::trim_end).collect();
        let table = [
            "                        trixie",
            " Kinds of memory",
            "   anon-touched         ✓ data",
            "   heap                 ✗ 1 FOUND",
            "   hole                 ◆ EFAULT",
            "   guard-region         –",
            " Hazards",
            "   munmap               ✗ 1 FOUND",
            " Mutants of the driver",
            "   pin-readonly         –",
            "   round-up             ✗ MISSED",
            "   leak-pin             ✓ seen by pins",
            "",
            LEGEND,
        ];
        assert_eq!(rows[..table.len()], table);
    }

    #[test]
    fn what_the_card_reads_stands_below_what_it_writes() {
        let mut outcome = kernel("trixie");
        let sent = |name: &str, sent| CellOutcome {
            observation: Some(Observation::Sent(sent)),
            ..cell(name)
        };
        outcome.cells = vec![
            cell("thp"),
            sent("output/thp", Sent::Written),
            sent("output/prot-none", Sent::Zeros),
            sent("output/thp/ksm", Sent::Later),
        ];
        outcome.mutants.clear();
        let text = table(&[outcome]);
        let rows: Vec<_> = text.lines().map(str::trim_end).collect();
        let width = " Hazards to memory that the card reads".len() - 1;
        let row = |name: &str, said: &str| format!("   {name:<width$}{said}");
        let lines = [
            " Kinds of memory".to_owned(),
            row("thp", "✓ data"),
            " Kinds of memory that the card reads".to_owned(),
            row("thp", "✓ data"),
            row("prot-none", "✓ zeros"),
            " Hazards to memory that the card reads".to_owned(),
            row("ksm", "✓ later data"),
        ];
        assert_eq!(rows[1..=lines.len()], lines, "{text}");
    }

    #[test]
    fn findings_with_one_cause_are_told_once_the_worst_first() {
        let text = table(&[kernel("trixie"), kernel("bookworm")]);
        let at = text.find("\nFINDING").unwrap();
        let told = "
FINDING memory-written  fences    5 bytes after the buffer have changed
        in 2 cells (munmap 2): thp/munmap on trixie, thp/munmap on bookworm
FINDING kernel-broken   outcome   the guest broke: no answer
        in 2 cells (no hazard 2): heap/sg on trixie, heap/sg on bookworm
FINDING data-lost       data      frame 0 differs <script>alert(1)</script> & \"more\"
        in 2 cells (munmap 2): thp/munmap on trixie, thp/munmap on bookworm
MISSED mutant round-up on trixie: ";
        assert!(text[at..].starts_with(told), "{}", &text[at..]);
    }

    #[test]
    fn what_was_not_run_is_not_counted_and_one_is_no_plural() {
        let mut outcome = kernel("trixie");
        let line = |outcome: &KernelOutcome| {
            let text = table(std::slice::from_ref(outcome));
            let line = text.lines().find(|line| line.starts_with("trixie ("));
            line.unwrap().split_once("): ").unwrap().1.to_owned()
        };
        assert_eq!(
            line(&outcome),
            "2 cells as expected, 2 findings, 1 impossible here; 1 of 3 mutants missed; 2 boots, \
             46 s; 7 failures injected"
        );
        outcome.mutants.truncate(1);
        outcome.cells.truncate(1);
        outcome.boots = 1;
        outcome.injected = 1;
        assert_eq!(
            line(&outcome),
            "1 cell as expected, 0 findings, 0 impossible here; 0 of 1 mutant missed; 1 boot, \
             46 s; 1 failure injected"
        );
        outcome.mutants.clear();
        outcome.injected = 0;
        let without = "1 cell as expected, 0 findings, 0 impossible here; 1 boot, 46 s";
        assert_eq!(line(&outcome), without);
        outcome.mutants = kernel("trixie").mutants;
        outcome.cells.clear();
        assert_eq!(line(&outcome), "1 of 3 mutants missed; 1 boot, 46 s");
    }
}
