//! The page docs/matrix.md: the table, without anything that differs from one
//! run to the next.

use std::fmt::Write as _;

use super::directions;
use super::groups::groups;
use super::oracles;
use super::rows::{self, Answer, Notes, Row};
use crate::report::plain::plain;
use crate::rig::matrix::Mutant;
use crate::rig::matrix::objection::Severity;
use crate::rig::matrix::outcome::{KernelOutcome, MutantOutcome, MutantVerdict, Verdict};

/// The text before the tables.
const INTRODUCTION: &str = include_str!("matrix.md");

/// Returns the page of all kernels.
pub fn markdown(outcomes: &[KernelOutcome]) -> String {
    let mut text = INTRODUCTION.to_owned();
    devices(&mut text, outcomes);
    let mut notes = Notes::default();
    let sections = rows::sections(outcomes);
    for section in &sections {
        let _ = write!(text, "\n## {}\n\n", section.title);
        head(&mut text, outcomes);
        for row in &section.rows {
            self::row(&mut text, row, &mut notes);
        }
    }
    directions(&mut text, outcomes, &mut notes);
    findings(&mut text, outcomes);
    oracles(&mut text, outcomes);
    mutants(&mut text, outcomes, &mut notes);
    text += "\n## Reasons\n\n";
    for (number, reason) in notes.all() {
        let _ = writeln!(text, "{number}. {}", cell(reason));
    }
    text += "\n## What they are\n\n";
    for (name, what) in rows::descriptions(&sections) {
        let _ = writeln!(text, "- **{name}**: {what}");
    }
    for oracle in oracles::of(outcomes) {
        let _ = writeln!(text, "- **{oracle}**: {}", oracle.what());
    }
    if outcomes.iter().any(|outcome| outcome.totals().findings > 0) {
        for severity in Severity::ALL {
            let _ = writeln!(text, "- **{severity}**: {}", severity.what());
        }
    }
    if outcomes.iter().any(|outcome| !outcome.mutants.is_empty()) {
        for mutant in Mutant::ALL {
            let _ = writeln!(text, "- **{mutant}**: {}", mutant.what());
        }
    }
    text
}

/// Adds the devices that were judged without a witness, if any was.
fn devices(text: &mut String, outcomes: &[KernelOutcome]) {
    let judged = outcomes.iter();
    let judged = judged.filter_map(|it| Some((it, oracles::device(it)?, it.device.as_ref()?)));
    let judged: Vec<_> = judged.collect();
    if !judged.is_empty() {
        text.push_str("\n## Devices\n\n");
    }
    for (outcome, device, of) in judged {
        let _ = writeln!(text, "- **{}**: {}", cell(&outcome.kernel), cell(&device));
        for note in &of.notes {
            let _ = writeln!(text, "  - {}", cell(note));
        }
    }
}

fn head(text: &mut String, outcomes: &[KernelOutcome]) {
    let kernels = outcomes.iter().map(|outcome| {
        let version = outcome.release.split(['-', '+']).next().unwrap_or_default();
        // Distributions raise the last number every few weeks.
        let short: Vec<_> = version.split('.').take(2).collect();
        format!(" {} ({}) |", cell(&outcome.kernel), cell(&short.join(".")))
    });
    let _ = writeln!(text, "| |{}", kernels.collect::<String>());
    let _ = writeln!(text, "|---|{}", "---|".repeat(outcomes.len()));
}

fn row(text: &mut String, row: &Row<'_>, notes: &mut Notes) {
    let _ = write!(text, "| {} |", row.name);
    for cells in &row.kernels {
        let answers = rows::answers(cells);
        let said: Vec<_> = answers.iter().map(|one| answer(one, notes)).collect();
        let _ = write!(text, " {} |", said.join(", "));
    }
    text.push('\n');
}

