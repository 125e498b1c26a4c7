//! A device that sees a process's memory as the process does, and can take it to
//! itself, as accelerators do: the kernel's test of heterogeneous memory management
//! (test_hmm, Documentation/mm/hmm.rst).

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use super::span::{Span, check};
use super::{Stop, setup};
use crate::agent::cell::PAGE;

/// The device, which has this process's address space as long as it is open.
pub struct DeviceMirror(File);

/// How the device has the pages that it takes, until somebody else wants them.
#[derive(Debug, Clone, Copy)]
pub enum Taking {
    /// Their content is in memory of its own, which no processor reaches
    /// (MEMORY_DEVICE_PRIVATE).
    Private,
    /// They stay where they are, and the device alone may access them
    /// (`make_device_exclusive()` of mm/rmap.c).
    Exclusive,
}

impl Taking {
    /// Returns the number of the ioctl: HMM_DMIRROR_MIGRATE_TO_DEV and
    /// HMM_DMIRROR_EXCLUSIVE of lib/test_hmm_uapi.h.
    const fn ioctl(self) -> u64 {
        match self {
            Self::Private => 0xc028_4802,
            Self::Exclusive => 0xc028_4805,
        }
    }
}

impl DeviceMirror {
    /// The first of the devices of test_hmm: its memory is private.
    const NODE: &str = "/dev/hmm_dmirror0";

    /// Opens it.
    pub fn open() -> Result<Self, Stop> {
        setup::module("test_hmm", "")?;
        setup::open(Self::NODE).map(Self)
    }

    /// Has the device take whole pages. Those that it cannot have stay as they are,
    /// which is no error.
    pub fn take(&self, pages: Span, taking: Taking) -> io::Result<()> {
        let mut copy = vec![0u8; pages.len];
        // struct hmm_dmirror_cmd: the address, where a copy of the device's content
        // goes, the number of pages; how many were copied, and faults.
        let mut command = [
            pages.start as u64,
            copy.as_mut_ptr() as u64,
            (pages.len / PAGE) as u64,
            0,
            0,
        ];
        // SAFETY: the structure and the copy, which has room for all pages, live as
        // long as the call.
        let taken = unsafe { libc::ioctl(self.0.as_raw_fd(), taking.ioctl(), &raw mut command) };
        match check(taken) {
            // There is no copy, since the device has not got all of them.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EBUSY | libc::ENOENT)) => {
                Ok(())
            }
            taken => taken,
        }
    }
}
