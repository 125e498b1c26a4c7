//! Which pages were accessed, if the kernel tracks it
//! (Documentation/admin-guide/mm/idle_page_tracking.rst).
//!
//! A page that was marked idle stays idle until it is accessed through a page
//! table, or the kernel reports that it accesses it for a process. Only pages
//! on an LRU list can be marked; for a huge page, its first page stands for
//! all.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::agent::cell::PAGE;
use crate::agent::cell::instruments::{IdleMoment, IdleSeen};
use crate::agent::cell::pagemap::frame;

use super::pagemap;
use super::span::{self, Span, check};

/// A file with a bit for each page frame, in words of 64 bits.
const BITMAP: &str = "/sys/kernel/mm/page_idle/bitmap";

/// Bits of /proc/kpageflags (Documentation/admin-guide/mm/pagemap.rst).
const LRU: u64 = 1 << 5;
const COMPOUND_HEAD: u64 = 1 << 15;
const COMPOUND_TAIL: u64 = 1 << 16;

/// Largest number of pages before a page in its huge page: those of 2 MiB.
const HUGE: u64 = 512;

/// Access to the idle state of pages.
pub struct Idleness {
    bitmap: File,
    flags: File,
}

impl Idleness {
    /// Opens the files; `None` if the kernel does not track idle pages.
    pub fn new() -> Option<Self> {
        let bitmap = File::options().read(true).write(true).open(BITMAP);
        let flags = File::open("/proc/kpageflags");
        Some(Self {
            bitmap: bitmap.ok()?,
            flags: flags.ok()?,
        })
    }

    /// Marks the pages of a range idle, and returns which are.
    pub fn mark(&self, span: Span) -> io::Result<IdleSeen> {
        let mut heads = self.heads(&pagemap::entries(span)?)?;
        if heads.contains(&None) {
            gather()?;
            heads = self.heads(&pagemap::entries(span)?)?;
        }
        let mut words: BTreeMap<u64, u64> = BTreeMap::new();
        for head in heads.into_iter().flatten() {
            *words.entry(head / 64).or_default() |= 1 << (head % 64);
        }
        for (word, bits) in words {
            self.bitmap.write_all_at(&bits.to_ne_bytes(), word * 8)?;
        }
        forget_translations()?;
        self.look(IdleMoment::Marked, span)
    }

    /// Returns which pages of a range are idle.
    pub fn look(&self, moment: IdleMoment, span: Span) -> io::Result<IdleSeen> {
        let pagemap = pagemap::entries(span)?;
        let heads = self.heads(&pagemap)?;
        let idle = heads.into_iter().map(|head| match head {
            None => Ok(None),
            Some(head) => {
                let word = word(&self.bitmap, head / 64)?;
                Ok(Some(word >> (head % 64) & 1 == 1))
            }
        });
        Ok(IdleSeen {
            moment,
            idle: idle.collect::<io::Result<_>>()?,
            pagemap,
        })
    }

    /// Returns for each page the page frame that stands for it, if that is on
    /// an LRU list and the kernel tells its state. Where memory ends within a word of the
    /// bitmap, that word is neither read nor written (`page_idle_bitmap_read()` of
    /// mm/page_idle.c).
    fn heads(&self, pagemap: &[u64]) -> io::Result<Vec<Option<u64>>> {
        let mut before: Option<(u64, u64)> = None;
        let mut head_of = |entry: &u64| {
            let Some(frame) = frame(*entry) else {
                return Ok(None);
            };
            let flags = word(&self.flags, frame)?;
            let head = match before {
                _ if flags & COMPOUND_TAIL == 0 => frame,
                // This is the next page of the same huge page.
                Some((last, head)) if last + 1 == frame => head,
                _ => self.head_before(frame)?,
            };
            before = Some((frame, head));
            let on_list = word(&self.flags, head)? & LRU != 0;
            let has_bit = self.bitmap.read_at(&mut [0; 8], head / 64 * 8)? == 8;
            Ok((on_list && has_bit).then_some(head))
        };
        pagemap.iter().map(&mut head_of).collect()
    }

    /// Returns the first page of the huge page that contains a page.
    fn head_before(&self, frame: u64) -> io::Result<u64> {
        for head in (frame.saturating_sub(HUGE)..frame).rev() {
            if word(&self.flags, head)? & COMPOUND_HEAD != 0 {
                return Ok(head);
            }
        }
        Ok(frame)
    }
}

