//! Shared memory region 0 of a front end that maps what the device asks for, as
//! QEMU does into a BAR.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::fs::FileExt as _;
use std::ptr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_get_seals, fstat, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};
use vhost::vhost_user::message::{VhostUserMMap, VhostUserMMapFlags};
use vhost::vhost_user::{
    Frontend, FrontendReqHandler, HandlerResult, VhostUserFrontend, VhostUserFrontendReqHandler,
};

use super::fault::{Anomaly, Fault};
use super::log::Log;
use super::memory::PAGE;

/// The largest region that is taken; the address space of a process has room
/// for many.
const MOST: u64 = 1 << 40;

/// What the front end does with the device's requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Manner {
    /// What it is asked for.
    #[default]
    Willing,
    /// It answers each with an error.
    Refusing,
    /// It answers none, until the region is dropped.
    Silent,
}

/// A mapping in the region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mapping {
    /// Its length in bytes.
    pub len: u64,
    /// Whether the guest may write to it.
    pub writable: bool,
    /// Whether its file is as long as the mapping, and stays so.
    pub sealed: bool,
}

#[derive(Default)]
struct State {
    manner: Manner,
    mappings: BTreeMap<u64, Mapping>,
    requests: u32,
    ends: bool,
    anomalies: Vec<Anomaly>,
}

/// Where the region lies in this process.
struct Window {
    base: usize,
    size: u64,
}

/// The address space of the region, reserved in this process.
struct Space {
    /// Set once the device has told of its size, before any request is handled.
    window: OnceLock<Window>,
    state: Mutex<State>,
    changed: Condvar,
    log: Log,
}

impl Space {
    /// The state, also when a thread has panicked: the region has to end.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request, and waits while the front end is silent.
    fn begin(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.lock();
        state.requests += 1;
        self.changed.notify_all();
        let silent = |state: &mut State| state.manner == Manner::Silent && !state.ends;
        let waited = self.changed.wait_while(state, silent);
        let state = waited.unwrap_or_else(PoisonError::into_inner);
        match state.manner {
            Manner::Willing => Ok(state),
            Manner::Refusing | Manner::Silent => Err(io::Error::from_raw_os_error(libc::ENOMEM)),
        }
    }

    fn size(&self) -> u64 {
        self.window.get().map_or(0, |window| window.size)
    }

    /// The address of an offset that is below [`size`](Self::size).
    fn place(&self, offset: u64) -> *mut libc::c_void {
        let base = self.window.get().map_or(0, |window| window.base);
        (base + offset as usize) as *mut _
    }

    /// Notes that a request makes no sense, and refuses it.
    fn refuse(&self, what: String) -> io::Error {
        self.lock().anomalies.push(Anomaly::Region(what));
        io::Error::from_raw_os_error(libc::EINVAL)
    }

    fn check(&self, name: &str, request: &VhostUserMMap) -> io::Result<()> {
        let VhostUserMMap {
            shmid,
            fd_offset,
            shm_offset,
            len,
            flags,
            ..
        } = *request;
        let text = format!(
            "{name} region {shmid} offset {shm_offset:#x} length {len:#x} of the file from \
             {fd_offset:#x}, flags {flags:#x}"
        );
        self.log.note(|| format!("<~ {text}"));
        let pages = [shm_offset, fd_offset, len].iter().all(|n| n % PAGE == 0);
        let ends = shm_offset.checked_add(len);
        let wrong = if shmid != 0 {
            "there is region 0 only"
        } else if !pages {
            "these are not whole pages"
        } else if len == 0 || ends.is_none_or(|end| end > self.size()) {
            "this is not in the region"
        } else {
            return Ok(());
        };
        Err(self.refuse(format!("{text}: {wrong}")))
    }
}

