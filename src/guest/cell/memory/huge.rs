//! Huge pages, transparent ones and those of hugetlb.

use std::io;
use std::os::fd::AsFd;

use crate::agent::cell::PAGE;
use crate::agent::cell::evidence::Moment;
use libc::{MAP_ANONYMOUS, MAP_HUGETLB, MAP_PRIVATE, MAP_SHARED, PROT_READ, PROT_WRITE};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

use super::layout::{Layout, Want, fill};
use crate::guest::cell::span::{self, MemoryAccess, Span};
use crate::guest::cell::{Stop, pagemap};

/// Size in bytes of a huge page of x86-64.
const HUGE: usize = 2 << 20;

/// Lays out a buffer that covers a transparent huge page from its first byte
/// on.
pub fn whole(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    transparent(want, access, 0)
}

/// Lays out a buffer in the middle of a transparent huge page.
pub fn part(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    transparent(want, access, HUGE / 2)
}

/// Lays out a buffer that begins `from` bytes after the start of a transparent
/// huge page, with a page before it.
fn transparent(want: Want, access: &MemoryAccess, from: usize) -> Result<Layout, Stop> {
    let whole = span::anonymous((from + want.with_canaries()).next_multiple_of(HUGE) + 3 * HUGE)?;
    span::advise(whole, libc::MADV_HUGEPAGE).map_err(|error| {
        Stop::Impossible(format!("there are no transparent huge pages: {error}"))
    })?;
    // The page before the buffer is the last of another huge page.
    let start = (whole.start + HUGE).next_multiple_of(HUGE) + from;
    let mapping = Span::new(start - PAGE, want.with_canaries());
    fill(access, mapping)?;
    let layout = Layout::amid(mapping, want);
    if !has_huge_page(layout.buffer)? {
        return Err(Stop::Impossible(
            "the kernel had no transparent huge page to give".into(),
        ));
    }
    Ok(layout)
}

/// Returns whether part of a buffer is a transparent huge page.
fn has_huge_page(buffer: Span) -> io::Result<bool> {
    let seen = pagemap::look(Moment::LaidOut, buffer)?;
    // A page that is present has some flag, if the kernel shows flags to this process.
    if seen.flags.iter().any(|flags| *flags != 0) {
        return Ok(seen.flags.iter().any(|flags| flags & pagemap::THP != 0));
    }
    let smaps = std::fs::read_to_string("/proc/self/smaps")?;
    Ok(is_huge_in(&smaps, buffer))
}

/// Returns whether the mapping that has the first byte of a buffer has huge pages, by
/// the text of /proc/self/smaps.
fn is_huge_in(smaps: &str, buffer: Span) -> bool {
    let begins_with_it = |line: &str| {
        let range = line
            .split_once(' ')
            .and_then(|(range, _)| range.split_once('-'));
        let number = |text| usize::from_str_radix(text, 16).ok();
        let (start, end) = match range.map(|(start, end)| (number(start), number(end))) {
            Some((Some(start), Some(end))) => (start, end),
            _ => return false,
        };
        (start..end).contains(&buffer.start)
    };
    let mut lines = smaps.lines().skip_while(|line| !begins_with_it(line));
    let huge = lines.find_map(|line| line.strip_prefix("AnonHugePages:"));
    huge.is_some_and(|text| text.trim() != "0 kB")
}

/// Returns the length in bytes of the huge pages in which a buffer lies that is across
/// the border in their middle.
fn across_len(want: Want) -> usize {
    2 * (PAGE + want.pages() / 2 + PAGE).next_multiple_of(HUGE)
}

/// Lays out a buffer across pages of hugetlb.
pub fn hugetlb(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    let flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB;
    let len = across_len(want);
    let whole = span::map(len, PROT_READ | PROT_WRITE, flags).map_err(none_left)?;
    across(whole, want, access)
}

/// Lays out a buffer across huge pages of a memfd.
pub fn memfd(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::HUGETLB;
    let file = memfd_create("cell", flags).map_err(|error| none_left(error.into()))?;
    let len = across_len(want);
    ftruncate(&file, len as u64)?;
    let rights = PROT_READ | PROT_WRITE;
    let whole = span::map_file(len, rights, MAP_SHARED, file.as_fd(), 0).map_err(none_left)?;
    across(whole, want, access)
}

/// Lays out a buffer in the middle of `whole`, with canaries around it.
fn across(whole: Span, want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    let from = whole.len / 2 - PAGE - want.pages() / PAGE / 2 * PAGE;
    let mapping = whole.part(from, want.with_canaries());
    fill(access, mapping)?;
    Ok(Layout::amid(mapping, want).of_pages(HUGE))
}

fn none_left(error: io::Error) -> Stop {
    Stop::Impossible(format!(
        "there are no hugetlb pages, boot with hugepages=N: {error}"
    ))
}

#[cfg(test)]
mod tests {
    use crate::card::Direction;

    use super::*;

    #[test]
    fn a_buffer_of_any_length_is_across_the_border_in_the_middle() {
        for (length, pages) in [(64 << 10, 2), ((4 << 20) - 4 * PAGE, 2), (8 << 20, 6)] {
            let want = Want {
                offset: 0,
                length,
                roomy: false,
                direction: Direction::Capture,
            };
            let len = across_len(want);
            assert_eq!(len, pages * HUGE, "{length}");
            let whole = span::anonymous(len).unwrap();
            let access = MemoryAccess::new().unwrap();
            let buffer = across(whole, want, &access).unwrap().buffer;
            let middle = whole.start + len / 2;
            assert_eq!(middle - buffer.start, length / 2);
            assert!(buffer.end() + PAGE <= whole.end());
            span::unmap(whole).unwrap();
        }
    }

    #[test]
    fn huge_pages_are_told_to_who_may_see_no_flags() {
        let smaps = "1000-3000 rw-p 00000000 00:00 0\nAnonHugePages:      0 kB\n\
                     200000-600000 rw-p 00000000 00:00 0\nSize: 4096 kB\n\
                     AnonHugePages:   2048 kB\n";
        let at = |start| is_huge_in(smaps, Span::new(start, PAGE));
        assert!(at(0x20_0000) && at(0x5f_ffff));
        assert!(!at(0x1000) && !at(0x60_0000));
    }
}
