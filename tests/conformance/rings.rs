//! The card behind rings of its own, which break one clause of VIRTIO. The
//! library's daemon breaks none, and cannot be made to.
//!
//! It looks at its rings again and again instead of waiting for a kick, so that
//! whatever it has no right to use is there to be used.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use pinhole::card::{Card, Now};
use pinhole::dma::Bus;
use pinhole::scripted::driver::queue::{INDIRECT, NEXT, WRITE};
use pinhole::scripted::driver::v4l2::{CMD_IOCTL, Fields};
use pinhole::wire::{Errno, Reply};
use rustix::time::{ClockId, clock_gettime};
use vhost::VhostUserMemoryRegionBase;
use vhost::vhost_user::message::{
    VhostTransferStateDirection, VhostTransferStatePhase, VhostUserConfigFlags, VhostUserInflight,
    VhostUserLog, VhostUserMemoryRegion, VhostUserProtocolFeatures, VhostUserShMemConfig,
    VhostUserSharedMsg, VhostUserSingleMemoryRegion, VhostUserVringAddrFlags, VhostUserVringState,
};
use vhost::vhost_user::{
    BackendReqHandler, Error, GpuBackend, Result, VhostUserBackendReqHandlerMut,
};
use vm_memory::{Bytes, FileOffset, GuestAddress, GuestMemoryMmap};
use zerocopy::IntoBytes;

use crate::served::card;

const VERSION_1: u64 = 1 << 32;
const EVENT_IDX: u64 = 1 << 29;
const INDIRECT_DESC: u64 = 1 << 28;

/// How long the fault of the used ring lasts.
const LATE: Duration = Duration::from_millis(200);

/// The clause that is broken, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// GD-1: rings are used before they are enabled.
    EarlyRings,
    /// GD-4: SHMEM without BACKEND_REQ.
    NoChannel,
    /// GD-5: works with indirect descriptors only.
    WantsIndirect,
    /// GD-6: bit 31.
    UnknownFeature,
    /// GD-7: does not work after a reset.
    OnceOnly,
    /// GD-9: goes on after a reset.
    GoesOn,
    /// GD-10: no configuration before SET_FEATURES.
    LateConfiguration,
    /// GD-12: rings stay where they were first.
    OldRings,
    /// GD-14: no VERSION_1.
    Legacy,
    /// GD-17: the first descriptor has to hold a header.
    WholeHeader,
    /// GD-18: no more than 32 descriptors.
    ShortChains,
    /// GD-19: writes to a readable buffer.
    WritesReadable,
    /// GD-20: takes a writable buffer that begins with zero for answered.
    ReadsWritable,
    /// GD-21: writes to the descriptor table.
    WritesTable,
    /// GD-22: an indirect descriptor with WRITE is a writable buffer.
    IndirectWrite,
    /// GD-23: an indirect descriptor is only looked for at the beginning.
    IndirectFirst,
    /// GD-24: obeys used_event without EVENT_IDX.
    ObeysIndex,
    /// GD-24b: always notifies without EVENT_IDX.
    IgnoresFlags,
    /// GD-25: obeys the flags with EVENT_IDX.
    ObeysFlags,
    /// GD-25b: always notifies with EVENT_IDX.
    IgnoresIndex,
    /// GD-26: the index comes before the entry.
    EarlyIndex,
    /// GD-27: the used length is all the room there is.
    LongUsed,
    /// GD-28: the used ring has a flag that there is not.
    OddFlags,
    /// MP-1: a feature of the device type.
    OwnFeature,
    /// MP-2: the configuration can be written, as long as the connection lasts.
    WritableConfiguration,
    /// Chains that it was not given come back, one after the other.
    RunsAway,
    /// MP-7: the room for the answer is cleared before the command is read.
    ClearsFirst,
}

#[derive(Default)]
struct Ring {
    desc: u64,
    avail: u64,
    used: u64,
    size: u16,
    next_avail: u16,
    next_used: u16,
    enabled: bool,
    started: bool,
    call: Option<File>,
}

/// A chain: what is readable, copied, and where the answer goes.
struct Chain {
    head: u16,
    readable: Vec<u8>,
    /// The first readable byte.
    given: Option<u64>,
    writable: Vec<(u64, u32)>,
    refused: bool,
}

impl Chain {
    fn room(&self) -> usize {
        self.writable.iter().map(|(_, len)| *len as usize).sum()
    }
}

