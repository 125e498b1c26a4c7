//! The results as test cases, for the formats of test frameworks: a kernel is a
//! suite, a cell or a mutant a case.

use super::oracles;
use crate::report::cases::{Case, CaseResult, Suite};
use crate::rig::matrix::oracle::Finding;
use crate::rig::matrix::outcome::{
    CellOutcome, KernelOutcome, MutantOutcome, MutantVerdict, Verdict,
};

/// Returns a suite for each kernel.
pub fn suites(outcomes: &[KernelOutcome]) -> Vec<Suite> {
    let of = |outcome: &KernelOutcome| {
        let own = [
            ("release", outcome.release.clone()),
            ("boots", outcome.boots.to_string()),
        ];
        let properties = own.into_iter().chain(oracles::lines(outcome));
        Suite {
            name: outcome.kernel.clone(),
            properties: properties
                .map(|(name, said)| (name.to_owned(), said))
                .collect(),
            cases: cases(outcome),
            elapsed_ms: outcome.elapsed_ms,
        }
    };
    outcomes.iter().map(of).collect()
}

/// Returns all cells of a kernel, then its mutants, as test cases. If the run
/// stopped early, the last case says so, so that no framework takes the run for
/// a complete one.
fn cases(outcome: &KernelOutcome) -> Vec<Case> {
    let cells = outcome.cells.iter().map(of_cell);
    let mutants = outcome.mutants.iter().map(of_mutant);
    let stopped = outcome.stopped.iter().map(|why| of_stop(why));
    cells.chain(mutants).chain(stopped).collect()
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
        kind: {
            let severities = cell.findings.iter().map(|finding| finding.severity);
            severities.min().map(|worst| worst.to_string())
        },
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
            MutantVerdict::Unseen | MutantVerdict::Unwitnessed => CaseResult::Skipped(reason),
        },
        kind: None,
        remark: (!oracles.is_empty()).then(|| format!("seen by {}", oracles.join(", "))),
        elapsed_ms: times.fold(0, u64::saturating_add),
    }
}

