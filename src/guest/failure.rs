//! The failure of a request.

use std::fmt::Display;

/// What failed, on which object, and the error number if a system call failed.
#[derive(Debug)]
pub struct Failure {
    /// Message for the user.
    pub message: String,
    /// Error number, if a system call failed.
    pub errno: Option<i32>,
}

impl Failure {
    /// Returns a failure that is not from a system call.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            errno: None,
        }
    }

    /// Returns a failure with the error `error`, which occurred during `what`.
    pub fn io(what: impl Display, error: impl Into<std::io::Error>) -> Self {
        let error = error.into();
        Self {
            message: format!("{what}: {error}"),
            errno: error.raw_os_error(),
        }
    }
}
