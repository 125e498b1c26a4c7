//! Addresses without memory of the process.

use crate::agent::cell::PAGE;
use libc::{MAP_ANONYMOUS, MAP_FIXED_NOREPLACE, MAP_PRIVATE, PROT_READ, PROT_WRITE};

use super::layout::{Layout, Want, fill};
use crate::guest::cell::Stop;
use crate::guest::cell::span::{self, MemoryAccess, Span};

/// The end of a process's address space, with four levels of page tables
/// (TASK_SIZE_MAX of the kernel's arch/x86/include/asm/page_64_types.h). With
/// five levels it is the same for a process that does not request more.
const END: usize = 0x7fff_ffff_f000;

/// Start of the kernel's direct mapping if it is not moved at boot
/// (Documentation/arch/x86/x86_64/mm.rst); in the kernel's half in any case.
const KERNEL: usize = 0xffff_8880_0000_0000;

/// Lays out a buffer in the first page.
pub fn null(want: Want) -> Result<Layout, Stop> {
    Ok(Layout::bare(Span::new(want.offset, want.length)))
}

/// Lays out a buffer in the kernel's memory.
pub fn kernel(want: Want) -> Result<Layout, Stop> {
    Ok(Layout::bare(Span::new(KERNEL + want.offset, want.length)))
}

/// Lays out memory up to the end of the address space, and a page beyond it.
pub fn end(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    let mapped = want.pages() - PAGE;
    let wanted = Span::new(END - mapped, mapped);
    let mapping = span::map_at(
        wanted,
        PROT_READ | PROT_WRITE,
        MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE,
        None,
        0,
    )
    .map_err(|error| {
        Stop::Impossible(format!(
            "the end of the address space cannot be mapped: {error}"
        ))
    })?;
    fill(access, mapping)?;
    let start = mapping.start + want.offset;
    Ok(Layout::bare(Span::new(start, want.length)))
}

/// Lays out a buffer in the last pages of all; it would continue at 0.
pub fn wrapping(want: Want) -> Result<Layout, Stop> {
    let start = usize::MAX - (want.pages() - PAGE) + 1 + want.offset;
    Ok(Layout::bare(Span::new(start, want.length)))
}
