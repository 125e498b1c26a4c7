//! Cells that were run several times: their runs are judged as one, and a cell
//! that does not come to the same each time is flaky, which is a finding.

use std::collections::{BTreeMap, BTreeSet};

use super::name::CellName;
use super::objection::Severity;
use super::observation::Observation;
use super::oracle::{Cause, Finding, Oracle};
use super::outcome::{CellOutcome, RunsAlike, Verdict};

/// Returns each cell once, in the order in which they were run first. A cell that
/// was run several times has the evidence of one run: the first with a finding, or
/// else the first of those that came to what was rarest.
pub(super) fn fold(cells: Vec<CellOutcome>) -> Vec<CellOutcome> {
    let mut order = Vec::new();
    let mut runs: BTreeMap<CellName, Vec<CellOutcome>> = BTreeMap::new();
    for cell in cells {
        let of_it = runs.entry(cell.cell).or_default();
        if of_it.is_empty() {
            order.push(cell.cell);
        }
        of_it.push(cell);
    }
    let once = order
        .into_iter()
        .filter_map(|name| one(runs.remove(&name)?));
    once.collect()
}

/// Returns the runs of a cell as one; `None` if there are none.
fn one(mut runs: Vec<CellOutcome>) -> Option<CellOutcome> {
    if runs.len() < 2 {
        return runs.pop();
    }
    // The place of the first run of each that is alike.
    let mut alike: Vec<(usize, RunsAlike)> = Vec::new();
    for (place, run) in runs.iter().enumerate() {
        let of_it = RunsAlike {
            times: 1,
            verdict: run.verdict,
            observation: run.observation,
            findings: run.findings.clone(),
        };
        let mut known = alike.iter_mut().map(|(_, known)| known);
        match known.find(|known| what(known) == what(&of_it)) {
            Some(known) => known.times += 1,
            None => alike.push((place, of_it)),
        }
    }
    let shown = alike.iter().min_by_key(|(place, of)| match of.verdict {
        Verdict::Finding => (0, *place),
        _ => (of.times, *place),
    });
    let shown = shown.map_or(0, |(place, _)| *place);
    let elapsed_ms = runs.iter().map(|run| run.elapsed_ms);
    let elapsed_ms = elapsed_ms.fold(0, u64::saturating_add);
    let mut whole = runs.swap_remove(shown);
    whole.elapsed_ms = elapsed_ms;
    whole.runs = alike.into_iter().map(|(_, of)| of).collect();
    if whole.is_flaky() {
        whole.verdict = Verdict::Finding;
        let mut known: BTreeSet<Cause> = whole.findings.iter().map(Finding::cause).collect();
        let others = whole.runs.iter().flat_map(|of| &of.findings);
        let others = others.filter(|finding| known.insert(finding.cause()));
        whole.findings.extend(others.cloned().collect::<Vec<_>>());
        whole.findings.push(flaky(&whole.runs));
        whole.findings.sort_by_key(|finding| finding.severity);
    }
    Some(whole)
}

/// Returns what runs that are alike have in common.
fn what(of: &RunsAlike) -> (Verdict, Option<Observation>, BTreeSet<Cause>) {
    let causes = of.findings.iter().map(Finding::cause);
    (of.verdict, of.observation, causes.collect())
}

/// Returns the finding that a cell came to these different things.
fn flaky(runs: &[RunsAlike]) -> Finding {
    let all = runs.iter().map(|of| of.times).sum();
    let mut said: Vec<_> = runs.iter().map(|of| say(of, all)).collect();
    // Not in the order of the runs, which says nothing.
    said.sort();
    Finding {
        oracle: Oracle::Outcome,
        severity: Severity::Flaky,
        what: format!("not the same each time: {}", said.join(", ")),
    }
}

