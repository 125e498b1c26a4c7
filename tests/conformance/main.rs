//! The conformance suite for devices, tried on the card, and on devices that
//! break one clause each. Nothing is booted.

mod mutants;
mod own;
#[path = "../program/mod.rs"]
mod program;
mod rings;
mod served;
mod wrapped;

use std::collections::BTreeSet;
use std::time::Duration;

use pinhole::conformance::device::subject::Subject;
use pinhole::conformance::device::{self, Settings};
use pinhole::conformance::verdict::{SuiteOutcome, Verdict};

/// Id of the card's control that kills a session.
const KILL_SESSION: u32 = 0x00f2_f007;

/// How the tests run the suite.
fn settings() -> Settings {
    Settings {
        error_control: Some(KILL_SESSION),
        limit: Duration::from_secs(4),
        ..Settings::default()
    }
}

/// Runs the suite.
fn run(subject: &mut Subject, settings: &Settings) -> SuiteOutcome {
    device::run(subject, settings, &mut |_| {}).expect("the suite runs")
}

/// The clauses whose verdict `is` takes.
fn clauses(outcome: &SuiteOutcome, is: fn(&Verdict) -> bool) -> BTreeSet<&'static str> {
    let found = outcome.clauses.iter().filter(|one| is(&one.verdict));
    found.map(|one| one.clause.id).collect()
}

fn is_passed(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Passed)
}

fn is_absent(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::NotOffered { .. })
}

fn is_failed(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Failed { .. })
}

fn is_unreached(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::NotReached { .. })
}
