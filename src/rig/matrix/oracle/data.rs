//! The data oracle: the process reads what the card wrote, or the card what the
//! process wrote.
//!
//! Some cells have another outcome (the memory was unmapped meanwhile), which
//! the expectation covers. This oracle checks what holds in all of them: which
//! frame was returned, how long it is, and that the card wrote or read it.

use super::super::observation::Observation;
use super::evidence::CellEvidence;
use crate::agent::cell::Point;
use crate::agent::cell::evidence::{HELD_POLL, HOLD, Moment};
use crate::card::Direction;
use crate::card::witness::PlaneRecord;
use crate::dma::{DIGEST_BLOCK, Digest};
use crate::rig::matrix::objection::{Objections, Severity};

/// Objects to frames that the card did not write or read as reported, and reports
/// where data differs.
pub fn judge(evidence: &CellEvidence<'_>, objections: &mut Objections) {
    let frames = evidence.card_frames.frames().len();
    let is_output = evidence.direction() == Direction::Output;
    if is_output && frames > 1 && !evidence.expectation.many_frames {
        objections.push(
            evidence.trespass(),
            format!("one buffer was queued, and the card read {frames} frames"),
        );
    }
    match evidence.observation {
        Observation::Captured(_) | Observation::Sent(_) => returned(evidence, objections),
        _ if is_output => taken_back(evidence, objections),
        _ => {}
    }
}

