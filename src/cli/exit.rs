//! Exit codes, and the sentence for an error.

use crate::rig::testbed::Untestable;

/// Exit code: everything was done, and verified where that was asked for.
pub const SUCCESS: u8 = 0;
/// Exit code: it ran, and a verification failed.
pub const FAILED: u8 = 1;
/// Exit code: it could not run; the message says what to do.
pub const CANNOT_RUN: u8 = 2;
/// Exit code: a kernel of the user's own (`--bzimage`) did not get so far that
/// anything could be verified. git-bisect(1) skips such a revision.
pub const UNTESTABLE: u8 = 125;

/// Exit code: SIGINT or SIGTERM arrived before it was done. It is the code that
/// shells use for SIGINT, and it makes git-bisect(1) stop.
pub const INTERRUPTED: u8 = 130;

/// Returns the exit code of an error.
pub fn code(error: &anyhow::Error) -> u8 {
    match error.chain().any(|cause| cause.is::<Untestable>()) {
        true => UNTESTABLE,
        false => CANNOT_RUN,
    }
}

/// Returns an error and its causes as one sentence. A cause that the error
/// above it quotes is not repeated.
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
