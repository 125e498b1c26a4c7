//! JUnit's XML, which continuous-integration systems show.
//!
//! Each kernel is a test suite whose cases are the cells. The format has no
//! standard; this is the common subset of its readers
//! (<https://github.com/testmoapp/junitxml>).

use maud::{Markup, PreEscaped, html};

use super::case::{Case, CaseResult, cases};
use super::oracles;
use crate::rig::matrix::outcome::KernelOutcome;

/// Returns the results of all kernels as one XML document.
pub fn junit(outcomes: &[KernelOutcome]) -> String {
    let suites = outcomes.iter().map(|outcome| (outcome, cases(outcome)));
    let suites: Vec<_> = suites.collect();
    let all = || suites.iter().flat_map(|(_, cases)| cases);
    let times = outcomes.iter().map(|outcome| outcome.elapsed_ms);
    let document = html! {
        (PreEscaped("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"))
        testsuites name="pinhole matrix" tests=(all().count())
            failures=(all().filter(failed).count()) errors="0"
            skipped=(all().filter(skipped).count())
            time=(seconds(times.fold(0, u64::saturating_add)))
        {
            @for (outcome, cases) in &suites {
                (LINE)
                (suite(outcome, cases))
            }
            (LINE)
        }
        (LINE)
    };
    let text = document.into_string();
    text.replace(|c| !may_occur(c), "\u{fffd}")
}

/// The end of a line, which makes the file readable for people.
const LINE: PreEscaped<&str> = PreEscaped("\n");

fn suite(outcome: &KernelOutcome, cases: &[Case]) -> Markup {
    let boots = outcome.boots.to_string();
    let own = [("release", outcome.release.clone()), ("boots", boots)];
    html! {
        testsuite name=(outcome.kernel) tests=(cases.len())
            failures=(cases.iter().filter(failed).count()) errors="0"
            skipped=(cases.iter().filter(skipped).count())
            time=(seconds(outcome.elapsed_ms))
        {
            (LINE)
            properties {
                @for (name, said) in own.into_iter().chain(oracles::lines(outcome)) {
                    property name=(name) value=(said) {}
                }
            }
            @for case in cases {
                (LINE)
                (test_case(&outcome.kernel, case))
            }
            (LINE)
        }
    }
}

fn test_case(kernel: &str, case: &Case) -> Markup {
    html! {
        testcase name=(case.name) classname=(kernel) time=(seconds(case.elapsed_ms)) {
            @match &case.result {
                CaseResult::Passed => {}
                CaseResult::Failed(findings) => {
                    failure message=[findings.first()] type=[case.severity] { (findings.join("\n")) }
                }
                CaseResult::Skipped(reason) => skipped message=(reason) {},
            }
            @if let Some(remark) = &case.remark {
                system-out { (remark) }
            }
        }
    }
}

fn failed(case: &&Case) -> bool {
    matches!(case.result, CaseResult::Failed(_))
}

fn skipped(case: &&Case) -> bool {
    matches!(case.result, CaseResult::Skipped(_))
}

fn seconds(milliseconds: u64) -> String {
    format!("{}.{:03}", milliseconds / 1000, milliseconds % 1000)
}

/// Returns whether XML 1.0 allows the character, escaped or not (its production
/// `Char`).
fn may_occur(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{assert_well_formed, kernel};
    use super::*;

    #[test]
    fn a_suite_a_kernel_a_case_a_cell() {
        let mut quiet = kernel("bookworm");
        quiet.cells.truncate(4);
        quiet.mutants.clear();
        assert_eq!(
            junit(&[quiet]),
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
        let text = junit(&[kernel("trixie"), kernel("bookworm")]);
        let all = r#"<testsuites name="pinhole matrix" tests="16" failures="6" errors="0""#;
        assert!(text.contains(all), "{text}");
    }

    #[test]
    fn what_xml_cannot_hold_is_replaced() {
        let mut hostile = kernel("trixie");
        hostile.cells[3].findings[0].what = "]]>\u{0}\u{b}\u{1b}[31mred\u{ffff}".into();
        hostile.cells[3].elapsed_ms = u64::MAX;
        hostile.elapsed_ms = u64::MAX;
        let text = junit(&[hostile.clone(), hostile]);
        assert_well_formed(&text);
        let shown = "data: ]]&gt;\u{fffd}\u{fffd}\u{fffd}[31mred\u{fffd}";
        assert_eq!(text.matches(shown).count(), 2 * 2, "{text}");
    }
}
