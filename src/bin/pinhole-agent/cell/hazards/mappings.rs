//! The addresses come to mean something else.

use libc::{MAP_ANONYMOUS, MAP_PRIVATE, PROT_READ, PROT_WRITE};

use super::scene::Scene;
use crate::cell::Stop;
use crate::cell::span::{self, Span};

/// What is written to memory that takes the place of the buffer.
const ANEW: u8 = 0x11;

pub fn unmap(scene: &mut Scene<'_>) -> Result<(), Stop> {
    scene.layout.give_up_pages();
    let pages = scene.layout.pages();
    Ok(scene.scribe.call("munmap", || span::unmap(pages))?)
}

/// The process has other memory at the same address; the buffer's pages are
/// nobody's but the device's.
pub fn map_anew(scene: &mut Scene<'_>) -> Result<(), Stop> {
    unmap(scene)?;
    let pages = scene.layout.pages();
    scene.scribe.call("mmap", || {
        let flags = MAP_PRIVATE | MAP_ANONYMOUS;
        span::map_at(pages, PROT_READ | PROT_WRITE, flags, None, 0)
    })?;
    scene.hands.write(pages.start, &vec![ANEW; pages.len])?;
    scene.scribe.note(format!(
        "the new memory at the same address is filled with {ANEW:#04x}"
    ));
    Ok(())
}

/// Moves the buffer and what is around it; from here on the buffer is there.
pub fn remap(scene: &mut Scene<'_>) -> Result<(), Stop> {
    let old = scene.layout.whole();
    let new = span::anonymous(old.len)?;
    let moved = scene.scribe.call("mremap", || span::remap(old, new));
    if moved.is_ok() {
        scene.layout.shift(new.start.wrapping_sub(old.start));
        scene
            .scribe
            .note(format!("the memory is now at {:#x}", new.start));
    }
    Ok(())
}

pub fn protect(scene: &mut Scene<'_>) -> Result<(), Stop> {
    let pages = scene.layout.pages();
    let protect = || span::protect(pages, PROT_READ);
    let _ = scene.scribe.call("mprotect", protect);
    Ok(())
}

pub fn give_up(scene: &mut Scene<'_>) -> Result<(), Stop> {
    scene.layout.give_up_pages();
    advise(scene, "madvise MADV_DONTNEED", libc::MADV_DONTNEED);
    Ok(())
}

/// Gives advice on the pages that are the buffer's alone, which it may be
/// refused.
pub fn advise(scene: &mut Scene<'_>, name: &str, advice: i32) {
    let pages: Span = scene.layout.pages();
    let _ = scene.scribe.call(name, || span::advise(pages, advice));
}
