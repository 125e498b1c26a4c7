//! A child that shares the cell's memory, and executes orders.

use std::io::{self, Read, Write};

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use super::span::{MemoryAccess, Span};

/// The orders to the child, a byte each.
const WRITE: u8 = b'w';
const EXIT: u8 = b'x';

/// A child of this process, forked and not executed. If it is dropped, it is
/// killed.
#[derive(Debug)]
pub struct Fork {
    pid: Pid,
    orders: std::fs::File,
    answers: std::fs::File,
}

impl Fork {
    /// Forks. Other threads of the process must be in a system call, and hold no lock of
    /// this program.
    pub fn start() -> io::Result<Self> {
        let (incoming, orders) = pipe_with(PipeFlags::CLOEXEC)?;
        let (answers, outgoing) = pipe_with(PipeFlags::CLOEXEC)?;
        // SAFETY: no other thread holds a lock that the child would wait for; fork(3)
        // itself sees to those of the allocator.
        match unsafe { libc::fork() } {
            -1 => Err(io::Error::last_os_error()),
            0 => {
                drop((orders, answers));
                obey(incoming.into(), outgoing.into())
            }
            pid => Ok(Self {
                pid: Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidData)?,
                orders: orders.into(),
                answers: answers.into(),
            }),
        }
    }

    /// Makes the child write over a range of its own memory: what is there, with the
    /// bits of `change` inverted.
    pub fn write(&mut self, span: Span, change: u8) -> io::Result<()> {
        let mut order = vec![WRITE, change];
        order.extend_from_slice(&span.start.to_ne_bytes());
        order.extend_from_slice(&span.len.to_ne_bytes());
        self.orders.write_all(&order)?;
        let mut answer = [0; 4];
        self.answers.read_exact(&mut answer)?;
        match i32::from_ne_bytes(answer) {
            0 => Ok(()),
            errno => Err(io::Error::from_raw_os_error(errno)),
        }
    }

    /// Makes the child exit, and waits until it has.
    pub fn exit(mut self) -> io::Result<()> {
        self.orders.write_all(&[EXIT])?;
        let ended = waitpid(Some(self.pid), WaitOptions::empty());
        std::mem::forget(self);
        match ended {
            // If the agent's reaper runs in this process too, as it does in the
            // tests, it may have reaped the child first.
            Ok(_) | Err(Errno::CHILD) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for Fork {
    fn drop(&mut self) {
        // The process is a child of this one, and only this code waits for it.
        let _ = kill_process(self.pid, Signal::KILL);
        let _ = waitpid(Some(self.pid), WaitOptions::empty());
    }
}

/// The child's main function: executes orders until there are no more.
fn obey(mut incoming: std::fs::File, mut outgoing: std::fs::File) -> ! {
    let mut work = || -> io::Result<()> {
        let access = MemoryAccess::new()?;
        let mut order = [0];
        while incoming.read(&mut order)? == 1 && order[0] == WRITE {
            let mut order = [0; 17];
            incoming.read_exact(&mut order)?;
            let word = |at: usize| {
                let bytes = order[at..at + 8].try_into().unwrap_or_default();
                usize::from_ne_bytes(bytes)
            };
            let written = access
                .read(Span::new(word(1), word(9)))
                .and_then(|mut bytes| {
                    bytes.iter_mut().for_each(|byte| *byte ^= order[0]);
                    access.write(word(1), &bytes)
                });
            let errno =
                written.map_or_else(|error| error.raw_os_error().unwrap_or(libc::EIO), |()| 0);
            outgoing.write_all(&errno.to_ne_bytes())?;
        }
        Ok(())
    };
    let status = i32::from(work().is_err());
    // SAFETY: this ends the process without running the parent's exit handlers.
    unsafe { libc::_exit(status) }
}

#[cfg(test)]
mod tests {
    use super::super::span::{anonymous, unmap};
    use super::*;

    #[test]
    fn what_the_child_writes_the_parent_does_not_see() {
        let access = MemoryAccess::new().unwrap();
        let span = anonymous(8192).unwrap();
        access.write(span.start, &[1; 8192]).unwrap();
        let mut fork = Fork::start().unwrap();
        fork.write(span, 2).unwrap();
        assert_eq!(access.read(span).unwrap(), [1; 8192]);
        let error = fork.write(Span::new(0, 1), 2).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EFAULT));
        fork.exit().unwrap();
        drop(Fork::start().unwrap());
        unmap(span).unwrap();
    }
}
