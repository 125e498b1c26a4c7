//! The clauses as test cases, for the formats of test frameworks.

use crate::conformance::verdict::{ClauseOutcome, SuiteOutcome, Verdict};
use crate::report::cases::{Case, CaseResult, Suite};

/// Returns a suite of cases for each suite of clauses. If one stopped early, its
/// last case says so.
pub fn suites(outcomes: &[SuiteOutcome]) -> Vec<Suite> {
    let of = |outcome: &SuiteOutcome| {
        let stopped = outcome.stopped.iter().map(|why| of_stop(why));
        Suite {
            name: outcome.subject.clone(),
            properties: outcome.properties.clone(),
            cases: outcome
                .clauses
                .iter()
                .map(of_clause)
                .chain(stopped)
                .collect(),
            elapsed_ms: outcome.elapsed_ms,
        }
    };
    outcomes.iter().map(of).collect()
}

fn of_clause(one: &ClauseOutcome) -> Case {
    let clause = one.clause;
    let result = match &one.verdict {
        Verdict::Passed => CaseResult::Passed,
        // Frameworks know no advice: it is no failure, and is to be seen.
        Verdict::Failed { expected, seen } if !clause.level.binds() => {
            CaseResult::Skipped(format!(
                "{} that is not kept: expected {expected}; seen: {seen}",
                clause.level
            ))
        }
        Verdict::Failed { expected, seen } => {
            CaseResult::Failed(vec![format!("expected {expected}; seen: {seen}")])
        }
        Verdict::NotOffered { why } => CaseResult::Skipped(format!("not offered: {why}")),
        Verdict::NotReached { why } => CaseResult::Unjudged(why.clone()),
    };
    let mut remark = vec![format!(
        "{} ({}): {}",
        clause.source, clause.level, clause.statement
    )];
    remark.extend(clause.assumes.map(|assumes| format!("assumed: {assumes}")));
    // What was exchanged matters where something is wrong.
    if matches!(
        one.verdict,
        Verdict::Failed { .. } | Verdict::NotReached { .. }
    ) {
        remark.extend(one.evidence.iter().cloned());
    }
    Case {
        name: clause.id.to_owned(),
        kind: matches!(result, CaseResult::Failed(_)).then(|| clause.level.to_string()),
        result,
        remark: Some(remark.join("\n")),
        elapsed_ms: one.elapsed_ms,
    }
}

fn of_stop(why: &str) -> Case {
    Case {
        name: "suite-to-the-end".into(),
        result: CaseResult::Unjudged(format!("stopped: {why}")),
        kind: None,
        remark: None,
        elapsed_ms: 0,
    }
}
