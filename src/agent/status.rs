//! How a process of the guest ended.

use serde::{Deserialize, Serialize};

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// The process exited with this code.
    Exit(i32),
    /// This signal killed the process.
    Signal(i32),
}

impl Status {
    /// Returns whether the process exited with code 0.
    pub fn success(self) -> bool {
        self == Self::Exit(0)
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exit(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
        }
    }
}
