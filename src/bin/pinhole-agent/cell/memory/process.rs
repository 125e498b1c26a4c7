//! Memory that a process has anyway: its stack, its heap, and what it shares
//! with a child.

use std::io;

use pinhole::agent::cell::PAGE;

use super::anonymous;
use super::layout::{Layout, Want, fill};
use crate::cell::Stop;
use crate::cell::fork::Fork;
use crate::cell::span::{MemoryAccess, Span};

/// How far below what the stack holds the buffer begins: room for what this
/// process still calls.
const STACK_ROOM: usize = 2 << 20;

/// The main thread's stack, grown down to where the buffer is. The limit of
/// the stack's size leaves room for it.
pub fn stack(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    let maps = std::fs::read_to_string("/proc/self/maps")?;
    let bottom =
        stack_bottom(&maps).ok_or_else(|| Stop::Failed("/proc/self/maps shows no stack".into()))?;
    let start = (bottom - STACK_ROOM - want.with_canaries()) / PAGE * PAGE;
    let mapping = Span::new(start, want.with_canaries());
    fill(access, mapping)?;
    Ok(Layout::amid(mapping, want))
}

fn stack_bottom(maps: &str) -> Option<usize> {
    let line = maps.lines().find(|line| line.ends_with("[stack]"))?;
    usize::from_str_radix(line.split_once('-')?.0, 16).ok()
}

/// The heap that brk(2) makes.
pub fn heap(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    let len = want.with_canaries() + PAGE;
    // SAFETY: it grows the heap by memory that the allocator, which looks
    // where the heap ends before it grows it itself, never touches.
    let start = unsafe { libc::sbrk(len as isize) } as usize;
    if start == usize::MAX {
        return Err(io::Error::last_os_error().into());
    }
    let mapping = Span::new(start.next_multiple_of(PAGE), want.with_canaries());
    fill(access, mapping)?;
    Ok(Layout::amid(mapping, want))
}

/// Memory that a child shares until one of the two writes to it.
pub fn forked(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    let layout = anonymous::touched(want, access)?;
    Ok(layout.keeping(Fork::start()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stack_is_found() {
        let maps = "00400000-00401000 r-xp 00000000 00:00 1 /x\n\
                    7ffe1000-7ffe3000 rw-p 00000000 00:00 0   [stack]\n";
        assert_eq!(stack_bottom(maps), Some(0x7ffe_1000));
        assert_eq!(stack_bottom(""), None);
    }
}
