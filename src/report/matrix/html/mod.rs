//! The matrix as one page: a table, and the evidence behind each of its fields.
//!
//! The page is self-contained: it loads no script, no font and no picture. All
//! evidence is written out, in `details` that open without a script, so that
//! the page's policy (Content-Security-Policy) can forbid every script: text
//! that a guest wrote into its kernel log could not run even if it got past the
//! escaping. Three rules keep a page of four kernels at a few MiB: of expected
//! results, only the first cell of a row is drawn, and the others are described
//! in words; drawings consist of runs of equal elements; and repeated evidence
//! is written once.
//!
//! | file | what is in it |
//! |---|---|
//! | `document` | what every page has |
//! | `overview` | the table, and the reasons for unusual results |
//! | `cell` | the evidence of a cell |
//! | `device` | the part of it that is of a device without a witness |
//! | `checked` | the part of it that comes from a kernel that checks itself |
//! | `pages` | the drawing of a buffer's pages |
//! | `pins` | the drawing of its pins |
//! | `steps` | the steps of a schedule |
//! | `svg` | the common code of the drawings |

pub mod cell;
mod checked;
mod device;
pub mod document;
pub mod overview;
mod pages;
mod pins;
mod steps;
mod svg;

use maud::{Markup, html};

use self::document::document;
use super::groups::{Group, groups};
use super::merge::missing;
use super::oracles;
use super::rows::{self, Row};
use crate::rig::kernel::Version;
use crate::rig::matrix::CellName;
use crate::rig::matrix::outcome::{CellOutcome, KernelOutcome, MutantVerdict, Verdict};
use crate::rig::plural::count;

/// Returns the page of all kernels.
pub fn page(outcomes: &[KernelOutcome]) -> String {
    let body = html! {
        h1 { "The userptr matrix" }
        p.soft {
            "Every kind of memory that a user pointer can name, and everything that can \
             happen to it while a device writes into it or reads it: what each kernel did."
        }
        (totals(outcomes))
        (findings(outcomes))
        (overview::overview(outcomes))
        (evidence(outcomes))
        (mutants(outcomes))
    };
    document("Pinhole: the matrix", outcomes.len(), &body)
}

fn totals(outcomes: &[KernelOutcome]) -> Markup {
    html! {
        ul #totals {
            @for outcome in outcomes {
                @let totals = outcome.totals();
                @let missing = missing(outcome);
                li {
                    strong { (outcome.kernel) } " (" (outcome.release) "): "
                    (count(outcome.cells.len(), "cell")) ", "
                    @if totals.findings == 0 { span.good { "✓ no findings" } }
                    @else { span.bad { "✗ " (totals.findings) " with findings" } }
                    @if totals.impossible > 0 { ", " (totals.impossible) " impossible there" }
                    @if missing > 0 { ", " (missing) " not run" }
                    @if outcome.injected > 0 { ", " (count(outcome.injected, "failure")) " injected into calls" }
                    @if let Some(why) = &outcome.stopped { ", " span.bad { "✗ stopped: " (why) } }
                    @if !outcome.mutants.is_empty() {
                        @let caught = outcome.mutants.iter().filter(|one| one.verdict == MutantVerdict::Caught);
                        "; " (count(caught.count(), "mutant")) " caught"
                        @if totals.missed > 0 { ", " span.bad { "✗ " (totals.missed) " missed" } }
                    }
                    @if let Some(device) = oracles::device(outcome) { "; " b { (device) } }
                    @if let Some(checks) = oracles::checks(outcome) { "; checks itself: " (checks) }
                    @if let Some(repeated) = oracles::repeated(outcome) { "; run " (repeated) }
                    @if let Some(why) = &outcome.blind { ", " span.bad { "✗ not all was seen: " (why) } }
                    span.soft {
                        "; "
                        @if outcome.boots > 0 { (count(outcome.boots as usize, "boot")) ", " }
                        (seconds(outcome.elapsed_ms))
                    }
                    @if let Some(device) = &outcome.device {
                        @if let Some(silent) = oracles::silent(outcome) { br; span.soft { "Not asked, or not for all: " (silent) } }
                        @for note in &device.notes { br; span.soft { (note) } }
                    }
                }
            }
        }
    }
}

