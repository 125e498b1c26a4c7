//! The fence oracle: memory outside the buffer is not written to, nor any while
//! the card only reads.

use super::evidence::CellEvidence;
use crate::agent::cell::evidence::{CanarySeen, CanaryState, Memory, Moment, Place};
use crate::card::Direction;
use crate::dma::{DIGEST_BLOCK, Digest};
use crate::rig::matrix::objection::{Objections, Severity};
use crate::rig::matrix::observation::Observation;

/// Objects to changed bytes around the buffer, to a buffer that changed after
/// its stream had ended or while the card read it, and to frames that the card
/// reports while no stream was on.
pub fn judge(evidence: &CellEvidence<'_>, objections: &mut Objections) {
    let (canaries, memory) = (&evidence.answer.canaries, evidence.answer.memory);
    beside("the buffer", canaries, memory, objections);
    // A card that writes when it must not may not report it, so the contents
    // are compared.
    let answer = evidence.answer;
    let at = |moment| answer.contents_at(moment);
    let ended = at(Moment::AfterHazard).or_else(|| at(Moment::Filled));
    let later = ended.zip(at(Moment::Dequeued));
    if let Some(block) = later.and_then(|(ended, later)| changed(ended, later)) {
        objections.push(Severity::MemoryWritten, format!(
            "the buffer was written to after its stream had ended, first in the 4 KiB at byte {}",
            block * DIGEST_BLOCK
        ));
    }
    // A buffer that is both read and written to changes.
    if evidence.direction() == Direction::Output && !evidence.flow.turns_frames() {
        read_only(evidence, ended, objections);
    }
    if evidence.card_frames.late() > 0 {
        objections.push(
            evidence.trespass(),
            format!(
                "the card {} {} frames while no stream was on",
                evidence.did(),
                evidence.card_frames.late()
            ),
        );
    }
}

/// Objects to changed bytes around further buffers of the queue.
pub fn beside_further(evidence: &CellEvidence<'_>, objections: &mut Objections) {
    for (number, seen) in evidence.further() {
        let name = format!("buffer {number}");
        beside(&name, &seen.canaries, seen.memory, objections);
    }
}

fn beside(
    buffer: &str,
    canaries: &[CanarySeen],
    memory: Option<Memory>,
    objections: &mut Objections,
) {
    for canary in canaries {
        if let CanaryState::Changed { first, bytes } = canary.state {
            let (place, distance) = match (canary.place, memory) {
                (Place::Before, Some(memory)) => ("before", memory.address.abs_diff(first)),
                (Place::After, Some(memory)) => {
                    let end = memory.address.saturating_add(memory.length);
                    ("after", first.abs_diff(end))
                }
                (Place::Before, None) => ("before", 0),
                (Place::After, None) => ("after", 0),
            };
            objections.push(
                Severity::MemoryWritten,
                format!(
                    "{bytes} bytes {place} {buffer} have changed, the first at {first:#x}, \
                     {distance} bytes from it"
                ),
            );
        }
    }
}

/// Objects to a buffer that changed while the card had it to read. `given` is
/// what it held when nobody but the card had to do with it any more.
fn read_only(
    evidence: &CellEvidence<'_>,
    given: Option<&[Option<Digest>]>,
    objections: &mut Objections,
) {
    let at = |moment| evidence.answer.contents_at(moment);
    // A hazard after the DMA, or one that takes the buffer back, is too late to be
    // what the buffer was given as.
    let taken = evidence
        .expectation
        .outcomes
        .contains(&Observation::TakenBack);
    let had = match taken {
        true => at(Moment::AfterHazard),
        false => at(Moment::Queued),
    };
    let pair = at(Moment::Filled).zip(had);
    if let Some(block) = pair.and_then(|(filled, had)| changed(filled, had)) {
        objections.push(
            Severity::MemoryWritten,
            format!(
                "the buffer was written to when the card had it to read, first in the 4 KiB at \
                 byte {}",
                block * DIGEST_BLOCK
            ),
        );
    }
    let many = evidence.expectation.many_frames;
    for frame in &evidence.answer.frames {
        let before = given.filter(|_| !many).unwrap_or(&frame.sent);
        if let Some(block) = changed(before, &frame.digests) {
            objections.push(
                Severity::MemoryWritten,
                format!(
                    "the buffer of frame {} was written to while the card had it to read, first in \
                     the 4 KiB at byte {}",
                    frame.sequence,
                    block * DIGEST_BLOCK
                ),
            );
        }
    }
}

