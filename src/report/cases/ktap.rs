//! KTAP, version 1: the format that the kernel's own test runners read
//! (Documentation/dev-tools/ktap.rst).
//!
//! Each suite is a test whose subtests are the cases.

use std::fmt::Write as _;

use super::{Case, CaseResult, Suite};
use crate::report::plain::plain;

/// Returns the results of all suites as one KTAP document.
pub fn ktap(suites: &[Suite]) -> String {
    let mut text = format!("KTAP version 1\n1..{}\n", suites.len());
    for (number, suite) in suites.iter().enumerate() {
        let name = description(&suite.name);
        text += "  KTAP version 1\n";
        line(&mut text, format_args!("  # Subtest: {name}"));
        // KUnit's parser requires the plan right after the name.
        line(&mut text, format_args!("  1..{}", suite.cases.len()));
        for (name, said) in &suite.properties {
            line(
                &mut text,
                format_args!("  # {}: {}", plain(name), plain(said)),
            );
        }
        for (number, case) in suite.cases.iter().enumerate() {
            subtest(&mut text, number + 1, case);
        }
        let ok = if suite.passed() { "ok" } else { "not ok" };
        line(&mut text, format_args!("{ok} {} {name}", number + 1));
    }
    text
}

fn subtest(text: &mut String, number: usize, case: &Case) {
    let name = description(&case.name);
    if let Some(remark) = &case.remark {
        for part in remark.lines() {
            line(text, format_args!("  # {name}: {}", plain(part)));
        }
    }
    match &case.result {
        CaseResult::Passed => line(text, format_args!("  ok {number} {name}")),
        CaseResult::Failed(findings) => {
            for finding in findings {
                line(text, format_args!("  # {name}: FINDING {}", plain(finding)));
            }
            line(text, format_args!("  not ok {number} {name}"));
        }
        CaseResult::Unjudged(reason) => {
            line(
                text,
                format_args!("  # {name}: NOT REACHED {}", plain(reason)),
            );
            line(text, format_args!("  not ok {number} {name}"));
        }
        CaseResult::Skipped(reason) => line(
            text,
            format_args!("  ok {number} {name} # SKIP {}", plain(reason)),
        ),
    }
}

/// Adds a line. Text from a guest must be [`plain`], so that it cannot begin
/// another line that reads as a result.
fn line(text: &mut String, what: std::fmt::Arguments<'_>) {
    let _ = writeln!(text, "{}", what.to_string().trim_end());
}

/// Returns text as the description of a test. A # would begin a directive
/// there, and KTAP has no way to escape it.
fn description(text: &str) -> String {
    plain(text).replace('#', "%23")
}