/// Returns all findings, each with a link to its evidence; those with one cause
/// are in a row that opens.
fn findings(outcomes: &[KernelOutcome]) -> Markup {
    let groups = groups(outcomes);
    html! {
        @if !groups.is_empty() {
            h2 { "Findings" }
            p.soft {
                "The worst first. Findings of one oracle that differ only in their numbers are one \
                 row, which opens: most likely they have one cause."
            }
            div.wide {
                table #findings {
                    thead {
                        tr {
                            th { "severity" } th { "oracle" } th { "cells" }
                            th.what { "what was seen" } th { "hazards" }
                        }
                    }
                    tbody {
                        @for group in &groups {
                            tr {
                                td title=(group.severity.what()) { span.bad { (group.severity) } }
                                td title=(group.oracle.what()) { (group.oracle) }
                                td { (group.findings.len()) }
                                td { (members(group)) }
                                td { (group.hazards(usize::MAX)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Returns what the first finding of a group says, which unfolds to all of them.
fn members(group: &Group<'_>) -> Markup {
    html! {
        details {
            summary { (group.what()) }
            ul {
                @for (kernel, cell, finding) in &group.findings {
                    li {
                        a.n href={ "#" (anchor(kernel, cell)) } { (cell) }
                        " on " (kernel) ": " (finding.what)
                    }
                }
            }
        }
    }
}

/// Returns the evidence of all cells, row by row.
fn evidence(outcomes: &[KernelOutcome]) -> Markup {
    let row = |row: &Row<'_>| {
        html! {
            section.row id=(row.id) {
                h3 { (row.name) small { (row.what) } }
                @for (number, name) in names(row).into_iter().enumerate() {
                    div.variant {
                        span.n { (name) }
                        @for (outcome, cells) in outcomes.iter().zip(&row.kernels) {
                            @match cells.iter().find(|cell| cell.cell == name) {
                                Some(cell) => (cell::folded(outcome, cell, number == 0)),
                                None => span.soft { "· not run" },
                            }
                        }
                    }
                }
            }
        }
    };
    html! {
        h2 { "Evidence" }
        p.soft {
            "Each field opens. " code { "@" } " is the byte of its page at which the buffer begins, "
            code { "+" } " what its frame has beyond whole pages, " code { "/sg" } ", "
            code { "/contig" } " or " code { "/vmalloc" }
            " has that memory model of the kernel's own videobuf2 pin instead of \
             get_vaddr_frames(), and of a cell "
            code { "output/" } " the card reads what the process has written."
        }
        p.soft {
            "The first cell of each row, and every finding, is drawn. Drawings show the buffer page by page when it was queued. " b { "mapped" }
            ": the process has a page there. " b { "card" }
            ": the card was given that very page frame; a bold line is where a segment of its \
             scatter list begins. " b { "read" }
            ": the process reads in this 4 KiB what the card wrote, or the card what the process \
             wrote. The boxes on either side are \
             the bytes beside the buffer, which nobody may touch. Full: as it should be; hatched, \
             ≠: not so; dashed: nothing there."
        }
        @if outcomes.iter().any(claims_ksm) {
            p.soft {
                "On 6.12 " code { "/proc/kpageflags" } " says " code { "ksm" }
                " of every anonymous page, merged or not. No oracle judges by that flag."
            }
        }
        @for section in rows::sections(outcomes) {
            @for one in &section.rows { (row(one)) }
        }
    }
}

/// Returns whether the kernel is one whose page flags claim KSM without reason.
fn claims_ksm(outcome: &KernelOutcome) -> bool {
    Version::of(&outcome.release) == Some(Version(6, 12))
}

/// Returns the mutants by kernel, whose cells are meant to have findings.
fn mutants(outcomes: &[KernelOutcome]) -> Markup {
    html! {
        @for outcome in outcomes {
            @for mutant in &outcome.mutants {
                section.row id={ "mutant-" (outcome.kernel) "-" (mutant.mutant) } {
                    h3 {
                        "mutant " (mutant.mutant) " on " (outcome.kernel)
                        small { (mutant.mutant.what()) }
                    }
                    @if let Some(reason) = &mutant.reason { p { (reason) } }
                    div.variant {
                        span.n { "with the bug" }
                        @for cell in &mutant.cells { (cell::of_mutant(outcome, mutant.mutant, cell)) }
                    }
                }
            }
        }
    }
}

/// Returns the names of the cells of a row, each once, in the order of the
/// first kernel that has them.
fn names(row: &Row<'_>) -> Vec<CellName> {
    let mut names = Vec::new();
    let mut known = std::collections::HashSet::new();
    for cell in row.kernels.iter().flatten() {
        if known.insert(cell.cell) {
            names.push(cell.cell);
        }
    }
    names
}

/// Returns the anchor of a cell's evidence. It lies within the folded part, so
/// that a browser which follows a link to it unfolds that part.
fn anchor(kernel: &str, cell: &CellName) -> String {
    format!("{kernel}:{cell}")
}

/// Returns the result of a cell, with a mark that does not rely on colour.
fn verdict(cell: &CellOutcome) -> Markup {
    html! {
        @match (cell.verdict, cell.observation) {
            (Verdict::Finding, Some(observation)) => span.bad { "✗ " (observation) },
            (Verdict::Finding, None) => span.bad { "✗ finding" },
            (Verdict::Impossible, _) => span.soft { "– impossible" },
            (Verdict::Expected, Some(observation)) if cell.reason.is_some() => span.odd { "◆ " (observation) },
            (Verdict::Expected, Some(observation)) => span.good { "✓ " (observation) },
            (Verdict::Expected, None) => span.good { "✓" },
        }
    }
}

fn seconds(milliseconds: u64) -> String {
    format!("{:.0} s", milliseconds as f64 / 1e3)
}

#[cfg(test)]
mod tests;
