//! Huge pages of hugetlb.

use std::io;
use std::os::fd::AsFd;

use crate::agent::cell::PAGE;
use libc::{MAP_ANONYMOUS, MAP_HUGETLB, MAP_PRIVATE, MAP_SHARED, PROT_READ, PROT_WRITE};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

use super::layout::{Layout, Want, fill};
use crate::guest::cell::Stop;
use crate::guest::cell::span::{self, MemoryAccess, Span};

/// Size in bytes of a huge page of x86-64.
const HUGE: usize = 2 << 20;

/// Returns the length in bytes of the huge pages in which a buffer lies that is across
/// the border in their middle.
pub fn across_len(want: Want) -> usize {
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
pub fn across(whole: Span, want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    let mapping = middle_of(whole, want);
    fill(access, mapping)?;
    Ok(Layout::amid(mapping, want).of_pages(HUGE))
}

/// Returns the mapping of a buffer and its canaries in the middle of `whole`.
pub fn middle_of(whole: Span, want: Want) -> Span {
    let from = whole.len / 2 - PAGE - want.pages() / PAGE / 2 * PAGE;
    whole.part(from, want.with_canaries())
}

/// Says that there is no huge page left.
pub fn none_left(error: io::Error) -> Stop {
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
}
