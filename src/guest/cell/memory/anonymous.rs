//! Anonymous memory, complete or with missing parts, and memfds.

use std::os::fd::AsFd;

use crate::agent::cell::PAGE;
use libc::{MAP_ANONYMOUS, MAP_PRIVATE, MAP_SHARED, PROT_NONE, PROT_READ, PROT_WRITE};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

use super::layout::{Layout, Want, fill};
use crate::guest::cell::Stop;
use crate::guest::cell::span::{self, MemoryAccess, Span};

/// Lays out memory that was written to.
pub fn touched(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    Ok(Layout::amid(mapping(want, access)?, want))
}

/// Lays out memory that was only read: all of it is the zero page.
pub fn untouched(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    let mapping = span::anonymous(want.with_canaries())?;
    // A huge zero page would be another kind of memory.
    let _ = span::advise(mapping, libc::MADV_NOHUGEPAGE);
    access.read(mapping)?;
    Ok(Layout::amid(mapping, want))
}

/// Lays out memory that is locked.
pub fn locked(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    let mapping = mapping(want, access)?;
    span::lock(mapping)
        .map_err(|error| Stop::Impossible(format!("the memory cannot be locked: {error}")))?;
    Ok(Layout::amid(mapping, want))
}

/// Lays out memory that was written to, and then made read-only.
pub fn read_only(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    let mapping = mapping(want, access)?;
    span::protect(mapping, PROT_READ)?;
    Ok(Layout::amid(mapping, want))
}

/// Lays out memory without access.
pub fn prot_none(want: Want) -> Result<Layout, Stop> {
    let mapping = span::map(want.with_canaries(), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS)?;
    Ok(Layout::amid(mapping, want))
}

/// Lays out memory whose last page, and the one after it, are without access.
pub fn prot_none_tail(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    let mapping = mapping(want, access)?;
    let mut layout = Layout::amid(mapping, want);
    layout.note_content(access);
    span::protect(mapping.part(want.pages(), 2 * PAGE), PROT_NONE)?;
    Ok(layout)
}

/// Lays out memory with an unmapped page in the middle.
pub fn hole(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    let mapping = mapping(want, access)?;
    span::unmap(mapping.part(middle(want), PAGE))?;
    Ok(Layout::amid(mapping, want))
}

/// Lays out two adjacent mappings, which the kernel keeps separate because only
/// one is included in core dumps.
pub fn two_mappings(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    let mapping = mapping(want, access)?;
    let second = mapping.part(middle(want), mapping.len - middle(want));
    span::advise(second, libc::MADV_DONTDUMP)?;
    Ok(Layout::amid(mapping, want))
}

/// Lays out anonymous memory, followed by memory of a memfd.
pub fn two_kinds(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    let mapping = span::anonymous(want.with_canaries())?;
    let second = mapping.part(middle(want), mapping.len - middle(want));
    let file = memfd_create("cell", MemfdFlags::CLOEXEC)?;
    ftruncate(&file, second.len as u64)?;
    span::map_at(
        second,
        PROT_READ | PROT_WRITE,
        MAP_SHARED,
        Some(file.as_fd()),
        0,
    )?;
    fill(access, mapping)?;
    Ok(Layout::amid(mapping, want))
}

/// Lays out a shared mapping of a memfd.
pub fn memfd(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    let file = memfd_create("cell", MemfdFlags::CLOEXEC)?;
    let len = want.with_canaries();
    ftruncate(&file, len as u64)?;
    let mapping = span::map_file(len, PROT_READ | PROT_WRITE, MAP_SHARED, file.as_fd(), 0)?;
    fill(access, mapping)?;
    Ok(Layout::amid(mapping, want))
}

/// Maps memory of small pages, and fills it.
fn mapping(want: Want, access: &MemoryAccess) -> Result<Span, Stop> {
    /// Bytes of a huge page.
    const HUGE: usize = 2 << 20;
    if want.roomy {
        // The memory is part of a range that could be huge pages. The range is
        // written to, and stays in small pages until a huge page is requested.
        let len = (HUGE / 2 + want.with_canaries()).next_multiple_of(HUGE);
        let whole = span::anonymous(len + HUGE)?;
        let room = Span::new(whole.start.next_multiple_of(HUGE), len);
        span::advise(room, libc::MADV_NOHUGEPAGE)
            .map_err(|error| Stop::Impossible(format!("there are no huge pages: {error}")))?;
        fill(access, room)?;
        return Ok(room.part(HUGE / 2, want.with_canaries()));
    }
    let mapping = span::anonymous(want.with_canaries())?;
    // Some kernels do not support this; they have no huge pages either.
    let _ = span::advise(mapping, libc::MADV_NOHUGEPAGE);
    fill(access, mapping)?;
    Ok(mapping)
}

/// Returns the offset in the mapping of the page in the buffer's middle.
fn middle(want: Want) -> usize {
    PAGE + want.pages() / PAGE / 2 * PAGE
}
