//! Rings that the kernel shares with a process: its own memory, in a mapping of the
//! process.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use crate::agent::cell::PAGE;
use libc::{MAP_POPULATE, MAP_SHARED, PROT_READ, PROT_WRITE};

use super::layout::{Layout, Want, fill};
use crate::guest::cell::Stop;
use crate::guest::cell::io_uring::IoUring;
use crate::guest::cell::span::{self, MemoryAccess, check};

/// Access rights of all mappings here.
const ACCESS: i32 = PROT_READ | PROT_WRITE;

/// Lays out the submission queue's entries of an io_uring; the kernel reads them
/// only when they are submitted.
pub fn io_uring(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    // The kernel has a power of two of entries, and maps all or none.
    let len = want.with_canaries().next_power_of_two();
    let ring = IoUring::new((len / IoUring::ENTRY) as u32)
        .map_err(|error| Stop::Impossible(format!("there is no io_uring: {error}")))?;
    let flags = MAP_SHARED | MAP_POPULATE;
    let entries = span::map_file(len, ACCESS, flags, ring.as_fd(), IoUring::ENTRIES)?;
    let mapping = entries.part(0, want.with_canaries());
    fill(access, mapping)?;
    Ok(Layout::amid(mapping, want).keeping(ring))
}

/// Lays out the ring of a perf event that never happens (perf_event_open(2)). It holds
/// zeros, which the process may read.
pub fn perf(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    /// PERF_TYPE_SOFTWARE and PERF_COUNT_SW_DUMMY of linux/perf_event.h.
    const SOFTWARE: u64 = 1;
    const DUMMY: u64 = 9;
    // struct perf_event_attr of the first version: type and size, the event, and
    // nothing else.
    let attributes = [SOFTWARE | 64 << 32, DUMMY, 0, 0, 0, 0, 0, 0u64];
    let flags = 1 << 3; // PERF_FLAG_FD_CLOEXEC
    let (this_process, any_processor, no_group) = (0, -1, -1);
    // SAFETY: the structure has the length that it says.
    let event = unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            attributes.as_ptr(),
            this_process,
            any_processor,
            no_group,
            flags,
        )
    };
    check(event as i32)
        .map_err(|error| Stop::Impossible(format!("there are no perf events: {error}")))?;
    // SAFETY: the system call returned a new descriptor, which has no other
    // owner.
    let event = unsafe { OwnedFd::from_raw_fd(event as i32) };
    // A page of control data, and a power of two of pages of the ring.
    let len = PAGE + want.with_canaries().next_power_of_two();
    let whole = span::map_file(len, ACCESS, MAP_SHARED, event.as_fd(), 0)
        .map_err(|error| Stop::Impossible(format!("the perf event has no such ring: {error}")))?;
    let mapping = whole.part(PAGE, want.with_canaries());
    access.read(mapping)?;
    Ok(Layout::amid(mapping, want).keeping(event))
}

/// Lays out the receive ring of a packet socket (Documentation/networking/
/// packet_mmap.rst) that is bound to no protocol, so that no packet comes.
pub fn packet(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    /// Bytes that a packet may have.
    const FRAME: usize = PAGE / 2;
    let impossible = |error| Stop::Impossible(format!("there is no packet ring: {error}"));
    let flags = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
    // SAFETY: the call takes no pointers.
    let socket = unsafe { libc::socket(libc::AF_PACKET, flags, 0) };
    check(socket).map_err(impossible)?;
    // SAFETY: the system call returned a new descriptor, which has no other
    // owner.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    let len = want.with_canaries();
    // struct tpacket_req: size and number of blocks, of frames.
    let ring = [PAGE, len / PAGE, FRAME, len / FRAME].map(|number| number as u32);
    ask_for_ring(&socket, ring).map_err(impossible)?;
    let mapping = span::map_file(len, ACCESS, MAP_SHARED, socket.as_fd(), 0)?;
    fill(access, mapping)?;
    Ok(Layout::amid(mapping, want).keeping(socket))
}

fn ask_for_ring(socket: &OwnedFd, ring: [u32; 4]) -> io::Result<()> {
    // SAFETY: the structure is four words long, and the kernel only reads it.
    check(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_RX_RING,
            ring.as_ptr().cast(),
            size_of_val(&ring) as u32,
        )
    })
}
