//! Transparent huge pages: whole ones, parts of them, and what becomes of them
//! when part of their mapping changes.

use std::fs;
use std::io;
use std::os::fd::AsFd;

use crate::agent::cell::evidence::{Moment, PagesSeen};
use crate::agent::cell::pagemap::frame;
use crate::agent::cell::{HUGE_PAGE, PAGE, PART_OF_HUGE_PAGE};
use libc::{MAP_SHARED, PROT_READ, PROT_WRITE};
use rustix::fs::ftruncate;

use super::layout::{Layout, Want, fill};
use super::{files, huge, swap};
use crate::guest::cell::fork::Fork;
use crate::guest::cell::span::{self, MemoryAccess, Span};
use crate::guest::cell::{Stop, pagemap, setup};

/// What a process may usually do with its memory.
const ACCESS: i32 = PROT_READ | PROT_WRITE;

/// Lays out a buffer that covers a transparent huge page from its first byte
/// on.
pub fn whole(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    transparent(want, access, 0)
}

/// Lays out a buffer in the middle of a transparent huge page.
pub fn part(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    transparent(want, access, PART_OF_HUGE_PAGE)
}

/// Lays out a buffer in the middle of a transparent huge page that is there, and is
/// not made anew by khugepaged when part of its mapping changes.
fn lasting_part(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    let layout = part(want, access)?;
    span::advise(around(layout.buffer), libc::MADV_NOHUGEPAGE)?;
    Ok(layout)
}

/// Lays out a buffer that begins `from` bytes after the start of a transparent
/// huge page, with a page before it.
fn transparent(want: Want, access: &MemoryAccess, from: usize) -> Result<Layout, Stop> {
    // The page before the buffer may be the last of another huge page.
    let start = HUGE_PAGE + from;
    let room = room((start + want.with_canaries()).next_multiple_of(HUGE_PAGE))?;
    let mapping = room.part(start - PAGE, want.with_canaries());
    fill(access, mapping)?;
    let layout = Layout::amid(mapping, want);
    match has_huge_page(layout.buffer)? {
        true => Ok(layout),
        false => Err(none_left()),
    }
}

/// Returns whether part of a buffer is a transparent huge page.
fn has_huge_page(buffer: Span) -> io::Result<bool> {
    let seen = pagemap::look(Moment::LaidOut, buffer)?;
    if shows_flags(&seen) {
        return Ok(seen.flags.iter().any(|flags| flags & pagemap::THP != 0));
    }
    let smaps = fs::read_to_string("/proc/self/smaps")?;
    Ok(mapped_huge(&smaps, buffer.start).is_some_and(|kilobytes| kilobytes > 0))
}

/// Returns whether the kernel shows flags of pages to this process: a page that is
/// present has some.
fn shows_flags(seen: &PagesSeen) -> bool {
    seen.flags.iter().any(|flags| *flags != 0)
}

/// Returns the huge pages in which a range lies.
fn around(span: Span) -> Span {
    let start = span.start / HUGE_PAGE * HUGE_PAGE;
    Span::new(start, span.end().next_multiple_of(HUGE_PAGE) - start)
}

/// Maps anonymous memory that begins where a huge page can, and may be huge
/// pages.
fn room(len: usize) -> Result<Span, Stop> {
    let whole = span::anonymous(len + HUGE_PAGE)?;
    let room = Span::new(whole.start.next_multiple_of(HUGE_PAGE), len);
    span::advise(room, libc::MADV_HUGEPAGE).map_err(|error| {
        Stop::Impossible(format!("there are no transparent huge pages: {error}"))
    })?;
    Ok(room)
}

fn none_left() -> Stop {
    Stop::Impossible("the kernel had no transparent huge page to give".into())
}

