//! A virtqueue's file descriptors, which the front end provides.
//!
//! Reading or writing one must not block the card: the worker does both while
//! it holds the card's lock. So only eventfds are accepted, they are made
//! non-blocking, and, since the front end can undo that, a descriptor is read
//! or written only if poll(2) says that it is ready.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, MutexGuard};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl, fstat};
use rustix::io::Errno;
use vhost_user_backend::{VringMutex, VringState, VringStateGuard, VringStateMutGuard, VringT};
use virtio_queue::Error as QueueError;
use vm_memory::{GuestMemoryAtomic, GuestMemoryMmap};

use super::fair::Turn;

/// The guest memory that holds the rings.
type Memory = GuestMemoryAtomic<GuestMemoryMmap>;

/// The file type in `st_mode` (`S_IFMT`).
const FILE_TYPE: u32 = 0o170000;

/// A virtqueue of vhost-user-backend whose file descriptors cannot block the
/// card.
#[derive(Clone)]
pub struct Vring {
    queue: VringMutex,
    /// The turn for the lock, which the worker takes again and again.
    turn: Arc<Turn>,
    /// Whether a descriptor was refused.
    refused: Arc<AtomicBool>,
}

impl Vring {
    /// Returns whether the front end has given a descriptor that is not an
    /// eventfd.
    pub fn is_refused(&self) -> bool {
        self.refused.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, VringState> {
        self.turn.take(|| self.queue.get_mut())
    }

    /// Returns the descriptor if the card can use it. Otherwise returns one
    /// that wakes the worker, which ends the connection.
    fn accept(&self, file: File) -> Option<File> {
        match prepare(&file) {
            Ok(()) => Some(file),
            Err(error) => {
                log::debug!("a queue's descriptor is refused: {error}");
                self.refused.store(true, Ordering::Relaxed);
                let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
                eventfd(1, flags).ok().map(File::from)
            }
        }
    }
}

/// Interrupts the guest. If nobody takes the interrupts, the eventfd is full,
/// and this does nothing: the eventfd is readable anyway.
///
/// # Errors
/// The descriptor cannot be written.
pub fn interrupt(vring: &VringState) -> io::Result<()> {
    let Some(call) = vring.get_call() else {
        return Ok(());
    };
    // SAFETY: the lock on the vring keeps the descriptor open meanwhile.
    let call = unsafe { BorrowedFd::borrow_raw(call.as_raw_fd()) };
    if is_ready(call, PollFlags::OUT)? {
        unless_busy(rustix::io::write(call, &1u64.to_ne_bytes()))?;
    }
    Ok(())
}

/// Reads a kick. There is none if another reader has taken it.
fn take_kick(kick: BorrowedFd<'_>) -> io::Result<()> {
    if is_ready(kick, PollFlags::IN)? {
        unless_busy(rustix::io::read(kick, &mut [0; 8]))?;
    }
    Ok(())
}

/// Checks a descriptor of the front end, and makes it non-blocking.
///
/// # Errors
/// The descriptor is not an eventfd.
fn prepare(fd: impl AsFd) -> rustix::io::Result<()> {
    let fd = fd.as_fd();
    // A descriptor without a file type is an anonymous file of the kernel; a
    // pipe, a socket or a file may belong to a process that does not answer.
    if fstat(fd)?.st_mode & FILE_TYPE != 0 {
        return Err(Errno::INVAL);
    }
    fcntl_setfl(fd, fcntl_getfl(fd)? | OFlags::NONBLOCK)?;
    // Of the anonymous files only an eventfd accepts this write, which changes
    // nothing.
    match rustix::io::write(fd, &0u64.to_ne_bytes()) {
        Ok(8) => Ok(()),
        Ok(_) => Err(Errno::INVAL),
        Err(error) => Err(error),
    }
}

/// Returns whether the descriptor can be read or written without waiting.
fn is_ready(fd: BorrowedFd<'_>, flags: PollFlags) -> rustix::io::Result<bool> {
    let mut fds = [PollFd::from_borrowed_fd(fd, flags)];
    poll(&mut fds, Some(&Timespec::default())).map(|ready| ready > 0)
}

/// Treats it as success if there was nothing to read, or no room to write.
fn unless_busy(result: rustix::io::Result<usize>) -> rustix::io::Result<()> {
    match result {
        Ok(_) | Err(Errno::AGAIN | Errno::INTR) => Ok(()),
        Err(error) => Err(error),
    }
}

impl<'a> VringStateGuard<'a, Memory> for Vring {
    type G = MutexGuard<'a, VringState>;
}

impl<'a> VringStateMutGuard<'a, Memory> for Vring {
    type G = MutexGuard<'a, VringState>;
}

impl VringT<Memory> for Vring {
    fn new(memory: Memory, max_queue_size: u16) -> Result<Self, QueueError> {
        Ok(Self {
            queue: VringMutex::new(memory, max_queue_size)?,
            turn: Arc::default(),
            refused: Arc::default(),
        })
    }

    fn get_ref(&self) -> MutexGuard<'_, VringState> {
        self.lock()
    }

