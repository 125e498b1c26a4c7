//! Hazards in which processes fork, write, are interrupted and exit.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::agent::cell::{GIGANTIC_PAGE, PAGE};
use crate::card::Direction;
use rustix::process::{Signal, getpid, kill_process};

use super::context::HazardContext;
use crate::guest::cell::Stop;
use crate::guest::cell::fork::Fork;
use crate::guest::cell::span::{MemoryAccess, Span, check};

/// The bits that the child inverts: what it writes is like nothing else.
const CHILD: u8 = 0xee;

/// The exit code that identifies an intended exit.
const EXIT_CODE: i32 = 3;

/// How long the signal may take, in milliseconds.
const SIGNAL_LIMIT: i32 = 5000;

/// Number of signals that were handled.
static HANDLED: AtomicU32 = AtomicU32::new(0);

/// Forks, and writes to each page, which is shared copy-on-write, so that the
/// writer gets a copy. The bytes of a captured frame do not change; only the owner
/// of the page may. Of a frame that is read they do: the card tells which page it
/// has.
pub fn fork_parent_writes(context: &mut HazardContext<'_>) -> Result<(), Stop> {
    let fork = forked(context)?;
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
    let mut fork = forked(context)?;
    let write = || fork.write(context.layout.buffer, CHILD);
    let _ = context.writer.call("write by the child", write);
    context.layout.keep_also(fork);
    Ok(())
}

pub fn fork_child_exits(context: &mut HazardContext<'_>) -> Result<(), Stop> {
    let fork = forked(context)?;
    Ok(context.writer.call("exit of the child", || fork.exit())?)
}

/// Forks. Since Linux 5.12 that copies private pages that are pinned, for which there may
/// be no memory: of pages of 1 GiB there is one.
fn forked(context: &mut HazardContext<'_>) -> Result<Fork, Stop> {
    let is_gigantic = context.layout.pages().len >= GIGANTIC_PAGE;
    let forked = context.writer.call("fork", Fork::start);
    forked.map_err(|error| match error.raw_os_error() {
        Some(libc::ENOMEM) if is_gigantic => Stop::Impossible(format!(
            "fork() copies what is pinned, and finds no memory for it: {error}"
        )),
        _ => error.into(),
    })
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

/// Executes another program, which exits at once: the kernel takes the memory away
/// first, then closes the device.
pub fn execute() -> Result<(), Stop> {
    let mut program = Command::new("/bin/sh");
    program.args(["-c", &format!("exit {EXIT_CODE}")]);
    Err(program.exec().into())
}

/// Has a signal interrupt a wait, and handles it.
pub fn signal(context: &mut HazardContext<'_>) -> Result<(), Stop> {
    /// Until the signal, in microseconds.
    const SOON: i64 = 1000;
    extern "C" fn note(_signal: libc::c_int) {
        HANDLED.fetch_add(1, Ordering::Relaxed);
    }
    let before = HANDLED.load(Ordering::Relaxed);
    // SAFETY: all bytes zero are a valid structure.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = note as *const () as usize;
    // SAFETY: the handler does nothing but count, and no other code has one of this
    // signal.
    check(unsafe { libc::sigaction(libc::SIGALRM, &action, std::ptr::null_mut()) })?;
    let soon = libc::timeval {
        tv_sec: 0,
        tv_usec: SOON,
    };
    let timer = libc::itimerval {
        it_interval: libc::timeval {
            tv_sec: 0,
            tv_usec: 0,
        },
        it_value: soon,
    };
    let _ = context.writer.call("poll until a signal comes", || {
        // SAFETY: the structure lives as long as the call.
        check(unsafe { libc::setitimer(libc::ITIMER_REAL, &timer, std::ptr::null_mut()) })?;
        // SAFETY: there are no descriptors.
        check(unsafe { libc::poll(std::ptr::null_mut(), 0, SIGNAL_LIMIT) })
    });
    match HANDLED.load(Ordering::Relaxed) - before {
        0 => Err(Stop::Failed("the signal did not come".into())),
        _ => Ok(()),
    }
}

pub fn kill() -> Result<(), Stop> {
    Ok(kill_process(getpid(), Signal::KILL)?)
}
