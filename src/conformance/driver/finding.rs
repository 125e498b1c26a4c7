//! What an experiment found of a clause.

use std::time::Duration;

use super::stand::{Broken, Stand};
use crate::conformance::verdict::Verdict;
use crate::rig::kernel::errno_name;
use crate::scripted::device::record::Entry;

/// How long the driver may take for what takes it no time.
pub const PROMPTLY: Duration = Duration::from_secs(5);

/// Entries of a record that are told as evidence.
const TOLD: usize = 24;

/// What an experiment found of a clause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The verdict.
    pub verdict: Verdict,
    /// What was seen, a line each.
    pub evidence: Vec<String>,
}

/// What an experiment found of each of its clauses.
pub type Findings = Vec<(&'static str, Finding)>;

/// Makes an experiment.
pub type Experiment = fn(&mut Stand) -> Result<Findings, Broken>;

impl Finding {
    /// The driver does what the clause says.
    pub fn passed(evidence: Vec<String>) -> Self {
        Self {
            verdict: Verdict::Passed,
            evidence,
        }
    }

    /// It does not.
    pub fn failed(
        expected: impl Into<String>,
        seen: impl Into<String>,
        evidence: Vec<String>,
    ) -> Self {
        Self {
            verdict: Verdict::Failed {
                expected: expected.into(),
                seen: seen.into(),
            },
            evidence,
        }
    }

    /// It, or the device, does not have what the clause is about.
    pub fn not_offered(why: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::NotOffered { why: why.into() },
            evidence: Vec::new(),
        }
    }

    /// Something else failed before.
    pub fn not_reached(why: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::NotReached { why: why.into() },
            evidence: Vec::new(),
        }
    }

    /// The guest broke meanwhile.
    pub fn broken(broken: &Broken) -> Self {
        let expected = "a guest that goes on as before";
        match broken {
            Broken::Stuck(what) => Self::failed(expected, what.clone(), Vec::new()),
            Broken::Complaint(lines) => {
                let first = lines.first().cloned().unwrap_or_default();
                let seen = format!("its kernel complains: {first}");
                Self::failed(expected, seen, lines.clone())
            }
            Broken::Flood => Self::failed(
                expected,
                "commands without an end: the device has stopped to take them",
                Vec::new(),
            ),
            Broken::Gone(what, console) => Self::failed(expected, what.clone(), console.clone()),
        }
    }
}

/// Returns the end of a record as evidence.
pub fn told(record: &[Entry]) -> Vec<String> {
    let last = &record[record.len().saturating_sub(TOLD)..];
    last.iter().map(ToString::to_string).collect()
}

/// Says what became of a call.
pub fn result(errno: Option<i32>) -> String {
    errno.map_or_else(|| "success".to_owned(), errno_name)
}
