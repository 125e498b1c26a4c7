//! The changes between two runs as one page, with the evidence of both. As the page
//! of the matrix it has no script and loads nothing.

use std::path::Path;

use maud::{Markup, html};

use super::Diff;
use super::change::Group;
use super::entry::{Changed, Entry};
use super::pair::{Pair, Side};
use super::said::{Name, Said, Standing};
use super::text::{HEADS, rows, side};
use crate::report::matrix::html::cell::of_run;
use crate::report::matrix::html::document::document;
use crate::report::matrix::html::overview::legend;
use crate::rig::matrix::CellName;

const GROUPS: [Group; 5] = [
    Group::Worse,
    Group::Better,
    Group::Different,
    Group::New,
    Group::Gone,
];

/// Returns the page; the two runs are at `paths`.
pub fn page(diff: &Diff<'_>, paths: [&Path; 2]) -> String {
    let body = html! {
        h1 { "Two runs of the userptr matrix" }
        ul {
            @for (run, path) in ["A", "B"].iter().zip(paths) {
                li { strong { (run) } ": " code { (path.display()) } }
            }
        }
        (kernels(diff))
        (numbers(diff))
        p {
            @if diff.is_worse() { span.bad { "✗ " (diff.verdict()) } }
            @else { span.good { "✓ " (diff.verdict()) } }
        }
        @if !diff.changes.is_empty() { (legend()) }
        @for group in GROUPS { (changes(diff, group)) }
        (evidence(diff))
    };
    document("Pinhole: two runs of the matrix", 2, &body)
}

fn kernels(diff: &Diff<'_>) -> Markup {
    html! {
        ul #totals {
            @for pair in &diff.kernels {
                li {
                    strong { "A" } " " (side(&pair.a)) ", " strong { "B" } " " (side(&pair.b))
                    @for note in &pair.notes { br; span.odd { "◆ " (note) } }
                }
            }
            @for (run, kernels) in [("A", &diff.only_a), ("B", &diff.only_b)] {
                @for kernel in kernels {
                    li.soft { "not compared, only " (run) " has it: " (side(kernel)) }
                }
            }
        }
    }
}

fn numbers(diff: &Diff<'_>) -> Markup {
    html! {
        div.wide {
            table #numbers {
                thead { tr { th {} @for head in HEADS { th { (head) } } } }
                tbody {
                    @for (name, values) in rows(diff) {
                        tr { th scope="row" { (name) } @for value in values { td { (value) } } }
                    }
                }
            }
        }
    }
}

/// Returns the changes of a group, those with one cause in a row that opens.
fn changes(diff: &Diff<'_>, group: Group) -> Markup {
    let of_group = |entry: &&Entry<'_>| entry.group == group;
    let entries: Vec<_> = diff.changes.iter().filter(of_group).collect();
    html! {
        @if !entries.is_empty() {
            h2 { (group.name()) small.soft { " " (group.what()) } }
            div.wide {
                table.changes {
                    thead { tr { th { "A" } th { "B" } th { "cells" } th.what { "why, and which" } th { "hazards" } } }
                    tbody {
                        @for entry in entries {
                            tr {
                                td { (said(entry.a.as_ref())) }
                                td { (said(entry.b.as_ref())) }
                                td { (entry.cells.len()) }
                                td { (members(diff, entry)) }
                                td { (entry.hazards(usize::MAX)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn said(said: Option<&Said<'_>>) -> Markup {
    html! {
        @match said {
            None => span.soft { "· not run" },
            Some(said) => @match said.standing {
                Standing::Good if said.reason.is_some() => span.odd { (said) },
                Standing::Good => span.good { (said) },
                Standing::Bad => span.bad { (said) },
                Standing::NotJudged => span.soft { (said) },
            }
        }
    }
}

/// Returns the causes of an entry, and its cells with their objections.
fn members(diff: &Diff<'_>, entry: &Entry<'_>) -> Markup {
    let names = entry.names(diff.kernels.len());
    html! {
        @for (label, cause) in entry.causes() { p { span.soft { (label) ": " } (cause) } }
        details {
            summary { (entry.count()) ", the first: " (names[0]) }
            ul {
                @for (changed, name) in entry.cells.iter().zip(&names) {
                    li {
                        @if shown(entry).is_some_and(|(first, _)| std::ptr::eq(first, changed)) {
                            a.n href={ "#" (anchor(changed)) } { (name) }
                        } @else { span.n { (name) } }
                        @for finding in &changed.appeared {
                            br; span.bad { "✗ " (finding.severity) ", " (finding.oracle) } " " (finding.what)
                        }
                        @for finding in &changed.vanished {
                            br; span.good { "no more: " (finding.severity) ", " (finding.oracle) } " " (finding.what)
                        }
                    }
                }
            }
        }
    }
}

fn anchor(changed: &Changed<'_>) -> String {
    format!("change:{}:{}", changed.pair, changed.name)
}

/// Returns the first cell of an entry, whose evidence is shown; `None` for mutants,
/// and for cells that one run alone has and that went well.
fn shown<'e>(entry: &'e Entry<'_>) -> Option<(&'e Changed<'e>, CellName)> {
    let is_bad = |said: &Said<'_>| said.standing == Standing::Bad;
    let in_both = entry.a.is_some() && entry.b.is_some();
    let changed = entry.cells.first()?;
    match changed.name {
        Name::Cell(cell) if in_both || entry.b.as_ref().is_some_and(is_bad) => {
            Some((changed, cell))
        }
        _ => None,
    }
}

/// Returns the evidence of both runs for the first cell of each entry.
fn evidence(diff: &Diff<'_>) -> Markup {
    let of = |run: &str, side: &Side<'_>, name: CellName| {
        let mut cells = side.outcome.cells.iter();
        cells
            .find(|cell| cell.cell == name)
            .map(|cell| of_run(run, side.outcome, cell))
    };
    let both = |pair: &Pair<'_>, name| [of("A", &pair.a, name), of("B", &pair.b, name)];
    html! {
        @if diff.changes.iter().any(|entry| shown(entry).is_some()) {
            h2 { "Evidence" }
            p.soft { "The first cell of each change, in both runs. Each field opens." }
            @for (changed, name) in diff.changes.iter().filter_map(shown) {
                section.row id=(anchor(changed)) {
                    h3 { (name) small { (changed.kernel) } }
                    div.variant {
                        span.n { "both runs" }
                        @for one in both(&diff.kernels[changed.pair], name) {
                            @match one {
                                Some(evidence) => (evidence),
                                None => span.soft { "· not run" },
                            }
                        }
                    }
                }
            }
        }
    }
}
