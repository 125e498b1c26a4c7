//! Exit codes, and what is said of an error.

use crate::rig::testbed::Untestable;

/// Exit code: everything was done, and verified where that was asked for.
pub const SUCCESS: u8 = 0;
/// Exit code: it ran, and what it verified is wrong.
pub const FAILED: u8 = 1;
/// Exit code: it could not run; the message says what to do.
pub const CANNOT_RUN: u8 = 2;
/// Exit code: a kernel of the user's own (`--bzimage`) did not come so far that
/// anything could be verified. git-bisect(1) skips such a revision.
pub const UNTESTABLE: u8 = 125;

/// Exit code: SIGINT or SIGTERM came before it was done; as a shell tells of
/// SIGINT, and such that git-bisect(1) stops.
pub const INTERRUPTED: u8 = 130;

/// The exit code that tells of an error.
pub fn code(error: &anyhow::Error) -> u8 {
    match error.chain().any(|cause| cause.is::<Untestable>()) {
        true => UNTESTABLE,
        false => CANNOT_RUN,
    }
}

/// An error and what caused it, as one sentence. A cause that the error above
/// it quotes already is not said again.
pub fn sentence(error: &anyhow::Error) -> String {
    let mut said = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if said.is_empty() {
            said = cause;
        } else if !said.contains(&cause) {
            said = format!("{said}: {cause}");
        }
    }
    said
}
