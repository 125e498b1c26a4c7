//! The output of subcommands.
//!
//! The macros of the standard library panic if nothing can be written. Here, a
//! reader that has gone, such as `head` at the end of a pipe, is no error,
//! because it has what it wanted; every other failure is an ordinary error.

use std::fmt::Display;
use std::io::{self, Write};

use anyhow::Context;

/// Prints `what` and a newline to stdout.
///
/// # Errors
///
/// An error if it cannot be written, for example on a full disk.
pub fn line(what: impl Display) -> anyhow::Result<()> {
    text(format_args!("{what}\n"))
}

/// Prints `what` to stdout.
///
/// # Errors
///
/// As [`line`].
pub fn text(what: impl Display) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match write!(out, "{what}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot print the result"),
    }
}

/// Prints an error to stderr. If even that fails, only the exit code tells of
/// the error.
pub fn complaint(what: impl Display) {
    let _ = writeln!(io::stderr(), "pinhole: {what}");
}