fn answer(answer: &Answer<'_>, notes: &mut Notes) -> String {
    let mut text = match (answer.verdict, &answer.said) {
        (Verdict::Finding, _) => format!("**{} FOUND**", answer.count),
        (Verdict::Impossible, _) | (_, None) => "-".to_owned(),
        (Verdict::Expected, Some(said)) => cell(said),
    };
    if let Some(which) = &answer.which {
        text += &format!(" ({which})");
    }
    let reasons = answer.reasons.iter().filter(|reason| !reason.is_empty());
    let numbers: Vec<_> = reasons.map(|it| notes.number(it).to_string()).collect();
    if !numbers.is_empty() {
        text += &format!("<sup>{}</sup>", numbers.join(","));
    }
    text
}

/// Adds the table of kinds by what the card does with them, if cells of several
/// directions were run.
fn directions(text: &mut String, outcomes: &[KernelOutcome], notes: &mut Notes) {
    let rows = directions::rows(outcomes);
    if rows.is_empty() {
        return;
    }
    *text += "\n## Kinds of memory by direction\n\n\
        What the card does with memory that the driver pins itself: writes to it or reads it, by \
        itself or at one end of a conversion (*m2m*). One answer alone is that of all of them.\n\n";
    head(text, outcomes);
    for (kind, kernels) in rows {
        let _ = write!(text, "| {kind} |");
        for ways in kernels {
            let only = ways.len() == 1;
            let said = ways.iter().map(|(ways, answers)| {
                let said: Vec<_> = answers.iter().map(|one| answer(one, notes)).collect();
                match only {
                    true => said.join(", "),
                    false => format!("{}: {}", ways.join(", "), said.join(", ")),
                }
            });
            let _ = write!(text, " {} |", said.collect::<Vec<_>>().join("; "));
        }
        text.push('\n');
    }
}

/// Adds the table of findings, those with one cause in a row, if there are any.
fn findings(text: &mut String, outcomes: &[KernelOutcome]) {
    let groups = groups(outcomes);
    if groups.is_empty() {
        return;
    }
    *text += "\n## Findings\n\n\
        The worst first; what differs in its numbers only is one row.\n\n\
        | severity | oracle | cells | what was seen first | hazards | among the cells |\n\
        |---|---|---|---|---|---|\n";
    for group in groups {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} |",
            group.severity,
            group.oracle,
            group.findings.len(),
            cell(group.what()),
            group.hazards(6),
            cell(&group.cells(outcomes.len(), 3)),
        );
    }
}

/// Adds the table of the oracles that had something to judge.
fn oracles(text: &mut String, outcomes: &[KernelOutcome]) {
    *text += "\n## Oracles\n\n\
        Which had something to look at, and which would have needed a check that the kernel was \
        not built with.\n\n";
    head(text, outcomes);
    for oracle in oracles::of(outcomes) {
        let _ = write!(text, "| {oracle} |");
        for outcome in outcomes {
            match oracles::why_silent(outcome, oracle) {
                Some(why) => {
                    let _ = write!(text, " - ({}) |", cell(&why));
                }
                None => text.push_str(" yes |"),
            }
        }
        text.push('\n');
    }
}

/// Adds the table of mutants: whether the oracle that is meant for each saw it.
/// Which others see it may differ from one run to the next.
fn mutants(text: &mut String, outcomes: &[KernelOutcome], notes: &mut Notes) {
    if outcomes.iter().all(|outcome| outcome.mutants.is_empty()) {
        return;
    }
    *text += "\n## Mutants of the driver\n\n\
        The driver with one bug at a time, and whether the oracle that is there for it saw it.\n\n";
    head(text, outcomes);
    for mutant in Mutant::ALL {
        let _ = write!(text, "| {mutant} |");
        for outcome in outcomes {
            let run = outcome.mutants.iter().find(|one| one.mutant == *mutant);
            let said = run.map_or_else(String::new, |run| judged(run, notes));
            let _ = write!(text, " {said} |");
        }
        text.push('\n');
    }
}

