//! The basis of the verdicts on a kernel: the checks that the kernel makes
//! itself, and the oracles that had nothing to judge.

use crate::rig::matrix::outcome::KernelOutcome;
use crate::rig::plural::count;

/// Returns the kernel's own checks; `None` if it has none that matters here.
pub fn checks(outcome: &KernelOutcome) -> Option<String> {
    let checks: Vec<_> = outcome.checks.iter().map(ToString::to_string).collect();
    (!checks.is_empty()).then(|| checks.join(", "))
}

/// Returns the oracles that had nothing to judge, each with the check that the
/// kernel lacks.
pub fn silent(outcome: &KernelOutcome) -> Option<String> {
    let silent = outcome.silent().into_iter();
    let silent: Vec<_> = silent
        .map(|(oracle, check)| format!("{oracle} (no {check})"))
        .collect();
    (!silent.is_empty()).then(|| silent.join(", "))
}

/// Returns how often each cell was run, and how many did not come to the same each
/// time; `None` if each was run once.
pub fn repeated(outcome: &KernelOutcome) -> Option<String> {
    let flaky = outcome.cells.iter().filter(|cell| cell.is_flaky());
    let flaky = count(flaky.count(), "cell");
    let rounds = outcome.rounds();
    (rounds > 1).then(|| format!("each cell {rounds} times, {flaky} flaky"))
}

/// Returns the checks, the silent oracles, what went unseen and how often the cells
/// were run, as the name and
/// the text of a line each.
pub fn lines(outcome: &KernelOutcome) -> Vec<(&'static str, String)> {
    let all = [
        ("checks", checks(outcome)),
        ("silent", silent(outcome)),
        ("unseen", outcome.blind.clone()),
        ("repeated", repeated(outcome)),
    ];
    let said = all.into_iter();
    said.filter_map(|(name, said)| Some((name, said?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::kernel;
    use super::*;
    use crate::agent::checks::Check;
    use crate::rig::matrix::outcome::{RunsAlike, Verdict};

    #[test]
    fn a_kernel_without_checks_leaves_oracles_silent() {
        let mut outcome = kernel("trixie");
        let all =
            "mappings (no DMA_API_DEBUG), idle (no IDLE_PAGE_TRACKING), leaks (no DEBUG_KMEMLEAK)";
        assert_eq!(lines(&outcome), [("silent", all.to_owned())]);
        outcome.checks = [Check::Kasan, Check::DmaApi, Check::Kmemleak].into();
        outcome.blind = Some("KASAN has turned itself off".into());
        assert_eq!(
            lines(&outcome),
            [
                ("checks", "KASAN, DMA_API_DEBUG, DEBUG_KMEMLEAK"),
                ("silent", "idle (no IDLE_PAGE_TRACKING)"),
                ("unseen", "KASAN has turned itself off"),
            ]
            .map(|(name, said)| (name, said.to_owned()))
        );
    }

    #[test]
    fn a_matrix_that_was_run_again_says_so() {
        let mut outcome = kernel("trixie");
        let alike = |times| RunsAlike {
            times,
            verdict: Verdict::Expected,
            observation: None,
            findings: Vec::new(),
        };
        assert_eq!(repeated(&outcome), None);
        outcome.cells[0].runs = vec![alike(5)];
        let said = |flaky| Some(format!("each cell 5 times, {flaky} flaky"));
        assert_eq!(repeated(&outcome), said("0 cells"));
        outcome.cells[1].runs = vec![alike(3), alike(2)];
        assert_eq!(repeated(&outcome), said("1 cell"));
        let line = ("repeated", said("1 cell").unwrap());
        assert_eq!(lines(&outcome).last(), Some(&line));
    }
}