/// Judges the frames that were returned.
fn returned(evidence: &CellEvidence<'_>, objections: &mut Objections) {
    let held = evidence.answer.call(HELD_POLL);
    if held.is_some_and(|poll| poll.errno.is_none()) {
        objections.push(
            evidence.trespass(),
            "the buffer came back while the card still had it",
        );
    }
    let expects_data = evidence.expects_data();
    let did = evidence.did();
    for frame in &evidence.answer.frames {
        let Some(plane) = evidence.card_frames.frame(frame) else {
            objections.push(
                Severity::DataLost,
                format!(
                    "frame {} came back, which the card never {did}",
                    frame.sequence
                ),
            );
            continue;
        };
        if frame.bytesused != plane.bytes {
            objections.push(
                Severity::DataLost,
                format!(
                    "frame {} came back with {} bytes, the card {did} {}",
                    frame.sequence, frame.bytesused, plane.bytes
                ),
            );
        }
        if expects_data {
            compare(evidence, (frame.sequence, plane), frame.own(), objections);
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

/// Judges what the card read from a buffer that was not returned. A card that holds
/// frames back is to read none of a buffer that is taken from it meanwhile, whether
/// the driver has told it that the stream ended or not.
fn taken_back(evidence: &CellEvidence<'_>, objections: &mut Objections) {
    let is_held = evidence
        .answer
        .call(HOLD)
        .is_some_and(|hold| hold.errno.is_none());
    let expected = &evidence.expectation.outcomes;
    let is_taken = expected.contains(&Observation::TakenBack)
        && evidence.observation == Observation::TakenBack;
    let frames = evidence.card_frames.frames().len();
    if is_taken && is_held && evidence.point != Point::AfterDma && frames > 0 {
        objections.push(
            evidence.trespass(),
            format!(
                "the buffer was taken back before the card had read it, and it read {frames} frames"
            ),
        );
    }
    if let Some(sent) = evidence.answer.contents_at(Moment::Filled) {
        for (sequence, plane) in evidence.card_frames.frames() {
            compare(evidence, (*sequence, plane), sent, objections);
        }
    }
}

/// Compares what the card wrote or read with what the process read or wrote.
fn compare(
    evidence: &CellEvidence<'_>,
    (sequence, plane): (u32, &PlaneRecord),
    own: &[Option<Digest>],
    objections: &mut Objections,
) {
    let mut pairs = own.iter().zip(&plane.digests);
    let first = pairs.position(|(own, card)| *own != Some(*card));
    let Some(at) = first.map(|block| block * DIGEST_BLOCK) else {
        return;
    };
    let what = match evidence.direction() {
        Direction::Capture => {
            format!(
                "frame {sequence} differs from what the card wrote, first in the 4 KiB at byte {at}"
            )
        }
        Direction::Output => format!(
            "what the card read as frame {sequence} differs from what the process wrote, first in \
             the 4 KiB at byte {at}"
        ),
    };
    objections.push(Severity::DataLost, what);
}

#[cfg(test)]
mod tests {
    use super::super::tests::{captured, evidence, objections, objections_of, said, sent};
    use super::*;
    use crate::agent::cell::Flow;
    use crate::agent::cell::evidence::{CallSeen, ContentsSeen};
    use crate::rig::kernel::Version;
    use crate::rig::matrix::expectation::{Expectation, expect};
    use crate::rig::matrix::name::CellName;
    use crate::rig::matrix::observation::Sent;

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
            queue: 0,
        });
        assert_eq!(objections(judge, &answer, &card_frames), [""; 0]);
        answer.calls[1].errno = None;
        assert_eq!(
            objections(judge, &answer, &card_frames),
            ["the buffer came back while the card still had it"]
        );
    }

    #[test]
    fn the_card_reads_what_was_written() {
        let (mut answer, card_frames) = sent();
        let said = |answer: &_| {
            let objections = objections_of(Flow::Output, judge, answer, &card_frames);
            let said = objections.into_iter().map(|(_, what)| what);
            said.collect::<Vec<_>>()
        };
        assert_eq!(said(&answer), [""; 0]);
        answer.frames[0].sent[1] = Some(Digest(7));
        let differs = "what the card read as frame 0 differs from what the process wrote, first \
                       in the 4 KiB at byte 4096";
        assert_eq!(said(&answer), [differs]);
        // Nor does what it read count for nothing when the buffer is not returned.
        let frame = answer.frames.remove(0);
        assert_eq!(said(&answer), [""; 0]);
        answer.contents[0].digests = frame.sent;
        assert_eq!(said(&answer), [differs]);
    }

    #[test]
    fn a_buffer_that_was_taken_back_is_not_read() {
        let (mut answer, card_frames) = sent();
        answer.frames.clear();
        let taken: CellName = "output/anon-touched/close".parse().unwrap();
        let expectation = expect(&taken, Version(6, 12));
        let objections = |answer: &_, point| {
            let evidence = CellEvidence {
                point,
                ..evidence(Flow::Output, answer, &card_frames, &expectation)
            };
            let objections = said(judge, &evidence).into_iter();
            objections.map(|(severity, _)| severity).collect::<Vec<_>>()
        };
        assert_eq!(
            objections(&answer, Point::BeforeDma),
            [Severity::MemoryRead]
        );
        assert_eq!(objections(&answer, Point::AfterDma), []);
        answer.calls[0].errno = Some(libc::EINVAL);
        assert_eq!(objections(&answer, Point::BeforeDma), []);
    }

    #[test]
    fn later_data_may_be_expected_besides() {
        let (mut answer, card_frames) = sent();
        answer.frames[0].sent = vec![Some(Digest(7)), Some(Digest(8))];
        answer.contents.push(ContentsSeen {
            moment: Moment::AfterHazard,
            digests: answer.frames[0].digests.clone(),
            upside_down: Vec::new(),
            made: None,
        });
        let (written, later) = (
            Observation::Sent(Sent::Written),
            Observation::Sent(Sent::Later),
        );
        for (outcomes, objections) in [
            (vec![written], 1),
            (vec![later], 0),
            (vec![later, written], 0),
        ] {
            let expectation = Expectation {
                outcomes,
                ..Expectation::data(Flow::Output)
            };
            let evidence = evidence(Flow::Output, &answer, &card_frames, &expectation);
            assert_eq!(evidence.observation, later);
            assert_eq!(said(judge, &evidence).len(), objections, "{expectation:?}");
        }
    }

    #[test]
    fn a_buffer_is_read_once() {
        let (answer, mut card_frames) = sent();
        let again = card_frames.frames()[0].1.clone();
        card_frames.add(1, again);
        let what = "one buffer was queued, and the card read 2 frames";
        assert_eq!(
            objections_of(Flow::Output, judge, &answer, &card_frames),
            [(Severity::MemoryRead, what.into())]
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