/// Returns a word of a file of words; 0 after its end.
fn word(file: &File, index: u64) -> io::Result<u64> {
    let mut bytes = [0; 8];
    match file.read_at(&mut bytes, index * 8)? {
        8 => Ok(u64::from_ne_bytes(bytes)),
        _ => Ok(0),
    }
}

/// Makes every processor put the pages that it has gathered on the LRU lists; a
/// new page is not put on its list at once. move_pages(2) begins with that
/// (lru_cache_disable() or lru_add_drain_all()) if there are nodes to move
/// between; otherwise those pages are not tracked.
fn gather() -> io::Result<()> {
    const MOVE: i32 = 1 << 1;
    let page = span::anonymous(PAGE)?;
    let (pages, nodes, mut status) = ([page.start], [0], [0]);
    // SAFETY: the arrays have as many elements as the count, and outlive the
    // call.
    let moved = unsafe {
        libc::syscall(
            libc::SYS_move_pages,
            0,
            1,
            pages.as_ptr(),
            nodes.as_ptr(),
            status.as_mut_ptr(),
            MOVE,
        )
    };
    let moved = check(moved.min(0) as i32);
    span::unmap(page)?;
    match moved {
        Err(error) if error.raw_os_error() != Some(libc::ENOSYS) => Err(error),
        _ => Ok(()),
    }
}

/// Makes the processors drop this process's address translations. Marking a
/// page idle clears the accessed bit of its translation without a flush, and a
/// processor that still has the translation cached would access the page
/// unnoticed. Unmapping more pages than are flushed one by one, 33 on x86
/// (tlb_single_page_flush_ceiling), flushes all.
fn forget_translations() -> io::Result<()> {
    const MANY: usize = 40 * PAGE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE;
    let mapping = span::map(MANY, libc::PROT_READ | libc::PROT_WRITE, flags)?;
    span::unmap(mapping)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::super::span::MemoryAccess;
    use super::*;

    /// Page frames 0 to 7: one that is on a list, one that is not, a huge page
    /// of four that is, and two that are not.
    fn idleness(bitmap: u64) -> Idleness {
        let file = |words: &[u64]| {
            let mut file = tempfile::tempfile().unwrap();
            for word in words {
                file.write_all(&word.to_ne_bytes()).unwrap();
            }
            file
        };
        let huge = [COMPOUND_HEAD | LRU, COMPOUND_TAIL, COMPOUND_TAIL];
        Idleness {
            bitmap: file(&[bitmap]),
            flags: file(&[&[LRU, 0][..], &huge, &[COMPOUND_TAIL, COMPOUND_HEAD]].concat()),
        }
    }

    #[test]
    fn a_page_in_a_word_that_memory_ends_in_has_no_state() {
        let mut idleness = idleness(0);
        idleness.flags = tempfile::tempfile().unwrap();
        for _ in 0..66 {
            idleness.flags.write_all(&LRU.to_ne_bytes()).unwrap();
        }
        let heads = idleness.heads(&[63, 64].map(|frame| 1 << 63 | frame));
        assert_eq!(heads.unwrap(), [Some(63), None]);
    }

    #[test]
    fn the_first_page_of_a_huge_one_stands_for_all() {
        let idleness = idleness(0);
        let present = |frame: u64| 1 << 63 | frame;
        let heads = |frames: &[u64]| {
            let pagemap: Vec<_> = frames.iter().map(|frame| present(*frame)).collect();
            idleness.heads(&pagemap).unwrap()
        };
        assert_eq!(heads(&[0, 1]), [Some(0), None]);
        assert_eq!(heads(&[2, 3, 4, 5]), [Some(2); 4]);
        // Only the middle of the huge page, and not in order.
        assert_eq!(heads(&[4, 5, 3]), [Some(2); 3]);
        assert_eq!(heads(&[6, 100]), [None, None]);
        assert_eq!(idleness.heads(&[3]).unwrap(), [None]);
    }

    #[test]
    fn what_may_be_done_here_is_done() {
        gather().unwrap();
        forget_translations().unwrap();
        let span = span::anonymous(PAGE).unwrap();
        MemoryAccess::new()
            .unwrap()
            .write(span.start, &[1])
            .unwrap();
        let seen = idleness(0).look(IdleMoment::Read, span).unwrap();
        assert_eq!((seen.pagemap.len(), seen.idle.len()), (1, 1));
        span::unmap(span).unwrap();
    }
}
