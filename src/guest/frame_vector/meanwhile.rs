//! The action of another thread while a call waits for memory.

use std::ffi::c_void;
use std::io;
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::agent::cell::PAGE;
use crate::agent::frame_vector::{Meanwhile, Pages};
use rustix::mm::{Advice, MprotectFlags, madvise, mprotect, munmap};
use rustix::process::{Pid, Signal, getpid, kill_process};
use rustix::thread::gettid;

use super::twin::Twin;
use crate::guest::failure::Failure;

/// Number of signals that were handled.
static HANDLED: AtomicU32 = AtomicU32::new(0);

/// An action, to be executed once by another thread. Its result is kept until
/// the end.
pub type Action = Box<dyn FnOnce() -> io::Result<Option<Twin>> + Send>;

/// Prepares an action, in the thread that makes the calls, for the range that
/// begins at `base`.
pub fn prepare(what: Meanwhile, base: u64) -> Result<Action, Failure> {
    if what == Meanwhile::Signal {
        handle().map_err(|error| Failure::io("handle a signal", error))?;
    }
    let caller = gettid();
    Ok(Box::new(move || act(what, base, caller)))
}

/// Returns how many signals were handled.
pub fn handled() -> u32 {
    HANDLED.load(Ordering::SeqCst)
}

fn act(what: Meanwhile, base: u64, caller: Pid) -> io::Result<Option<Twin>> {
    let place = |pages: Pages| -> (*mut c_void, usize) {
        let address = base as usize + pages.first as usize * PAGE;
        (
            ptr::with_exposed_provenance_mut(address),
            pages.count as usize * PAGE,
        )
    };
    // Only the calls use the range while they are made, and nobody relies on
    // its content.
    match what {
        Meanwhile::Signal => signal(caller)?,
        Meanwhile::Kill => kill_process(getpid(), Signal::KILL)?,
        Meanwhile::Unmap(pages) => {
            let (address, bytes) = place(pages);
            // SAFETY: this is part of the range; see above.
            unsafe { munmap(address, bytes) }?;
        }
        Meanwhile::Protect(pages) => {
            let (address, bytes) = place(pages);
            // SAFETY: this is part of the range; see above.
            unsafe { mprotect(address, bytes, MprotectFlags::READ) }?;
        }
        Meanwhile::Discard(pages) => {
            let (address, bytes) = place(pages);
            // SAFETY: this is part of the range; see above.
            unsafe { madvise(address, bytes, Advice::LinuxDontNeed) }?;
        }
        Meanwhile::Fork => return Twin::start().map(Some),
    }
    Ok(None)
}

/// Sends SIGUSR1 to one thread of this process.
fn signal(thread: Pid) -> io::Result<()> {
    let (process, thread) = (getpid().as_raw_pid(), thread.as_raw_pid());
    // SAFETY: the process handles the signal.
    match unsafe { libc::syscall(libc::SYS_tgkill, process, thread, libc::SIGUSR1) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Installs a handler that counts SIGUSR1.
fn handle() -> io::Result<()> {
    extern "C" fn count(_: libc::c_int) {
        HANDLED.fetch_add(1, Ordering::SeqCst);
    }
    // SAFETY: all zeroes is a `sigaction` without flags and with an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = count as extern "C" fn(libc::c_int) as usize;
    // SAFETY: the handler makes only calls that a signal handler may make.
    let set = unsafe { libc::sigaction(libc::SIGUSR1, &raw const action, ptr::null_mut()) };
    match set {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_counted_by_who_is_sent_it() {
        let before = handled();
        let action = prepare(Meanwhile::Signal, 0).unwrap();
        assert!(
            std::thread::spawn(action)
                .join()
                .unwrap()
                .unwrap()
                .is_none()
        );
        assert_eq!(handled(), before + 1);
    }
}