struct Device {
    fault: Option<Fault>,
    card: Card,
    memory: GuestMemoryMmap,
    /// Addresses of the front end, and what they are in the guest.
    places: Vec<(u64, u64, u64)>,
    rings: [Ring; 2],
    features: Option<u64>,
    was_enabled: bool,
    was_reset: bool,
    written: Vec<u8>,
    reply: Reply,
    event: Vec<u8>,
}

fn now() -> Now {
    let since = |clock| {
        let time = clock_gettime(clock);
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    };
    Now {
        monotonic: since(ClockId::Monotonic),
        wall: since(ClockId::Realtime),
    }
}

impl Device {
    fn new(fault: Option<Fault>) -> Self {
        Self {
            fault,
            card: card(),
            memory: GuestMemoryMmap::new(),
            places: Vec::new(),
            rings: Default::default(),
            features: None,
            was_enabled: false,
            was_reset: false,
            written: Vec::new(),
            reply: Reply::default(),
            event: Vec::new(),
        }
    }

    fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    fn accepted(&self, feature: u64) -> bool {
        self.features
            .is_some_and(|features| features & feature != 0)
    }

    fn runs(&self, queue: usize) -> bool {
        let ring = &self.rings[queue];
        let dead = self.has(Fault::WantsIndirect) && !self.accepted(INDIRECT_DESC)
            || self.has(Fault::OnceOnly) && self.was_reset;
        let enabled = ring.enabled
            || self.has(Fault::EarlyRings) && !self.was_enabled
            || self.has(Fault::GoesOn) && self.was_reset;
        ring.started && enabled && !dead
    }

    fn load<T: vm_memory::ByteValued>(&self, at: u64) -> T {
        self.memory
            .read_obj(GuestAddress(at))
            .expect("guest memory")
    }

    fn store<T: vm_memory::ByteValued>(&self, value: T, at: u64) {
        self.memory
            .write_obj(value, GuestAddress(at))
            .expect("guest memory");
    }

    fn turn(&mut self) {
        while self.runs(0)
            && let Some(chain) = self.take(0)
        {
            self.execute(chain);
        }
        if self.has(Fault::RunsAway) && self.runs(0) {
            for _ in 0..8 {
                self.give_back(0, 50, 0, false);
            }
        }
        self.card.tick(now());
        while self.runs(1) && self.card.next_event(&mut self.event) {
            let Some(chain) = self.take(1) else { break };
            self.card.event_sent();
            let event = std::mem::take(&mut self.event);
            self.write(&chain.writable, &event);
            self.give_back(1, chain.head, event.len() as u32, false);
        }
    }

    fn take(&mut self, queue: usize) -> Option<Chain> {
        let ring = &self.rings[queue];
        let available: u16 = self.load(ring.avail + 2);
        if available == ring.next_avail {
            return None;
        }
        fence(Ordering::Acquire);
        let slot = ring.avail + 4 + 2 * u64::from(ring.next_avail % ring.size);
        let head: u16 = self.load(slot);
        let table = ring.desc;
        self.rings[queue].next_avail = ring.next_avail.wrapping_add(1);
        let chain = self.walk(table, head);
        Some(chain)
    }

    fn walk(&mut self, table: u64, head: u16) -> Chain {
        let mut chain = Chain {
            head,
            readable: Vec::new(),
            given: None,
            writable: Vec::new(),
            refused: false,
        };
        let (mut table, mut index, mut pieces) = (table, head, Vec::new());
        loop {
            let at = table + 16 * u64::from(index);
            let (address, len): (u64, u32) = (self.load(at), self.load(at + 8));
            let (flags, next): (u16, u16) = (self.load(at + 12), self.load(at + 14));
            let is_table = flags & INDIRECT != 0
                && !(self.has(Fault::IndirectWrite) && flags & WRITE != 0)
                && (!self.has(Fault::IndirectFirst) || pieces.is_empty());
            if is_table {
                (table, index) = (address, 0);
                continue;
            }
            pieces.push((address, len, flags & WRITE != 0));
            if flags & NEXT == 0 || pieces.len() > 1024 {
                break;
            }
            index = next;
        }
        chain.refused = self.has(Fault::ShortChains) && pieces.len() > 32
            || self.has(Fault::WholeHeader) && pieces[0].1 < 8;
        let writable = pieces.iter().filter(|(.., writable)| *writable);
        chain.writable = writable.map(|(address, len, _)| (*address, *len)).collect();
        if self.has(Fault::ClearsFirst) {
            self.write(&chain.writable, &vec![0; chain.room()]);
        }
        for (address, len, _) in pieces.iter().filter(|(.., writable)| !writable) {
            let mut bytes = vec![0; *len as usize];
            self.memory
                .read_slice(&mut bytes, GuestAddress(*address))
                .expect("guest memory");
            chain.readable.extend(bytes);
            chain.given.get_or_insert(*address);
        }
        chain
    }

