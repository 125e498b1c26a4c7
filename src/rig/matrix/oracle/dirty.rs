//! The dirty oracle: pages that the card has written are marked dirty when they
//! are unpinned, and pages that it has read are not.
//!
//! The processor did not make the writes, so no page table has a dirty bit for
//! them. Without the mark the kernel assumes that a page that was cleaned
//! meanwhile equals the data on disk, and drops it
//! (Documentation/core-api/pin_user_pages.rst). A page that nobody wrote to need
//! not be written back, and the file system of a file's page has not been told
//! that it would have to.

use std::collections::BTreeSet;

use super::evidence::CellEvidence;
use crate::agent::cell::PAGE;
use crate::agent::cell::evidence::{Moment, PagesSeen};
use crate::card::Direction;
use crate::rig::matrix::objection::{Objections, Severity};
use crate::rig::matrix::observation::Observation;

/// Bits of /proc/kpageflags (Documentation/admin-guide/mm/pagemap.rst).
const DIRTY: u64 = 1 << 4;
const LRU: u64 = 1 << 5;
const WRITEBACK: u64 = 1 << 8;
const ANONYMOUS: u64 = 1 << 12;
/// The kernel keeps the mark of a compound page in its first page, of which a
/// buffer need not have a part.
const COMPOUND: u64 = 1 << 15 | 1 << 16;

/// Objects to pages of the buffer that were written to, are still mapped after
/// the stream, and are clean; and to those that were read, and are dirty only
/// since they were given back. Pages that are neither anonymous nor on the kernel's
/// LRU lists are exempt: the kernel does not clean them.
pub fn judge(evidence: &CellEvidence<'_>, objections: &mut Objections) {
    match evidence.direction() {
        Direction::Capture => written(evidence, objections),
        Direction::Output => read(evidence, objections),
    }
}

fn written(evidence: &CellEvidence<'_>, objections: &mut Objections) {
    let queued = evidence.answer.pages_at(Moment::Queued);
    let (Some(queued), Some(stopped)) = (queued, evidence.answer.pages_at(Moment::Stopped)) else {
        return;
    };
    // A frame may be shorter than the buffer.
    let frames = evidence.card_frames.frames().iter();
    let longest = frames.map(|(_, plane)| u64::from(plane.bytes)).max();
    let Some(bytes) = longest else {
        return;
    };
    let page = PAGE as u64;
    let within = evidence.answer.memory.map_or(0, |it| it.address % page);
    let pages = (within + bytes).div_ceil(page) as usize;
    let (dirty, clean): (Vec<_>, Vec<_>) = kept(queued, stopped)
        .take_while(|(number, _)| *number < pages)
        .partition(|(_, (_, after))| after & (DIRTY | WRITEBACK) != 0);
    if evidence.expectation.leaves_clean {
        if clean.is_empty() && !dirty.is_empty() {
            let what = "every page that the card has written is marked dirty, which this kernel \
                        was known to leave out";
            objections.push(Severity::WrongError, what.to_owned());
        }
        return;
    }
    if let Some((first, _)) = clean.first() {
        objections.push(Severity::DataLost, format!(
            "{} pages that the card has written are not marked dirty, the first is page {first}",
            clean.len()
        ));
    }
}

fn read(evidence: &CellEvidence<'_>, objections: &mut Objections) {
    // Pinning for a write, and the hazard, may mark pages as well; a hazard that ends
    // the stream does not, but the driver may have given the pages back in it.
    let hazard = match evidence.observation {
        Observation::TakenBack => None,
        _ => evidence.answer.pages_at(Moment::AfterHazard),
    };
    let given = hazard.or_else(|| evidence.answer.pages_at(Moment::Queued));
    let (Some(given), Some(stopped)) = (given, evidence.answer.pages_at(Moment::Stopped)) else {
        return;
    };
    let written = written_too(evidence);
    let only_read = |page: usize| {
        let frame = stopped.frames().nth(page).flatten();
        frame.is_none_or(|frame| !written.contains(&frame))
    };
    let dirty: Vec<_> = kept(given, stopped)
        .filter(|(page, _)| only_read(*page))
        .filter(|(_, (before, after))| before & (DIRTY | WRITEBACK) == 0 && after & DIRTY != 0)
        .map(|(page, _)| page)
        .collect();
    if let Some(first) = dirty.first() {
        objections.push(
            Severity::Slow,
            format!(
                "{} pages that the card has only read are marked dirty, the first is page {first}",
                dirty.len()
            ),
        );
    }
}

