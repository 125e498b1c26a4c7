//! The device /dev/frame_vector_probe, as declared in
//! guest-driver/probe/frame_vector_probe.h.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use crate::agent::frame_vector::{Page, SHOWN, Vector};

use crate::guest::failure::Failure;

/// File with the last return value of `get_vaddr_frames()`.
const LAST_RETURNED: &str = "/sys/module/frame_vector_probe/parameters/last_returned";

const PATH: &str = "/dev/frame_vector_probe";

/// Offset at which to map the device for pages in a `VM_PFNMAP` mapping.
pub const MAP_PFNMAP: u64 = 0;

/// Offset at which to map the device for pages in a mapping that is only
/// `VM_IO`.
pub const MAP_IO: u64 = 1 << 24;

/// The calls, with their numbers.
#[derive(Debug, Clone, Copy)]
pub enum Request {
    Create = 0,
    Get,
    Pages,
    Pfns,
    ToPages,
    ToPfns,
    Put,
    Destroy,
    Fill,
    Abandon,
    Release,
    Hoard,
    GetAgain,
    Poison,
}

/// `struct frame_vector_probe_call`.
#[repr(C)]
#[derive(Debug, Default)]
struct Call {
    start: u64,
    nr: u32,
    flags: u32,
    ret: i32,
    exists: u8,
    got_ref: u8,
    is_pfns: u8,
    is_vmalloc: u8,
    nr_allocated: u32,
    nr_frames: u32,
}

/// `struct frame_vector_probe_frames`.
#[repr(C)]
#[derive(Debug)]
struct Frames {
    pfns: u64,
    nr: u32,
    reserved: u32,
}

/// `struct frame_vector_probe_page`.
#[repr(C)]
#[derive(Debug, Default)]
struct PageCall {
    pfn: u64,
    exists: u32,
    references: i32,
    pinned: u32,
    movable: u32,
}

/// Returns the number of a request that passes a `T` in both directions
/// (`_IOWR`).
pub const fn iowr<T>(kind: u8, nr: u8) -> libc::c_ulong {
    (3 << 30)
        | ((size_of::<T>() as libc::c_ulong) << 16)
        | ((kind as libc::c_ulong) << 8)
        | nr as libc::c_ulong
}

/// An open device, which holds one frame vector.
pub struct Device(File);

impl Device {
    /// Opens the device.
    pub fn open() -> Result<Self, Failure> {
        File::options()
            .read(true)
            .write(true)
            .open(PATH)
            .map(Self)
            .map_err(|error| Failure::io(format_args!("open {PATH}"), error))
    }

    /// Makes a call; returns its return value, and the vector afterwards.
    ///
    /// # Errors
    ///
    /// The error number with which the probe refused to make the call.
    pub fn call(
        &self,
        request: Request,
        start: u64,
        nr: u32,
        flags: u32,
    ) -> Result<(i32, Option<Vector>), i32> {
        let mut call = Call {
            start,
            nr,
            flags,
            ..Call::default()
        };
        let number = iowr::<Call>(b'V', 0xd0 + request as u8);
        // SAFETY: the probe reads and writes a `Call`, whose size is in the
        // number; for `Fill` the caller provides the memory at `start`.
        if unsafe { libc::ioctl(self.0.as_raw_fd(), number, &raw mut call) } != 0 {
            let error = io::Error::last_os_error();
            return Err(error.raw_os_error().unwrap_or(libc::EIO));
        }
        let vector = (call.exists != 0).then_some(Vector {
            allocated: call.nr_allocated,
            frames: call.nr_frames,
            got_ref: call.got_ref != 0,
            is_pfns: call.is_pfns != 0,
            is_vmalloc: call.is_vmalloc != 0,
        });
        Ok((call.ret, vector))
    }

    /// Fills the vector with PFNs.
    pub fn fill(&self, pfns: &[u64]) -> Result<(i32, Option<Vector>), i32> {
        self.call(Request::Fill, pfns.as_ptr() as u64, pfns.len() as u32, 0)
    }

    /// Returns the first PFNs in the vector.
    pub fn frames(&self) -> Result<Vec<u64>, Failure> {
        let mut pfns = vec![0; SHOWN];
        let mut frames = Frames {
            pfns: pfns.as_mut_ptr() as u64,
            nr: SHOWN as u32,
            reserved: 0,
        };
        let number = iowr::<Frames>(b'V', 0xde);
        // SAFETY: the probe writes at most `nr` PFNs to `pfns`, and a `Frames`
        // back.
        if unsafe { libc::ioctl(self.0.as_raw_fd(), number, &raw mut frames) } != 0 {
            return Err(Failure::io("read the frames", io::Error::last_os_error()));
        }
        pfns.truncate(frames.nr as usize);
        Ok(pfns)
    }

    /// Returns the counters and flags of a page.
    pub fn page(&self, pfn: u64) -> Result<Page, Failure> {
        let mut page = PageCall {
            pfn,
            ..PageCall::default()
        };
        let number = iowr::<PageCall>(b'V', 0xdf);
        // SAFETY: the probe reads and writes a `PageCall`, whose size is in the
        // number.
        if unsafe { libc::ioctl(self.0.as_raw_fd(), number, &raw mut page) } != 0 {
            return Err(Failure::io("look at a page", io::Error::last_os_error()));
        }
        Ok(Page {
            pfn,
            exists: page.exists != 0,
            references: page.references,
            pinned: page.pinned != 0,
            movable: page.movable != 0,
        })
    }
}

/// Returns the last return value of `get_vaddr_frames()`, whoever called it.
pub fn last_returned() -> Result<i32, Failure> {
    let failed = |error| Failure::io(format_args!("read {LAST_RETURNED}"), error);
    let text = std::fs::read_to_string(LAST_RETURNED).map_err(failed)?;
    let number = text.trim().parse();
    number.map_err(|_| failed(io::ErrorKind::InvalidData.into()))
}

impl AsFd for Device {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_are_as_large_as_the_modules() {
        assert_eq!(size_of::<Call>(), 32);
        assert_eq!(size_of::<Frames>(), 16);
        assert_eq!(size_of::<PageCall>(), 24);
        // This is UFFDIO_API, a well-known number.
        assert_eq!(iowr::<[u64; 3]>(0xaa, 0x3f), 0xc018_aa3f);
    }
}
