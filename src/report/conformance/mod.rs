//! The results of the conformance suites: a table for people, test cases for
//! frameworks.
//!
//! JSON is [`SuiteOutcome`] itself.
//!
//! | file | what is in it |
//! |---|---|
//! | [`table()`] | the table on a terminal |
//! | `case` | clauses as test cases |

mod case;
mod table;

use crate::conformance::verdict::SuiteOutcome;
use crate::report::cases;

pub use table::{list, table};

/// Returns the results as one KTAP document, with a test for each suite and a
/// subtest for each clause.
pub fn ktap(outcomes: &[SuiteOutcome]) -> String {
    cases::ktap(&case::suites(outcomes))
}

/// Returns the results as one XML document of JUnit's.
pub fn junit(outcomes: &[SuiteOutcome]) -> String {
    cases::junit("pinhole conformance", &case::suites(outcomes))
}

#[cfg(test)]
mod tests;
