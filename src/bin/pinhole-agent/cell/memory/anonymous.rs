//! Anonymous memory, whole or with something missing, and memfds.

use std::os::fd::AsFd;

use libc::{MAP_ANONYMOUS, MAP_PRIVATE, MAP_SHARED, PROT_NONE, PROT_READ, PROT_WRITE};
use pinhole::agent::cell::PAGE;
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

use super::layout::{Layout, Want, fill};
use crate::cell::Stop;
use crate::cell::span::{self, MemoryAccess, Span};

/// Memory that was written to.
pub fn touched(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    Ok(Layout::amid(mapping(want, access)?, want))
}

/// Memory that was only read: the zero page is behind all of it.
pub fn untouched(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    let mapping = span::anonymous(want.with_canaries())?;
    // A huge zero page would be another kind.
    let _ = span::advise(mapping, libc::MADV_NOHUGEPAGE);
    access.read(mapping)?;
    Ok(Layout::amid(mapping, want))
}

/// Memory that is locked.
pub fn locked(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    let mapping = mapping(want, access)?;
    span::lock(mapping)?;
    Ok(Layout::amid(mapping, want))
}

/// Memory that was written to, and then made read-only.
pub fn read_only(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    let mapping = mapping(want, access)?;
    span::protect(mapping, PROT_READ)?;
    Ok(Layout::amid(mapping, want))
}

/// Memory without access.
pub fn prot_none(want: Want) -> Result<Layout, Stop> {
    let mapping = span::map(want.with_canaries(), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS)?;
    Ok(Layout::amid(mapping, want))
}

/// Memory whose last page, and the one after it, are without access.
pub fn prot_none_tail(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    let mapping = mapping(want, access)?;
    span::protect(mapping.part(want.pages(), 2 * PAGE), PROT_NONE)?;
    Ok(Layout::amid(mapping, want))
}

/// Memory with a page in the middle that is not mapped.
pub fn hole(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    let mapping = mapping(want, access)?;
    span::unmap(mapping.part(middle(want), PAGE))?;
    Ok(Layout::amid(mapping, want))
}

/// Two mappings, one after the other, that the kernel keeps apart because only
/// one is to be in core dumps.
pub fn two_mappings(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    let mapping = mapping(want, access)?;
    let second = mapping.part(middle(want), mapping.len - middle(want));
    span::advise(second, libc::MADV_DONTDUMP)?;
    Ok(Layout::amid(mapping, want))
}

/// Anonymous memory, and a memfd's after it.
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

/// A shared mapping of a memfd.
pub fn memfd(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    let file = memfd_create("cell", MemfdFlags::CLOEXEC)?;
    let len = want.with_canaries();
    ftruncate(&file, len as u64)?;
    let mapping = span::map_file(len, PROT_READ | PROT_WRITE, MAP_SHARED, file.as_fd(), 0)?;
    fill(access, mapping)?;
    Ok(Layout::amid(mapping, want))
}

/// Memory of small pages, filled.
fn mapping(want: Want, access: &MemoryAccess) -> Result<Span, Stop> {
    /// Bytes of a huge page.
    const HUGE: usize = 2 << 20;
    if want.roomy {
        // All of a huge page, written to, and in small pages as long as nobody
        // asks for another.
        let whole = span::anonymous(2 * HUGE)?;
        let room = Span::new(whole.start.next_multiple_of(HUGE), HUGE);
        span::advise(room, libc::MADV_NOHUGEPAGE)
            .map_err(|error| Stop::Impossible(format!("there are no huge pages: {error}")))?;
        fill(access, room)?;
        return Ok(room.part(HUGE / 2, want.with_canaries()));
    }
    let mapping = span::anonymous(want.with_canaries())?;
    // Not on every kernel; without it there are no huge pages either.
    let _ = span::advise(mapping, libc::MADV_NOHUGEPAGE);
    fill(access, mapping)?;
    Ok(mapping)
}

/// Where in the mapping the page in the buffer's middle begins.
fn middle(want: Want) -> usize {
    PAGE + want.pages() / PAGE / 2 * PAGE
}