/// Returns the first block that was another before, if the process could read both.
fn changed(before: &[Option<Digest>], now: &[Option<Digest>]) -> Option<usize> {
    let mut pairs = before.iter().zip(now);
    pairs.position(|(before, now)| before.is_some() && now.is_some() && before != now)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{captured, evidence, objections, objections_of, said, sent};
    use super::*;
    use crate::agent::cell::Flow;
    use crate::agent::cell::answer::BufferSeen;
    use crate::agent::cell::evidence::ContentsSeen;
    use crate::rig::kernel::Version;
    use crate::rig::matrix::expectation::{Expectation, expect};
    use crate::rig::matrix::name::CellName;

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
    fn further_buffers_of_the_queue_have_canaries_too() {
        let (mut answer, card_frames) = captured();
        let further = |state| BufferSeen {
            memory: answer.memory,
            canaries: vec![CanarySeen {
                place: Place::Before,
                address: 0x6fff_f000,
                length: 4096,
                state,
            }],
            ..BufferSeen::default()
        };
        let changed = CanaryState::Changed {
            first: 0x6fff_fff8,
            bytes: 8,
        };
        answer.further = vec![further(CanaryState::Intact), further(changed)];
        let what = "8 bytes before buffer 2 have changed, the first at 0x6ffffff8, 8 bytes from it";
        assert_eq!(objections(beside_further, &answer, &card_frames), [what]);
        assert_eq!(objections(judge, &answer, &card_frames), [""; 0]);
        // Those of a mem-to-mem card are judged as the ends they are.
        let flow = Flow::M2m(crate::agent::cell::Ends::TwoFiles);
        let said = objections_of(flow, beside_further, &answer, &card_frames);
        assert_eq!(said, []);
    }

    #[test]
    fn a_buffer_stays_what_it_was_when_its_stream_ended() {
        let (mut answer, card_frames) = captured();
        let contents = |moment, digests: [u64; 2]| ContentsSeen {
            moment,
            digests: digests.map(|digest| Some(Digest(digest))).to_vec(),
            upside_down: Vec::new(),
            made: None,
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

    #[test]
    fn a_buffer_is_not_written_to_before_a_hazard_that_comes_late() {
        let (mut answer, card_frames) = sent();
        let other = vec![Some(Digest(1)), Some(Digest(3))];
        answer.frames[0].digests = other.clone();
        let taken: CellName = "output/heap/streamoff".parse().unwrap();
        let (data, taken) = (
            Expectation::data(Flow::Output),
            expect(&taken, Version(6, 12)),
        );
        answer.contents.push(ContentsSeen {
            moment: Moment::AfterHazard,
            digests: other,
            upside_down: Vec::new(),
            made: None,
        });
        let count = |answer: &_, expectation: &_| {
            let evidence = evidence(Flow::Output, answer, &card_frames, expectation);
            said(judge, &evidence).len()
        };
        // The hazard may write, unless it takes the buffer back.
        assert_eq!((count(&answer, &data), count(&answer, &taken)), (0, 1));
        answer.contents[1].moment = Moment::Queued;
        answer.frames.clear();
        assert_eq!((count(&answer, &data), count(&answer, &taken)), (1, 0));
    }

    #[test]
    fn a_buffer_that_is_read_stays_what_it_was_given_as() {
        let (mut answer, card_frames) = sent();
        let said = |answer: &_| objections_of(Flow::Output, judge, answer, &card_frames);
        assert_eq!(said(&answer), []);
        answer.frames[0].digests[1] = Some(Digest(3));
        let what = "the buffer of frame 0 was written to while the card had it to read, first in \
                    the 4 KiB at byte 4096";
        assert_eq!(said(&answer), [(Severity::MemoryWritten, what.into())]);
        // It was the hazard that wrote there.
        answer.contents.push(ContentsSeen {
            moment: Moment::AfterHazard,
            digests: answer.frames[0].digests.clone(),
            upside_down: Vec::new(),
            made: None,
        });
        assert_eq!(said(&answer), []);
        // What the process cannot read any more it cannot tell of.
        answer.frames[0].digests[0] = None;
        assert_eq!(said(&answer), []);
    }
}
