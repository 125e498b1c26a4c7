//! JUnit's XML, which continuous-integration systems show.
//!
//! The format has no standard; this is the common subset of its readers
//! (<https://github.com/testmoapp/junitxml>).

use maud::{Markup, PreEscaped, html};

use super::{Case, CaseResult, Suite};

/// Returns the results of all suites as one XML document with that title.
pub fn junit(title: &str, suites: &[Suite]) -> String {
    let count = |is: fn(&Case) -> bool| suites.iter().map(|suite| suite.count(is)).sum::<usize>();
    let times = suites.iter().map(|suite| suite.elapsed_ms);
    let document = html! {
        (PreEscaped("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"))
        testsuites name=(title) tests=(count(|_| true))
            failures=(count(Case::is_failed)) errors=(count(Case::is_unjudged))
            skipped=(count(Case::is_skipped))
            time=(seconds(times.fold(0, u64::saturating_add)))
        {
            @for suite in suites {
                (LINE)
                (test_suite(suite))
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

fn test_suite(suite: &Suite) -> Markup {
    html! {
        testsuite name=(suite.name) tests=(suite.cases.len())
            failures=(suite.count(Case::is_failed)) errors=(suite.count(Case::is_unjudged))
            skipped=(suite.count(Case::is_skipped))
            time=(seconds(suite.elapsed_ms))
        {
            (LINE)
            properties {
                @for (name, said) in &suite.properties {
                    property name=(name) value=(said) {}
                }
            }
            @for case in &suite.cases {
                (LINE)
                (test_case(&suite.name, case))
            }
            (LINE)
        }
    }
}

fn test_case(suite: &str, case: &Case) -> Markup {
    html! {
        testcase name=(case.name) classname=(suite) time=(seconds(case.elapsed_ms)) {
            @match &case.result {
                CaseResult::Passed => {}
                CaseResult::Failed(findings) => {
                    failure message=[findings.first()] type=[case.kind.as_ref()] {
                        (findings.join("\n"))
                    }
                }
                CaseResult::Unjudged(reason) => error message=(reason) {},
                CaseResult::Skipped(reason) => skipped message=(reason) {},
            }
            @if let Some(remark) = &case.remark {
                system-out { (remark) }
            }
        }
    }
}

fn seconds(milliseconds: u64) -> String {
    format!("{}.{:03}", milliseconds / 1000, milliseconds % 1000)
}

/// Returns whether XML 1.0 allows the character, escaped or not (its production
/// `Char`).
fn may_occur(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..)
}
