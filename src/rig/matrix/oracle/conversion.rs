//! The data oracle for a card that makes one frame of another: what it wrote is what
//! it read, as both have the same size and format; or that upside down, if it was told
//! to turn it.

use super::evidence::CellEvidence;
use crate::agent::cell::CellAnswer;
use crate::card::Direction;
use crate::card::witness::PlaneRecord;
use crate::dma::Digest;
use crate::rig::matrix::objection::{Objections, Severity};
use crate::rig::matrix::witness::CardFrames;

/// Objects to frames that are not what the frame before was that the card read for
/// them, and to frames that were read or written alone.
pub fn judge(evidence: &CellEvidence<'_>, objections: &mut Objections) {
    // Of any other device each end is held against what it makes of the frame elsewhere.
    if !evidence.card_frames.is_witnessed() {
        return;
    }
    let ends = evidence.ends().iter().enumerate();
    let read = ends.filter(|(_, end)| end.direction == Direction::Output);
    for (number, end) in read {
        if let Some(made) = evidence.flow.number_of(end.file, Direction::Capture) {
            let frames = |number| evidence.card_frames.of_buffer(number);
            let answer = evidence.answer.of_buffer(number);
            let expected = |read: &PlaneRecord| match evidence.flow.turns_frames() {
                false => read.digests.iter().copied().map(Some).collect(),
                true => upside_down(read, &answer),
            };
            let both = (&*frames(number), &*frames(made));
            compare(both, expected, end.name(), objections);
        }
    }
}

/// Returns the digests of what the card read when its lines are in the opposite order:
/// the process knows those of what it had in the buffer. Nothing if the card read
/// something else.
fn upside_down(read: &PlaneRecord, answer: &CellAnswer) -> Vec<Option<Digest>> {
    let read = read.digests.iter().copied().map(Some);
    let mut contents = answer.contents.iter();
    let seen = contents.find(|seen| seen.digests.iter().copied().eq(read.clone()));
    seen.map_or_else(Vec::new, |seen| seen.upside_down.clone())
}

fn compare(
    (read, made): (&CardFrames, &CardFrames),
    expected: impl Fn(&PlaneRecord) -> Vec<Option<Digest>>,
    name: &str,
    objections: &mut Objections,
) {
    let (read, made) = (read.frames(), made.frames());
    if read.len() != made.len() {
        objections.push(
            Severity::DataLost,
            format!(
                "{name}: the card read {} frames, and wrote {}",
                read.len(),
                made.len()
            ),
        );
    }
    for ((_, read), (sequence, made)) in read.iter().zip(made) {
        let digests = made.digests.iter().copied().map(Some);
        if read.bytes != made.bytes || !digests.eq(expected(read)) {
            let what =
                format!("{name}: the card made something else of frame {sequence} than it is");
            objections.push(Severity::DataLost, what);
        }
    }
}