fn judged(mutant: &MutantOutcome, notes: &mut Notes) -> String {
    let names: Vec<_> = mutant.meant().iter().map(ToString::to_string).collect();
    let names = names.join(", ");
    let said = match mutant.verdict {
        MutantVerdict::Caught => match mutant.unseen_as_meant().next() {
            None => format!("seen: {names}"),
            Some(_) => format!("seen, but not by {names} in each cell"),
        },
        MutantVerdict::Missed => "**MISSED**".to_owned(),
        MutantVerdict::Unseen => "-".to_owned(),
        MutantVerdict::Unwitnessed => "missed, needs a witness".to_owned(),
    };
    match &mutant.reason {
        Some(reason) => format!("{said}<sup>{}</sup>", notes.number(reason)),
        None => said,
    }
}

/// Escapes text for a cell of a table or a line of a list, so that nothing of
/// it is markup.
fn cell(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in plain(text).chars() {
        match c {
            '|' | '*' | '`' | '[' | ']' | '\\' => safe.extend(['\\', c]),
            '<' => safe.push_str("&lt;"),
            '&' => safe.push_str("&amp;"),
            _ => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::super::tests::{finding, kernel};
    use super::*;
    use crate::rig::matrix::observation::Observation;
    use crate::rig::matrix::oracle::Oracle;
    use crate::rig::matrix::outcome::CellOutcome;

    #[test]
    fn the_oracle_that_is_meant_for_each_cell_is_asked() {
        let cell = |name: &str, oracle| CellOutcome {
            findings: vec![finding(Severity::DataLost, oracle, "it is wrong")],
            ..super::super::tests::cell(name)
        };
        let said = |output| {
            let cells = vec![cell("thp", Oracle::Fences), cell("output/thp", output)];
            let mutant = MutantOutcome {
                mutant: Mutant::IgnoreOffset,
                verdict: MutantVerdict::Caught,
                reason: None,
                cells,
            };
            judged(&mutant, &mut Notes::default())
        };
        assert_eq!(said(Oracle::Address), "seen: address, fences");
        let not = "seen, but not by address, fences in each cell";
        assert_eq!(said(Oracle::Fences), not);
    }

    #[test]
    fn a_device_without_a_witness_has_its_name_and_its_oracles() {
        let outcome = KernelOutcome {
            device: Some(super::super::tests::judged()),
            ..kernel("here")
        };
        let text = markdown(&[outcome]);
        for part in [
            "\n## Devices\n\n- **here**: A &lt;b>camera (usb-1), driver cam 6.12.1\n  - it moves\n",
            "\n| address | - (nobody tells) |\n",
            "\n| untouched | yes |\n",
            "\n- **order**: ",
        ] {
            assert!(text.contains(part), "{part}");
        }
        let without = markdown(&[kernel("trixie")]);
        assert!(!without.contains("## Devices") && !without.contains("| untouched |"));
    }

    #[test]
    fn answers_stand_with_the_numbers_of_their_reasons() {
        let text = markdown(&[kernel("trixie"), kernel("bookworm")]);
        let after = text.split("\n## Kinds of memory\n").nth(1).unwrap();
        assert_eq!(
            after.split("\n## What they are").next().unwrap(),
            "
| | trixie (6.12) | bookworm (6.12) |
|---|---|---|
| anon-touched | data | data |
| heap | **1 FOUND** | **1 FOUND** |
| hole | EFAULT<sup>1</sup> | EFAULT<sup>1</sup> |
| guard-region | -<sup>2</sup> | -<sup>2</sup> |

## Hazards

| | trixie (6.12) | bookworm (6.12) |
|---|---|---|
| munmap | **1 FOUND** | **1 FOUND** |

## Findings

The worst first; what differs in its numbers only is one row.

| severity | oracle | cells | what was seen first | hazards | among the cells |
|---|---|---|---|---|---|
| memory-written | fences | 2 | 5 bytes after the buffer have changed | munmap 2 | thp/munmap on trixie, thp/munmap on bookworm |
| kernel-broken | outcome | 2 | the guest broke: no answer | no hazard 2 | heap/sg on trixie, heap/sg on bookworm |
| data-lost | data | 2 | frame 0 differs &lt;script>alert(1)&lt;/script> &amp; \"more\" | munmap 2 | thp/munmap on trixie, thp/munmap on bookworm |

## Oracles

Which had something to look at, and which would have needed a check that the kernel was not built with.

| | trixie (6.12) | bookworm (6.12) |
|---|---|---|
| outcome | yes | yes |
| data | yes | yes |
| address | yes | yes |
| pins | yes | yes |
| mappings | - (no DMA_API_DEBUG) | - (no DMA_API_DEBUG) |
| dirty | yes | yes |
| idle | - (no IDLE_PAGE_TRACKING) | - (no IDLE_PAGE_TRACKING) |
| fences | yes | yes |
| leaks | - (no DEBUG_KMEMLEAK) | - (no DEBUG_KMEMLEAK) |
| log | yes | yes |

## Mutants of the driver

The driver with one bug at a time, and whether the oracle that is there for it saw it.

| | trixie (6.12) | bookworm (6.12) |
|---|---|---|
| unpin-early |  |  |
| pin-readonly | -<sup>3</sup> | -<sup>3</sup> |
| leave-clean |  |  |
| ignore-offset |  |  |
| round-up | **MISSED**<sup>4</sup> | **MISSED**<sup>4</sup> |
| lose-last-page |  |  |
| swap-pages |  |  |
| leak-pin | seen: pins | seen: pins |
| unpin-twice |  |  |
| complete-early |  |  |
| stale-list |  |  |
| wrong-sync |  |  |
| unmap-twice |  |  |
| leak-mapping |  |  |
| wrong-direction |  |  |
| sleep-locked |  |  |
| lock-order |  |  |
| irqs-on |  |  |
| use-after-free |  |  |
| leak-command |  |  |
| output-write-pins |  |  |
| output-dirty |  |  |
| output-no-sync |  |  |
| m2m-swapped |  |  |
| m2m-mixed-up |  |  |
| unpin-last |  |  |
| leak-part |  |  |
| import-whole |  |  |

## Reasons

1. a page of the range is not mapped
2. no MADV_GUARD_INSTALL here
3. write access is always asked for
4. anon-touched+1000 was as expected with the bug
"
        );
    }

    #[test]
    fn kinds_are_held_against_one_another_by_direction() {
        let mut outcome = kernel("trixie");
        let cell = super::super::tests::cell;
        outcome.cells = ["thp", "output/thp", "ext4-shared", "output/ext4-shared"]
            .map(cell)
            .into();
        outcome.cells[2].observation = Some(Observation::Refused(libc::EFAULT));
        outcome.cells[2].reason = Some("it has to be written back".into());
        let text = markdown(&[outcome]);
        let after = text.split("\n## Kinds of memory by direction\n").nth(1);
        let rows = after.unwrap().split("\n## ").next().unwrap();
        let rows = rows.split_once("|---|---|\n").unwrap().1;
        assert_eq!(
            rows,
            "| thp | data |\n\
             | ext4-shared | written: EFAULT<sup>1</sup>; read: data |\n"
        );
    }

    #[test]
    fn the_page_does_not_differ_between_runs() {
        let mut other = kernel("trixie");
        other.elapsed_ms = 1;
        other.boots = 7;
        other.release = "6.12.108+deb13-amd64".into();
        for cell in &mut other.cells {
            cell.elapsed_ms = 9;
            cell.answer = None;
        }
        assert_eq!(markdown(&[kernel("trixie")]), markdown(&[other]));
    }

    #[test]
    fn nothing_of_a_reason_is_markup() {
        let mut hostile = kernel("a|b\n");
        hostile.cells[1].reason = Some("<b>|*x*\n# `y` [z](w) & \\".into());
        let text = markdown(&[hostile]);
        assert!(text.contains("| | a\\|b  (6.12) |"), "{text}");
        let line = "1. &lt;b>\\|\\*x\\* # \\`y\\` \\[z\\](w) &amp; \\\\\n";
        assert!(text.contains(line), "{text}");
    }
}
