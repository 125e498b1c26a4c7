//! Anonymous memory, whole or with something missing, and memfds.

use std::os::fd::AsFd;

use libc::{MAP_ANONYMOUS, MAP_PRIVATE, MAP_SHARED, PROT_NONE, PROT_READ, PROT_WRITE};
use pinhole::agent::cell::PAGE;
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

use super::layout::{Layout, Want, fill};
use crate::cell::Stop;
use crate::cell::span::{self, Hands, Span};

/// Memory that was written to.
pub fn touched(want: Want, hands: &Hands) -> Result<Layout, Stop> {
    Ok(Layout::amid(mapping(want, hands)?, want))
}

/// Memory that was only read: the zero page is behind all of it.
pub fn untouched(want: Want, hands: &Hands) -> Result<Layout, Stop> {
    let mapping = span::anonymous(want.with_canaries())?;
    // A huge zero page would be another kind.
    let _ = span::advise(mapping, libc::MADV_NOHUGEPAGE);
    hands.read(mapping)?;
    Ok(Layout::amid(mapping, want))
}

/// Memory that is locked.
pub fn locked(want: Want, hands: &Hands) -> Result<Layout, Stop> {
    let mapping = mapping(want, hands)?;
    span::lock(mapping)?;
    Ok(Layout::amid(mapping, want))
}

/// Memory that was written to, and then made read-only.
pub fn read_only(want: Want, hands: &Hands) -> Result<Layout, Stop> {
    let mapping = mapping(want, hands)?;
    span::protect(mapping, PROT_READ)?;
    Ok(Layout::amid(mapping, want))
}

/// Memory without access.
pub fn prot_none(want: Want) -> Result<Layout, Stop> {
    let mapping = span::map(want.with_canaries(), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS)?;
    Ok(Layout::amid(mapping, want))
}

/// Memory whose last page, and the one after it, are without access.
pub fn prot_none_tail(want: Want, hands: &Hands) -> Result<Layout, Stop> {
    let mapping = mapping(want, hands)?;
    span::protect(mapping.part(want.pages(), 2 * PAGE), PROT_NONE)?;
    Ok(Layout::amid(mapping, want))
}

/// Memory with a page in the middle that is not mapped.
pub fn hole(want: Want, hands: &Hands) -> Result<Layout, Stop> {
    let mapping = mapping(want, hands)?;
    span::unmap(mapping.part(middle(want), PAGE))?;
    Ok(Layout::amid(mapping, want))
}

/// Two mappings, one after the other, that the kernel keeps apart because only
/// one is to be in core dumps.
pub fn two_mappings(want: Want, hands: &Hands) -> Result<Layout, Stop> {
    let mapping = mapping(want, hands)?;
    let second = mapping.part(middle(want), mapping.len - middle(want));
    span::advise(second, libc::MADV_DONTDUMP)?;
    Ok(Layout::amid(mapping, want))
}

/// Anonymous memory, and a memfd's after it.
pub fn two_kinds(want: Want, hands: &Hands) -> Result<Layout, Stop> {
    let mapping = span::anonymous(want.with_canaries())?;
    let second = mapping.part(middle(want), mapping.len - middle(want));
    let file = memfd_create("experiment", MemfdFlags::CLOEXEC)?;
    ftruncate(&file, second.len as u64)?;
    span::map_at(
        second,
        PROT_READ | PROT_WRITE,
        MAP_SHARED,
        Some(file.as_fd()),
        0,
    )?;
    fill(hands, mapping)?;
    Ok(Layout::amid(mapping, want))
}

/// A shared mapping of a memfd.
pub fn memfd(want: Want, hands: &Hands) -> Result<Layout, Stop> {
    let file = memfd_create("experiment", MemfdFlags::CLOEXEC)?;
    let len = want.with_canaries();
    ftruncate(&file, len as u64)?;
    let mapping = span::map_file(len, PROT_READ | PROT_WRITE, MAP_SHARED, file.as_fd(), 0)?;
    fill(hands, mapping)?;
    Ok(Layout::amid(mapping, want))
}

/// Memory of small pages, filled.
fn mapping(want: Want, hands: &Hands) -> Result<Span, Stop> {
    /// Bytes of a huge page.
    const HUGE: usize = 2 << 20;
    if want.roomy {
        // All of a huge page, written to, and in small pages as long as nobody
        // asks for another.
        let whole = span::anonymous(2 * HUGE)?;
        let room = Span::new(whole.start.next_multiple_of(HUGE), HUGE);
        span::advise(room, libc::MADV_NOHUGEPAGE)
            .map_err(|error| Stop::Impossible(format!("there are no huge pages: {error}")))?;
        fill(hands, room)?;
        return Ok(room.part(HUGE / 2, want.with_canaries()));
    }
    let mapping = span::anonymous(want.with_canaries())?;
    // Not on every kernel; without it there are no huge pages either.
    let _ = span::advise(mapping, libc::MADV_NOHUGEPAGE);
    fill(hands, mapping)?;
    Ok(mapping)
}

/// Where in the mapping the page in the buffer's middle begins.
fn middle(want: Want) -> usize {
    PAGE + want.pages() / PAGE / 2 * PAGE
}
