//! The data oracle for a card that makes one frame of another: what it wrote is what
//! it read, as both have the same size and format.

use super::evidence::CellEvidence;
use crate::card::Direction;
use crate::rig::matrix::objection::{Objections, Severity};
use crate::rig::matrix::witness::CardFrames;

/// Objects to frames that are not what the frame before was that the card read for
/// them, and to frames that were read or written alone.
pub fn judge(evidence: &CellEvidence<'_>, objections: &mut Objections) {
    let ends = evidence.flow.ends().iter().enumerate();
    let read = ends.filter(|(_, end)| end.direction == Direction::Output);
    for (number, end) in read {
        let mut ends = evidence.flow.ends().iter();
        let made =
            ends.position(|other| (other.file, other.direction) == (end.file, Direction::Capture));
        if let Some(made) = made {
            let frames = |number| evidence.card_frames.of_buffer(number);
            compare(&frames(number), &frames(made), end.name(), objections);
        }
    }
}

fn compare(read: &CardFrames, made: &CardFrames, name: &str, objections: &mut Objections) {
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
        if (read.bytes, &read.digests) != (made.bytes, &made.digests) {
            let what =
                format!("{name}: the card made something else of frame {sequence} than it is");
            objections.push(Severity::DataLost, what);
        }
    }
}
