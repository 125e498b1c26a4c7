//! Hazards in which processes fork, write and exit.

use std::io;

use pinhole::agent::cell::PAGE;
use rustix::process::{Signal, getpid, kill_process};

use super::context::HazardContext;
use crate::cell::Stop;
use crate::cell::fork::Fork;
use crate::cell::span::{MemoryAccess, Span};

/// The byte that the child writes.
const CHILD: u8 = 0xee;

/// The exit code that identifies an intended exit.
const EXIT_CODE: i32 = 3;

/// Forks, and writes to each page, which is shared copy-on-write, so that the
/// writer gets a copy. The bytes do not change; only the owner of the page may.
pub fn fork_parent_writes(context: &mut HazardContext<'_>) -> Result<(), Stop> {
    let fork = context.writer.call("fork", Fork::start)?;
    let write = || touch(context.access, context.layout.buffer);
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

/// Writes one byte of each page back unchanged.
fn touch(access: &MemoryAccess, span: Span) -> io::Result<()> {
    for at in (0..span.len).step_by(PAGE) {
        let byte = access.read(span.part(at, 1))?;
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
