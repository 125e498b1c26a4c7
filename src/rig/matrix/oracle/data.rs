//! The data oracle: the process reads what the card wrote.
//!
//! Some cells have another outcome (the memory was unmapped meanwhile), which
//! the expectation covers. This oracle checks what holds in all of them: which
//! frame was returned, how long it is, and that the card wrote it.

use super::super::observation::{Observation, Reads};
use super::evidence::CellEvidence;
use crate::agent::cell::evidence::HELD_POLL;
use crate::dma::{DIGEST_BLOCK, Digest};
use crate::rig::matrix::objection::{Objections, Severity};

/// Objects to frames that the card did not write as reported, and reports where
/// data differs.
pub fn judge(evidence: &CellEvidence<'_>, objections: &mut Objections) {
    let Observation::Captured(_) = evidence.observation else {
        return;
    };
    let held = evidence.answer.call(HELD_POLL);
    if held.is_some_and(|poll| poll.errno.is_none()) {
        objections.push(
            Severity::MemoryWritten,
            "the buffer came back while the card still had it",
        );
    }
    let expected = &evidence.expectation.outcomes;
    let expects_data = expected.contains(&Observation::Captured(Reads::Written));
    for frame in &evidence.answer.frames {
        let Some(written) = evidence.card_frames.frame(frame) else {
            objections.push(
                Severity::DataLost,
                format!(
                    "frame {} came back, which the card never wrote",
                    frame.sequence
                ),
            );
            continue;
        };
        if frame.bytesused != written.bytes {
            objections.push(
                Severity::DataLost,
                format!(
                    "frame {} came back with {} bytes, the card wrote {}",
                    frame.sequence, frame.bytesused, written.bytes
                ),
            );
        }
        if expects_data {
            let differing = |(seen, wrote): (&Option<Digest>, &Digest)| *seen != Some(*wrote);
            let mut pairs = frame.digests.iter().zip(&written.digests);
            if let Some(first) = pairs.position(differing) {
                objections.push(
                    Severity::DataLost,
                    format!(
                        "frame {} differs from what the card wrote, first in the 4 KiB at byte {}",
                        frame.sequence,
                        first * DIGEST_BLOCK
                    ),
                );
            }
        }
    }
    if evidence.answer.frames.len() > 1 && !evidence.expectation.many_frames {
        objections.push(
            Severity::DataLost,
            format!(
                "one buffer was queued and {} came back",
                evidence.answer.frames.len()
            ),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{captured, objections};
    use super::*;
    use crate::agent::cell::evidence::CallSeen;

    #[test]
    fn a_frame_is_one_that_was_written() {
        let (mut answer, card_frames) = captured();
        assert_eq!(objections(judge, &answer, &card_frames), [""; 0]);
        answer.frames[0].bytesused -= 1;
        assert_eq!(
            objections(judge, &answer, &card_frames),
            ["frame 0 came back with 8191 bytes, the card wrote 8192"]
        );
        answer.frames[0].bytesused += 1;
        answer.frames[0].digests[1] = Some(Digest(7));
        assert_eq!(
            objections(judge, &answer, &card_frames),
            ["frame 0 differs from what the card wrote, first in the 4 KiB at byte 4096"]
        );
        answer.frames[0].sequence = 9;
        assert_eq!(
            objections(judge, &answer, &card_frames),
            ["frame 9 came back, which the card never wrote"]
        );
    }

    #[test]
    fn a_buffer_does_not_come_back_while_the_card_has_it() {
        let (mut answer, card_frames) = captured();
        answer.calls.push(CallSeen {
            name: HELD_POLL.into(),
            errno: Some(libc::ETIMEDOUT),
            at_us: 0,
            took_us: 0,
        });
        assert_eq!(objections(judge, &answer, &card_frames), [""; 0]);
        answer.calls[1].errno = None;
        assert_eq!(
            objections(judge, &answer, &card_frames),
            ["the buffer came back while the card still had it"]
        );
    }

    #[test]
    fn a_frame_comes_back_once() {
        let (mut answer, card_frames) = captured();
        answer.frames.push(answer.frames[0].clone());
        assert_eq!(
            objections(judge, &answer, &card_frames),
            ["one buffer was queued and 2 came back"]
        );
    }
}
