//! A split virtqueue as a driver sees it (VIRTIO 1.4, 2.7).

use std::collections::HashMap;
use std::os::fd::AsRawFd;
use std::sync::atomic::{Ordering, fence};
use std::time::{Duration, Instant};

use vhost::VringConfigData;
use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use super::fault::Fault;
use super::memory::{LOW, Memory, Segment};

/// Descriptors of a queue: as many as QEMU gives its media device.
pub const SIZE: u16 = 128;
/// Descriptors from here on are left to those who write them by hand.
pub const RAW: u16 = 112;

/// VIRTQ_DESC_F_NEXT.
pub const NEXT: u16 = 1;
/// VIRTQ_DESC_F_WRITE.
pub const WRITE: u16 = 2;
/// VIRTQ_DESC_F_INDIRECT.
pub const INDIRECT: u16 = 4;

/// VIRTQ_USED_F_NO_NOTIFY.
const NO_NOTIFY: u16 = 1;

/// How often the used ring is looked at without a notification.
const GLANCE: Duration = Duration::from_millis(5);

/// Bytes between the rings of two queues.
const PLACE: u64 = 0x4000;

/// A descriptor, as it lies in a table.
#[derive(Debug, Clone, Copy)]
pub struct Descriptor {
    /// Address of the memory.
    pub address: u64,
    /// Its length in bytes.
    pub len: u32,
    /// [`NEXT`], [`WRITE`], [`INDIRECT`].
    pub flags: u16,
    /// The next one of the chain.
    pub next: u16,
}

impl Descriptor {
    /// Bytes of a descriptor.
    pub const BYTES: u64 = 16;

    /// Returns it as it lies in memory.
    pub fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.address.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.len.to_le_bytes());
        bytes[12..14].copy_from_slice(&self.flags.to_le_bytes());
        bytes[14..].copy_from_slice(&self.next.to_le_bytes());
        bytes
    }
}

/// A piece of a chain: memory, and whether the device writes it.
#[derive(Debug, Clone, Copy)]
pub struct Piece {
    /// Address of the memory.
    pub address: u64,
    /// Its length in bytes.
    pub len: u32,
    /// Whether the device writes it.
    pub writable: bool,
}

/// A chain that the device has given back.
#[derive(Debug)]
pub struct Used {
    /// The chain's first descriptor.
    pub head: u16,
    /// Bytes that the device says it wrote.
    pub len: u32,
    /// The chain's writable memory; none for a chain written by hand.
    pub writable: Vec<Segment>,
    /// Whether the chain was written by hand.
    pub by_hand: bool,
}

#[derive(Debug)]
struct Chain {
    descriptors: Vec<u16>,
    writable: Vec<Segment>,
}

/// A virtqueue.
pub struct Queue {
    /// Its number.
    pub number: usize,
    /// What the driver notifies the device with.
    pub kick: EventFd,
    /// What the device notifies the driver with.
    pub call: EventFd,
    kicked: Epoll,
    called: Epoll,
    event_idx: bool,
    /// Which of the places for rings it lies in.
    place: u64,
    next_avail: u16,
    next_used: u16,
    free: Vec<u16>,
    in_flight: HashMap<u16, Chain>,
    /// First descriptors of the chains by hand that the device has.
    by_hand: Vec<u16>,
}

impl Queue {
    /// Makes an empty queue, whose rings lie where a queue of that number has
    /// them.
    ///
    /// # Errors
    /// [`Fault::System`] if there is no eventfd.
    pub fn new(number: usize, event_idx: bool, memory: &mut Memory) -> Result<Self, Fault> {
        Self::at(number, number as u64, event_idx, memory)
    }

