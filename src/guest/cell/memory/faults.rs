//! Memory that is not simply present when it is accessed: merged, guarded, failed,
//! or filled by another thread.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use crate::agent::cell::PAGE;
use libc::{MAP_SHARED, PROT_READ, PROT_WRITE};
use rustix::fs::{MemfdFlags, memfd_create};

use super::anonymous;
use super::layout::{Layout, Want, pattern};
use super::swap::until;
use crate::guest::cell::fault_fd::FaultFd;
use crate::guest::cell::span::{self, MemoryAccess, Span};
use crate::guest::cell::{Stop, setup};

/// Lays out memory whose pages were equal, and merged into one by KSM.
pub fn merged(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    const KSM: &str = "/sys/kernel/mm/ksm";
    /// KPF_KSM of linux/kernel-page-flags.h.
    const MERGED: u64 = 1 << 21;
    let layout = anonymous::touched(want, access)?;
    let pages = layout.buffer.pages();
    // No two cells have equal pages; otherwise a cell would find its pages
    // merged already.
    access.write(pages.start, &pattern(PAGE).repeat(pages.len / PAGE))?;
    span::advise(pages, libc::MADV_MERGEABLE)
        .map_err(|error| Stop::Impossible(format!("this kernel has no KSM: {error}")))?;
    setup::knob(&format!("{KSM}/sleep_millisecs"), "1")?;
    setup::knob(&format!("{KSM}/pages_to_scan"), "1000")?;
    setup::knob(&format!("{KSM}/run"), "1")?;
    let merged = until(
        layout.buffer,
        "KSM did not merge the buffer's pages",
        || Ok(()),
        |seen| seen.flags.iter().all(|flags| flags & MERGED != 0),
    );
    // Merged pages stay merged.
    setup::knob(&format!("{KSM}/run"), "0")?;
    merged?;
    Ok(layout)
}

/// Lays out memory with a guard region in its middle.
pub fn guarded(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    /// MADV_GUARD_INSTALL of linux/mman.h, since Linux 6.13.
    const GUARD_INSTALL: i32 = 102;
    let layout = anonymous::touched(want, access)?;
    let middle = layout
        .buffer
        .pages()
        .part(want.pages() / PAGE / 2 * PAGE, PAGE);
    span::advise(middle, GUARD_INSTALL)
        .map_err(|error| Stop::Impossible(format!("this kernel has no guard regions: {error}")))?;
    Ok(layout)
}

/// Lays out memory of which a page in the middle has failed: the kernel has taken it
/// away, and nobody may access what was there.
pub fn failed(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    setup::permit("a page that fails")?;
    let mut layout = anonymous::touched(want, access)?;
    layout.note_content(access);
    let pages = layout.buffer.pages();
    let middle = pages.part(want.pages() / PAGE / 2 * PAGE, PAGE);
    span::advise(middle, libc::MADV_HWPOISON)
        .map_err(|error| Stop::Impossible(format!("this kernel lets no memory fail: {error}")))?;
    Ok(layout)
}

/// Lays out memory that is missing until another thread fills it.
pub fn missing(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    let mapping = span::anonymous(want.with_canaries())?;
    span::advise(mapping, libc::MADV_NOHUGEPAGE)?;
    let filled = pattern(mapping.len);
    let (first, last) = (Span::new(mapping.start, PAGE), want.pages() + PAGE);
    access.write(first.start, &filled[..PAGE])?;
    access.write(mapping.start + last, &filled[last..])?;
    let mut layout = Layout::amid(mapping, want);
    layout.expect(&filled);
    let registered = mapping.part(PAGE, want.pages());
    let fault_fd = FaultFd::open()?;
    fault_fd.register(registered, FaultFd::MISSING)?;
    let source = filled[PAGE..last].to_vec();
    fault_fd.serve(move |fault_fd, page| {
        let at = page - registered.start;
        fault_fd.copy(page, &source[at..at + PAGE])
    })?;
    Ok(layout)
}

/// Lays out memory that is write-protected until another thread removes the
/// protection.
pub fn write_protected(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    let layout = anonymous::touched(want, access)?;
    let pages = layout.buffer.pages();
    let fault_fd = FaultFd::open()?;
    fault_fd.register(pages, FaultFd::WRITE_PROTECTED)?;
    fault_fd.protect(pages, true)?;
    fault_fd.serve(move |fault_fd, page| fault_fd.protect(Span::new(page, PAGE), false))?;
    Ok(layout)
}

/// Lays out memory to which nobody has access until another thread gives it again, a
/// page at a time; the pages are there.
pub fn inaccessible(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    let fault_fd = FaultFd::open_for_access()?;
    let mapping = span::anonymous(want.with_canaries())?;
    span::advise(mapping, libc::MADV_NOHUGEPAGE)?;
    let filled = pattern(mapping.len);
    access.write(mapping.start, &filled)?;
    let mut layout = Layout::amid(mapping, want);
    layout.expect(&filled);
    let pages = layout.buffer.pages();
    fault_fd.register(pages, FaultFd::INACCESSIBLE)?;
    fault_fd.take_access(pages, true)?;
    fault_fd.serve(move |fault_fd, page| fault_fd.take_access(Span::new(page, PAGE), false))?;
    Ok(layout)
}

/// Lays out memory of a memfd that has all its pages, none of which is mapped until
/// another thread says so.
pub fn minor(want: Want, _access: &MemoryAccess) -> Result<Layout, Stop> {
    let file = File::from(memfd_create("cell", MemfdFlags::CLOEXEC)?);
    let filled = pattern(want.with_canaries());
    file.write_all_at(&filled, 0)?;
    let rights = PROT_READ | PROT_WRITE;
    let mapping = span::map_file(filled.len(), rights, MAP_SHARED, file.as_fd(), 0)?;
    let mut layout = Layout::amid(mapping, want);
    layout.expect(&filled);
    let fault_fd = FaultFd::open()?;
    fault_fd.register(mapping.part(PAGE, want.pages()), FaultFd::MINOR)?;
    fault_fd.serve(|fault_fd, page| fault_fd.go_on(Span::new(page, PAGE)))?;
    Ok(layout)
}
