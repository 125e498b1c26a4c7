//! Shared memory region 0 of a front end that maps what the device asks for, as
//! QEMU does into a BAR.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
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

/// Most mappings at a time: a process has 65530 in all.
const MAPPINGS: usize = 4096;

/// Most anomalies that are kept: a device could go on.
const ANOMALIES: usize = 4096;

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
    /// Its length in bytes, as the device has it: pages are mapped whole.
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

/// The length of a mapping in memory. It fits: [`Space::check`] has seen it.
fn pages(len: u64) -> u64 {
    len.next_multiple_of(PAGE)
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
        state.requests = state.requests.saturating_add(1);
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

    fn note(&self, what: String) {
        let mut state = self.lock();
        if state.anomalies.len() < ANOMALIES {
            state.anomalies.push(Anomaly::Region(what));
        }
    }

    /// Notes that a request makes no sense, and refuses it.
    fn refuse(&self, what: String) -> io::Error {
        self.note(what);
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
        // As with mmap(2): offsets are of whole pages, lengths need not be.
        let pages = [shm_offset, fd_offset].iter().all(|n| n % PAGE == 0);
        let ends = len
            .checked_next_multiple_of(PAGE)
            .and_then(|len| shm_offset.checked_add(len));
        let wrong = if shmid != 0 {
            "there is region 0 only"
        } else if !pages {
            "these offsets are not of whole pages"
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
        let overlaps = |(start, other): (&u64, &Mapping)| {
            *start < at + pages(len) && at < start + pages(other.len)
        };
        if state.mappings.iter().any(overlaps) {
            drop(state);
            return Err(self.refuse(format!("SHMEM_MAP at {at:#x}: something is mapped there")));
        }
        if state.mappings.len() >= MAPPINGS {
            drop(state);
            return Err(self.refuse(format!("SHMEM_MAP at {at:#x}: {MAPPINGS} are mapped")));
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
        unsafe { mmap(place, pages(len) as usize, protection, map, fd, fd_offset) }?;
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
        unsafe {
            mmap_anonymous(
                self.place(at),
                pages(len) as usize,
                ProtFlags::empty(),
                flags,
            )
        }?;
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
    /// A copy of the device's end of the channel: the handler may end before.
    channel: OwnedFd,
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
        // SAFETY: the handler, which is not moved yet, has it open.
        let channel = unsafe { BorrowedFd::borrow_raw(channel) }
            .try_clone_to_owned()
            .map_err(|error| Fault::system("a channel", error))?;
        let served = Arc::clone(&space);
        let serve = move || {
            // Errors of a request go to the device; any other is the end.
            let error = loop {
                match handler.handle_request() {
                    Ok(_) | Err(vhost::vhost_user::Error::ReqHandlerError(_)) => {}
                    Err(error) => break error,
                }
            };
            if !served.lock().ends {
                served.note(format!("the channel for requests ends: {error}"));
            }
        };
        let thread = thread::Builder::new()
            .spawn(serve)
            .map_err(|error| Fault::system("a thread", error))?;
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

    /// The mapping that holds so many bytes from there on, and where it begins.
    pub fn mapping(&self, offset: u64, len: u64) -> Option<(u64, Mapping)> {
        holding(&self.space.lock().mappings, offset, len)
    }

    /// What the guest reads there.
    ///
    /// # Errors
    /// There is no mapping, or no memory behind it.
    pub fn read(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        // The lock keeps the mapping in place.
        let state = self.space.lock();
        if holding(&state.mappings, offset, len as u64).is_none() {
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

    /// Writes as the guest does.
    ///
    /// # Errors
    /// There is no mapping, it cannot be written, or there is no memory
    /// behind it.
    pub fn fill(&self, offset: u64, len: usize, byte: u8) -> io::Result<()> {
        let state = self.space.lock();
        let found = holding(&state.mappings, offset, len as u64);
        if !found.is_some_and(|(_, mapping)| mapping.writable) {
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

/// The mapping that holds so many bytes from `offset` on.
fn holding(mappings: &BTreeMap<u64, Mapping>, offset: u64, len: u64) -> Option<(u64, Mapping)> {
    let (start, mapping) = mappings.range(..=offset).next_back()?;
    let end = offset.checked_add(len)?;
    (end <= start + mapping.len).then_some((*start, *mapping))
}

impl Drop for Region {
    fn drop(&mut self) {
        self.space.lock().ends = true;
        self.space.changed.notify_all();
        let _ = rustix::net::shutdown(&self.channel, rustix::net::Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            // It ends with the channel, whatever the device said.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space(size: u64) -> Space {
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: the kernel chooses the place.
        let base =
            unsafe { mmap_anonymous(ptr::null_mut(), size as usize, ProtFlags::empty(), flags) };
        let base = base.expect("address space") as usize;
        Space {
            window: OnceLock::from(Window { base, size }),
            state: Mutex::default(),
            changed: Condvar::new(),
            log: Log::default(),
        }
    }

    fn request(at: u64, len: u64) -> VhostUserMMap {
        VhostUserMMap {
            shm_offset: at,
            len,
            ..VhostUserMMap::default()
        }
    }

    /// As mmap(2) takes them, and as the reference library sends them.
    #[test]
    fn lengths_need_not_be_whole_pages() {
        const LEN: u64 = 460_800;
        let space = space(1 << 20);
        let file = File::from(memfd_create("buffer", MemfdFlags::CLOEXEC).unwrap());
        file.set_len(LEN).unwrap();
        let map = |at, len| space.shmem_map(&request(at, len), &file);
        map(0x1000, LEN).unwrap();
        assert_eq!(space.lock().mappings[&0x1000].len, LEN);
        let held = |at, len| holding(&space.lock().mappings, at, len).is_some();
        assert!(held(0x1000, LEN) && held(0x2345, 7));
        assert!(!held(0x1000, LEN + 1) && !held(0, 1) && !held(0x1000, u64::MAX));
        // Its last page is taken, the next one is not.
        let last = (0x1000 + LEN) & !0xfff;
        assert!(map(last, 1).is_err());
        assert!(map(last + 0x1000, 1).is_ok());
        // Offsets have to be of pages, and everything in the region.
        assert!(map(0x123, 1).is_err() && map(0x10_0000, 1).is_err());
        assert!(map(0x8_0000, 0x8_0001).is_err() && map(0x8_0000, u64::MAX).is_err());
        assert!(map(0x8_0000, 0).is_err());
        assert!(space.shmem_unmap(&request(0x1000, LEN)).is_ok());
        assert!(map(0x1000, LEN).is_ok());
    }

    #[test]
    fn of_nonsense_without_end_some_is_kept() {
        let space = space(1 << 20);
        for _ in 0..ANOMALIES + 5 {
            assert!(space.shmem_unmap(&request(0, 0x1000)).is_err());
        }
        assert_eq!(space.lock().anomalies.len(), ANOMALIES);
    }
}
