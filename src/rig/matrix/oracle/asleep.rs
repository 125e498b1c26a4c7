//! What the outcome oracle asks of a stream that the system has ended by going to sleep:
//! whoever asks for a buffer is told, and not left waiting.
//!
//! The source is V4L2's page of VIDIOC_DQBUF (EIO: "internal error").

use super::evidence::CellEvidence;
use crate::agent::cell::evidence::DEAD_DQBUF;
use crate::rig::kernel::errno_name;
use crate::rig::matrix::objection::{Objections, Severity};

/// Objects to a buffer of a dead stream, and to another error than EIO.
pub fn judge(evidence: &CellEvidence<'_>, objections: &mut Objections) {
    let calls = evidence.answer.calls.iter();
    for call in calls.filter(|call| call.name == DEAD_DQBUF) {
        let (severity, came) = match call.errno {
            Some(libc::EIO) => continue,
            Some(errno) => (Severity::WrongError, errno_name(errno)),
            None => (evidence.trespass(), "a buffer".into()),
        };
        objections.push(
            severity,
            format!("{DEAD_DQBUF} came to {came}, expected was EIO"),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{captured, objections};
    use super::*;
    use crate::agent::cell::evidence::CallSeen;

    #[test]
    fn a_dead_stream_says_so() {
        let (mut answer, card_frames) = captured();
        let mut said = |errno| {
            answer.calls.retain(|call| call.name != DEAD_DQBUF);
            answer.calls.push(CallSeen {
                name: DEAD_DQBUF.into(),
                errno,
                at_us: 2,
                took_us: 1,
                queue: 0,
            });
            objections(judge, &answer, &card_frames)
        };
        assert_eq!(said(Some(libc::EIO)), [""; 0]);
        assert_eq!(
            said(Some(libc::EAGAIN)),
            ["VIDIOC_DQBUF after the sleep came to EAGAIN, expected was EIO"]
        );
        assert_eq!(
            said(None),
            ["VIDIOC_DQBUF after the sleep came to a buffer, expected was EIO"]
        );
    }
}
