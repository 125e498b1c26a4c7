//! JUnit's XML, which continuous integration shows.
//!
//! Each kernel is a test suite whose cases are the cells.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Property, Report, TestCase, TestCaseStatus, TestSuite};

use super::case::{Case, CaseResult, cases};
use super::oracles;
use crate::rig::matrix::outcome::KernelOutcome;

/// The results of all kernels as one XML document.
///
/// # Errors
///
/// Those of `quick_junit`, which has no reason to fail with what is written
/// here.
pub fn junit(outcomes: &[KernelOutcome]) -> Result<String, quick_junit::SerializeError> {
    let mut report = Report::new("pinhole matrix");
    let times = outcomes.iter().map(|outcome| outcome.elapsed_ms);
    report.set_time(milliseconds(times.fold(0, u64::saturating_add)));
    for outcome in outcomes {
        let mut suite = TestSuite::new(outcome.kernel.as_str());
        suite.set_time(milliseconds(outcome.elapsed_ms));
        suite.add_property(Property::new("release", outcome.release.as_str()));
        suite.add_property(Property::new("boots", outcome.boots.to_string()));
        for (name, said) in oracles::lines(outcome) {
            suite.add_property(Property::new(name, said));
        }
        let cases = cases(outcome);
        suite.add_test_cases(cases.iter().map(|case| test_case(&outcome.kernel, case)));
        report.add_test_suite(suite);
    }
    report.to_string()
}

fn test_case(kernel: &str, case: &Case) -> TestCase {
    let status = match &case.result {
        CaseResult::Passed => TestCaseStatus::success(),
        CaseResult::Failed(findings) => {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            if let Some(first) = findings.first() {
                status.set_message(first.as_str());
            }
            status.set_description(findings.join("\n"));
            status
        }
        CaseResult::Skipped(reason) => {
            let mut status = TestCaseStatus::skipped();
            status.set_message(reason.as_str());
            status
        }
    };
    let mut test = TestCase::new(case.name.as_str(), status);
    test.set_classname(kernel);
    test.set_time(milliseconds(case.elapsed_ms));
    if let Some(remark) = &case.remark {
        test.set_system_out(remark.as_str());
    }
    test
}

/// A time, which of a file that says nonsense is as long as one can be.
fn milliseconds(time: u64) -> Duration {
    Duration::from_millis(time)
}

#[cfg(test)]
mod tests {
    use super::super::tests::kernel;
    use super::*;

    #[test]
    fn a_suite_a_kernel_a_case_a_cell() {
        let text = junit(&[kernel("trixie"), kernel("bookworm")]).unwrap();
        let report = Report::deserialize_from_str(&text).unwrap();
        assert_eq!(report.test_suites.len(), 2);
        assert_eq!(report.failures + report.errors, 2 * 3);
        let suite = &report.test_suites[0];
        assert_eq!((suite.name.as_str(), suite.tests), ("trixie", 8));
        assert_eq!(suite.time, Some(Duration::from_millis(46_118)));
        let properties: Vec<_> = suite.properties.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(properties, ["release", "boots", "silent"]);
        let case = &suite.test_cases[3];
        assert_eq!(case.name.as_str(), "thp/munmap");
        assert_eq!(case.time, Some(Duration::from_millis(62)));
        let TestCaseStatus::NonSuccess {
            message,
            description,
            ..
        } = &case.status
        else {
            panic!("{case:?}");
        };
        assert_eq!(
            message.as_ref().unwrap().as_str(),
            "data: frame 0 differs <script>alert(1)</script> & \"more\""
        );
        let lines = description.as_ref().unwrap().as_str().lines().count();
        assert_eq!(lines, 2);
        assert!(matches!(
            &suite.test_cases[2].status,
            TestCaseStatus::Skipped { message: Some(message), .. }
                if message.as_str() == "no MADV_GUARD_INSTALL here"
        ));
        assert!(!text.contains("<script>"), "{text}");
    }

    #[test]
    fn what_xml_cannot_hold_is_left_out() {
        let mut hostile = kernel("trixie");
        hostile.cells[3].findings[0].what = "]]>\u{0}\u{b}\u{1b}[31mred\u{ffff}".into();
        hostile.cells[3].elapsed_ms = u64::MAX;
        hostile.elapsed_ms = u64::MAX;
        let text = junit(&[hostile.clone(), hostile]).unwrap();
        assert!(Report::deserialize_from_str(&text).is_ok(), "{text}");
    }
}
