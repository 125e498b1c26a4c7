//! The dirty oracle: pages that the card has written are marked dirty when they
//! are unpinned.
//!
//! The processor did not make the writes, so no page table has a dirty bit for
//! them. Without the mark the kernel assumes that a page that was cleaned
//! meanwhile equals the data on disk, and drops it
//! (Documentation/core-api/pin_user_pages.rst).

use super::evidence::CellEvidence;
use crate::agent::cell::evidence::Moment;
use crate::rig::matrix::objection::{Objections, Severity};

/// Bits of /proc/kpageflags (Documentation/admin-guide/mm/pagemap.rst).
const DIRTY: u64 = 1 << 4;
const LRU: u64 = 1 << 5;
const WRITEBACK: u64 = 1 << 8;
const ANONYMOUS: u64 = 1 << 12;
/// The kernel keeps the mark of a compound page in its first page, of which a
/// buffer need not have a part.
const COMPOUND: u64 = 1 << 15 | 1 << 16;

/// Objects to pages of the buffer that were written to, are still mapped after
/// the stream, and are clean. Pages that are neither anonymous nor on the
/// kernel's LRU lists are exempt: the kernel does not clean them.
pub fn judge(evidence: &CellEvidence<'_>, objections: &mut Objections) {
    let queued = evidence.answer.pages_at(Moment::Queued);
    let (Some(queued), Some(stopped)) = (queued, evidence.answer.pages_at(Moment::Stopped)) else {
        return;
    };
    if evidence.card_frames.frames().is_empty() {
        return;
    }
    let pages = queued.frames().zip(stopped.frames()).zip(&stopped.flags);
    let clean: Vec<_> = pages
        .enumerate()
        .filter(|(_, ((before, after), flags))| {
            let the_same = before.is_some() && before == after;
            let kept = **flags & (LRU | ANONYMOUS) != 0 && **flags & COMPOUND == 0;
            the_same && kept && **flags & (DIRTY | WRITEBACK) == 0
        })
        .map(|(page, _)| page)
        .collect();
    if let Some(first) = clean.first() {
        objections.push(Severity::DataLost, format!(
            "{} pages that the card has written are not marked dirty, the first is page {first}",
            clean.len()
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{captured, objections};
    use super::*;

    #[test]
    fn written_pages_are_dirty_once_they_are_given_back() {
        let (mut answer, card_frames) = captured();
        let mut stopped = answer.pages[0].clone();
        stopped.moment = Moment::Stopped;
        stopped.flags = vec![LRU | DIRTY, LRU | WRITEBACK];
        answer.pages.push(stopped);
        assert_eq!(objections(judge, &answer, &card_frames), [""; 0]);
        answer.pages[1].flags[1] = LRU;
        assert_eq!(
            objections(judge, &answer, &card_frames),
            ["1 pages that the card has written are not marked dirty, the first is page 1"]
        );
        // New anonymous pages reach the LRU lists with a delay.
        answer.pages[1].flags[1] = ANONYMOUS;
        assert_eq!(objections(judge, &answer, &card_frames).len(), 1);
        answer.pages[1].flags[1] = LRU | COMPOUND;
        assert_eq!(objections(judge, &answer, &card_frames), [""; 0]);
        // Another page has replaced it, which the card never had.
        answer.pages[1].flags[1] = LRU;
        answer.pages[1].pagemap[1] = 1 << 63 | 9;
        assert_eq!(objections(judge, &answer, &card_frames), [""; 0]);
    }
}