    fn get_mut(&self) -> MutexGuard<'_, VringState> {
        self.lock()
    }

    fn add_used(&self, index: u16, len: u32) -> Result<(), QueueError> {
        self.lock().add_used(index, len)
    }

    fn signal_used_queue(&self) -> io::Result<()> {
        interrupt(&self.lock())
    }

    fn enable_notification(&self) -> Result<bool, QueueError> {
        self.lock().enable_notification()
    }

    fn disable_notification(&self) -> Result<(), QueueError> {
        self.lock().disable_notification()
    }

    fn needs_notification(&self) -> Result<bool, QueueError> {
        self.lock().needs_notification()
    }

    fn set_enabled(&self, enabled: bool) {
        self.turn.take(|| self.queue.set_enabled(enabled));
    }

    fn set_queue_info(&self, descriptors: u64, avail: u64, used: u64) -> Result<(), QueueError> {
        self.turn
            .take(|| self.queue.set_queue_info(descriptors, avail, used))
    }

    fn queue_next_avail(&self) -> u16 {
        self.turn.take(|| self.queue.queue_next_avail())
    }

    fn set_queue_next_avail(&self, base: u16) {
        self.turn.take(|| self.queue.set_queue_next_avail(base));
    }

    fn set_queue_next_used(&self, index: u16) {
        self.turn.take(|| self.queue.set_queue_next_used(index));
    }

    fn queue_used_idx(&self) -> Result<u16, QueueError> {
        self.turn.take(|| self.queue.queue_used_idx())
    }

    fn set_queue_size(&self, size: u16) {
        self.turn.take(|| self.queue.set_queue_size(size));
    }

    fn set_queue_event_idx(&self, enabled: bool) {
        self.turn.take(|| self.queue.set_queue_event_idx(enabled));
    }

    fn set_queue_ready(&self, ready: bool) {
        self.turn.take(|| self.queue.set_queue_ready(ready));
    }

    fn set_kick(&self, file: Option<File>) {
        let file = file.and_then(|file| self.accept(file));
        self.turn.take(|| self.queue.set_kick(file));
    }

    fn read_kick(&self) -> io::Result<bool> {
        let vring = self.lock();
        if let Some(kick) = vring.get_kick() {
            // SAFETY: the lock on the vring keeps the descriptor open
            // meanwhile.
            take_kick(unsafe { BorrowedFd::borrow_raw(kick.as_raw_fd()) })?;
        }
        Ok(vring.is_enabled())
    }

    fn set_call(&self, file: Option<File>) {
        let file = file.and_then(|file| self.accept(file));
        self.turn.take(|| self.queue.set_call(file));
    }

    fn set_err(&self, file: Option<File>) {
        // The card never writes to this descriptor.
        self.turn.take(|| self.queue.set_err(file));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocking(value: u32) -> File {
        File::from(eventfd(value, EventfdFlags::CLOEXEC).unwrap())
    }

    #[test]
    fn eventfds_are_taken_and_do_not_block_any_more() {
        for flags in [EventfdFlags::empty(), EventfdFlags::SEMAPHORE] {
            let fd = eventfd(3, flags).unwrap();
            prepare(&fd).unwrap();
            assert!(fcntl_getfl(&fd).unwrap().contains(OFlags::NONBLOCK));
            let mut count = [0; 8];
            rustix::io::read(&fd, &mut count).unwrap();
            assert!([1, 3].contains(&u64::from_ne_bytes(count)), "as it was");
        }
    }

    #[test]
    fn nothing_else_is_taken() {
        let (reader, writer) = io::pipe().unwrap();
        assert!(prepare(&reader).is_err() && prepare(&writer).is_err());
        let (socket, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        assert!(prepare(&socket).is_err());
        assert!(prepare(tempfile::tempfile().unwrap()).is_err());
        let epoll = rustix::event::epoll::create(rustix::event::epoll::CreateFlags::CLOEXEC);
        assert!(prepare(epoll.unwrap()).is_err());
        let timer = rustix::time::timerfd_create(
            rustix::time::TimerfdClockId::Monotonic,
            rustix::time::TimerfdFlags::CLOEXEC,
        );
        assert!(prepare(timer.unwrap()).is_err());
    }

    /// The front end has made the descriptors blocking again, and one that is
    /// not ready is not touched. If it were, the test would not end.
    #[test]
    fn neither_an_empty_kick_nor_a_full_call_is_waited_for() {
        let vring = Vring::new(Memory::new(GuestMemoryMmap::new()), 16).unwrap();
        let (kick, call) = (blocking(0), blocking(0));
        rustix::io::write(&call, &(u64::MAX - 1).to_ne_bytes()).unwrap();
        vring.set_kick(Some(kick.try_clone().unwrap()));
        vring.set_call(Some(call.try_clone().unwrap()));
        for fd in [&kick, &call] {
            fcntl_setfl(fd, OFlags::empty()).unwrap();
        }
        vring.read_kick().unwrap();
        vring.signal_used_queue().unwrap();
        assert!(!vring.is_refused());
        // While there is room, the guest is notified.
        rustix::io::read(&call, &mut [0; 8]).unwrap();
        vring.signal_used_queue().unwrap();
        let mut count = [0; 8];
        rustix::io::read(&call, &mut count).unwrap();
        assert_eq!(u64::from_ne_bytes(count), 1);
    }
}
