//! The idle oracle: the kernel regards a page that only the card writes to, or
//! reads, as idle, and a page that the process reads as in use.
//!
//! The oracle judges only where the kernel promises an answer
//! (Documentation/admin-guide/mm/idle_page_tracking.rst): pages on an LRU list
//! that could be marked idle, and that the process has mapped before and after.
//! For a huge page, its first page stands for all.

use super::evidence::CellEvidence;
use crate::agent::cell::instruments::{IdleMoment, IdleSeen};
use crate::card::Direction;
use crate::rig::matrix::objection::{Objections, Severity};

/// Objects to pages that are not idle after the DMA, and to pages that are idle
/// although the process has read them.
pub fn judge(evidence: &CellEvidence<'_>, objections: &mut Objections) {
    let answer = evidence.answer;
    // Other threads read these pages during the observation.
    if evidence.expectation.many_frames {
        return;
    }
    let Some(marked) = answer.idle_at(IdleMoment::Marked) else {
        return;
    };
    let mut object = |later: Option<&IdleSeen>, idle, what| {
        let pages = later.map_or_else(Vec::new, |later| pages(marked, later, idle));
        if let Some(first) = pages.first() {
            let count = pages.len();
            objections.push(
                Severity::Slow,
                format!("{count} pages {what}, the first is page {first}"),
            );
        }
    };
    let written = answer.idle_at(IdleMoment::Written);
    object(
        written,
        false,
        match evidence.direction() {
            Direction::Capture => "that only the card has written to are not idle",
            Direction::Output => "that only the card has read are not idle",
        },
    );
    let frame = answer.frames.first();
    let all_read = frame.is_some_and(|frame| frame.digests.iter().all(Option::is_some));
    let read = answer.idle_at(IdleMoment::Read).filter(|_| all_read);
    object(read, true, "that the process has read are idle");
}

/// Returns the pages that were marked idle, are still the same, and have the
/// idle state `idle` later.
fn pages(marked: &IdleSeen, later: &IdleSeen, idle: bool) -> Vec<usize> {
    let pairs = marked.pages().zip(later.pages()).enumerate();
    let wanted = pairs.filter(|(_, pair)| match pair {
        (Some((before, true)), Some((now, is))) => before == now && *is == idle,
        _ => false,
    });
    wanted.map(|(page, _)| page).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{captured, objections};
    use super::*;

    fn seen(moment: IdleMoment, idle: [Option<bool>; 2]) -> IdleSeen {
        IdleSeen {
            moment,
            pagemap: vec![1 << 63 | 3, 1 << 63 | 8],
            idle: idle.into(),
        }
    }

    #[test]
    fn a_page_is_idle_until_it_is_read() {
        let (mut answer, card_frames) = captured();
        assert_eq!(objections(judge, &answer, &card_frames), [""; 0]);
        answer.idle = vec![
            seen(IdleMoment::Marked, [Some(true); 2]),
            seen(IdleMoment::Written, [Some(true); 2]),
            seen(IdleMoment::Read, [Some(false); 2]),
        ];
        assert_eq!(objections(judge, &answer, &card_frames), [""; 0]);
        answer.idle[1].idle[1] = Some(false);
        answer.idle[2].idle = vec![Some(true); 2];
        assert_eq!(
            objections(judge, &answer, &card_frames),
            [
                "1 pages that only the card has written to are not idle, the first is page 1",
                "2 pages that the process has read are idle, the first is page 0"
            ]
        );
        // The process did not read a block that it could not read.
        answer.frames[0].digests[1] = None;
        assert_eq!(objections(judge, &answer, &card_frames).len(), 1);
    }

    #[test]
    fn where_the_kernel_promises_nothing_nothing_is_judged() {
        let (mut answer, card_frames) = captured();
        answer.idle = vec![
            // One page is on no list, and one was in use when it was marked.
            seen(IdleMoment::Marked, [None, Some(false)]),
            seen(IdleMoment::Written, [Some(false); 2]),
            seen(IdleMoment::Read, [Some(true); 2]),
        ];
        assert_eq!(objections(judge, &answer, &card_frames), [""; 0]);
        // Another page has replaced it.
        answer.idle[0].idle = vec![Some(true); 2];
        answer.idle[1].pagemap = vec![1 << 63 | 4, 0];
        answer.idle[2].pagemap = vec![1 << 63 | 4, 0];
        assert_eq!(objections(judge, &answer, &card_frames), [""; 0]);
    }
}