/// Lays out a buffer in a transparent huge page that is still one, and mapped by
/// page table entries of its own for each of its pages.
pub fn pte_mapped(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    let layout = lasting_part(want, access)?;
    // Another protection of one page splits the mapping; the page stays whole.
    let (huge, pages) = (around(layout.buffer), layout.buffer.pages());
    for start in (huge.start..huge.end()).step_by(HUGE_PAGE) {
        let one = Span::new(start.max(pages.start), PAGE);
        span::protect(one, PROT_READ)?;
        span::protect(one, ACCESS)?;
    }
    all_huge(&layout)?;
    let smaps = fs::read_to_string("/proc/self/smaps")?;
    match mapped_huge(&smaps, layout.buffer.start) {
        Some(0) => Ok(layout),
        Some(kilobytes) => Err(Stop::Failed(format!(
            "{kilobytes} KiB are still mapped by huge pages"
        ))),
        None => Err(Stop::Failed("/proc/self/smaps lacks the buffer".into())),
    }
}

/// Returns how many KiB of the mapping around an address are anonymous huge pages
/// that are mapped as such, from the text of /proc/PID/smaps.
fn mapped_huge(smaps: &str, address: usize) -> Option<usize> {
    let has_it = |line: &&str| {
        let range = line.split(' ').next().and_then(|range| {
            let (start, end) = range.split_once('-')?;
            let number = |text| usize::from_str_radix(text, 16).ok();
            Some(number(start)?..number(end)?)
        });
        range.is_some_and(|range| range.contains(&address))
    };
    let mut lines = smaps.lines().skip_while(|line| !has_it(line));
    let huge = lines.find_map(|line| line.strip_prefix("AnonHugePages:"))?;
    huge.trim().strip_suffix(" kB")?.parse().ok()
}

/// Lays out a buffer in a transparent huge page of which nothing else is mapped any
/// more: the kernel will split it when it is short of memory, unless it is pinned.
pub fn partly_mapped(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    let layout = lasting_part(want, access)?;
    let kept = layout.whole();
    let huge = around(kept);
    for rest in [
        Span::new(huge.start, kept.start - huge.start),
        Span::new(kept.end(), huge.end() - kept.end()),
    ] {
        if rest.len > 0 {
            span::unmap(rest)?;
        }
    }
    all_huge(&layout)?;
    Ok(layout)
}

/// Lays out a buffer in pages of a transparent huge page that are at another place
/// in their range than they were in the huge page.
pub fn remapped(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    let old = part(want, access)?.whole();
    let place = span::anonymous(old.len + PAGE)?;
    let is_alike = (place.start ^ old.start).is_multiple_of(HUGE_PAGE);
    let new = place.part(if is_alike { PAGE } else { 0 }, old.len);
    span::remap(old, new)?;
    let layout = Layout::amid(new, want);
    all_huge(&layout)?;
    Ok(layout)
}

/// Lays out a buffer in a transparent huge page of which a child shares all that is
/// behind the buffer's middle, until one of the two writes to it.
pub fn partly_shared(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    let layout = lasting_part(want, access)?;
    let (all, buffer) = (layout.whole(), layout.buffer.pages());
    let middle = buffer.len / PAGE / 2 * PAGE;
    let first = Span::new(all.start, buffer.start + middle - all.start);
    span::advise(first, libc::MADV_DONTFORK)?;
    let layout = layout.keeping(Fork::start()?);
    span::advise(first, libc::MADV_DOFORK)?;
    let seen = all_huge(&layout)?;
    let is_shared: Vec<_> = seen.count.iter().map(|mappings| *mappings > 1).collect();
    let expected = (0..seen.count.len()).map(|page| page * PAGE >= middle);
    match expected.eq(is_shared.iter().copied()) {
        true => Ok(layout),
        false => Err(Stop::Failed(format!(
            "the pages are mapped by so many: {:?}",
            seen.count
        ))),
    }
}

/// Lays out a buffer in a transparent huge page that was swapped out.
pub fn swapped(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    setup::swap()?;
    let layout = part(want, access)?;
    let huge = around(layout.buffer);
    swap::out(layout, huge, access)
}

