//! Hazards in which processes fork, write and exit.

use std::io;

use crate::agent::cell::PAGE;
use crate::card::Direction;
use rustix::process::{Signal, getpid, kill_process};

use super::context::HazardContext;
use crate::guest::cell::Stop;
use crate::guest::cell::fork::Fork;
use crate::guest::cell::span::{MemoryAccess, Span};

/// The bits that the child inverts: what it writes is like nothing else.
const CHILD: u8 = 0xee;

/// The exit code that identifies an intended exit.
const EXIT_CODE: i32 = 3;

/// Forks, and writes to each page, which is shared copy-on-write, so that the
/// writer gets a copy. The bytes of a captured frame do not change; only the owner
/// of the page may. Of a frame that is read they do: the card tells which page it
/// has.
pub fn fork_parent_writes(context: &mut HazardContext<'_>) -> Result<(), Stop> {
    let fork = context.writer.call("fork", Fork::start)?;
    let change = match context.direction {
        Direction::Capture => 0,
        Direction::Output => 0xff,
    };
    let write = || touch(context.access, context.layout.buffer, change);
    // A write that fails is evidence as well.
    let _ = context.writer.call("write", write);
    context.layout.keep_also(fork);
    Ok(())
}

pub fn fork_child_writes(context: &mut HazardContext<'_>) -> Result<(), Stop> {
    let mut fork = context.writer.call("fork", Fork::start)?;
    let write = || fork.write(context.layout.buffer, CHILD);
    let _ = context.writer.call("write by the child", write);
    context.layout.keep_also(fork);
    Ok(())
}

pub fn fork_child_exits(context: &mut HazardContext<'_>) -> Result<(), Stop> {
    let fork = context.writer.call("fork", Fork::start)?;
    Ok(context.writer.call("exit of the child", || fork.exit())?)
}

/// Writes one byte of each page back, with the bits of `change` inverted.
fn touch(access: &MemoryAccess, span: Span, change: u8) -> io::Result<()> {
    for at in (0..span.len).step_by(PAGE) {
        let byte = access.read(span.part(at, 1))?;
        let byte: Vec<u8> = byte.iter().map(|byte| byte ^ change).collect();
        access.write(span.start + at, &byte)?;
    }
    Ok(())
}

pub fn exit() -> Result<(), Stop> {
    // SAFETY: the process ends at once; the kernel cleans up everything that is
    // left.
    unsafe { libc::_exit(EXIT_CODE) }
}

pub fn kill() -> Result<(), Stop> {
    Ok(kill_process(getpid(), Signal::KILL)?)
}
