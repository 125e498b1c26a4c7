//! The conformance suites' results, and their clauses, as tables for a terminal.

use comfy_table::{ContentArrangement, Table, presets};

use crate::conformance::clause::Clause;
use crate::conformance::verdict::{ClauseOutcome, SuiteOutcome, Verdict};
use crate::report::plain::plain;
use crate::rig::plural::count;

const LEGEND: &str = "✓ as the clause says   ✗ not so   ! not so, which a SHOULD or a MAY allows   – not offered   \
                      ? not reached";

/// Lines of evidence that are printed below what is wrong; JSON has them all.
const EVIDENCE: usize = 24;

/// Returns the clauses, a row each.
pub fn list<'a>(clauses: impl IntoIterator<Item = &'a Clause>) -> String {
    let mut table = new();
    for clause in clauses {
        let level = clause.level.to_string();
        let side = clause.side.to_string();
        table.add_row([clause.id, &side, &level, clause.statement]);
    }
    table.trim_fmt()
}

/// Returns the table of results, a row for each clause, and below it all that is
/// wrong, what was assumed where the text is silent, and the totals.
pub fn table(outcomes: &[SuiteOutcome]) -> String {
    let suites: Vec<_> = outcomes.iter().map(suite).collect();
    format!("{}\n\n{LEGEND}", suites.join("\n\n"))
}

fn suite(outcome: &SuiteOutcome) -> String {
    let mut table = new();
    for one in &outcome.clauses {
        let level = one.clause.level.to_string();
        table.add_row([mark(one), one.clause.id, &level, &said(one)]);
    }
    let mut text = format!("{} ({})\n", plain(&outcome.subject), outcome.side);
    for (name, what) in &outcome.properties {
        text += &format!("  {}: {}\n", plain(name), plain(what));
    }
    text += &format!("\n{}\n", table.trim_fmt());
    for one in &outcome.clauses {
        text += &complaint(one);
    }
    let assumed = outcome.clauses.iter();
    let assumed: Vec<_> = assumed
        .filter(|one| !matches!(one.verdict, Verdict::NotOffered { .. }))
        .filter_map(|one| Some((one.clause.id, one.clause.assumes?)))
        .collect();
    if !assumed.is_empty() {
        text += "\nAssumed, where the text is silent or at odds with itself:\n";
        for (id, assumes) in assumed {
            text += &format!("  {id}: {assumes}\n");
        }
    }
    text + &format!("\n{}", totals(outcome))
}

fn totals(outcome: &SuiteOutcome) -> String {
    let totals = outcome.totals();
    let mut text = format!(
        "{}: {} passed, {} failed, {} only advised and not so, {} not offered, {} not reached; \
         {:.1} s",
        count(outcome.clauses.len(), "clause"),
        totals.passed,
        totals.failed,
        totals.advised,
        totals.not_offered,
        totals.not_reached,
        outcome.elapsed_ms as f64 / 1e3,
    );
    if let Some(why) = &outcome.stopped {
        text += &format!("; STOPPED before the end: {}", plain(why));
    }
    text
}

fn mark(one: &ClauseOutcome) -> &'static str {
    match one.verdict {
        Verdict::Passed => "✓",
        Verdict::Failed { .. } if !one.clause.level.binds() => "!",
        Verdict::Failed { .. } => "✗",
        Verdict::NotOffered { .. } => "–",
        Verdict::NotReached { .. } => "?",
    }
}

fn said(one: &ClauseOutcome) -> String {
    match &one.verdict {
        Verdict::NotOffered { why } => format!("not offered: {}", plain(why)),
        _ => one.clause.statement.to_owned(),
    }
}

/// Returns what is wrong, and the end of the exchange.
fn complaint(one: &ClauseOutcome) -> String {
    let (id, source) = (one.clause.id, one.clause.source);
    let mut text = match &one.verdict {
        Verdict::Passed | Verdict::NotOffered { .. } => return String::new(),
        Verdict::Failed { expected, seen } => format!(
            "\n{} {id}, {source} ({})\n  expected: {}\n  seen:     {}\n",
            if one.clause.level.binds() {
                "FAILED"
            } else {
                "NOT KEPT"
            },
            one.clause.level,
            plain(expected),
            plain(seen)
        ),
        Verdict::NotReached { why } => {
            format!("\nNOT REACHED {id}, {source}\n  because:  {}\n", plain(why))
        }
    };
    let left_out = one.evidence.len().saturating_sub(EVIDENCE);
    if left_out > 0 {
        text += &format!("  | ({} before)\n", count(left_out, "line"));
    }
    for line in &one.evidence[left_out..] {
        text += &format!("  | {}\n", plain(line));
    }
    text
}

fn new() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table
}
