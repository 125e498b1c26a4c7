//! Socket activation by systemd (sd_listen_fds(3)).

use std::env;
use std::os::fd::{BorrowedFd, RawFd};

use rustix::io::{FdFlags, fcntl_setfd};

/// The first file descriptor that systemd passes on.
const FIRST: RawFd = 3;

/// The environment variables with which systemd describes the sockets.
const VARIABLES: [&str; 3] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];

/// Takes the socket that systemd has passed to this process, if it has. Other
/// programs do not inherit it, and the variables are removed.
///
/// # Safety
/// No other thread may run, because this changes the environment. Nothing else
/// may use file descriptor 3 if the environment says that it is a socket.
///
/// # Errors
/// An error if there are several sockets.
pub unsafe fn socket() -> anyhow::Result<Option<RawFd>> {
    let number = |name| env::var(name).ok()?.parse::<u32>().ok();
    let (pid, count) = (number(VARIABLES[0]), number(VARIABLES[1]));
    for name in VARIABLES {
        // SAFETY: the caller promises that this is the only thread.
        unsafe { env::remove_var(name) };
    }
    // The variables may be for a parent that passed its environment on.
    if pid != Some(std::process::id()) {
        return Ok(None);
    }
    match count {
        None | Some(0) => return Ok(None),
        Some(1) => (),
        Some(count) => {
            anyhow::bail!("systemd passes {count} sockets; the card takes one, for its front end")
        }
    }
    // SAFETY: this function does not close the descriptor, and fcntl(2) fails
    // if it is not open.
    let socket = unsafe { BorrowedFd::borrow_raw(FIRST) };
    // The user of the socket reports its faults.
    let _ = fcntl_setfd(socket, FdFlags::CLOEXEC);
    Ok(Some(FIRST))
}
