//! Dma-bufs, and who exports them: udmabuf and the DMA heaps.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use crate::agent::cell::PAGE;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};

use crate::guest::cell::device::Device;
use crate::guest::cell::span::check;
use crate::guest::cell::{Stop, setup};

/// A dma-buf by which a buffer is given to a driver, or what stands in its place.
pub struct Dmabuf {
    /// The number that the driver is given, of a file that may be closed.
    number: RawFd,
    /// The process's descriptor, until it is closed.
    pub file: Option<OwnedFd>,
    /// What it is of, until that is closed.
    pub exporter: Option<Exporter>,
}

/// What a dma-buf is of.
pub enum Exporter {
    /// A memfd, in which the buffer begins at byte `at`.
    Memfd {
        /// The memfd.
        file: File,
        /// First byte of the buffer.
        at: usize,
    },
    /// A device of V4L2, whose only buffer it is.
    Device(Device),
}

impl Dmabuf {
    /// Returns a dma-buf of which nothing else is known.
    pub fn new(file: OwnedFd) -> Self {
        Self {
            number: file.as_raw_fd(),
            file: Some(file),
            exporter: None,
        }
    }

    /// Returns what is given if a driver gets the number of a file that is another's, or
    /// closed.
    pub fn numbered(number: RawFd) -> Self {
        Self {
            number,
            file: None,
            exporter: None,
        }
    }

    /// Returns it with what it is of.
    pub fn of(self, exporter: Exporter) -> Self {
        Self {
            exporter: Some(exporter),
            ..self
        }
    }

    /// Returns the number that the driver is given.
    pub fn number(&self) -> RawFd {
        self.number
    }
}

/// Creates a memfd of `len` bytes that cannot shrink, as udmabuf wants it.
pub fn memfd(len: usize, flags: MemfdFlags) -> io::Result<File> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING | flags;
    let file = memfd_create("cell", flags)?;
    ftruncate(&file, len as u64)?;
    fcntl_add_seals(&file, SealFlags::SHRINK)?;
    Ok(file.into())
}

/// Has udmabuf make a dma-buf of `len` bytes of a memfd from `at` on; both are whole
/// pages.
pub fn udmabuf(memfd: &File, at: usize, len: usize) -> Result<OwnedFd, Stop> {
    /// UDMABUF_CREATE of linux/udmabuf.h.
    const CREATE: u64 = 0x4018_7542;
    // struct udmabuf_create: descriptor and flags, offset, size.
    let head = memfd.as_raw_fd() as u64 | CLOEXEC << 32;
    made(CREATE, &mut [head, at as u64, len as u64])
}

/// Has udmabuf make a dma-buf of single pages of a memfd, in the order of `places`, the
/// byte at which each begins.
pub fn udmabuf_of_pages(memfd: &File, places: &[usize]) -> Result<OwnedFd, Stop> {
    /// UDMABUF_CREATE_LIST of linux/udmabuf.h.
    const CREATE_LIST: u64 = 0x4008_7543;
    // struct udmabuf_create_list: flags and count; then struct udmabuf_create_item for
    // each: descriptor, offset, size.
    let mut list = vec![CLOEXEC | (places.len() as u64) << 32];
    for at in places {
        list.extend([memfd.as_raw_fd() as u64, *at as u64, PAGE as u64]);
    }
    made(CREATE_LIST, &mut list)
}

/// UDMABUF_FLAGS_CLOEXEC.
const CLOEXEC: u64 = 1;

/// Makes an ioctl on udmabuf, which reads all of `request`.
fn made(ioctl: u64, request: &mut [u64]) -> Result<OwnedFd, Stop> {
    let device = setup::open("/dev/udmabuf")?;
    // SAFETY: the kernel only reads the structure, which says how long it is.
    let fd = unsafe { libc::ioctl(device.as_raw_fd(), ioctl, request.as_mut_ptr()) };
    check(fd)?;
    // SAFETY: the ioctl returned a new descriptor, which has no other owner.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The DMA heap of the system's memory, which lies in pieces.
pub const SYSTEM_HEAP: &str = "/dev/dma_heap/system";

/// Returns the path of a DMA heap whose memory is in one piece. It has been called by
/// several names (Documentation/userspace-api/dma-buf-heaps.rst).
pub fn heap_in_one_piece() -> Result<String, Stop> {
    const HEAPS: &str = "/dev/dma_heap";
    let is_one = |name: &str| !name.starts_with("system");
    let entries = fs::read_dir(HEAPS).into_iter().flatten().flatten();
    let mut names = entries.map(|entry| entry.file_name().display().to_string());
    names
        .find(|name| is_one(name))
        .map(|name| format!("{HEAPS}/{name}"))
        .ok_or_else(|| {
            Stop::Impossible(
                "there is no DMA heap of memory in one piece, the kernel has no \
                 CONFIG_DMABUF_HEAPS_CMA"
                    .into(),
            )
        })
}

/// Has a DMA heap make a dma-buf of `len` bytes, which are whole pages.
pub fn allocated(heap: &str, len: usize) -> Result<OwnedFd, Stop> {
    /// DMA_HEAP_IOCTL_ALLOC of linux/dma-heap.h.
    const ALLOC: u64 = 0xc018_4800;
    let heap = setup::open(heap)?;
    // struct dma_heap_allocation_data: length, descriptor and its flags, flags.
    let flags = (libc::O_RDWR | libc::O_CLOEXEC) as u64;
    let mut wanted = [len as u64, flags << 32, 0];
    // SAFETY: the structure is three words long, and lives as long as the call.
    check(unsafe { libc::ioctl(heap.as_raw_fd(), ALLOC, wanted.as_mut_ptr()) })
        .map_err(|error| Stop::Impossible(format!("the DMA heap has no such buffer: {error}")))?;
    // SAFETY: the low half of the second word is a new descriptor, which has no other
    // owner.
    Ok(unsafe { OwnedFd::from_raw_fd(wanted[1] as u32 as i32) })
}
