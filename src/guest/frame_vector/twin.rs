//! A child that shares the memory of this process, and does nothing.

use std::io;

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

/// A forked child. If it is dropped, it is killed.
#[derive(Debug)]
pub struct Twin(Pid);

impl Twin {
    /// Forks this process, however many threads it has.
    pub fn start() -> io::Result<Self> {
        // SAFETY: the child makes system calls and nothing else, so it does not
        // matter which locks are held in its copy of the memory.
        match unsafe { libc::fork() } {
            -1 => Err(io::Error::last_os_error()),
            0 => live(),
            pid => Pid::from_raw(pid)
                .map(Self)
                .ok_or_else(|| io::ErrorKind::InvalidData.into()),
        }
    }
}

impl Drop for Twin {
    fn drop(&mut self) {
        // The process is a child of this one, and only this code waits for it.
        let _ = kill_process(self.0, Signal::KILL);
        let _ = waitpid(Some(self.0), WaitOptions::empty());
    }
}

/// The child's main function: it lives until it is killed, or the thread that
/// forked it ends.
fn live() -> ! {
    // SAFETY: the call takes no memory of this process.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    loop {
        // SAFETY: as above.
        unsafe { libc::pause() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_lives_until_it_is_dropped() {
        let twin = Twin::start().unwrap();
        let pid = twin.0;
        assert!(rustix::process::test_kill_process(pid).is_ok());
        drop(twin);
        assert!(rustix::process::test_kill_process(pid).is_err());
    }
}
