//! Memory that every process has: its stack, its heap, and memory that it
//! shares with a child.

use std::io;

use crate::agent::cell::PAGE;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::anonymous;
use super::layout::{Layout, Want, fill};
use crate::guest::cell::Stop;
use crate::guest::cell::fork::Fork;
use crate::guest::cell::span::{MemoryAccess, Span};

/// Distance of the buffer below the current end of the stack: room for later
/// calls of this process.
const STACK_ROOM: usize = 2 << 20;

/// Lays out a buffer on the main thread's stack, which grows down to the
/// buffer.
pub fn stack(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    let_grow(2 * STACK_ROOM + want.with_canaries())?;
    let maps = std::fs::read_to_string("/proc/self/maps")?;
    let bottom =
        stack_bottom(&maps).ok_or_else(|| Stop::Failed("/proc/self/maps shows no stack".into()))?;
    let start = (bottom - STACK_ROOM - want.with_canaries()) / PAGE * PAGE;
    let mapping = Span::new(start, want.with_canaries());
    fill(access, mapping)?;
    Ok(Layout::amid(mapping, want))
}

/// Raises the limit of the stack's size, which only this process has, if it is lower.
fn let_grow(len: usize) -> Result<(), Stop> {
    let limit = getrlimit(Resource::Stack);
    let Some(current) = limit.current.filter(|current| *current < len as u64) else {
        return Ok(());
    };
    let raised = Rlimit {
        current: Some(len as u64),
        ..limit
    };
    setrlimit(Resource::Stack, raised).map_err(|error| {
        Stop::Impossible(format!(
            "the stack may not grow from {current} bytes to {len}: {error}"
        ))
    })
}

fn stack_bottom(maps: &str) -> Option<usize> {
    let line = maps.lines().find(|line| line.ends_with("[stack]"))?;
    usize::from_str_radix(line.split_once('-')?.0, 16).ok()
}

/// Lays out a buffer on the heap of brk(2).
pub fn heap(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    let len = want.with_canaries() + PAGE;
    // SAFETY: the call grows the heap by memory that the allocator never
    // touches, since it checks where the heap ends before it grows the heap
    // itself.
    let start = unsafe { libc::sbrk(len as isize) } as usize;
    if start == usize::MAX {
        return Err(io::Error::last_os_error().into());
    }
    let mapping = Span::new(start.next_multiple_of(PAGE), want.with_canaries());
    fill(access, mapping)?;
    Ok(Layout::amid(mapping, want))
}

/// Lays out memory that a child shares until one of the two writes to it.
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

    #[test]
    fn the_stack_may_grow_as_far_as_is_needed() {
        let limit = || getrlimit(Resource::Stack).current.unwrap_or(u64::MAX);
        let before = limit();
        let_grow(4096).unwrap();
        assert_eq!(limit(), before);
        if let Ok(wanted) = usize::try_from(before.saturating_add(4096)) {
            let most = getrlimit(Resource::Stack).maximum.unwrap_or(u64::MAX);
            match let_grow(wanted) {
                Ok(()) => assert!(limit() >= wanted as u64),
                Err(Stop::Impossible(_)) => assert!(most < wanted as u64),
                Err(stop) => panic!("{stop:?}"),
            }
        }
    }
}
