//! Processes come and go.

use std::io;

use pinhole::agent::cell::PAGE;
use rustix::process::{Signal, getpid, kill_process};

use super::context::HazardContext;
use crate::cell::Stop;
use crate::cell::fork::Fork;
use crate::cell::span::{MemoryAccess, Span};

/// What the child writes.
const CHILD: u8 = 0xee;

/// The exit code by which an exit that was wanted is known.
const EXIT_CODE: i32 = 3;

/// Whoever writes to a page that is shared copy-on-write gets a copy. The
/// bytes stay what they are: only whose page it is may change.
pub fn fork_parent_writes(context: &mut HazardContext<'_>) -> Result<(), Stop> {
    let fork = context.writer.call("fork", Fork::start)?;
    let write = || touch(context.access, context.layout.buffer);
    // Memory that cannot be written to is another answer.
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

/// Writes one byte of each page as it is.
fn touch(access: &MemoryAccess, span: Span) -> io::Result<()> {
    for at in (0..span.len).step_by(PAGE) {
        let byte = access.read(span.part(at, 1))?;
        access.write(span.start + at, &byte)?;
    }
    Ok(())
}

pub fn exit() -> Result<(), Stop> {
    // SAFETY: it ends the process at once; nothing is left to be cleaned up
    // that the kernel does not.
    unsafe { libc::_exit(EXIT_CODE) }
}

pub fn kill() -> Result<(), Stop> {
    Ok(kill_process(getpid(), Signal::KILL)?)
}
