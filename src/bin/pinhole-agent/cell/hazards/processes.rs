//! Processes come and go.

use std::io;

use pinhole::agent::cell::PAGE;
use rustix::process::{Signal, getpid, kill_process};

use super::scene::Scene;
use crate::cell::Stop;
use crate::cell::fork::Fork;
use crate::cell::span::{Hands, Span};

/// What the child writes.
const CHILD: u8 = 0xee;

/// The exit code by which an exit that was wanted is known.
const EXIT_CODE: i32 = 3;

/// Whoever writes to a page that is shared copy-on-write gets a copy. The
/// bytes stay what they are: only whose page it is may change.
pub fn fork_parent_writes(scene: &mut Scene<'_>) -> Result<(), Stop> {
    let fork = scene.scribe.call("fork", Fork::start)?;
    let write = || touch(scene.hands, scene.layout.buffer);
    // Memory that cannot be written to is another answer.
    let _ = scene.scribe.call("write", write);
    scene.layout.keep_also(fork);
    Ok(())
}

pub fn fork_child_writes(scene: &mut Scene<'_>) -> Result<(), Stop> {
    let mut fork = scene.scribe.call("fork", Fork::start)?;
    let write = || fork.write(scene.layout.buffer, CHILD);
    let _ = scene.scribe.call("write by the child", write);
    scene.layout.keep_also(fork);
    Ok(())
}

pub fn fork_child_exits(scene: &mut Scene<'_>) -> Result<(), Stop> {
    let fork = scene.scribe.call("fork", Fork::start)?;
    Ok(scene.scribe.call("exit of the child", || fork.exit())?)
}

/// Writes one byte of each page as it is.
fn touch(hands: &Hands, span: Span) -> io::Result<()> {
    for at in (0..span.len).step_by(PAGE) {
        let byte = hands.read(span.part(at, 1))?;
        hands.write(span.start + at, &byte)?;
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