/// Returns the pages that the cell's card writes to in another buffer.
fn written_too(evidence: &CellEvidence<'_>) -> BTreeSet<u64> {
    let ends = evidence.ends().iter().enumerate();
    let written = ends.filter(|(_, end)| end.direction == Direction::Capture);
    let pages = written.flat_map(|(number, _)| {
        let answer = evidence.cell.of_buffer(number);
        let queued = answer.pages_at(Moment::Queued);
        queued.map_or_else(Vec::new, |seen| seen.frames().flatten().collect())
    });
    pages.collect()
}

/// Returns the pages that the process has at both looks, and that the kernel may
/// clean: the number of each, and its flags.
fn kept(before: &PagesSeen, after: &PagesSeen) -> impl Iterator<Item = (usize, (u64, u64))> {
    let frames = before.frames().zip(after.frames());
    let flags = before
        .flags
        .iter()
        .copied()
        .zip(after.flags.iter().copied());
    let pages = frames.zip(flags).enumerate();
    pages.filter_map(|(page, ((before, now), flags))| {
        let the_same = before.is_some() && before == now;
        let kept = flags.1 & (LRU | ANONYMOUS) != 0 && flags.1 & COMPOUND == 0;
        (the_same && kept).then_some((page, flags))
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{
        captured, converted, evidence, objections, objections_of, said, sent,
    };
    use super::*;
    use crate::agent::cell::{Ends, Flow};
    use crate::card::witness::PlaneRecord;
    use crate::rig::matrix::expectation::Expectation;
    use crate::rig::matrix::witness::CardFrames;

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
        let expectation = Expectation {
            leaves_clean: true,
            ..Expectation::data(Flow::Capture)
        };
        let known = evidence(Flow::Capture, &answer, &card_frames, &expectation);
        assert_eq!(said(judge, &known), []);
        answer.pages[1].flags = vec![ANONYMOUS | DIRTY; 2];
        let mended = evidence(Flow::Capture, &answer, &card_frames, &expectation);
        assert_eq!(said(judge, &mended).len(), 1);
        answer.pages[1].flags[1] = LRU | COMPOUND;
        assert_eq!(objections(judge, &answer, &card_frames), [""; 0]);
        // The frame ends before it.
        answer.pages[1].flags[1] = LRU;
        let mut short = CardFrames::default();
        let (_, plane) = card_frames.frames()[0].clone();
        short.add(
            0,
            PlaneRecord {
                bytes: 4096,
                ..plane
            },
        );
        assert_eq!(objections(judge, &answer, &short), [""; 0]);
        answer.memory.as_mut().unwrap().address += 1;
        assert_eq!(objections(judge, &answer, &short).len(), 1);
        // Another page has replaced it, which the card never had.
        answer.pages[1].flags[1] = LRU;
        answer.pages[1].pagemap[1] = 1 << 63 | 9;
        assert_eq!(objections(judge, &answer, &card_frames), [""; 0]);
    }

    #[test]
    fn pages_that_were_only_read_are_as_clean_as_before() {
        let (mut answer, card_frames) = sent();
        let mut look = |moment, flags: [u64; 2]| {
            let mut seen = answer.pages[0].clone();
            seen.moment = moment;
            seen.flags = flags.into();
            answer.pages.retain(|other| other.moment != moment);
            answer.pages.push(seen);
            objections_of(Flow::Output, judge, &answer, &card_frames)
        };
        assert_eq!(look(Moment::Queued, [LRU | DIRTY, LRU]), []);
        assert_eq!(look(Moment::Stopped, [LRU | DIRTY, LRU]), []);
        let what = "1 pages that the card has only read are marked dirty, the first is page 1";
        let objection = (Severity::Slow, what.to_owned());
        let dirty = [LRU | DIRTY, LRU | DIRTY];
        assert_eq!(look(Moment::Stopped, dirty), [objection]);
        // It was the hazard that did it.
        assert_eq!(look(Moment::AfterHazard, dirty), []);
        // One that ended the stream was the driver's.
        answer.frames.clear();
        let said = objections_of(Flow::Output, judge, &answer, &card_frames);
        assert_eq!(said.len(), 1);
    }

    #[test]
    fn a_page_of_both_buffers_may_be_dirty() {
        let (mut answer, card_frames) = converted();
        let mut look = |moment, flags: [u64; 2]| {
            answer.pages.push(PagesSeen {
                moment,
                flags: flags.into(),
                ..answer.pages[0].clone()
            });
        };
        look(Moment::AfterHazard, [LRU, LRU]);
        look(Moment::Stopped, [LRU, LRU | DIRTY]);
        let said = |answer: &_| {
            let flow = Flow::M2m(Ends::Adjacent);
            objections_of(flow, judge, answer, &card_frames).len()
        };
        assert_eq!(said(&answer), 1);
        answer.further[0].pages[0].pagemap[0] = answer.pages[0].pagemap[1];
        assert_eq!(said(&answer), 0);
    }
}