    /// As [`new`](Self::new), with the rings in another of the places.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn at(
        number: usize,
        place: u64,
        event_idx: bool,
        memory: &mut Memory,
    ) -> Result<Self, Fault> {
        let eventfd = || {
            EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)
                .map_err(|error| Fault::system("an eventfd", error))
        };
        let (kick, call) = (eventfd()?, eventfd()?);
        let queue = Self {
            number,
            kicked: readable(&kick)?,
            called: readable(&call)?,
            kick,
            call,
            event_idx,
            place,
            next_avail: 0,
            next_used: 0,
            free: (0..RAW).rev().collect(),
            in_flight: HashMap::new(),
            by_hand: Vec::new(),
        };
        memory.write(queue.table(), &[0; PLACE as usize]);
        // Whether the device wants to be kicked, which it may say at any time:
        // also after the last chain has come back (VIRTIO 1.4, 2.7.10).
        memory.leave_open(queue.used(), 2);
        memory.leave_open(queue.used() + 4 + 8 * u64::from(SIZE), 2);
        Ok(queue)
    }

    /// Takes the descriptors that are left to those who write by hand, too.
    pub fn take_all(&mut self) {
        self.free.extend(RAW..SIZE);
    }

    /// Address of the descriptor table.
    pub fn table(&self) -> u64 {
        LOW + PLACE * self.place
    }

    /// Address of the available ring.
    pub fn avail(&self) -> u64 {
        self.table() + 0x1000
    }

    /// Address of the used ring.
    pub fn used(&self) -> u64 {
        self.table() + 0x2000
    }

    /// Bytes of the descriptor table.
    pub const TABLE_BYTES: u64 = SIZE as u64 * Descriptor::BYTES;
    /// Bytes of the available ring.
    pub const AVAIL_BYTES: u64 = 6 + 2 * SIZE as u64;
    /// Bytes of the used ring.
    pub const USED_BYTES: u64 = 6 + 8 * SIZE as u64;

    /// Returns what vhost-user is told of it.
    pub fn config(&self, memory: &Memory) -> VringConfigData {
        VringConfigData {
            queue_max_size: SIZE,
            queue_size: SIZE,
            flags: 0,
            desc_table_addr: memory.host_address(self.table()),
            used_ring_addr: memory.host_address(self.used()),
            avail_ring_addr: memory.host_address(self.avail()),
            log_addr: None,
        }
    }

    /// Puts a chain into the ring and tells the device. With `indirect`, the
    /// descriptors go into a table there instead. Returns the first descriptor.
    ///
    /// # Errors
    /// [`Fault::NoDescriptors`] if the device has them all.
    ///
    /// # Panics
    /// There are no pieces.
    pub fn submit(
        &mut self,
        memory: &mut Memory,
        pieces: &[Piece],
        indirect: Option<u64>,
    ) -> Result<u16, Fault> {
        let count = if indirect.is_some() { 1 } else { pieces.len() };
        let Some(at) = self.free.len().checked_sub(count) else {
            return Err(Fault::NoDescriptors(self.in_flight.len()));
        };
        let indices = self.free.split_off(at);
        match indirect {
            Some(table) => {
                for (i, &piece) in pieces.iter().enumerate() {
                    let next = (i + 1 < pieces.len()).then_some(i as u16 + 1);
                    let bytes = descriptor(piece, next).to_bytes();
                    memory.write(table + i as u64 * Descriptor::BYTES, &bytes);
                }
                let whole = Descriptor {
                    address: table,
                    len: pieces.len() as u32 * Descriptor::BYTES as u32,
                    flags: INDIRECT,
                    next: 0,
                };
                self.write_descriptor(memory, indices[0], whole);
            }
            None => {
                for (i, &piece) in pieces.iter().enumerate() {
                    let next = indices.get(i + 1).copied();
                    self.write_descriptor(memory, indices[i], descriptor(piece, next));
                }
            }
        }
        let head = indices[0];
        let writable = pieces.iter().filter(|piece| piece.writable);
        let chain = Chain {
            descriptors: indices,
            writable: writable.map(|piece| (piece.address, piece.len)).collect(),
        };
        self.in_flight.insert(head, chain);
        self.publish(memory, head);
        Ok(head)
    }

    /// The first descriptor of the next chain, if one is free.
    pub fn next_descriptor(&self) -> Option<u16> {
        self.free.last().copied()
    }

    /// Writes a descriptor of the table.
    pub fn write_descriptor(&self, memory: &mut Memory, index: u16, descriptor: Descriptor) {
        let address = self.table() + u64::from(index) * Descriptor::BYTES;
        memory.write(address, &descriptor.to_bytes());
    }

    /// Makes the chain at `head`, which was written by hand, available, and kicks
    /// unless the device said that it needs no kick.
    pub fn make_available(&mut self, memory: &mut Memory, head: u16) {
        // A head beyond the table is a broken driver's, and does not come back.
        if head < SIZE {
            self.by_hand.push(head);
        }
        self.publish(memory, head);
    }

    fn publish(&mut self, memory: &mut Memory, head: u16) {
        let slot = self.avail() + 4 + 2 * u64::from(self.next_avail % SIZE);
        memory.write(slot, &head.to_le_bytes());
        let old = self.next_avail;
        let new = old.wrapping_add(1);
        self.next_avail = new;
        memory.store(new.to_le(), self.avail() + 2);
        fence(Ordering::SeqCst);
        let wanted = if self.event_idx {
            let event = u16::from_le(memory.load(self.used() + 4 + 8 * u64::from(SIZE)));
            new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
        } else {
            u16::from_le(memory.load(self.used())) & NO_NOTIFY == 0
        };
        if wanted {
            self.kick();
        }
    }

    /// Notifies the device.
    pub fn kick(&self) {
        // It fails only if the counter is full, and then the device is notified
        // already.
        let _ = self.kick.write(1);
    }

    /// Claims that so many more chains are available than there are, and kicks;
    /// [`Self::set_index_right`] takes the claim back.
    pub fn set_index_wrong(&mut self, memory: &mut Memory, ahead: u16) {
        let wrong = self.next_avail.wrapping_add(ahead);
        memory.store(wrong.to_le(), self.avail() + 2);
        self.kick();
    }

    /// Returns whether the device has not taken the last kick.
    pub fn kick_is_pending(&self) -> bool {
        let mut events = [EpollEvent::default()];
        self.kicked
            .wait(0, &mut events)
            .is_ok_and(|count| count > 0)
    }

    /// Returns whether the device has notified the driver since this was asked
    /// last, or since the driver waited last.
    pub fn take_call(&self) -> bool {
        self.call.read().is_ok()
    }

    /// Waits until the device notifies the driver.
    pub fn wait_call(&self, limit: Duration) -> bool {
        let mut events = [EpollEvent::default()];
        let millis = limit.as_millis().try_into().unwrap_or(i32::MAX);
        self.called
            .wait(millis, &mut events)
            .is_ok_and(|count| count > 0)
            && self.take_call()
    }

    /// Takes the claim back.
    pub fn set_index_right(&mut self, memory: &mut Memory) {
        memory.store(self.next_avail.to_le(), self.avail() + 2);
    }

    /// The index that the device will look for next, as the driver sees it.
    pub fn next_avail(&self) -> u16 {
        self.next_avail
    }

    /// The device's index of the used ring.
    pub fn used_index(&self, memory: &Memory) -> u16 {
        u16::from_le(memory.load(self.used() + 2))
    }

    /// Sets the flags of the available ring, with which the driver asks for no
    /// notifications (without EVENT_IDX).
    pub fn set_flags(&self, memory: &mut Memory, flags: u16) {
        memory.store(flags.to_le(), self.avail());
    }

    /// Sets `used_event`, the index at which the driver wants to be notified
    /// (with EVENT_IDX).
    pub fn set_used_event(&self, memory: &mut Memory, index: u16) {
        let event = self.avail() + 4 + 2 * u64::from(SIZE);
        memory.store(index.to_le(), event);
    }

    /// Returns the flags of the used ring.
    pub fn used_flags(&self, memory: &Memory) -> u16 {
        u16::from_le(memory.load(self.used()))
    }

    /// Returns the index of the next chain that the driver takes.
    pub fn next_used(&self) -> u16 {
        self.next_used
    }

    /// Returns the address of that entry of the used ring.
    pub fn used_entry(&self, index: u16) -> u64 {
        self.used() + 4 + 8 * u64::from(index % SIZE)
    }

    /// The next chain that the device has given back, if there is one.
    ///
    /// # Errors
    /// [`Fault::UsedHead`] if it is none that the device has.
    pub fn take_used(&mut self, memory: &mut Memory) -> Result<Option<Used>, Fault> {
        if self.used_index(memory) == self.next_used {
            return Ok(None);
        }
        let entry = self.used_entry(self.next_used);
        self.next_used = self.next_used.wrapping_add(1);
        let id = u32::from_le(memory.load(entry));
        let len = u32::from_le(memory.load(entry + 4));
        memory.accept(self.used(), Self::USED_BYTES as usize);
        let head = u16::try_from(id).map_err(|_| Fault::UsedHead(id))?;
        let given = self.by_hand.iter().position(|one| *one == head);
        let writable = match (self.in_flight.remove(&head), given) {
            (Some(chain), _) => {
                self.free.extend(chain.descriptors);
                chain.writable
            }
            (None, Some(given)) => {
                self.by_hand.swap_remove(given);
                return Ok(Some(Used {
                    head,
                    len,
                    writable: Vec::new(),
                    by_hand: true,
                }));
            }
            (None, None) => return Err(Fault::UsedHead(id)),
        };
        Ok(Some(Used {
            head,
            len,
            writable,
            by_hand: false,
        }))
    }

    /// Waits for a chain to come back, until `deadline` at most. A driver that
    /// does not rely on notifications looks at the ring now and then.
    ///
    /// # Errors
    /// As [`take_used`](Self::take_used).
    pub fn wait_used(
        &mut self,
        memory: &mut Memory,
        deadline: Instant,
        relies_on_calls: bool,
    ) -> Result<Option<Used>, Fault> {
        loop {
            if let Some(used) = self.take_used(memory)? {
                return Ok(Some(used));
            }
            // Ask to be called for the next one, then look again: it may have
            // come in between.
            self.set_used_event(memory, self.next_used);
            fence(Ordering::SeqCst);
            if self.used_index(memory) != self.next_used {
                continue;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return self.take_used(memory);
            }
            let wait = match relies_on_calls {
                true => left,
                false => left.min(GLANCE),
            };
            self.wait_call(wait.max(Duration::from_millis(1)));
        }
    }
}

/// What waits for the eventfd to be written.
fn readable(eventfd: &EventFd) -> Result<Epoll, Fault> {
    let failed = |error| Fault::system("epoll", error);
    let epoll = Epoll::new().map_err(failed)?;
    let event = EpollEvent::new(EventSet::IN, 0);
    epoll
        .ctl(ControlOperation::Add, eventfd.as_raw_fd(), event)
        .map_err(failed)?;
    Ok(epoll)
}

fn descriptor(piece: Piece, next: Option<u16>) -> Descriptor {
    Descriptor {
        address: piece.address,
        len: piece.len,
        flags: if piece.writable { WRITE } else { 0 } | if next.is_some() { NEXT } else { 0 },
        next: next.unwrap_or(0),
    }
}
