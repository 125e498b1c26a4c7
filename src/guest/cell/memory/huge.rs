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
