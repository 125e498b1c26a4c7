//! The basis of the verdicts on a kernel: the checks that the kernel makes
//! itself, the device that was judged, and the oracles that had nothing to judge.

use crate::rig::matrix::oracle::Oracle;
use crate::rig::matrix::outcome::KernelOutcome;
use crate::rig::plural::count;

/// Returns the kernel's own checks; `None` if it has none that matters here.
pub fn checks(outcome: &KernelOutcome) -> Option<String> {
    let checks: Vec<_> = outcome.checks.iter().map(ToString::to_string).collect();
    (!checks.is_empty()).then(|| checks.join(", "))
}

/// Returns the oracles that had nothing to judge, or not all, each with the reason.
pub fn silent(outcome: &KernelOutcome) -> Option<String> {
    let silent = outcome.silent().into_iter();
    let silent: Vec<_> = silent
        .map(|(oracle, why)| format!("{oracle} ({why})"))
        .collect();
    (!silent.is_empty()).then(|| silent.join(", "))
}

/// Returns the oracles that could judge one of these kernels: those that take the
/// place of a witness judge nothing where there is one.
pub fn of(outcomes: &[KernelOutcome]) -> Vec<Oracle> {
    let has_device = outcomes.iter().any(|outcome| outcome.device.is_some());
    let oracles = Oracle::ALL.iter().copied();
    let judges = oracles.filter(|oracle| has_device || !oracle.replaces_witness());
    judges.collect()
}

/// Returns why an oracle judged nothing of a kernel, or not all; `None` if it judged.
pub fn why_silent(outcome: &KernelOutcome, oracle: Oracle) -> Option<String> {
    if outcome.device.is_none() && oracle.replaces_witness() {
        return Some("the card has a witness".into());
    }
    let mut silent = outcome.silent().into_iter();
    silent.find(|(one, _)| *one == oracle).map(|(_, why)| why)
}

/// Returns the device that was judged without a witness, and where it is.
pub fn device(outcome: &KernelOutcome) -> Option<String> {
    let device = outcome.device.as_ref()?;
    Some(format!(
        "{} ({}), driver {} {}",
        device.card, device.bus, device.driver, device.version
    ))
}

/// Returns how often each cell was run, and how many did not come to the same each
/// time; `None` if each was run once.
pub fn repeated(outcome: &KernelOutcome) -> Option<String> {
    let flaky = outcome.cells.iter().filter(|cell| cell.is_flaky());
    let flaky = count(flaky.count(), "cell");
    let rounds = outcome.rounds();
    (rounds > 1).then(|| format!("each cell {rounds} times, {flaky} flaky"))
}

/// Returns the device, the checks, the silent oracles, what went unseen and how often
/// the cells were run, as the name and the text of a line each.
pub fn lines(outcome: &KernelOutcome) -> Vec<(&'static str, String)> {
    let all = [
        ("device", device(outcome)),
        ("checks", checks(outcome)),
        ("silent", silent(outcome)),
        ("unseen", outcome.blind.clone()),
        ("repeated", repeated(outcome)),
    ];
    let notes = outcome.device.iter().flat_map(|device| &device.notes);
    let notes = notes.map(|note| ("note", Some(note.clone())));
    let said = all.into_iter().chain(notes);
    said.filter_map(|(name, said)| Some((name, said?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{judged, kernel};
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
    fn a_device_is_told_of_with_what_it_does_not_show() {
        let mut outcome = kernel("trixie");
        assert_eq!(
            of(std::slice::from_ref(&outcome)).len(),
            Oracle::ALL.len() - 2
        );
        let witness = Some("the card has a witness".to_owned());
        assert_eq!(why_silent(&outcome, Oracle::Order), witness);
        outcome.device = Some(judged());
        assert_eq!(
            lines(&outcome)[..3],
            [
                ("device", "A <b>camera (usb-1), driver cam 6.12.1"),
                (
                    "silent",
                    "address (nobody tells), mappings (no debugfs), idle (no IDLE_PAGE_TRACKING), \
                     leaks (no DEBUG_KMEMLEAK)"
                ),
                ("note", "it moves"),
            ]
            .map(|(name, said)| (name, said.to_owned()))
        );
        assert_eq!(of(std::slice::from_ref(&outcome)), Oracle::ALL);
        assert_eq!(why_silent(&outcome, Oracle::Order), None);
        let nobody = Some("nobody tells".to_owned());
        assert_eq!(why_silent(&outcome, Oracle::Address), nobody);
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
