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
    let seen = pagemap::look(Moment::LaidOut, layout.buffer)?;
    if !seen.flags.iter().any(|flags| flags & pagemap::THP != 0) {
        return Err(Stop::Impossible(
            "the kernel had no transparent huge page to give".into(),
        ));
    }
    Ok(layout)
}

/// Lays out a buffer across two pages of hugetlb.
pub fn hugetlb(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    let flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB;
    let whole = span::map(2 * HUGE, PROT_READ | PROT_WRITE, flags).map_err(none_left)?;
    across(whole, want, access)
}

/// Lays out a buffer across two huge pages of a memfd.
pub fn memfd(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::HUGETLB;
    let file = memfd_create("cell", flags).map_err(|error| none_left(error.into()))?;
    ftruncate(&file, 2 * HUGE as u64)?;
    let rights = PROT_READ | PROT_WRITE;
    let whole = span::map_file(2 * HUGE, rights, MAP_SHARED, file.as_fd(), 0).map_err(none_left)?;
    across(whole, want, access)
}

/// Lays out a buffer in the middle of `whole`, with canaries around it.
fn across(whole: Span, want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    let from = HUGE - PAGE - want.pages() / PAGE / 2 * PAGE;
    let mapping = whole.part(from, want.with_canaries());
    fill(access, mapping)?;
    Ok(Layout::amid(mapping, want).of_pages(HUGE))
}

fn none_left(error: io::Error) -> Stop {
    Stop::Impossible(format!(
        "there are no hugetlb pages, boot with hugepages=N: {error}"
    ))
}
