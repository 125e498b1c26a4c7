//! Shared memory region 0 of a front end that maps what the card asks for, as
//! QEMU does into a BAR.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::ptr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use rustix::fs::{SealFlags, fcntl_get_seals, fstat};
use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};
use vhost::vhost_user::message::{VhostUserMMap, VhostUserMMapFlags};
use vhost::vhost_user::{
    Frontend, FrontendReqHandler, HandlerResult, VhostUserFrontend, VhostUserFrontendReqHandler,
};

use super::card::LIMIT;

/// What the front end does with the card's requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Manner {
    /// What it is asked for.
    #[default]
    Willing,
    /// It answers each with an error.
    Refusing,
    /// It answers none, until the test ends.
    Silent,
}

/// A mapping in the region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mapping {
    pub len: u64,
    pub writable: bool,
}

#[derive(Default)]
struct State {
    manner: Manner,
    mappings: BTreeMap<u64, Mapping>,
    requests: u32,
    ends: bool,
}

/// The address space of the region, reserved in this process.
struct Space {
    base: usize,
    size: u64,
    state: Mutex<State>,
    changed: Condvar,
}

impl Space {
    /// The state, also when the thread has panicked: the region has to end.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request, and waits while the front end is silent.
    fn begin(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.lock();
        state.requests += 1;
        self.changed.notify_all();
        let silent = |state: &mut State| state.manner == Manner::Silent && !state.ends;
        let state = self.changed.wait_while(state, silent).expect("the region");
        match state.manner {
            Manner::Willing => Ok(state),
            Manner::Refusing | Manner::Silent => Err(io::Error::from_raw_os_error(libc::ENOMEM)),
        }
    }

    fn place(&self, offset: u64) -> *mut libc::c_void {
        (self.base + offset as usize) as *mut _
    }

    fn check(&self, request: &VhostUserMMap) {
        let VhostUserMMap {
            shmid,
            fd_offset,
            shm_offset,
            len,
            ..
        } = *request;
        assert_eq!((shmid, fd_offset), (0, 0));
        assert_eq!((shm_offset % 4096, len % 4096), (0, 0), "whole pages");
        assert!(len > 0 && shm_offset + len <= self.size, "in the region");
    }
}

impl VhostUserFrontendReqHandler for Space {
    fn shmem_map(&self, request: &VhostUserMMap, fd: &dyn AsRawFd) -> HandlerResult<u64> {
        self.check(request);
        let (at, len, flags) = (request.shm_offset, request.len, request.flags);
        let mut state = self.begin()?;
        let overlaps =
            |(start, other): (&u64, &Mapping)| *start < at + len && at < start + other.len;
        assert!(!state.mappings.iter().any(overlaps), "{at:#x} is taken");
        // SAFETY: the descriptor is open while the request is handled.
        let fd = unsafe { BorrowedFd::borrow_raw(fd.as_raw_fd()) };
        let sealed = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
        assert!(fcntl_get_seals(fd).expect("seals").contains(sealed));
        assert_eq!(fstat(fd).expect("fstat").st_size as u64, len);
        let writable = flags & VhostUserMMapFlags::WRITABLE.bits() != 0;
        let protection = match writable {
            true => ProtFlags::READ | ProtFlags::WRITE,
            false => ProtFlags::READ,
        };
        let (place, map) = (self.place(at), MapFlags::SHARED | MapFlags::FIXED);
        // SAFETY: the place lies in the reserved space, where nothing is.
        unsafe { mmap(place, len as usize, protection, map, fd, 0) }?;
        state.mappings.insert(at, Mapping { len, writable });
        Ok(0)
    }

    fn shmem_unmap(&self, request: &VhostUserMMap) -> HandlerResult<u64> {
        self.check(request);
        let (at, len) = (request.shm_offset, request.len);
        let mut state = self.begin()?;
        let found = state.mappings.remove(&at);
        assert_eq!(found.map(|mapping| mapping.len), Some(len), "at {at:#x}");
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::FIXED;
        // SAFETY: the place lies in the reserved space.
        unsafe { mmap_anonymous(self.place(at), len as usize, ProtFlags::empty(), flags) }?;
        self.changed.notify_all();
        Ok(0)
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        // SAFETY: nobody reads the region any more.
        let _ = unsafe { munmap(self.place(0), self.size as usize) };
    }
}

