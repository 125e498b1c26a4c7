//! A split virtqueue as a driver sees it (VIRTIO 1.4, 2.7).

use std::collections::HashMap;
use std::os::fd::AsRawFd;
use std::sync::atomic::{Ordering, fence};
use std::time::Instant;

use vhost::VringConfigData;
use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use super::memory::{LOW, Memory, Segment};

/// Descriptors of a queue.
pub const SIZE: u16 = 64;
/// Descriptors from here on are left to tests that write them by hand.
pub const RAW: u16 = 48;

pub const NEXT: u16 = 1;
pub const WRITE: u16 = 2;
pub const INDIRECT: u16 = 4;

const NO_NOTIFY: u16 = 1;

/// A descriptor, as it lies in a table.
#[derive(Debug, Clone, Copy)]
pub struct Descriptor {
    pub address: u64,
    pub len: u32,
    pub flags: u16,
    pub next: u16,
}

impl Descriptor {
    pub const BYTES: u64 = 16;

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
    pub address: u64,
    pub len: u32,
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
}

struct Chain {
    descriptors: Vec<u16>,
    writable: Vec<Segment>,
}

pub struct Queue {
    pub number: usize,
    pub kick: EventFd,
    pub call: EventFd,
    kicked: Epoll,
    called: Epoll,
    event_idx: bool,
    next_avail: u16,
    next_used: u16,
    free: Vec<u16>,
    in_flight: HashMap<u16, Chain>,
}

impl Queue {
    pub fn new(number: usize, event_idx: bool, memory: &mut Memory) -> Self {
        let eventfd = || EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC).expect("eventfd");
        let (kick, call) = (eventfd(), eventfd());
        let queue = Self {
            number,
            kicked: readable(&kick),
            called: readable(&call),
            kick,
            call,
            event_idx,
            next_avail: 0,
            next_used: 0,
            free: (0..RAW).rev().collect(),
            in_flight: HashMap::new(),
        };
        memory.write(queue.table(), &[0; 0x4000]);
        // Whether the device wants to be kicked, which it may say at any time:
        // also after the last chain has come back (VIRTIO 1.4, 2.7.10).
        memory.leave_open(queue.used(), 2);
        memory.leave_open(queue.used() + 4 + 8 * u64::from(SIZE), 2);
        queue
    }

    /// Address of the descriptor table.
    pub fn table(&self) -> u64 {
        LOW + 0x4000 * self.number as u64
    }

    /// Address of the available ring.
    pub fn avail(&self) -> u64 {
        self.table() + 0x1000
    }

    /// Address of the used ring.
    pub fn used(&self) -> u64 {
        self.table() + 0x2000
    }

    pub const TABLE_BYTES: u64 = SIZE as u64 * Descriptor::BYTES;
    pub const AVAIL_BYTES: u64 = 6 + 2 * SIZE as u64;
    pub const USED_BYTES: u64 = 6 + 8 * SIZE as u64;

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
    /// descriptors go into a table there instead.
    pub fn submit(&mut self, memory: &mut Memory, pieces: &[Piece], indirect: Option<u64>) -> u16 {
        let count = if indirect.is_some() { 1 } else { pieces.len() };
        let at = self
            .free
            .len()
            .checked_sub(count)
            .expect("free descriptors");
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
        self.make_available(memory, head);
        head
    }

    pub fn write_descriptor(&self, memory: &mut Memory, index: u16, descriptor: Descriptor) {
        let address = self.table() + u64::from(index) * Descriptor::BYTES;
        memory.write(address, &descriptor.to_bytes());
    }

    /// Makes the chain at `head` available, and kicks unless the device said
    /// that it needs no kick.
    pub fn make_available(&mut self, memory: &mut Memory, head: u16) {
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
            self.kick.write(1).expect("kick");
        }
    }

    /// Claims that so many more chains are available than there are, and kicks;
    /// [`Self::set_index_right`] takes the claim back.
    pub fn set_index_wrong(&mut self, memory: &mut Memory, ahead: u16) {
        let wrong = self.next_avail.wrapping_add(ahead);
        memory.store(wrong.to_le(), self.avail() + 2);
        self.kick.write(1).expect("kick");
    }

    /// Waits until the device has taken the last kick.
    pub fn wait_kick_taken(&self) {
        let deadline = Instant::now() + super::card::LIMIT;
        // The device empties the eventfd, which nothing can wait for.
        while self.kick_is_pending() {
            assert!(Instant::now() < deadline, "the kick is not taken");
            std::thread::yield_now();
        }
    }

    fn kick_is_pending(&self) -> bool {
        let mut events = [EpollEvent::default()];
        self.kicked.wait(0, &mut events).expect("epoll") > 0
    }

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

    /// The next chain that the device has given back, if there is one.
    pub fn take_used(&mut self, memory: &mut Memory) -> Option<Used> {
        if self.used_index(memory) == self.next_used {
            return None;
        }
        let entry = self.used() + 4 + 8 * u64::from(self.next_used % SIZE);
        self.next_used = self.next_used.wrapping_add(1);
        let id = u32::from_le(memory.load(entry));
        let len = u32::from_le(memory.load(entry + 4));
        memory.accept(self.used(), Self::USED_BYTES as usize);
        let head = u16::try_from(id).expect("a descriptor's index");
        let writable = match self.in_flight.remove(&head) {
            Some(chain) => {
                self.free.extend(chain.descriptors);
                chain.writable
            }
            None => {
                assert!((RAW..SIZE).contains(&head), "{head} was not in flight");
                Vec::new()
            }
        };
        Some(Used {
            head,
            len,
            writable,
        })
    }

    /// Waits for a chain to come back.
    pub fn wait_used(&mut self, memory: &mut Memory, deadline: Instant) -> Option<Used> {
        loop {
            if let Some(used) = self.take_used(memory) {
                return Some(used);
            }
            // Ask to be called for the next one, then look again: it may have
            // come in between.
            let event = self.avail() + 4 + 2 * u64::from(SIZE);
            memory.store(self.next_used.to_le(), event);
            fence(Ordering::SeqCst);
            if self.used_index(memory) != self.next_used {
                continue;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let mut events = [EpollEvent::default()];
            let woken = self.called.wait(left.as_millis() as i32, &mut events);
            if woken.expect("epoll") == 0 {
                return self.take_used(memory);
            }
            // Only one reader: it was readable, so this cannot fail.
            self.call.read().expect("call");
        }
    }
}

/// What waits for the eventfd to be written.
fn readable(eventfd: &EventFd) -> Epoll {
    let epoll = Epoll::new().expect("epoll");
    let event = EpollEvent::new(EventSet::IN, 0);
    epoll
        .ctl(ControlOperation::Add, eventfd.as_raw_fd(), event)
        .expect("epoll");
    epoll
}

fn descriptor(piece: Piece, next: Option<u16>) -> Descriptor {
    Descriptor {
        address: piece.address,
        len: piece.len,
        flags: if piece.writable { WRITE } else { 0 } | if next.is_some() { NEXT } else { 0 },
        next: next.unwrap_or(0),
    }
}