impl VhostUserFrontendReqHandler for Space {
    fn shmem_map(&self, request: &VhostUserMMap, fd: &dyn AsRawFd) -> HandlerResult<u64> {
        self.check("SHMEM_MAP", request)?;
        let (at, len, flags) = (request.shm_offset, request.len, request.flags);
        let mut state = self.begin()?;
        let overlaps =
            |(start, other): (&u64, &Mapping)| *start < at + len && at < start + other.len;
        if state.mappings.iter().any(overlaps) {
            drop(state);
            return Err(self.refuse(format!("SHMEM_MAP at {at:#x}: something is mapped there")));
        }
        // SAFETY: the descriptor is open while the request is handled.
        let fd = unsafe { BorrowedFd::borrow_raw(fd.as_raw_fd()) };
        let kept = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
        let sealed = fcntl_get_seals(fd).is_ok_and(|seals| seals.contains(kept))
            && fstat(fd).is_ok_and(|stat| stat.st_size as u64 == len);
        let writable = flags & VhostUserMMapFlags::WRITABLE.bits() != 0;
        let protection = match writable {
            true => ProtFlags::READ | ProtFlags::WRITE,
            false => ProtFlags::READ,
        };
        let (place, map) = (self.place(at), MapFlags::SHARED | MapFlags::FIXED);
        let fd_offset = request.fd_offset;
        // SAFETY: the place lies in the reserved space, where nothing is.
        unsafe { mmap(place, len as usize, protection, map, fd, fd_offset) }?;
        let mapping = Mapping {
            len,
            writable,
            sealed,
        };
        state.mappings.insert(at, mapping);
        Ok(0)
    }

    fn shmem_unmap(&self, request: &VhostUserMMap) -> HandlerResult<u64> {
        self.check("SHMEM_UNMAP", request)?;
        let (at, len) = (request.shm_offset, request.len);
        let mut state = self.begin()?;
        if state.mappings.get(&at).map(|mapping| mapping.len) != Some(len) {
            drop(state);
            return Err(self.refuse(format!("SHMEM_UNMAP at {at:#x}: nothing is mapped so")));
        }
        state.mappings.remove(&at);
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::FIXED;
        // SAFETY: the place lies in the reserved space.
        unsafe { mmap_anonymous(self.place(at), len as usize, ProtFlags::empty(), flags) }?;
        self.changed.notify_all();
        Ok(0)
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        if let Some(window) = self.window.get() {
            // SAFETY: nobody reads the region any more.
            let _ = unsafe { munmap(self.place(0), window.size as usize) };
        }
    }
}

/// The region of a front end, whose thread answers the device.
pub struct Region {
    space: Arc<Space>,
    /// What is copied out of the region, and into it: the system tells of memory
    /// that is not there, where a load would end the process.
    scratch: File,
    /// The device's end of the channel, of which the handler keeps a copy.
    channel: RawFd,
    thread: Option<JoinHandle<()>>,
}

impl Region {
    /// Gives the device a channel, and asks for its regions. `None` if it has no
    /// region 0 of whole pages.
    ///
    /// # Errors
    /// A message fails, or this system has no room.
    pub fn open(front: &mut Frontend, log: Log) -> Result<Option<Self>, Fault> {
        // The channel comes first, as with QEMU. The size is not known yet.
        let message = |message: &str, error: vhost::Error| Fault::Message {
            message: message.into(),
            error: error.to_string(),
        };
        let space = Arc::new(Space {
            window: OnceLock::new(),
            state: Mutex::default(),
            changed: Condvar::new(),
            log: log.clone(),
        });
        let mut handler = FrontendReqHandler::new(Arc::clone(&space))
            .map_err(|error| Fault::system("a channel", io::Error::other(error)))?;
        handler.set_reply_ack_flag(true);
        let channel = handler.get_tx_raw_fd();
        front
            .set_backend_request_fd(&channel)
            .map_err(|error| message("SET_BACKEND_REQ_FD", error))?;
        let config = front
            .get_shmem_config()
            .map_err(|error| message("GET_SHMEM_CONFIG", error))?;
        let size = config.memory_sizes[0];
        log.note(|| {
            format!(
                "GET_SHMEM_CONFIG: {} regions, 0 of {size:#x}",
                config.nregions
            )
        });
        if config.nregions == 0 || size == 0 || size % PAGE != 0 || size > MOST {
            return Ok(None);
        }
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: the kernel chooses the place.
        let base =
            unsafe { mmap_anonymous(ptr::null_mut(), size as usize, ProtFlags::empty(), flags) };
        let base = base.map_err(|error| Fault::system("address space for the region", error))?;
        let base = base as usize;
        // It is set here only.
        let _ = space.window.set(Window { base, size });
        let scratch = memfd_create("region", MemfdFlags::CLOEXEC)
            .map_err(|error| Fault::system("a memfd", error))?;
        let thread = thread::spawn(move || {
            // Errors of a request go to the device; any other is the end.
            while matches!(
                handler.handle_request(),
                Ok(_) | Err(vhost::vhost_user::Error::ReqHandlerError(_))
            ) {}
        });
        Ok(Some(Self {
            space,
            scratch: File::from(scratch),
            channel,
            thread: Some(thread),
        }))
    }