/// The region of a front end, whose thread answers the card.
pub struct Region {
    space: Arc<Space>,
    /// The card's end of the channel, of which the handler keeps a copy.
    channel: RawFd,
    thread: Option<JoinHandle<()>>,
}

impl Region {
    /// Gives the card a channel, and asks for its regions.
    pub fn open(front: &mut Frontend) -> Self {
        // The channel comes first, as with QEMU; the size is not known yet.
        let size = 512 << 20;
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: the kernel chooses the place.
        let base = unsafe { mmap_anonymous(ptr::null_mut(), size, ProtFlags::empty(), flags) };
        let space = Arc::new(Space {
            base: base.expect("address space") as usize,
            size: size as u64,
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let mut handler = FrontendReqHandler::new(Arc::clone(&space)).expect("a channel");
        handler.set_reply_ack_flag(true);
        let channel = handler.get_tx_raw_fd();
        front
            .set_backend_request_fd(&channel)
            .expect("SET_BACKEND_REQ_FD");
        let config = front.get_shmem_config().expect("GET_SHMEM_CONFIG");
        assert_eq!((config.nregions, config.memory_sizes[0]), (1, size as u64));
        assert!(config.memory_sizes[1..].iter().all(|size| *size == 0));
        let thread = thread::spawn(move || {
            // Errors of a request go to the card; any other is the end.
            while matches!(
                handler.handle_request(),
                Ok(_) | Err(vhost::vhost_user::Error::ReqHandlerError(_))
            ) {}
        });
        Self {
            space,
            channel,
            thread: Some(thread),
        }
    }

    /// Has the front end treat requests like that from now on.
    pub fn set_manner(&self, manner: Manner) {
        self.space.lock().manner = manner;
    }

    /// What is mapped, by its offset.
    pub fn mappings(&self) -> BTreeMap<u64, Mapping> {
        self.space.lock().mappings.clone()
    }

    /// Requests that the card has made.
    pub fn requests(&self) -> u32 {
        self.space.lock().requests
    }

    /// Waits until the card has made that many requests.
    pub fn wait_requests(&self, count: u32) {
        self.wait(|state| state.requests >= count, "requests");
    }

    /// Waits until nothing is mapped.
    pub fn wait_empty(&self) {
        self.wait(|state| state.mappings.is_empty(), "no mapping");
    }

    fn wait(&self, ready: impl Fn(&State) -> bool, what: &str) {
        let deadline = Instant::now() + LIMIT;
        let mut state = self.space.lock();
        while !ready(&state) {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no {what} within {LIMIT:?}");
            state = self
                .space
                .changed
                .wait_timeout(state, left)
                .expect("the region")
                .0;
        }
    }

    /// What the guest reads there; it must be mapped.
    pub fn read(&self, offset: u64, len: usize) -> Vec<u8> {
        let state = self.space.lock();
        let (start, mapping) = state
            .mappings
            .range(..=offset)
            .next_back()
            .expect("a mapping");
        assert!(
            offset + len as u64 <= start + mapping.len,
            "within a mapping"
        );
        let mut bytes = vec![0; len];
        // SAFETY: the lock keeps the mapping in place, and the file cannot
        // shrink. The card may write meanwhile; the bytes are then any.
        unsafe {
            ptr::copy_nonoverlapping(self.space.place(offset).cast(), bytes.as_mut_ptr(), len)
        };
        bytes
    }

    /// Writes as the guest does; it must be mapped to be written.
    pub fn fill(&self, offset: u64, len: usize, byte: u8) {
        let state = self.space.lock();
        let mapping = state.mappings.get(&offset).expect("a mapping");
        assert!(mapping.writable && len as u64 <= mapping.len);
        // SAFETY: as above.
        unsafe { ptr::write_bytes(self.space.place(offset).cast::<u8>(), byte, len) };
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        self.space.lock().ends = true;
        self.space.changed.notify_all();
        // SAFETY: the thread's handler keeps the descriptor open until it ends.
        let channel = unsafe { BorrowedFd::borrow_raw(self.channel) };
        let _ = rustix::net::shutdown(channel, rustix::net::Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            // It has panicked if the card asked for nonsense.
            let ended = thread.join();
            if !thread::panicking() {
                ended.expect("the card's requests");
            }
        }
    }
}
