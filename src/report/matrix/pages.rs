//! The pages of a cell's buffer: those that the process had mapped against
//! those that the card was given, and the bytes that one of the two wrote
//! against those that the other read.
//!
//! Evidence from a file need not make sense: vectors that belong together may
//! differ in length, and addresses may be anything. Missing data are unknown,
//! and nothing here grows beyond [`MOST`].

use crate::agent::cell::PAGE;
use crate::agent::cell::evidence::Moment;
use crate::agent::cell::pagemap;
use crate::rig::matrix::outcome::CellOutcome;
use crate::rig::matrix::witness;

/// Maximal number of pages of a buffer that are examined; the largest buffer
/// has 513.
const MOST: usize = 1024;

/// The state of a page that the card was given, or of a block that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// As it should be: the page that the process had mapped, or the bytes that
    /// the card wrote.
    Same,
    /// Another page, or other bytes.
    Other,
    /// No page, or no bytes that can be read.
    Nothing,
}

/// A buffer, page by page and block by block.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pages {
    /// Number of bytes of the first page that precede the buffer.
    pub within: u64,
    /// Length of the buffer in bytes.
    pub length: u64,
    /// Number of pages that the buffer touches, at most [`MOST`].
    pub count: usize,
    /// The pages that the process had mapped when the buffer was queued, or
    /// earlier if it was not queued.
    pub mapped: Vec<State>,
    /// The pages that the card was given. Empty if it was given no buffer, or
    /// several, because the pages cannot then be assigned to a buffer; or if it has
    /// no witness that tells.
    pub given: Vec<State>,
    /// Pages of the buffer at which a segment of the card's list begins.
    pub segments: Vec<usize>,
    /// The state of each 4 KiB from the buffer's start, as the process read
    /// them in the first frame that it dequeued, or as the card read them.
    pub blocks: Vec<State>,
}

impl Pages {
    /// Returns the buffer `number` of a cell, counted from 0, if the cell got so far as
    /// to have it.
    pub fn of(outcome: &CellOutcome, number: usize) -> Option<Self> {
        let answer = outcome.answer.as_ref()?.of_buffer(number);
        let card_frames = outcome.card_frames.of_buffer(number);
        let memory = answer.memory?;
        let within = memory.address % PAGE as u64;
        let touched = within.saturating_add(memory.length).div_ceil(PAGE as u64);
        let count = usize::try_from(touched).unwrap_or(MOST).min(MOST);
        let seen = answer
            .pages_at(Moment::Queued)
            .or_else(|| answer.pages_at(Moment::LaidOut));
        let mapped: Vec<Option<u64>> =
            seen.map_or_else(Vec::new, |seen| seen.frames().take(count).collect());
        let mut pages = Self {
            within,
            length: memory.length,
            count,
            mapped: mapped.iter().map(|page| presence(*page)).collect(),
            ..Self::default()
        };
        if let ([(_, plane)], true) = (card_frames.frames(), card_frames.is_witnessed()) {
            let given = witness::pages(plane, count + 1);
            pages.given = (0..count.max(given.len()).min(MOST))
                .map(|page| match (given.get(page), mapped.get(page)) {
                    (None, _) => State::Nothing,
                    (Some((given, _)), Some(Some(mapped))) if given == mapped => State::Same,
                    (Some(_), _) => State::Other,
                })
                .collect();
            let begins = given.iter().enumerate().filter(|(_, (_, begins))| *begins);
            pages.segments = begins.map(|(page, _)| page).collect();
        }
        if let Some(frame) = answer.frames.first() {
            let written = card_frames.frame(frame);
            let written = written.map_or(&[][..], |plane| &plane.digests);
            let own = frame.own();
            let blocks = own.len().max(written.len()).min(MOST);
            pages.blocks = (0..blocks)
                .map(|block| match (own.get(block), written.get(block)) {
                    (Some(Some(seen)), Some(written)) if seen == written => State::Same,
                    (Some(Some(_)), _) => State::Other,
                    (Some(None) | None, _) => State::Nothing,
                })
                .collect();
        }
        Some(pages)
    }
}

fn presence(page: Option<u64>) -> State {
    page.map_or(State::Nothing, |_| State::Same)
}

/// Returns the runs of equal values: the index of each, its length and its
/// value.
pub fn runs<T: PartialEq + Copy>(values: &[T]) -> Vec<(usize, usize, T)> {
    let mut runs: Vec<(usize, usize, T)> = Vec::new();
    for (place, value) in values.iter().enumerate() {
        match runs.last_mut() {
            Some((_, length, last)) if last == value => *length += 1,
            _ => runs.push((place, 1, *value)),
        }
    }
    runs
}

/// Returns page frames as runs of consecutive ones, `0x34+3` for 0x34, 0x35 and
/// 0x36, and `-` for a page that is not present; at most `most` runs.
pub fn page_frames(pagemap: &[u64], most: usize) -> String {
    let mut runs: Vec<(Option<u64>, u64)> = Vec::new();
    for entry in pagemap.iter().take(MOST) {
        let frame = pagemap::frame(*entry);
        match runs.last_mut() {
            Some((Some(first), length)) if frame == first.checked_add(*length) => *length += 1,
            Some((None, length)) if frame.is_none() => *length += 1,
            _ => runs.push((frame, 1)),
        }
    }
    let said = runs.iter().take(most).map(|(frame, length)| {
        let frame = frame.map_or_else(|| "-".to_owned(), |frame| format!("{frame:#x}"));
        match length {
            1 => frame,
            more => format!("{frame}+{more}"),
        }
    });
    let mut said: Vec<_> = said.collect();
    if runs.len() > most {
        said.push(format!("and {} more", runs.len() - most));
    }
    said.join(" ")
}

