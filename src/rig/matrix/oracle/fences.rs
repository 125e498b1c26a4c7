//! The fence oracle: memory outside the buffer is not written to.

use super::evidence::CellEvidence;
use crate::agent::cell::evidence::{CanaryState, ContentsSeen, Place};
use crate::dma::DIGEST_BLOCK;
use crate::rig::matrix::objection::{Objections, Severity};

/// Objects to changed bytes around the buffer, to a buffer that changed after
/// its stream had ended, and to frames that the card reports while no stream
/// was on.
pub fn judge(evidence: &CellEvidence<'_>, objections: &mut Objections) {
    for canary in &evidence.answer.canaries {
        if let CanaryState::Changed { first, bytes } = canary.state {
            let (place, distance) = match (canary.place, evidence.answer.memory) {
                (Place::Before, Some(memory)) => ("before", memory.address.abs_diff(first)),
                (Place::After, Some(memory)) => {
                    ("after", first.abs_diff(memory.address + memory.length))
                }
                (Place::Before, None) => ("before", 0),
                (Place::After, None) => ("after", 0),
            };
            objections.push(Severity::MemoryWritten, format!(
                "{bytes} bytes {place} the buffer have changed, the first at {first:#x}, {distance} bytes from it"
            ));
        }
    }
    // A card that writes when it must not may not report it, so the contents
    // are compared.
    if let [ended, later @ ..] = evidence.answer.contents.as_slice() {
        let differs = |later: &ContentsSeen| {
            let mut pairs = ended.digests.iter().zip(&later.digests);
            pairs.position(|(ended, later)| ended != later)
        };
        if let Some(block) = later.iter().find_map(differs) {
            objections.push(Severity::MemoryWritten, format!(
                "the buffer was written to after its stream had ended, first in the 4 KiB at byte {}",
                block * DIGEST_BLOCK
            ));
        }
    }
    if evidence.card_frames.late() > 0 {
        objections.push(
            Severity::MemoryWritten,
            format!(
                "the card wrote {} frames while no stream was on",
                evidence.card_frames.late()
            ),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{captured, objections};
    use super::*;
    use crate::agent::cell::evidence::{CanarySeen, Moment};
    use crate::dma::Digest;

    #[test]
    fn a_changed_canary_is_told_with_its_place() {
        let (mut answer, card_frames) = captured();
        assert_eq!(objections(judge, &answer, &card_frames), [""; 0]);
        answer.canaries.push(CanarySeen {
            place: Place::After,
            address: 0x7000_2000,
            length: 4096,
            state: CanaryState::Changed {
                first: 0x7000_2003,
                bytes: 5,
            },
        });
        assert_eq!(
            objections(judge, &answer, &card_frames),
            ["5 bytes after the buffer have changed, the first at 0x70002003, 3 bytes from it"]
        );
        answer.canaries[0].state = CanaryState::Unreadable;
        assert_eq!(objections(judge, &answer, &card_frames), [""; 0]);
    }

    #[test]
    fn a_buffer_stays_what_it_was_when_its_stream_ended() {
        let (mut answer, card_frames) = captured();
        let contents = |moment, digests: [u64; 2]| ContentsSeen {
            moment,
            digests: digests.map(|digest| Some(Digest(digest))).to_vec(),
        };
        answer.contents.push(contents(Moment::AfterHazard, [1, 2]));
        assert_eq!(objections(judge, &answer, &card_frames), [""; 0]);
        answer.contents.push(contents(Moment::Dequeued, [1, 2]));
        assert_eq!(objections(judge, &answer, &card_frames), [""; 0]);
        answer.contents[1].digests[1] = Some(Digest(3));
        assert_eq!(
            objections(judge, &answer, &card_frames),
            [
                "the buffer was written to after its stream had ended, first in the 4 KiB at byte 4096"
            ]
        );
    }
}
