//! A thread that fills memory when it is first used (userfaultfd(2)).

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr;
use std::thread::JoinHandle;

use crate::agent::cell::PAGE;
use crate::agent::frame_vector::Filled;
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::mm::{MapFlags, ProtFlags, UserfaultfdFlags, mmap_anonymous, munmap, userfaultfd};

use super::device::iowr;
use super::meanwhile::{Action, handled};
use crate::guest::failure::Failure;

/// The byte that fills a page; its lower bits are the page's number.
const PATTERN: u8 = 0xa0;

const UFFD_API: u64 = 0xaa;
const REGISTER_MODE_MISSING: u64 = 1;
const EVENT_PAGEFAULT: u8 = 0x12;

/// `struct uffd_msg`, with the fields of a page fault.
#[repr(C)]
#[derive(Debug, Default)]
struct Message {
    event: u8,
    reserved: [u8; 7],
    flags: u64,
    address: u64,
    feature: u64,
}

/// The thread that fills one area.
pub struct Filler {
    thread: JoinHandle<io::Result<Filled>>,
    stop: OwnedFd,
    start: u64,
    pages: u32,
}

impl Filler {
    /// Starts a thread that fills the `pages` pages at `start`, private memory
    /// of this process that was never used. When the first page is used, the
    /// thread executes `action` before it fills the page.
    pub fn start(start: u64, pages: u32, action: Option<Action>) -> Result<Self, Failure> {
        let failed = |error: io::Error| Failure::io("start to fill memory by userfaultfd", error);
        // SAFETY: the filled memory is used only by the tests.
        let fd = unsafe { userfaultfd(UserfaultfdFlags::CLOEXEC | UserfaultfdFlags::NONBLOCK) }
            .map_err(|error| failed(error.into()))?;
        control(&fd, iowr::<[u64; 3]>(0xaa, 0x3f), &mut [UFFD_API, 0, 0]).map_err(failed)?;
        let length = u64::from(pages) * PAGE as u64;
        let mut register = [start, length, REGISTER_MODE_MISSING, 0];
        control(&fd, iowr::<[u64; 4]>(0xaa, 0x00), &mut register).map_err(failed)?;
        let stop = eventfd(0, EventfdFlags::CLOEXEC).map_err(|error| failed(error.into()))?;
        let stopped = stop.try_clone().map_err(failed)?;
        let thread = std::thread::Builder::new()
            .spawn(move || fill(&fd, &stopped, start, action))
            .map_err(failed)?;
        Ok(Self {
            thread,
            stop,
            start,
            pages,
        })
    }

    /// Ends the thread after its area was used; returns what it did. The area
    /// must still be mapped.
    pub fn finish(self) -> Result<Filled, Failure> {
        rustix::io::write(&self.stop, &1u64.to_ne_bytes())
            .map_err(|error| Failure::io("stop to fill memory", error))?;
        let mut filled = self
            .thread
            .join()
            .map_err(|_| Failure::new("the thread that fills memory panicked"))?
            .map_err(|error| Failure::io("fill memory by userfaultfd", error))?;
        let intact = |page: &u32| {
            let at = self.start + u64::from(*page) * PAGE as u64;
            // SAFETY: the area is mapped and readable; without the thread, a
            // page that was not filled reads as zeroes.
            let byte = unsafe { ptr::with_exposed_provenance::<u8>(at as usize).read_volatile() };
            byte == PATTERN | *page as u8
        };
        filled.signals = handled();
        filled.intact = (0..self.pages.min(16)).filter(intact).count() as u32;
        Ok(filled)
    }
}

/// Fills the pages as they are used, until it is told to stop. The result of
/// `action` lives as long.
fn fill(
    fd: &OwnedFd,
    stop: &OwnedFd,
    start: u64,
    mut action: Option<Action>,
) -> io::Result<Filled> {
    let mut filled = Filled::default();
    let mut _left = None;
    loop {
        let mut fds = [
            PollFd::new(stop, PollFlags::IN),
            PollFd::new(fd, PollFlags::IN),
        ];
        poll(&mut fds, None)?;
        if !fds[0].revents().is_empty() {
            return Ok(filled);
        }
        let mut message = Message::default();
        // SAFETY: a message is read as a whole; any bits are valid in it.
        let length = unsafe {
            libc::read(
                fd.as_raw_fd(),
                (&raw mut message).cast(),
                size_of::<Message>(),
            )
        };
        if length != size_of::<Message>() as isize || message.event != EVENT_PAGEFAULT {
            continue;
        }
        // A thread that waits for this page must not hold the lock that this
        // takes.
        map_and_unmap()?;
        filled.mapped += 1;
        if let Some(action) = action.take() {
            _left = action()?;
        }
        let at = message.address & !(PAGE as u64 - 1);
        let page = [PATTERN | ((at - start) / PAGE as u64) as u8; PAGE];
        let mut copy = [at, page.as_ptr() as u64, PAGE as u64, 0, 0];
        match control(fd, iowr::<[u64; 5]>(0xaa, 0x03), &mut copy) {
            // Two threads waited for the page, and it is already filled.
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {}
            other => {
                other?;
                filled.pages += 1;
            }
        }
    }
}

fn map_and_unmap() -> io::Result<()> {
    let flags = MapFlags::PRIVATE;
    // SAFETY: the kernel chooses an unused address.
    let page = unsafe { mmap_anonymous(ptr::null_mut(), PAGE, ProtFlags::READ, flags) }?;
    // SAFETY: this memory was just mapped, and nothing refers to it.
    unsafe { munmap(page, PAGE) }?;
    Ok(())
}

/// Makes an ioctl(2) of userfaultfd whose argument consists of 64-bit numbers.
fn control<const N: usize>(
    fd: &OwnedFd,
    number: libc::c_ulong,
    argument: &mut [u64; N],
) -> io::Result<()> {
    // SAFETY: the kernel reads and writes at most the size in the number, which
    // is the argument's. The addresses in it are of memory that is being
    // filled, or of a page that lives until the call returns.
    match unsafe { libc::ioctl(fd.as_raw_fd(), number, argument.as_mut_ptr()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
