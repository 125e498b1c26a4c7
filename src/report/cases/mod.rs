//! Results as test cases, in the formats of test frameworks.
//!
//! | file | what is in it |
//! |---|---|
//! | [`ktap()`] | KTAP, for the kernel's test runners |
//! | [`junit()`] | JUnit's XML, for continuous integration |

mod junit;
mod ktap;

pub use junit::junit;
pub use ktap::ktap;

/// Cases that belong together: those of a kernel, of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suite {
    /// What was tested.
    pub name: String,
    /// What is to be known of it, a name and a text each.
    pub properties: Vec<(String, String)>,
    /// The cases.
    pub cases: Vec<Case>,
    /// Its duration in milliseconds.
    pub elapsed_ms: u64,
}

/// A test case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// Its name, unique in its suite.
    pub name: String,
    /// The result.
    pub result: CaseResult,
    /// The kind of the failure, if it is one and has a kind.
    pub kind: Option<String>,
    /// A remark, if there is one.
    pub remark: Option<String>,
    /// Its duration in milliseconds.
    pub elapsed_ms: u64,
}

/// The result of a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CaseResult {
    /// The case is as expected.
    Passed,
    /// The case is not as expected, for these reasons, each a sentence.
    Failed(Vec<String>),
    /// The case should have been tried and could not be, for this reason.
    Unjudged(String),
    /// The case cannot be tried here, for this reason.
    Skipped(String),
}

impl Suite {
    /// Returns whether no case failed.
    pub fn passed(&self) -> bool {
        self.count(Case::is_failed) + self.count(Case::is_unjudged) == 0
    }

    fn count(&self, is: impl Fn(&Case) -> bool) -> usize {
        self.cases.iter().filter(|case| is(case)).count()
    }
}

impl Case {
    fn is_failed(&self) -> bool {
        matches!(self.result, CaseResult::Failed(_))
    }

    fn is_unjudged(&self) -> bool {
        matches!(self.result, CaseResult::Unjudged(_))
    }

    fn is_skipped(&self) -> bool {
        matches!(self.result, CaseResult::Skipped(_))
    }
}
