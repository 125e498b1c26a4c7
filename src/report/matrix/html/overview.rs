//! The table of kinds and hazards by kernels.

use maud::{Markup, html};

use super::super::oracles;
use super::super::rows::{self, Answer, Notes, Row};
use super::anchor;
use crate::rig::matrix::Mutant;
use crate::rig::matrix::oracle::Oracle;
use crate::rig::matrix::outcome::{KernelOutcome, MutantOutcome, MutantVerdict, Verdict};

/// Returns what the marks mean.
pub fn legend() -> Markup {
    html! {
        div.legend {
            span.good { "✓ the application reads what the card wrote, or the card what the application wrote" }
            span.odd { "◆ expected, but not that: see the reason" }
            span.bad { "✗ finding" }
            span.soft { "– impossible on that kernel" }
            span.soft { "· not run" }
        }
    }
}

/// Returns the table, a legend, and the reasons that the table refers to by
/// number.
pub fn overview(outcomes: &[KernelOutcome]) -> Markup {
    let mut notes = Notes::default();
    let mutants = mutants(outcomes);
    html! {
        (legend())
        @for section in rows::sections(outcomes) {
            h2 { (section.title) }
            (table(outcomes, &section.rows, section.id, &mut notes))
        }
        (of_oracles(outcomes))
        (mutants)
        @if notes.all().next().is_some() {
            h2 { "Reasons" }
            ol.notes {
                @for (number, reason) in notes.all() { li id={ "reason-" (number) } { (reason) } }
            }
        }
    }
}

fn head(outcomes: &[KernelOutcome], first: &str) -> Markup {
    html! {
        thead {
            tr {
                th { (first) }
                @for outcome in outcomes {
                    th { (outcome.kernel) small { (outcome.release) } }
                }
            }
        }
    }
}

fn table(outcomes: &[KernelOutcome], rows: &[Row<'_>], id: &str, notes: &mut Notes) -> Markup {
    html! {
        div.wide {
            table id=(id) {
                (head(outcomes, ""))
                tbody {
                    @for row in rows {
                        tr {
                            th scope="row" title=(row.what) { a href={ "#" (row.id) } { (row.name) } }
                            @for (outcome, cells) in outcomes.iter().zip(&row.kernels) {
                                (field(&outcome.kernel, &rows::answers(cells), notes))
                            }
                        }
                    }
                }
            }
        }
    }
}

fn field(kernel: &str, answers: &[Answer<'_>], notes: &mut Notes) -> Markup {
    let red = answers.iter().any(|one| one.verdict == Verdict::Finding);
    html! {
        td.red[red] {
            @for answer in answers {
                a href={ "#" (anchor(kernel, &answer.first)) } {
                    @let said = answer.said.as_deref().unwrap_or_default();
                    @match answer.verdict {
                        Verdict::Finding => span.bad { "✗ " (answer.count) " found" },
                        Verdict::Impossible => span.soft { "– impossible" },
                        Verdict::Expected if answer.reasons.is_empty() => span.good { "✓ " (said) },
                        Verdict::Expected => span.odd { "◆ " (said) },
                    }
                    @if let Some(which) = &answer.which { " " small.soft { (which) } }
                    @for reason in answer.reasons.iter().filter(|reason| !reason.is_empty()) {
                        " " sup { (notes.number(reason)) }
                    }
                }
            }
            @if answers.is_empty() { span.soft { "· not run" } }
        }
    }
}

/// Returns the table of what each oracle said of each kernel.
fn of_oracles(outcomes: &[KernelOutcome]) -> Markup {
    html! {
        h2 { "Oracles" }
        p.soft { "Each judges every cell by what it sees of it, and knows nothing of the others. Some need a kernel that checks itself." }
        div.wide {
            table #oracles {
                (head(outcomes, ""))
                tbody {
                    @for oracle in oracles::of(outcomes) {
                        tr {
                            th scope="row" title=(oracle.what()) { (oracle) }
                            @for outcome in outcomes { (oracle_field(outcome, oracle)) }
                        }
                    }
                }
            }
        }
        ul.soft { @for oracle in oracles::of(outcomes) { li { b { (oracle) } ": " (oracle.what()) } } }
    }
}

fn oracle_field(outcome: &KernelOutcome, oracle: Oracle) -> Markup {
    let findings = outcome.cells.iter().flat_map(|cell| &cell.findings);
    let count = findings.filter(|finding| finding.oracle == oracle).count();
    html! {
        td.red[count > 0] {
            @match oracles::why_silent(outcome, oracle) {
                _ if count > 0 => span.bad { "✗ " (count) " found" },
                Some(why) => span.soft { "– nothing to say, or not of all: " (why) },
                None => span.good { "✓ nothing found" },
            }
        }
    }
}

/// Returns the table of the mutants and of the oracles that saw them.
fn mutants(outcomes: &[KernelOutcome]) -> Markup {
    let of = |outcome: &'_ KernelOutcome, mutant: Mutant| -> Option<MutantOutcome> {
        let mut mutants = outcome.mutants.iter();
        mutants.find(|one| one.mutant == mutant).cloned()
    };
    let run = |mutant: &&Mutant| {
        outcomes
            .iter()
            .any(|outcome| of(outcome, **mutant).is_some())
    };
    let rows: Vec<_> = Mutant::ALL.iter().filter(run).collect();
    html! {
        @if !rows.is_empty() {
            h2 { "Mutants of the driver" }
            p.soft { "The driver with one bug at a time. Here a finding is what is wanted: which oracles saw the bug." }
            div.wide {
                table #mutants {
                    (head(outcomes, ""))
                    tbody {
                        @for mutant in rows {
                            tr {
                                th scope="row" title=(mutant.what()) { (mutant) }
                                @for outcome in outcomes {
                                    (mutant_field(&outcome.kernel, of(outcome, *mutant)))
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn mutant_field(kernel: &str, outcome: Option<MutantOutcome>) -> Markup {
    let Some(outcome) = outcome else {
        return html! { td { span.soft { "· not run" } } };
    };
    let oracles: Vec<_> = outcome.oracles().iter().map(ToString::to_string).collect();
    let reason = outcome.reason.as_deref().unwrap_or_default();
    html! {
        td.red[outcome.verdict == MutantVerdict::Missed] {
            a href={ "#mutant-" (kernel) "-" (outcome.mutant) } {
                @match outcome.verdict {
                    MutantVerdict::Caught => { span.good { "✓ caught" } " " small { (oracles.join(", ")) } },
                    MutantVerdict::Missed => { span.bad { "✗ missed" } " " small { (reason) } },
                    MutantVerdict::Unwitnessed => { span.soft { "– missed, needs a witness" } " " small.soft { (reason) } },
                    MutantVerdict::Unseen => { span.soft { "– no difference" } " " small.soft { (reason) } },
                }
            }
        }
    }
}
