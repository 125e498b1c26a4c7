//! What subcommands print.
//!
//! The macros of the standard library panic where nothing can be written. Here
//! a reader that has gone, as of a pipe into `head`, has what it wanted, and
//! anything else is an error like others.

use std::fmt::Display;
use std::io::{self, Write};

use anyhow::Context;

/// Prints this and a newline to stdout.
///
/// # Errors
///
/// Where it cannot be written, as on a full disk.
pub fn line(what: impl Display) -> anyhow::Result<()> {
    text(format_args!("{what}\n"))
}

/// Prints this to stdout.
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

/// Tells of an error on stderr. Where even that cannot be done, the exit code
/// has to say it alone.
pub fn complaint(what: impl Display) {
    let _ = writeln!(io::stderr(), "pinhole: {what}");
}