    fn write(&self, segments: &[(u64, u32)], mut bytes: &[u8]) -> u32 {
        let mut written = 0;
        for (address, len) in segments {
            let (here, rest) = bytes.split_at(bytes.len().min(*len as usize));
            self.memory
                .write_slice(here, GuestAddress(*address))
                .expect("guest memory");
            written += here.len() as u32;
            bytes = rest;
        }
        written
    }

    fn execute(&mut self, chain: Chain) {
        let room = chain.room();
        let began = chain
            .writable
            .first()
            .map(|(address, _)| self.load::<u8>(*address));
        let is_answered = self.has(Fault::ReadsWritable) && began == Some(0);
        if chain.refused || is_answered {
            let used = if is_answered { room as u32 } else { 0 };
            return self.give_back(0, chain.head, used, false);
        }
        let mut reply = std::mem::take(&mut self.reply);
        reply.begin(room);
        let memory = self.memory.clone();
        let bus = Bus {
            memory: &memory,
            forbidden: &[],
        };
        // What it refuses is in the answer.
        if self
            .card
            .command(now(), &chain.readable, bus, &mut reply)
            .is_err()
            && reply.bytes().is_empty()
        {
            reply.fail(Errno::EINVAL);
        }
        let mut used = self.write(&chain.writable, reply.bytes());
        let succeeded = reply.bytes().len() >= 8 && reply.bytes().le32(0) == 0;
        self.reply = reply;
        if self.has(Fault::LongUsed) && succeeded {
            used = room as u32;
        }
        if self.has(Fault::WritesReadable)
            && let Some(given) = chain.given
        {
            self.store(!self.load::<u8>(given), given);
        }
        if self.has(Fault::WritesTable) {
            self.store(
                0xabu8,
                self.rings[0].desc + 16 * u64::from(self.rings[0].size - 1),
            );
        }
        let is_late = self.has(Fault::EarlyIndex)
            && chain.readable.le32(0) == CMD_IOCTL
            && chain.readable.le32(12) == 201;
        self.give_back(0, chain.head, used, is_late);
    }

    /// Puts a chain into the used ring, the entry late if it is to be, and
    /// notifies the driver if it wants that.
    fn give_back(&mut self, queue: usize, head: u16, used: u32, is_late: bool) {
        let (at, old, size) = {
            let ring = &self.rings[queue];
            (ring.used, ring.next_used, ring.size)
        };
        let new = old.wrapping_add(1);
        let entry = at + 4 + 8 * u64::from(old % size);
        if is_late {
            self.store(new, at + 2);
            thread::sleep(LATE);
        }
        self.store(u32::from(head), entry);
        self.store(used, entry + 4);
        fence(Ordering::SeqCst);
        self.store(new, at + 2);
        if self.has(Fault::OddFlags) {
            self.store(2u16, at);
        }
        fence(Ordering::SeqCst);
        self.rings[queue].next_used = new;
        let avail = self.rings[queue].avail;
        let flags: u16 = self.load(avail);
        let used_event: u16 = self.load(avail + 4 + 2 * u64::from(size));
        let wanted = match self.accepted(EVENT_IDX) {
            true if self.has(Fault::ObeysFlags) && flags & 1 != 0 => false,
            true => old == used_event || self.has(Fault::IgnoresIndex),
            false if self.has(Fault::ObeysIndex) => flags & 1 == 0 && old == used_event,
            false => flags & 1 == 0 || self.has(Fault::IgnoresFlags),
        };
        if wanted && let Some(mut call) = self.rings[queue].call.as_ref() {
            let _ = call.write_all(&1u64.to_ne_bytes());
        }
    }

    fn guest_address(&self, address: u64) -> Result<u64> {
        let found = self
            .places
            .iter()
            .find(|(start, size, _)| (*start..start + size).contains(&address));
        let (start, _, guest) = found.ok_or(Error::InvalidParam)?;
        Ok(address - start + guest)
    }

    fn ring(&mut self, index: u32) -> Result<&mut Ring> {
        self.rings
            .get_mut(index as usize)
            .ok_or(Error::InvalidParam)
    }
}

