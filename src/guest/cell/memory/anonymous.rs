//! Anonymous memory, complete or with missing parts.

use std::os::fd::AsFd;

use crate::agent::cell::{HUGE_PAGE, PAGE, PART_OF_HUGE_PAGE};
use libc::{MAP_ANONYMOUS, MAP_PRIVATE, MAP_SHARED, PROT_NONE, PROT_READ, PROT_WRITE};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

use super::layout::{Layout, Want, fill, pattern};
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

/// Lays out memory of which every other page was never touched, the buffer's first
/// among them.
pub fn sparse(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    let mapping = span::anonymous(want.with_canaries())?;
    let _ = span::advise(mapping, libc::MADV_NOHUGEPAGE);
    let mut bytes = pattern(mapping.len);
    for (number, page) in bytes.chunks_mut(PAGE).enumerate() {
        match number % 2 {
            0 => access.write(mapping.start + number * PAGE, page)?,
            _ => page.fill(0),
        }
    }
    let mut layout = Layout::amid(mapping, want);
    layout.expect(&bytes);
    Ok(layout)
}

/// Lays out memory whose pages were moved to another address, where they stay. The
/// mapping is as before, and has none.
pub fn moved_away(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    let old = mapping(want, access)?;
    let new = span::anonymous(old.len)?;
    span::remap_leaving(old, new).map_err(|error| {
        Stop::Impossible(format!(
            "no mapping can be left behind, before Linux 5.7: {error}"
        ))
    })?;
    let mut layout = Layout::amid(old, want);
    layout.expect(&vec![0; old.len]);
    Ok(layout)
}

/// Lays out memory whose mapping is sealed.
pub fn sealed(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    /// SYS_mseal of asm/unistd_64.h, since Linux 6.10.
    const MSEAL: i64 = 462;
    let mapping = mapping(want, access)?;
    // SAFETY: the call changes neither contents nor addresses.
    let sealed = unsafe { libc::syscall(MSEAL, mapping.start, mapping.len, 0) };
    span::check(sealed as i32)
        .map_err(|error| Stop::Impossible(format!("this kernel has no mseal(2): {error}")))?;
    Ok(Layout::amid(mapping, want))
}

/// Lays out memory that the kernel may drop unless it is pinned; the pages before and
/// after it stay.
pub fn droppable(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    /// MAP_DROPPABLE of linux/mman.h, since Linux 6.11; it stands in the place of
    /// MAP_PRIVATE.
    const MAP_DROPPABLE: i32 = 8;
    let (rights, flags) = (PROT_READ | PROT_WRITE, MAP_DROPPABLE | MAP_ANONYMOUS);
    let mapping = span::anonymous(want.with_canaries())?;
    let _ = span::advise(mapping, libc::MADV_NOHUGEPAGE);
    let pages = mapping.part(PAGE, want.pages());
    span::map_at(pages, rights, flags, None, 0)
        .map_err(|error| Stop::Impossible(format!("this kernel has no MAP_DROPPABLE: {error}")))?;
    let _ = span::advise(pages, libc::MADV_NOHUGEPAGE);
    fill(access, mapping)?;
    Ok(Layout::amid(mapping, want))
}

/// Maps memory of small pages, and fills it.
fn mapping(want: Want, access: &MemoryAccess) -> Result<Span, Stop> {
    if want.roomy {
        // The memory is part of a range that could be huge pages. The range is
        // written to, and stays in small pages until a huge page is requested.
        let len = (PART_OF_HUGE_PAGE + want.with_canaries()).next_multiple_of(HUGE_PAGE);
        let whole = span::anonymous(len + HUGE_PAGE)?;
        let room = Span::new(whole.start.next_multiple_of(HUGE_PAGE), len);
        span::advise(room, libc::MADV_NOHUGEPAGE)
            .map_err(|error| Stop::Impossible(format!("there are no huge pages: {error}")))?;
        fill(access, room)?;
        return Ok(room.part(PART_OF_HUGE_PAGE, want.with_canaries()));
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
