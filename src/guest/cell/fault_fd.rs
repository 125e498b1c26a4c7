//! userfaultfd(2): page faults that another thread handles.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, FromRawFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_setfl};

use super::Stop;
use super::span::{Span, check};
use crate::agent::cell::PAGE;

/// A userfaultfd (linux/userfaultfd.h).
pub struct FaultFd(File);

impl FaultFd {
    /// UFFDIO_REGISTER_MODE_MISSING.
    pub const MISSING: u64 = 1;
    /// UFFDIO_REGISTER_MODE_WP.
    pub const WRITE_PROTECTED: u64 = 2;
    /// UFFDIO_REGISTER_MODE_MINOR, of shared memory since Linux 5.14.
    pub const MINOR: u64 = 4;
    /// UFFDIO_REGISTER_MODE_RWP, since Linux 7.3.
    pub const INACCESSIBLE: u64 = 8;
    /// Bit of UFFDIO_MOVE in what can be done with memory that is registered, since
    /// Linux 6.8.
    pub const MOVES: u64 = 1 << 5;

    /// Opens one.
    pub fn open() -> Result<Self, Stop> {
        const NONE: u64 = 0;
        Self::open_for(NONE, "userfaultfd")
    }

    /// Opens one that can take away all access to pages.
    pub fn open_for_access() -> Result<Self, Stop> {
        /// UFFD_FEATURE_RWP.
        const RWP: u64 = 1 << 17;
        Self::open_for(
            RWP,
            "userfaultfd that takes away all access, before Linux 7.3",
        )
    }

    /// Opens one that has those features, which `what` names.
    fn open_for(features: u64, what: &str) -> Result<Self, Stop> {
        const API: u64 = 0xc018_aa3f;
        const VERSION: u64 = 0xaa;
        let impossible = |error: io::Error| {
            Stop::Impossible(match error.raw_os_error() {
                Some(libc::EPERM) => {
                    "a userfaultfd for the kernel's own faults is for root, or for \
                     all by vm.unprivileged_userfaultfd=1"
                        .into()
                }
                _ => format!("this kernel has no {what}: {error}"),
            })
        };
        // SAFETY: the call takes no pointers.
        let fd = unsafe { libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC) };
        check(fd as i32).map_err(impossible)?;
        // SAFETY: the system call returned a new descriptor, which has no other
        // owner.
        let fault_fd = Self(unsafe { File::from_raw_fd(fd as i32) });
        fault_fd
            .ioctl(API, &mut [VERSION, features, 0])
            .map_err(impossible)?;
        Ok(fault_fd)
    }

    /// Registers memory whose faults are to be handled. Returns what can be done with
    /// it: a bit for each ioctl.
    pub fn register(&self, span: Span, mode: u64) -> Result<u64, Stop> {
        const REGISTER: u64 = 0xc020_aa00;
        let mut words = [span.start as u64, span.len as u64, mode, 0];
        self.ioctl(REGISTER, &mut words).map_err(|error| {
            Stop::Impossible(format!("userfaultfd does not take the memory: {error}"))
        })?;
        Ok(words[3])
    }

    /// Protects pages against writing, or removes the protection and wakes
    /// waiting threads.
    pub fn protect(&self, span: Span, protect: bool) -> io::Result<()> {
        const WRITEPROTECT: u64 = 0xc018_aa06;
        let range = [span.start as u64, span.len as u64, u64::from(protect)];
        self.ioctl(WRITEPROTECT, &mut { range })
    }

    /// Waits until somebody misses a page, and goes on missing it; returns `false` if
    /// nobody does within `limit`.
    pub fn is_missed_within(&self, limit: Duration) -> io::Result<bool> {
        // One that blocks is polled with an error (userfaultfd_poll()).
        fcntl_setfl(&self.0, OFlags::NONBLOCK)?;
        let mut fds = [PollFd::new(&self.0, PollFlags::IN)];
        let limit = Timespec::try_from(limit).map_err(io::Error::other)?;
        match poll(&mut fds, Some(&limit))? {
            0 => Ok(false),
            _ if fds[0].revents().contains(PollFlags::IN) => Ok(true),
            _ => Err(io::Error::other("the userfaultfd cannot be waited for")),
        }
    }

    /// Takes away all access to pages, or gives it again and wakes waiting threads.
    pub fn take_access(&self, span: Span, take: bool) -> io::Result<()> {
        const RWPROTECT: u64 = 0xc018_aa09;
        let range = [span.start as u64, span.len as u64, u64::from(take)];
        self.ioctl(RWPROTECT, &mut { range })
    }

    /// Fills a missing page.
    pub fn copy(&self, page: usize, contents: &[u8]) -> io::Result<()> {
        const COPY: u64 = 0xc028_aa03;
        let source = contents.as_ptr() as u64;
        let copied = self.ioctl(
            COPY,
            &mut [page as u64, source, contents.len() as u64, 0, 0],
        );
        match copied {
            // Two threads missed the same page, and it is already filled.
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
            other => other,
        }
    }

    /// Maps pages that are there, and wakes waiting threads.
    pub fn go_on(&self, span: Span) -> io::Result<()> {
        const CONTINUE: u64 = 0xc020_aa07;
        let mapped = self.ioctl(CONTINUE, &mut [span.start as u64, span.len as u64, 0, 0]);
        match mapped {
            // Two threads missed the same page, and it is already mapped.
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
            other => other,
        }
    }

    /// Moves the pages of `from` to `to`, which is registered and has none.
    pub fn move_pages(&self, from: Span, to: Span) -> io::Result<()> {
        const MOVE: u64 = 0xc028_aa05;
        let (to, from, len) = (to.start as u64, from.start as u64, from.len as u64);
        self.ioctl(MOVE, &mut [to, from, len, 0, 0])
    }

    fn ioctl<const N: usize>(&self, request: u64, words: &mut [u64; N]) -> io::Result<()> {
        // SAFETY: the request's structure has as many words as `words`; the
        // addresses in it are the cell's memory, or a slice that is alive.
        check(unsafe { libc::ioctl(self.0.as_raw_fd(), request, words.as_mut_ptr()) })
    }

    /// Starts a thread that handles every fault, as long as the process lives.
    pub fn serve(
        self,
        handle: impl Fn(&Self, usize) -> io::Result<()> + Send + 'static,
    ) -> io::Result<()> {
        let fault_fd = Arc::new(self);
        std::thread::Builder::new().spawn(move || {
            // struct uffd_msg: the address is its third word.
            let mut message = [0; 32];
            while (&fault_fd.0).read_exact(&mut message).is_ok() {
                let address = message[16..24].try_into().unwrap_or_default();
                let page = u64::from_ne_bytes(address) as usize / PAGE * PAGE;
                if let Err(error) = handle(&fault_fd, page) {
                    eprintln!("a fault at {page:#x} could not be handled: {error}");
                }
            }
        })?;
        Ok(())
    }
}