fn unsupported<T>() -> Result<T> {
    Err(Error::InvalidOperation("not here"))
}

impl VhostUserBackendReqHandlerMut for Device {
    fn set_owner(&mut self) -> Result<()> {
        Ok(())
    }

    fn reset_owner(&mut self) -> Result<()> {
        Ok(())
    }

    fn reset_device(&mut self) -> Result<()> {
        self.was_reset = true;
        for ring in &mut self.rings {
            ring.enabled = false;
        }
        self.card.reset();
        Ok(())
    }

    fn get_features(&mut self) -> Result<u64> {
        let all = VERSION_1 | EVENT_IDX | INDIRECT_DESC | 1 << 30;
        Ok(match self.fault {
            Some(Fault::UnknownFeature) => all | 1 << 31,
            Some(Fault::OwnFeature) => all | 1 << 5,
            Some(Fault::Legacy) => all & !VERSION_1,
            _ => all,
        })
    }

    fn set_features(&mut self, features: u64) -> Result<()> {
        self.features = Some(features);
        Ok(())
    }

    fn set_mem_table(
        &mut self,
        regions: &[VhostUserMemoryRegion],
        files: Vec<File>,
        _postcopy_listening: Option<bool>,
    ) -> Result<Option<Vec<VhostUserMemoryRegionBase>>> {
        self.places = regions
            .iter()
            .map(|one| (one.user_addr, one.memory_size, one.guest_phys_addr))
            .collect();
        let ranges = regions.iter().zip(files).map(|(one, file)| {
            let file = FileOffset::new(file, one.mmap_offset);
            let start = GuestAddress(one.guest_phys_addr);
            (start, one.memory_size as usize, Some(file))
        });
        let memory = GuestMemoryMmap::from_ranges_with_files(ranges.collect::<Vec<_>>());
        self.memory = memory.map_err(|error| Error::ReqHandlerError(io::Error::other(error)))?;
        let memory = self.memory.clone();
        let bus = Bus {
            memory: &memory,
            forbidden: &[],
        };
        self.card.memory_changed(now(), bus);
        Ok(None)
    }

    fn set_vring_num(&mut self, index: u32, num: u32) -> Result<()> {
        self.ring(index)?.size = num as u16;
        Ok(())
    }

    fn set_vring_addr(
        &mut self,
        index: u32,
        _flags: VhostUserVringAddrFlags,
        descriptor: u64,
        used: u64,
        available: u64,
        _log: u64,
    ) -> Result<()> {
        let places = [descriptor, used, available].map(|address| self.guest_address(address));
        let keeps = self.has(Fault::OldRings);
        let ring = self.ring(index)?;
        if !keeps || ring.desc == 0 {
            let [desc, used, avail] = places;
            (ring.desc, ring.used, ring.avail) = (desc?, used?, avail?);
        }
        Ok(())
    }

    fn set_vring_base(&mut self, index: u32, base: u32) -> Result<()> {
        let used = self.rings[index as usize].used + 2;
        let next_used = self.load(used);
        let ring = self.ring(index)?;
        (ring.next_avail, ring.next_used) = (base as u16, next_used);
        Ok(())
    }

    fn get_vring_base(&mut self, index: u32) -> Result<VhostUserVringState> {
        let ring = self.ring(index)?;
        ring.started = false;
        Ok(VhostUserVringState::new(index, ring.next_avail.into()))
    }

    fn set_vring_kick(&mut self, index: u8, _fd: Option<File>) -> Result<()> {
        self.ring(index.into())?.started = true;
        Ok(())
    }

    fn set_vring_call(&mut self, index: u8, fd: Option<File>) -> Result<()> {
        self.ring(index.into())?.call = fd;
        Ok(())
    }

    fn set_vring_err(&mut self, _index: u8, _fd: Option<File>) -> Result<()> {
        Ok(())
    }

    fn get_protocol_features(&mut self) -> Result<VhostUserProtocolFeatures> {
        let all = VhostUserProtocolFeatures::MQ
            | VhostUserProtocolFeatures::CONFIG
            | VhostUserProtocolFeatures::REPLY_ACK
            | VhostUserProtocolFeatures::RESET_DEVICE;
        Ok(match self.fault {
            Some(Fault::NoChannel) => all | VhostUserProtocolFeatures::SHMEM,
            _ => all,
        })
    }

    fn set_protocol_features(&mut self, _features: u64) -> Result<()> {
        Ok(())
    }

