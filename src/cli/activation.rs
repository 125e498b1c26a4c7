//! A socket from systemd (sd_listen_fds(3)).

use std::env;
use std::os::fd::{BorrowedFd, RawFd};

use rustix::io::{FdFlags, fcntl_setfd};

/// The first file descriptor that is passed on.
const FIRST: RawFd = 3;

/// What systemd says of the sockets.
const VARIABLES: [&str; 3] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];

/// Takes the socket that systemd has passed to this process, if it has; it is
/// not inherited any further, and the variables that tell of it are gone then.
///
/// # Safety
/// No other thread may run, for the environment is changed; and nothing else
/// may use file descriptor 3 if the environment says that it is a socket.
///
/// # Errors
/// Where there are several.
pub unsafe fn socket() -> anyhow::Result<Option<RawFd>> {
    let number = |name| env::var(name).ok()?.parse::<u32>().ok();
    let (pid, count) = (number(VARIABLES[0]), number(VARIABLES[1]));
    for name in VARIABLES {
        // SAFETY: by the caller's promise this is the only thread.
        unsafe { env::remove_var(name) };
    }
    // They may be somebody else's, who was not careful.
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
    // SAFETY: it is not closed in here; where it is not open, this fails.
    let socket = unsafe { BorrowedFd::borrow_raw(FIRST) };
    // Whatever is wrong with it is said by who takes it.
    let _ = fcntl_setfd(socket, FdFlags::CLOEXEC);
    Ok(Some(FIRST))
}
