//! Surveys a device of any driver, in a process of its own.

use std::process::ExitCode;

/// Argument that makes this program the process that surveys a device.
pub const ARGUMENT: &str = "survey";

/// Surveys the device that standard input names, and writes what it is.
pub fn main() -> ExitCode {
    todo!()
}