    fn get_queue_num(&mut self) -> Result<u64> {
        Ok(2)
    }

    fn set_vring_enable(&mut self, index: u32, enable: bool) -> Result<()> {
        self.was_enabled |= enable;
        self.ring(index)?.enabled = enable;
        Ok(())
    }

    fn get_config(
        &mut self,
        offset: u32,
        size: u32,
        _flags: VhostUserConfigFlags,
    ) -> Result<Vec<u8>> {
        let mut space = self.card.config().as_bytes().to_vec();
        if self.has(Fault::LateConfiguration) && self.features.is_none() {
            space.fill(0);
        }
        space.resize(256, 0);
        space[8..][..self.written.len()].copy_from_slice(&self.written);
        Ok(space[offset as usize..][..size as usize].to_vec())
    }

    fn set_config(
        &mut self,
        offset: u32,
        bytes: &[u8],
        _flags: VhostUserConfigFlags,
    ) -> Result<()> {
        match self.has(Fault::WritableConfiguration) && offset == 8 && bytes.len() <= 32 {
            true => {
                self.written = bytes.to_vec();
                Ok(())
            }
            false => unsupported(),
        }
    }

    fn set_gpu_socket(&mut self, _gpu: GpuBackend) -> Result<()> {
        unsupported()
    }

    fn get_shared_object(&mut self, _uuid: VhostUserSharedMsg) -> Result<File> {
        unsupported()
    }

    fn get_inflight_fd(&mut self, _: &VhostUserInflight) -> Result<(VhostUserInflight, File)> {
        unsupported()
    }

    fn set_inflight_fd(&mut self, _: &VhostUserInflight, _file: File) -> Result<()> {
        unsupported()
    }

    fn get_max_mem_slots(&mut self) -> Result<u64> {
        unsupported()
    }

    fn add_mem_region(
        &mut self,
        _region: &VhostUserSingleMemoryRegion,
        _fd: File,
        _postcopy_listening: Option<bool>,
    ) -> Result<Option<VhostUserMemoryRegionBase>> {
        unsupported()
    }

    fn remove_mem_region(&mut self, _region: &VhostUserSingleMemoryRegion) -> Result<()> {
        unsupported()
    }

    fn set_device_state_fd(
        &mut self,
        _direction: VhostTransferStateDirection,
        _phase: VhostTransferStatePhase,
        _fd: File,
    ) -> Result<Option<File>> {
        unsupported()
    }

    fn check_device_state(&mut self) -> Result<()> {
        unsupported()
    }

    fn get_shmem_config(&mut self) -> Result<VhostUserShMemConfig> {
        unsupported()
    }

    fn set_log_base(&mut self, _log: &VhostUserLog, _file: File) -> Result<()> {
        unsupported()
    }
}

/// A running back end, ended when dropped.
pub struct Served {
    folder: tempfile::TempDir,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Served {
    pub fn start(fault: Option<Fault>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let listener = UnixListener::bind(folder.path().join("device.sock")).expect("a socket");
        let ends = Arc::new(AtomicBool::new(false));
        let thread = {
            let ends = Arc::clone(&ends);
            thread::spawn(move || {
                while let Ok((stream, _)) = listener.accept()
                    && !ends.load(Ordering::Relaxed)
                {
                    serve(stream, fault);
                }
            })
        };
        Self {
            folder,
            ends,
            thread: Some(thread),
        }
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("device.sock")
    }
}

/// Serves a front end until it is gone.
fn serve(stream: UnixStream, fault: Option<Fault>) {
    let device = Arc::new(Mutex::new(Device::new(fault)));
    let gone = Arc::new(AtomicBool::new(false));
    let turning = {
        let (device, gone) = (Arc::clone(&device), Arc::clone(&gone));
        thread::spawn(move || {
            while !gone.load(Ordering::Relaxed) {
                device.lock().expect("the device").turn();
                thread::sleep(Duration::from_micros(300));
            }
        })
    };
    let mut handler = BackendReqHandler::from_stream(stream, device);
    while let Ok(()) | Err(Error::ReqHandlerError(_) | Error::InvalidOperation(_)) =
        handler.handle_request()
    {}
    gone.store(true, Ordering::Relaxed);
    turning.join().expect("no panic of the device's");
}

impl Drop for Served {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        let _ = UnixStream::connect(self.socket());
        let ended = self.thread.take().map(JoinHandle::join);
        if !thread::panicking() {
            ended.expect("a thread").expect("no panic");
        }
    }
}
