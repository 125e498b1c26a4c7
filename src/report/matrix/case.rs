//! The results as test cases, for the formats of test frameworks.

use crate::rig::matrix::objection::Severity;
use crate::rig::matrix::oracle::Finding;
use crate::rig::matrix::outcome::{
    CellOutcome, KernelOutcome, MutantOutcome, MutantVerdict, Verdict,
};

/// A cell or a mutant as a test case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// The printed name of the cell; `mutant/` and its name for a mutant.
    pub name: String,
    /// The result.
    pub result: CaseResult,
    /// How bad the worst finding is, if it is a cell with one.
    pub severity: Option<Severity>,
    /// A remark, if there is one.
    pub remark: Option<String>,
    /// Its duration in milliseconds.
    pub elapsed_ms: u64,
}

/// The result of a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CaseResult {
    /// The case is as expected.
    Passed,
    /// The case is not as expected, for these reasons, each a sentence.
    Failed(Vec<String>),
    /// The case could not be tried on this kernel, for this reason.
    Skipped(String),
}

/// Returns all cells of a kernel, then its mutants, as test cases. If the run
/// stopped early, the last case says so, so that no framework takes the run for
/// a complete one.
pub fn cases(outcome: &KernelOutcome) -> Vec<Case> {
    let cells = outcome.cells.iter().map(of_cell);
    let mutants = outcome.mutants.iter().map(of_mutant);
    let stopped = outcome.stopped.iter().map(|why| of_stop(why));
    cells.chain(mutants).chain(stopped).collect()
}

/// Returns whether no case of a kernel failed.
pub fn passed(cases: &[Case]) -> bool {
    let failed = |case: &Case| matches!(case.result, CaseResult::Failed(_));
    !cases.iter().any(failed)
}

fn of_cell(cell: &CellOutcome) -> Case {
    let findings = || {
        let findings = cell.findings.iter();
        findings
            .map(|finding| {
                let Finding {
                    severity,
                    oracle,
                    what,
                } = finding;
                format!("{severity}: {oracle}: {what}")
            })
            .collect()
    };
    let reason = || cell.reason.clone().unwrap_or_default();
    Case {
        name: cell.cell.to_string(),
        result: match cell.verdict {
            Verdict::Expected => CaseResult::Passed,
            Verdict::Finding => CaseResult::Failed(findings()),
            Verdict::Impossible => CaseResult::Skipped(reason()),
        },
        severity: cell.findings.iter().map(|finding| finding.severity).min(),
        remark: match (cell.verdict, &cell.observation, &cell.reason) {
            (Verdict::Impossible, ..) | (_, None, _) => None,
            (_, Some(observation), None) => Some(observation.to_string()),
            (_, Some(observation), Some(reason)) => Some(format!("{observation}: {reason}")),
        },
        elapsed_ms: cell.elapsed_ms,
    }
}

fn of_mutant(mutant: &MutantOutcome) -> Case {
    let reason = mutant.reason.clone().unwrap_or_default();
    let oracles: Vec<_> = mutant.oracles().iter().map(ToString::to_string).collect();
    let times = mutant.cells.iter().map(|cell| cell.elapsed_ms);
    Case {
        name: format!("mutant/{}", mutant.mutant),
        result: match mutant.verdict {
            MutantVerdict::Caught => CaseResult::Passed,
            MutantVerdict::Missed => CaseResult::Failed(vec![reason]),
            MutantVerdict::Unseen => CaseResult::Skipped(reason),
        },
        severity: None,
        remark: (!oracles.is_empty()).then(|| format!("seen by {}", oracles.join(", "))),
        elapsed_ms: times.fold(0, u64::saturating_add),
    }
}

fn of_stop(why: &str) -> Case {
    Case {
        name: "run-to-the-end".into(),
        result: CaseResult::Failed(vec![format!("stopped: {why}")]),
        severity: None,
        remark: None,
        elapsed_ms: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::kernel;
    use super::*;

    #[test]
    fn a_mutant_that_is_caught_has_passed() {
        let cases = cases(&kernel("trixie"));
        let of = |name: &str| cases.iter().find(|case| case.name == name).unwrap();
        assert_eq!(of("mutant/leak-pin").result, CaseResult::Passed);
        assert_eq!(
            of("mutant/leak-pin").remark.as_deref(),
            Some("seen by pins")
        );
        assert_eq!(
            of("mutant/round-up").result,
            CaseResult::Failed(vec![
                "anon-touched+1000 was as expected with the bug".into()
            ])
        );
        assert!(matches!(
            of("mutant/pin-readonly").result,
            CaseResult::Skipped(_)
        ));
        assert!(!passed(&cases));
    }

    #[test]
    fn a_run_that_stopped_has_not_passed() {
        let mut outcome = kernel("trixie");
        outcome.cells.truncate(2);
        outcome.mutants.clear();
        assert!(passed(&cases(&outcome)));
        outcome.stopped = Some("interrupted".into());
        let cases = cases(&outcome);
        assert!(!passed(&cases));
        assert_eq!(
            cases.last().unwrap().result,
            CaseResult::Failed(vec!["stopped: interrupted".into()])
        );
    }
}
