//! What the outcome oracle asks where only memory in several pieces may be refused.
//! Whether a card was given one that is in several, the address oracle says.

use super::evidence::CellEvidence;
use crate::agent::cell::evidence::{Moment, PagesSeen};
use crate::rig::matrix::objection::{Objections, Severity};
use crate::rig::matrix::observation::Observation;

/// Objects to memory that is one piece, and was refused. The pages must be the same
/// before and after QBUF: a pin may have had others.
pub fn judge(evidence: &CellEvidence<'_>, objections: &mut Objections) {
    let refused = evidence.observation == Observation::Refused(libc::EFAULT);
    let looks = [Moment::LaidOut, Moment::Stopped].map(|at| evidence.answer.pages_at(at));
    let ([Some(before), Some(after)], true) = (looks, refused) else {
        return;
    };
    let (Some(before), Some(after)) = (piece(before), piece(after)) else {
        return;
    };
    if before == after {
        let (first, pages) = before;
        objections.push(
            Severity::WrongError,
            format!(
                "{pages} pages that follow one another, from page frame {first:#x} on, were refused"
            ),
        );
    }
}

/// Returns the first page frame and the number of pages that follow one another, if
/// they do.
fn piece(seen: &PagesSeen) -> Option<(u64, usize)> {
    let frames = seen.frames().collect::<Option<Vec<_>>>()?;
    let first = *frames.first()?;
    let follow = (first..)
        .zip(&frames)
        .all(|(wanted, frame)| wanted == *frame);
    follow.then_some((first, frames.len()))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{captured, objections};
    use super::*;
    use crate::agent::cell::evidence::CallSeen;

    /// Returns the objections to a refusal of pages of these frames, as they were before
    /// it and after.
    fn said(before: [u64; 2], after: [u64; 2]) -> Vec<String> {
        let (mut answer, card_frames) = captured();
        answer.frames.clear();
        let mut look = |moment, frames: [u64; 2]| {
            let mut seen = answer.pages[0].clone();
            seen.moment = moment;
            seen.pagemap = frames.map(|frame| 1 << 63 | frame).into();
            answer.pages.push(seen);
        };
        look(Moment::LaidOut, before);
        look(Moment::Stopped, after);
        answer.calls.push(CallSeen {
            name: "VIDIOC_QBUF".into(),
            errno: Some(libc::EFAULT),
            at_us: 0,
            took_us: 0,
            queue: 0,
        });
        objections(judge, &answer, &card_frames)
    }

    #[test]
    fn what_is_one_piece_may_not_be_refused() {
        let what = "2 pages that follow one another, from page frame 0x7 on, were refused";
        assert_eq!(said([7, 8], [7, 8]), [what]);
        assert_eq!(said([8, 7], [8, 7]), [""; 0]);
        assert_eq!(said([7, 9], [7, 9]), [""; 0]);
        // The pin had others.
        assert_eq!(said([7, 8], [3, 9]), [""; 0]);
        assert_eq!(said([7, 8], [8, 9]), [""; 0]);
    }
}
