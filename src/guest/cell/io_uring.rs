//! io_uring(7), as far as cells need it: a ring's memory, and buffers that are
//! registered with it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::span::{Span, check};

/// An io_uring.
pub struct IoUring(OwnedFd);

impl IoUring {
    /// Size in bytes of an entry of the submission queue (struct io_uring_sqe).
    pub const ENTRY: usize = 64;
    /// Offset at which those entries are mapped (IORING_OFF_SQES).
    pub const ENTRIES: usize = 0x1000_0000;

    /// Creates one with so many entries, or some more.
    pub fn new(entries: u32) -> io::Result<Self> {
        // struct io_uring_params: zeros ask for nothing special.
        let mut params = [0u64; 15];
        // SAFETY: the structure is that long, and lives as long as the call.
        let fd = unsafe { libc::syscall(libc::SYS_io_uring_setup, entries, params.as_mut_ptr()) };
        check(fd as i32)?;
        // SAFETY: the system call returned a new descriptor, which has no other
        // owner.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd as i32) }))
    }

    /// Registers a range as its only fixed buffer: the kernel pins it for long.
    pub fn register(&self, span: Span) -> io::Result<()> {
        const BUFFERS: u32 = 0;
        // struct iovec.
        let range = [span.start, span.len];
        self.call(BUFFERS, range.as_ptr().cast(), 1)
    }

    /// Takes the buffer back.
    pub fn unregister(&self) -> io::Result<()> {
        const NO_BUFFERS: u32 = 1;
        self.call(NO_BUFFERS, std::ptr::null(), 0)
    }

    fn call(&self, operation: u32, argument: *const libc::c_void, count: u32) -> io::Result<()> {
        // SAFETY: the argument is what the operation takes, and lives as long as the
        // call; what it names is the cell's memory, into which Rust holds no
        // reference.
        let result = unsafe {
            libc::syscall(
                libc::SYS_io_uring_register,
                self.0.as_raw_fd(),
                operation,
                argument,
                count,
            )
        };
        check(result as i32)
    }
}

impl AsFd for IoUring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
