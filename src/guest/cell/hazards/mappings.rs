//! Hazards that change the meaning of the buffer's addresses.

use libc::{MAP_ANONYMOUS, MAP_PRIVATE, PROT_NONE, PROT_READ, PROT_WRITE};

use super::context::HazardContext;
use crate::guest::cell::Stop;
use crate::guest::cell::span::{self, Span};

/// The byte that is written to memory that replaces the buffer.
const ANEW: u8 = 0x11;

pub fn unmap(context: &mut HazardContext<'_>) -> Result<(), Stop> {
    context.layout.give_up_pages();
    let pages = context.layout.pages();
    Ok(context.writer.call("munmap", || span::unmap(pages))?)
}

/// Maps other memory at the same address; only the device still uses the
/// buffer's pages.
pub fn map_anew(context: &mut HazardContext<'_>) -> Result<(), Stop> {
    unmap(context)?;
    map_over(context)
}

/// Maps other memory at the same address, where the buffer still is.
pub fn map_over(context: &mut HazardContext<'_>) -> Result<(), Stop> {
    context.layout.give_up_pages();
    let pages = context.layout.pages();
    context.writer.call("mmap MAP_FIXED", || {
        let flags = MAP_PRIVATE | MAP_ANONYMOUS;
        span::map_at(pages, PROT_READ | PROT_WRITE, flags, None, 0)
    })?;
    context.access.write(pages.start, &vec![ANEW; pages.len])?;
    context.writer.note(format!(
        "the new memory at the same address is filled with {ANEW:#04x}"
    ));
    Ok(())
}

/// Moves the buffer and the memory around it; afterwards the layout has the new
/// addresses.
pub fn remap(context: &mut HazardContext<'_>) -> Result<(), Stop> {
    let old = context.layout.whole();
    let new = span::anonymous(old.len)?;
    let moved = context.writer.call("mremap", || span::remap(old, new));
    if moved.is_ok() {
        context.layout.shift(new.start.wrapping_sub(old.start));
        context
            .writer
            .note(format!("the memory is now at {:#x}", new.start));
    }
    Ok(())
}

/// Moves the buffer's pages away; the process looks at where they were.
pub fn remap_leaving(context: &mut HazardContext<'_>) -> Result<(), Stop> {
    context.layout.give_up_pages();
    let old = context.layout.pages();
    let new = span::anonymous(old.len)?;
    let remap = || span::remap_leaving(old, new);
    let _ = context.writer.call("mremap MREMAP_DONTUNMAP", remap);
    Ok(())
}

pub fn protect(context: &mut HazardContext<'_>) -> Result<(), Stop> {
    let pages = context.layout.pages();
    let protect = || span::protect(pages, PROT_READ);
    let _ = context.writer.call("mprotect", protect);
    Ok(())
}

pub fn lock_away(context: &mut HazardContext<'_>) -> Result<(), Stop> {
    context.layout.give_up_pages();
    let pages = context.layout.pages();
    let protect = || span::protect(pages, PROT_NONE);
    let _ = context.writer.call("mprotect", protect);
    Ok(())
}

pub fn lock_and_unlock(context: &mut HazardContext<'_>) -> Result<(), Stop> {
    let pages = context.layout.pages();
    let locked = context.writer.call("mlock", || span::lock(pages));
    if locked.is_ok() {
        let _ = context.writer.call("munlock", || span::unlock(pages));
    }
    Ok(())
}

pub fn give_up(context: &mut HazardContext<'_>) -> Result<(), Stop> {
    context.layout.give_up_pages();
    advise(context, "madvise MADV_DONTNEED", libc::MADV_DONTNEED);
    Ok(())
}

/// Takes the buffer's pages out of its file, if it is of one.
pub fn punch(context: &mut HazardContext<'_>) -> Result<(), Stop> {
    context.layout.give_up_pages();
    advise(context, "madvise MADV_REMOVE", libc::MADV_REMOVE);
    Ok(())
}

/// Calls madvise(2) on the pages that belong to the buffer alone; the kernel
/// may refuse.
pub fn advise(context: &mut HazardContext<'_>, name: &str, advice: i32) {
    let pages: Span = context.layout.pages();
    let _ = context.writer.call(name, || span::advise(pages, advice));
}