/// Returns the flags that were set on all pages, and those that were set on
/// some (include/uapi/linux/kernel-page-flags.h).
pub fn flags(of: &[u64]) -> String {
    const NAMES: [&str; 27] = [
        "LOCKED",
        "ERROR",
        "REFERENCED",
        "UPTODATE",
        "DIRTY",
        "LRU",
        "ACTIVE",
        "SLAB",
        "WRITEBACK",
        "RECLAIM",
        "BUDDY",
        "MMAP",
        "ANON",
        "SWAPCACHE",
        "SWAPBACKED",
        "COMPOUND_HEAD",
        "COMPOUND_TAIL",
        "HUGE",
        "UNEVICTABLE",
        "HWPOISON",
        "NOPAGE",
        "KSM",
        "THP",
        "OFFLINE",
        "ZERO_PAGE",
        "IDLE",
        "PGTABLE",
    ];
    let said = NAMES.iter().enumerate().filter_map(|(bit, name)| {
        let with = of.iter().filter(|flags| **flags >> bit & 1 != 0).count();
        match with {
            0 => None,
            all if all == of.len() => Some((*name).to_owned()),
            some => Some(format!("{name} ({some})")),
        }
    });
    said.collect::<Vec<_>>().join(" ")
}

/// Returns how many of the states are `state`.
pub fn count(states: &[State], state: State) -> usize {
    states.iter().filter(|one| **one == state).count()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{cell, evidence};
    use super::*;
    use crate::agent::cell::evidence::FrameSeen;
    use crate::card::witness::PlaneRecord;
    use State::*;

    fn outcome() -> CellOutcome {
        let (answer, card_frames) = evidence();
        CellOutcome {
            answer: Some(answer),
            card_frames,
            ..cell("thp/munmap")
        }
    }

    #[test]
    fn pages_and_blocks_are_held_against_each_other() {
        let pages = Pages::of(&outcome(), 0).unwrap();
        assert_eq!((pages.within, pages.count), (1234, 3));
        assert_eq!(pages.mapped, [Same; 3]);
        assert_eq!(pages.given, [Same; 3]);
        assert_eq!(pages.segments, [0, 2]);
        assert_eq!(pages.blocks, [Same, Other]);

        let mut swapped = outcome();
        let answer = swapped.answer.as_mut().unwrap();
        answer.pages[1].pagemap[1] = 1 << 63 | 5;
        answer.pages[1].pagemap.pop();
        answer.frames[0].digests = vec![None];
        let pages = Pages::of(&swapped, 0).unwrap();
        assert_eq!(pages.given, [Same, Other, Other]);
        assert_eq!(pages.blocks, [Nothing, Nothing]);
    }

    #[test]
    fn of_several_buffers_nobody_knows_whose_pages_are_whose() {
        let mut many = outcome();
        let plane = many.card_frames.frames()[0].1.clone();
        many.card_frames.add(1, plane);
        let pages = Pages::of(&many, 0).unwrap();
        assert_eq!((pages.given.len(), pages.blocks.len()), (0, 2));
        let mut nobody = outcome();
        let answer = nobody.answer.as_ref().unwrap();
        nobody.card_frames =
            witness::CardFrames::without_witness(crate::agent::cell::Flow::Capture, answer, None);
        let pages = Pages::of(&nobody, 0).unwrap();
        assert_eq!((pages.given.len(), pages.blocks.len()), (0, 2));
    }

    #[test]
    fn evidence_that_makes_no_sense_is_looked_at_within_bounds() {
        let mut wild = outcome();
        let answer = wild.answer.as_mut().unwrap();
        let memory = answer.memory.as_mut().unwrap();
        (memory.address, memory.length) = (u64::MAX, u64::MAX);
        answer.pages[1].pagemap = vec![u64::MAX; 5000];
        answer.pages[1].flags = vec![];
        answer.frames.push(FrameSeen {
            digests: vec![None; 5000],
            ..answer.frames[0].clone()
        });
        answer.frames.swap(0, 1);
        let mut card_frames = witness::CardFrames::default();
        let everything = [(u64::MAX, u32::MAX), (u64::MAX - 5, 3), (0, u32::MAX)];
        card_frames.add(
            0,
            PlaneRecord {
                bytes: u32::MAX,
                segments: everything.repeat(3000),
                digests: vec![],
            },
        );
        assert_eq!(witness::pages(&card_frames.frames()[0].1, 9).len(), 9);
        wild.card_frames = card_frames;
        let pages = Pages::of(&wild, 0).unwrap();
        assert_eq!(pages.count, MOST);
        for states in [&pages.mapped, &pages.given, &pages.blocks] {
            assert_eq!(states.len(), MOST);
        }
        assert!(pages.segments.len() <= MOST + 1);
    }

    #[test]
    fn page_frames_and_flags_are_told_in_short() {
        let present = |frame: u64| 1 << 63 | frame;
        let pagemap = [present(0x34), present(0x35), 0, 0, present(7), present(6)];
        assert_eq!(page_frames(&pagemap, 9), "0x34+2 -+2 0x7 0x6");
        assert_eq!(page_frames(&pagemap, 2), "0x34+2 -+2 and 2 more");
        assert_eq!(page_frames(&[], 9), "");
        assert_eq!(
            page_frames(&[u64::MAX; 2], 9),
            "0x7fffffffffffff 0x7fffffffffffff"
        );
        assert_eq!(flags(&[0x28, 0x2c]), "REFERENCED (1) UPTODATE LRU");
        assert_eq!(flags(&[]), "");
        assert_eq!(runs(&[1, 1, 2]), [(0, 2, 1), (2, 1, 2)]);
    }
}
