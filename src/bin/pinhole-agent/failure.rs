//! Why a request could not be done.

use std::fmt::Display;

/// What failed, on what, and the error number if a system call said so.
#[derive(Debug)]
pub struct Failure {
    /// For a person to read.
    pub message: String,
    /// Set where a system call failed.
    pub errno: Option<i32>,
}

impl Failure {
    /// A failure that no system call reported.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            errno: None,
        }
    }

    /// `error`, which came up while doing `what`.
    pub fn io(what: impl Display, error: impl Into<std::io::Error>) -> Self {
        let error = error.into();
        Self {
            message: format!("{what}: {error}"),
            errno: error.raw_os_error(),
        }
    }
}
