//! How a test ends.

use std::fmt::Display;

use crate::scripted::driver::Fault;

/// Why a test ended before its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// The device does not do what the clause says.
    Failed {
        /// What it has to do.
        expected: String,
        /// What it did.
        seen: String,
    },
    /// The device does not have what the clause is about.
    NotOffered(String),
    /// Something else failed before.
    NotReached(String),
}

/// How a test ends.
pub type Tested = Result<(), Stop>;

impl From<Fault> for Stop {
    /// A fault that the clause is not about; [`OrFailed`] for the others.
    fn from(fault: Fault) -> Self {
        Self::NotReached(fault.to_string())
    }
}

/// Returns that the device does not do what it has to.
pub fn failed(expected: impl Display, seen: impl Display) -> Stop {
    Stop::Failed {
        expected: expected.to_string(),
        seen: seen.to_string(),
    }
}

/// Ends the test unless the device does what it has to.
pub fn ensure(holds: bool, expected: impl Display, seen: impl Display) -> Tested {
    match holds {
        true => Ok(()),
        false => Err(failed(expected, seen)),
    }
}

/// A fault that shows that the clause does not hold.
pub trait OrFailed<T> {
    /// Takes the fault for a failure of the clause.
    fn or_failed(self, expected: impl Display) -> Result<T, Stop>;
}

impl<T> OrFailed<T> for Result<T, Fault> {
    fn or_failed(self, expected: impl Display) -> Result<T, Stop> {
        self.map_err(|fault| failed(expected, fault))
    }
}