fn of_stop(why: &str) -> Case {
    Case {
        name: "run-to-the-end".into(),
        result: CaseResult::Failed(vec![format!("stopped: {why}")]),
        kind: None,
        remark: None,
        elapsed_ms: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{assert_well_formed, kernel};
    use super::*;
    use crate::report::cases::{junit, ktap};

    fn passed(outcome: &KernelOutcome) -> bool {
        suites(std::slice::from_ref(outcome))[0].passed()
    }

    #[test]
    fn a_mutant_that_is_caught_has_passed() {
        let outcome = kernel("trixie");
        let cases = cases(&outcome);
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
        assert!(!passed(&outcome));
    }

    #[test]
    fn a_run_that_stopped_has_not_passed() {
        let mut outcome = kernel("trixie");
        outcome.cells.truncate(2);
        outcome.mutants.clear();
        assert!(passed(&outcome));
        outcome.stopped = Some("interrupted".into());
        assert!(!passed(&outcome));
        assert_eq!(
            cases(&outcome).last().unwrap().result,
            CaseResult::Failed(vec!["stopped: interrupted".into()])
        );
    }

    #[test]
    fn cells_are_subtests_of_their_kernel() {
        let mut quiet = kernel("bookworm");
        quiet.cells.truncate(2);
        quiet.mutants.clear();
        let text = ktap(&suites(&[quiet, kernel("trixie")]));
        assert_eq!(
            text,
            "\
KTAP version 1
1..2
  KTAP version 1
  # Subtest: bookworm
  1..2
  # release: 6.12.107+deb13-amd64
  # boots: 2
  # silent: mappings (no DMA_API_DEBUG), idle (no IDLE_PAGE_TRACKING), leaks (no DEBUG_KMEMLEAK)
  # anon-touched@1234: data
  ok 1 anon-touched@1234
  # hole: EFAULT: a page of the range is not mapped
  ok 2 hole
ok 1 bookworm
  KTAP version 1
  # Subtest: trixie
  1..8
  # release: 6.12.107+deb13-amd64
  # boots: 2
  # silent: mappings (no DMA_API_DEBUG), idle (no IDLE_PAGE_TRACKING), leaks (no DEBUG_KMEMLEAK)
  # anon-touched@1234: data
  ok 1 anon-touched@1234
  # hole: EFAULT: a page of the range is not mapped
  ok 2 hole
  ok 3 guard-region # SKIP no MADV_GUARD_INSTALL here
  # thp/munmap: part of the data
  # thp/munmap: FINDING data-lost: data: frame 0 differs <script>alert(1)</script> & \"more\"
  # thp/munmap: FINDING memory-written: fences: 5 bytes after the buffer have changed
  not ok 4 thp/munmap
  # heap/sg: FINDING kernel-broken: outcome: the guest broke: no answer
  not ok 5 heap/sg
  # mutant/leak-pin: seen by pins
  ok 6 mutant/leak-pin
  # mutant/round-up: FINDING anon-touched+1000 was as expected with the bug
  not ok 7 mutant/round-up
  ok 8 mutant/pin-readonly # SKIP write access is always asked for
not ok 2 trixie
"
        );
    }

    #[test]
    fn no_text_of_a_guest_is_taken_for_a_result() {
        let mut hostile = kernel("a # SKIP b\nok 1 c");
        hostile.release = "6.1\nnot ok 9 x".into();
        hostile.cells[2].reason = Some("\r\nok 7 done # TODO".into());
        hostile.cells[3].findings[0].what = "x\nBail out!\u{1b}[2J".into();
        let text = ktap(&suites(&[hostile]));
        let results: Vec<_> = text
            .lines()
            .filter(|line| !line.trim_start().starts_with('#'))
            .collect();
        assert_eq!(
            results,
            [
                "KTAP version 1",
                "1..1",
                "  KTAP version 1",
                "  1..8",
                "  ok 1 anon-touched@1234",
                "  ok 2 hole",
                "  ok 3 guard-region # SKIP   ok 7 done # TODO",
                "  not ok 4 thp/munmap",
                "  not ok 5 heap/sg",
                "  ok 6 mutant/leak-pin",
                "  not ok 7 mutant/round-up",
                "  ok 8 mutant/pin-readonly # SKIP write access is always asked for",
                "not ok 1 a %23 SKIP b ok 1 c",
            ]
        );
        assert!(!text.contains('\u{1b}'));
    }

    #[test]
    fn a_suite_a_kernel_a_case_a_cell() {
        let mut quiet = kernel("bookworm");
        quiet.cells.truncate(4);
        quiet.mutants.clear();
        assert_eq!(
            junit("pinhole matrix", &suites(&[quiet])),
            r#"<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="pinhole matrix" tests="4" failures="1" errors="0" skipped="1" time="46.118">
<testsuite name="bookworm" tests="4" failures="1" errors="0" skipped="1" time="46.118">
<properties><property name="release" value="6.12.107+deb13-amd64"></property><property name="boots" value="2"></property><property name="silent" value="mappings (no DMA_API_DEBUG), idle (no IDLE_PAGE_TRACKING), leaks (no DEBUG_KMEMLEAK)"></property></properties>
<testcase name="anon-touched@1234" classname="bookworm" time="0.062"><system-out>data</system-out></testcase>
<testcase name="hole" classname="bookworm" time="0.062"><system-out>EFAULT: a page of the range is not mapped</system-out></testcase>
<testcase name="guard-region" classname="bookworm" time="0.062"><skipped message="no MADV_GUARD_INSTALL here"></skipped></testcase>
<testcase name="thp/munmap" classname="bookworm" time="0.062"><failure message="data-lost: data: frame 0 differs &lt;script&gt;alert(1)&lt;/script&gt; &amp; &quot;more&quot;" type="memory-written">data-lost: data: frame 0 differs &lt;script&gt;alert(1)&lt;/script&gt; &amp; &quot;more&quot;
memory-written: fences: 5 bytes after the buffer have changed</failure><system-out>part of the data</system-out></testcase>
</testsuite>
</testsuites>
"#
        );
        let text = junit(
            "pinhole matrix",
            &suites(&[kernel("trixie"), kernel("bookworm")]),
        );
        let all = r#"<testsuites name="pinhole matrix" tests="16" failures="6" errors="0""#;
        assert!(text.contains(all), "{text}");
    }

    #[test]
    fn what_xml_cannot_hold_is_replaced() {
        let mut hostile = kernel("trixie");
        hostile.cells[3].findings[0].what = "]]>\u{0}\u{b}\u{1b}[31mred\u{ffff}".into();
        hostile.cells[3].elapsed_ms = u64::MAX;
        hostile.elapsed_ms = u64::MAX;
        let text = junit("pinhole matrix", &suites(&[hostile.clone(), hostile]));
        assert_well_formed(&text);
        let shown = "data: ]]&gt;\u{fffd}\u{fffd}\u{fffd}[31mred\u{fffd}";
        assert_eq!(text.matches(shown).count(), 2 * 2, "{text}");
    }
}