/// Returns what some of `all` runs came to. The words are the same however many they
/// are, so that flaky cells which come to the same are in one group.
fn say(of: &RunsAlike, all: usize) -> String {
    let came_to = match (of.verdict, of.observation) {
        (Verdict::Impossible, _) => "impossible".to_owned(),
        (_, Some(observation)) => observation.to_string(),
        (_, None) => "no outcome".to_owned(),
    };
    let oracles: BTreeSet<_> = of.findings.iter().map(|finding| finding.oracle).collect();
    let oracles: Vec<_> = oracles.iter().map(ToString::to_string).collect();
    let times = format!("in {} of {all}", of.times);
    match &oracles[..] {
        [] => format!("{came_to} {times}"),
        [one] => format!("{came_to} ({one} objects) {times}"),
        several => format!("{came_to} ({} object) {times}", several.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rig::matrix::observation::Reads;

    fn cell(name: &str) -> CellOutcome {
        CellOutcome {
            verdict: Verdict::Expected,
            observation: Some(Observation::Captured(Reads::Written)),
            reason: None,
            elapsed_ms: 62,
            ..CellOutcome::impossible(name.parse().unwrap(), String::new())
        }
    }

    fn finding(severity: Severity, oracle: Oracle, what: &str) -> Finding {
        Finding {
            oracle,
            severity,
            what: what.into(),
        }
    }

    fn refused(name: &str, errno: i32) -> CellOutcome {
        CellOutcome {
            observation: Some(Observation::Refused(errno)),
            ..cell(name)
        }
    }

    fn wrong(name: &str, what: &str) -> CellOutcome {
        CellOutcome {
            verdict: Verdict::Finding,
            findings: vec![finding(Severity::DataLost, Oracle::Data, what)],
            reason: Some(what.into()),
            ..cell(name)
        }
    }

    #[test]
    fn a_cell_that_was_run_once_is_as_it_was() {
        let cells = vec![cell("thp"), wrong("hole", "x"), cell("heap")];
        assert_eq!(fold(cells.clone()), cells);
    }

    #[test]
    fn runs_that_differ_in_numbers_alone_are_alike() {
        let cells = ["frame 0 differs", "frame 1 differs", "frame 7 differs"];
        let cells: Vec<_> = cells.iter().map(|what| wrong("thp", what)).collect();
        let [whole] = &fold(cells)[..] else { panic!() };
        assert!(!whole.is_flaky());
        assert_eq!(
            (whole.verdict, whole.elapsed_ms),
            (Verdict::Finding, 3 * 62)
        );
        assert_eq!((whole.runs.len(), whole.runs[0].times), (1, 3));
        assert_eq!(whole.findings.len(), 1);
        let stable = fold(vec![cell("thp"); 5]);
        assert_eq!(stable[0].verdict, Verdict::Expected);
        assert_eq!((stable[0].runs.len(), stable[0].runs[0].times), (1, 5));
    }

    #[test]
    fn a_cell_that_does_not_come_to_the_same_is_a_finding_that_says_how_often() {
        let round = |last: CellOutcome| [cell("heap"), last];
        let cells = [
            round(cell("thp")),
            round(refused("thp", libc::EFAULT)),
            round(cell("thp")),
        ];
        let [heap, thp] = &fold(cells.concat())[..] else {
            panic!()
        };
        assert_eq!((heap.verdict, heap.is_flaky()), (Verdict::Expected, false));
        assert_eq!((thp.verdict, thp.is_flaky()), (Verdict::Finding, true));
        // The evidence is of the rare run.
        assert_eq!(thp.observation, Some(Observation::Refused(libc::EFAULT)));
        let [only] = &thp.findings[..] else { panic!() };
        assert_eq!(
            (only.severity, only.oracle),
            (Severity::Flaky, Oracle::Outcome)
        );
        assert_eq!(
            only.what,
            "not the same each time: EFAULT in 1 of 3, data in 2 of 3"
        );
        let times: Vec<_> = thp
            .runs
            .iter()
            .map(|of| (of.observation, of.times))
            .collect();
        let data = Observation::Captured(Reads::Written);
        let refused = Observation::Refused(libc::EFAULT);
        assert_eq!(times, [(Some(data), 2), (Some(refused), 1)]);
    }

    #[test]
    fn the_findings_of_all_runs_are_kept_and_the_worst_comes_first() {
        let log = finding(Severity::KernelBroken, Oracle::Log, "WARNING");
        let warned = CellOutcome {
            findings: [vec![log], wrong("thp", "frame 9").findings].concat(),
            ..wrong("thp", "x")
        };
        let cells = vec![
            wrong("thp", "frame 0"),
            cell("thp"),
            warned,
            wrong("thp", "frame 1"),
        ];
        let [thp] = &fold(cells)[..] else { panic!() };
        let said: Vec<_> = thp.findings.iter().map(|it| it.what.as_str()).collect();
        assert_eq!(
            said,
            [
                "WARNING",
                "frame 0",
                "not the same each time: data (data objects) in 2 of 4, data (data, log object) \
                 in 1 of 4, data in 1 of 4"
            ]
        );
        assert_eq!(thp.reason.as_deref(), Some("frame 0"));
    }

    #[test]
    fn a_cell_that_is_impossible_at_times_is_flaky() {
        let impossible = CellOutcome::impossible(cell("thp").cell, "no memory".into());
        let [thp] = &fold(vec![cell("thp"), impossible])[..] else {
            panic!()
        };
        assert_eq!(
            thp.findings[0].what,
            "not the same each time: data in 1 of 2, impossible in 1 of 2"
        );
    }
}
