//! What became of a clause, and the outcome of a suite.

use serde::Serialize;

use super::clause::{Clause, Side};

/// What became of a clause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum Verdict {
    /// The subject does what the clause says.
    Passed,
    /// It does not.
    Failed {
        /// What the clause has it do, here.
        expected: String,
        /// What it did.
        seen: String,
    },
    /// The subject does not have what the clause is about, which it may.
    NotOffered {
        /// What it does not have, and how that was seen.
        why: String,
    },
    /// The suite did not come so far that it could judge: something that the
    /// clause is not about failed before.
    NotReached {
        /// What failed.
        why: String,
    },
}

/// The result of a clause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClauseOutcome {
    /// The clause.
    #[serde(flatten)]
    pub clause: &'static Clause,
    /// What became of it.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// What was exchanged, a line each: commands, answers, events, or what a
    /// guest said.
    pub evidence: Vec<String>,
    /// How long it took, in milliseconds.
    pub elapsed_ms: u64,
}

/// The outcome of a suite.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SuiteOutcome {
    /// What was tested: a socket, a command, a driver and its kernel.
    pub subject: String,
    /// Which end that is.
    pub side: Side,
    /// What the subject has and has not of what may be there, a name and a text
    /// each, such as `memory` and `SHARED_PAGES, MMAP`.
    pub properties: Vec<(String, String)>,
    /// The clauses, in the order in which they were tried.
    pub clauses: Vec<ClauseOutcome>,
    /// Why the suite ended before the last clause, if it did.
    pub stopped: Option<String>,
    /// How long it took, in milliseconds.
    pub elapsed_ms: u64,
}

/// How many clauses came to each verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// [`Verdict::Passed`].
    pub passed: usize,
    /// [`Verdict::Failed`], of a clause that binds.
    pub failed: usize,
    /// [`Verdict::Failed`], of a SHOULD or a MAY.
    pub advised: usize,
    /// [`Verdict::NotOffered`].
    pub not_offered: usize,
    /// [`Verdict::NotReached`].
    pub not_reached: usize,
}

impl SuiteOutcome {
    /// Counts the verdicts.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for one in &self.clauses {
            *match one.verdict {
                Verdict::Passed => &mut totals.passed,
                Verdict::Failed { .. } if !one.clause.level.binds() => &mut totals.advised,
                Verdict::Failed { .. } => &mut totals.failed,
                Verdict::NotOffered { .. } => &mut totals.not_offered,
                Verdict::NotReached { .. } => &mut totals.not_reached,
            } += 1;
        }
        totals
    }

    /// Returns whether the subject cannot be said to conform: a clause that
    /// [binds](super::clause::Level::binds) failed, or any clause could not be judged though the subject has what it is about.
    pub fn is_wrong(&self) -> bool {
        let totals = self.totals();
        totals.failed + totals.not_reached > 0 || self.stopped.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::super::clauses::ClauseId;
    use super::*;

    fn suite(verdicts: &[Verdict]) -> SuiteOutcome {
        suite_of("MD-1", verdicts)
    }

    fn suite_of(id: &str, verdicts: &[Verdict]) -> SuiteOutcome {
        let of = |verdict: &Verdict| ClauseOutcome {
            clause: ClauseId::known(id).clause(),
            verdict: verdict.clone(),
            evidence: Vec::new(),
            elapsed_ms: 0,
        };
        SuiteOutcome {
            subject: "a card".into(),
            side: Side::Device,
            properties: Vec::new(),
            clauses: verdicts.iter().map(of).collect(),
            stopped: None,
            elapsed_ms: 0,
        }
    }

    #[test]
    fn what_was_not_judged_does_not_conform() {
        let why = || "why".to_owned();
        let absent = Verdict::NotOffered { why: why() };
        let mut suite_of = suite(&[Verdict::Passed, absent.clone()]);
        assert!(!suite_of.is_wrong());
        suite_of.stopped = Some(why());
        assert!(suite_of.is_wrong());
        let failed = Verdict::Failed {
            expected: why(),
            seen: why(),
        };
        for wrong in [failed, Verdict::NotReached { why: why() }] {
            let suite = suite(&[Verdict::Passed, wrong, absent.clone()]);
            assert!(suite.is_wrong());
            assert_eq!(suite.totals().passed, 1);
            assert_eq!(suite.totals().not_offered, 1);
        }
    }

    #[test]
    fn what_a_device_should_do_is_told_and_does_not_bind_it() {
        let why = || "why".to_owned();
        let failed = Verdict::Failed {
            expected: why(),
            seen: why(),
        };
        // MUST and prose; SHOULD and MAY.
        for (id, binds) in [
            ("MD-1", true),
            ("MP-16", true),
            ("MP-17", false),
            ("GD-18", false),
        ] {
            let suite = suite_of(id, std::slice::from_ref(&failed));
            assert_eq!(suite.is_wrong(), binds, "{id}");
            let totals = suite.totals();
            assert_eq!(
                (totals.failed, totals.advised),
                (binds.into(), (!binds).into())
            );
            let unjudged = Verdict::NotReached { why: why() };
            assert!(suite_of(id, &[unjudged]).is_wrong());
        }
    }

    #[test]
    fn json_has_the_clause_beside_its_verdict() {
        let failed = Verdict::Failed {
            expected: "a".into(),
            seen: "b".into(),
        };
        let json = serde_json::to_value(&suite(&[failed]).clauses[0]).unwrap();
        assert_eq!(json["id"], "MD-1");
        assert_eq!(json["level"], "must");
        assert_eq!(json["verdict"], "failed");
        assert_eq!(
            (&json["expected"], &json["seen"]),
            (&"a".into(), &"b".into())
        );
        assert!(json["assumes"].is_null());
    }
}