    /// Has the front end treat requests like that from now on.
    pub fn set_manner(&self, manner: Manner) {
        self.space.lock().manner = manner;
    }

    /// The region's size in bytes.
    pub fn size(&self) -> u64 {
        self.space.size()
    }

    /// What is mapped, by its offset.
    pub fn mappings(&self) -> BTreeMap<u64, Mapping> {
        self.space.lock().mappings.clone()
    }

    /// Requests that the device has made.
    pub fn requests(&self) -> u32 {
        self.space.lock().requests
    }

    /// Takes the requests that made no sense.
    pub fn take_anomalies(&self) -> Vec<Anomaly> {
        std::mem::take(&mut self.space.lock().anomalies)
    }

    /// Waits until the device has made that many requests, and returns whether
    /// it has.
    pub fn wait_requests(&self, count: u32, limit: Duration) -> bool {
        self.wait(limit, |state| state.requests >= count)
    }

    /// Waits until nothing is mapped there, and returns whether that is so.
    pub fn wait_gone(&self, offset: u64, limit: Duration) -> bool {
        self.wait(limit, |state| !state.mappings.contains_key(&offset))
    }

    /// Waits until nothing is mapped at all, and returns whether that is so.
    pub fn wait_empty(&self, limit: Duration) -> bool {
        self.wait(limit, |state| state.mappings.is_empty())
    }

    fn wait(&self, limit: Duration, ready: impl Fn(&State) -> bool) -> bool {
        let deadline = Instant::now() + limit;
        let mut state = self.space.lock();
        while !ready(&state) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.space.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// What the guest reads there.
    ///
    /// # Errors
    /// There is no mapping, or no memory behind it.
    pub fn read(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        // The lock keeps the mapping in place.
        let state = self.space.lock();
        let found = state.mappings.range(..=offset).next_back();
        let inside =
            |(start, mapping): (&u64, &Mapping)| offset + len as u64 <= start + mapping.len;
        if !found.is_some_and(inside) {
            return Err(io::Error::other(format!(
                "nothing is mapped at {offset:#x}"
            )));
        }
        let place = self.space.place(offset);
        // SAFETY: the system copies from the mapping, and fails where there is no
        // memory.
        let copied = unsafe { libc::pwrite(self.scratch.as_raw_fd(), place, len, 0) };
        if copied < 0 {
            return Err(io::Error::last_os_error());
        }
        let mut bytes = vec![0; len];
        self.scratch
            .read_exact_at(&mut bytes[..copied as usize], 0)?;
        match copied as usize == len {
            true => Ok(bytes),
            false => Err(io::Error::from_raw_os_error(libc::EFAULT)),
        }
    }

    /// Writes as the guest does, at the beginning of a mapping.
    ///
    /// # Errors
    /// There is no such mapping, it cannot be written, or there is no memory
    /// behind it.
    pub fn fill(&self, offset: u64, len: usize, byte: u8) -> io::Result<()> {
        let state = self.space.lock();
        let found = state.mappings.get(&offset);
        if !found.is_some_and(|mapping| mapping.writable && len as u64 <= mapping.len) {
            return Err(io::Error::other(format!(
                "nothing to write to at {offset:#x}"
            )));
        }
        self.scratch.write_all_at(&vec![byte; len], 0)?;
        let place = self.space.place(offset);
        // SAFETY: the system copies into the mapping, which nobody has a
        // reference to, and fails where there is no memory.
        let copied = unsafe { libc::pread(self.scratch.as_raw_fd(), place, len, 0) };
        match copied == len as isize {
            true => Ok(()),
            false => Err(io::Error::from_raw_os_error(libc::EFAULT)),
        }
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
            // It ends with the channel, whatever the device said.
            let _ = thread.join();
        }
    }
}