/// Lays out a buffer in folios of 64 KiB.
pub fn of_another_size(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    /// Size in bytes of the folios.
    const SIZE: usize = 64 << 10;
    const KNOB: &str = "/sys/kernel/mm/transparent_hugepage/hugepages-64kB/enabled";
    if !fs::exists(KNOB)? {
        return Err(Stop::Impossible(
            "transparent huge pages have one size only, before Linux 6.8".into(),
        ));
    }
    setup::knob(KNOB, "madvise")?;
    let len = want.with_canaries().next_multiple_of(SIZE);
    if len >= HUGE_PAGE {
        return Err(Stop::Impossible("a huge page would fit".into()));
    }
    let whole = span::anonymous(len + SIZE)?;
    let room = Span::new(whole.start.next_multiple_of(SIZE), len);
    span::advise(room, libc::MADV_HUGEPAGE)?;
    let mapping = room.part(0, want.with_canaries());
    fill(access, mapping)?;
    let layout = Layout::amid(mapping, want);
    let seen = all_huge(&layout)?;
    let pages = (layout.buffer.pages().start..).step_by(PAGE);
    let is_aligned = |(address, entry): (usize, &u64)| {
        frame(*entry)
            .is_some_and(|frame| (frame as usize ^ (address / PAGE)).is_multiple_of(SIZE / PAGE))
    };
    match pages.zip(&seen.pagemap).all(is_aligned) {
        true => Ok(layout),
        false => Err(none_left()),
    }
}

/// Lays out a buffer in the huge page of zeros that reading maps where nothing was
/// written yet.
pub fn zero(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    /// KPF_ZERO_PAGE of linux/kernel-page-flags.h.
    const ZERO_PAGE: u64 = 1 << 24;
    let len = (PART_OF_HUGE_PAGE + want.with_canaries()).next_multiple_of(HUGE_PAGE);
    let mapping = room(len)?.part(PART_OF_HUGE_PAGE - PAGE, want.with_canaries());
    access.read(mapping)?;
    let layout = Layout::amid(mapping, want);
    let seen = all_huge(&layout)?;
    match seen.flags.iter().all(|flags| flags & ZERO_PAGE != 0) {
        true => Ok(layout),
        false => Err(Stop::Impossible("there is no huge zero page".into())),
    }
}

/// Lays out a buffer across two huge pages of a file on a tmpfs that has such.
pub fn tmpfs(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    let file = files::unnamed(setup::huge_tmpfs()?)?;
    let len = huge::across_len(want);
    ftruncate(&file, len as u64)?;
    let room = room(len)?;
    span::map_at(room, ACCESS, MAP_SHARED, Some(file.as_fd()), 0)?;
    let mapping = huge::middle_of(room, want);
    fill(access, mapping)?;
    let layout = Layout::amid(mapping, want).keeping(file);
    all_huge(&layout)?;
    Ok(layout)
}

/// Returns a look at the buffer's pages, each of which must be part of a huge page.
fn all_huge(layout: &Layout) -> Result<PagesSeen, Stop> {
    let seen = pagemap::look(Moment::LaidOut, layout.buffer)?;
    if !shows_flags(&seen) {
        return Err(Stop::Impossible(
            "the kernel tells this process not whether these are huge pages".into(),
        ));
    }
    match seen.flags.iter().all(|flags| flags & pagemap::THP != 0) {
        true => Ok(seen),
        false => Err(none_left()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn huge_pages_are_all_that_a_range_touches() {
        let at = |start, len| around(Span::new(start, len));
        assert_eq!(at(HUGE_PAGE + PAGE, PAGE), Span::new(HUGE_PAGE, HUGE_PAGE));
        assert_eq!(at(HUGE_PAGE, HUGE_PAGE), Span::new(HUGE_PAGE, HUGE_PAGE));
        assert_eq!(
            at(2 * HUGE_PAGE - 1, 2),
            Span::new(HUGE_PAGE, 2 * HUGE_PAGE)
        );
    }

    #[test]
    fn what_is_mapped_by_huge_pages_is_told_of_the_right_mapping() {
        let smaps = "7f00-7f80 rw-p 00000000 00:00 0\n\
                     Size: 64 kB\n\
                     AnonHugePages:      2048 kB\n\
                     7f80-7fc0 rw-p 00000000 00:00 0 \n\
                     Rss: 4 kB\n\
                     AnonHugePages:         0 kB\n";
        assert_eq!(mapped_huge(smaps, 0x7f00), Some(2048));
        assert_eq!(mapped_huge(smaps, 0x7f7f), Some(2048));
        assert_eq!(mapped_huge(smaps, 0x7f80), Some(0));
        assert_eq!(mapped_huge(smaps, 0x7fc0), None);
    }
}
