//! The guest's memory, and a shadow of what it should hold.
//!
//! Whatever the driver writes goes into the shadow too, and what the card may
//! write is accepted into it piece by piece. So memory that differs from its
//! shadow was written by the card where it should not have been.

use std::fs::File;
use std::ops::Range;
use std::sync::atomic::Ordering;

use rustix::fs::{MemfdFlags, memfd_create};
use vhost::VhostUserMemoryRegionInfo;
use vm_memory::{
    AtomicAccess, Bytes, FileOffset, GuestAddress, GuestMemoryBackend, GuestMemoryMmap,
};

/// Bytes of a page.
pub const PAGE: u64 = 4096;
/// Start of the low region: rings, commands, and a little memory for frames.
pub const LOW: u64 = 0x10_0000;
/// End of the low region; up to [`HIGH`] there is a hole.
pub const LOW_END: u64 = LOW + 0x60_0000;
/// Memory of the low region that nothing else uses.
pub const LOW_SPARE: Range<u64> = LOW + 0x40_0000..LOW_END;
/// Start of the two high regions, the second right behind the first.
pub const HIGH: u64 = 0x1_0000_0000;

/// An address and a length in guest memory, as in a scatter list.
pub type Segment = (u64, u32);

struct Shadow {
    start: u64,
    bytes: Vec<u8>,
}

/// Guest memory of three regions: one low, a hole, and two high ones without
/// a gap between.
pub struct Memory {
    map: GuestMemoryMmap<()>,
    shadow: Vec<Shadow>,
    /// What the card may write whenever it likes; not compared.
    open: Vec<Range<u64>>,
}

impl Memory {
    /// Memory with `high` bytes above the hole, for frames.
    pub fn new(high: u64) -> Self {
        let half = (high / 2).next_multiple_of(PAGE);
        let ranges = [
            (LOW, LOW_END - LOW),
            (HIGH, half),
            (HIGH + half, high.next_multiple_of(PAGE) - half),
        ];
        let memfd = memfd_create("guest", MemfdFlags::CLOEXEC).expect("memfd");
        let file = File::from(memfd);
        file.set_len(ranges.iter().map(|(_, len)| len).sum())
            .expect("memfd size");
        let mut offset = 0;
        let with_files = ranges.map(|(start, len)| {
            let file = FileOffset::new(file.try_clone().expect("memfd"), offset);
            offset += len;
            (GuestAddress(start), len as usize, Some(file))
        });
        let map = GuestMemoryMmap::from_ranges_with_files(with_files).expect("guest memory");
        let shadow = ranges.map(|(start, len)| Shadow {
            start,
            bytes: canary(start, len as usize),
        });
        for region in &shadow {
            map.write_slice(&region.bytes, GuestAddress(region.start))
                .expect("guest memory");
        }
        Self {
            map,
            shadow: shadow.into(),
            open: Vec::new(),
        }
    }

    /// The memory below the hole.
    pub fn low(&self) -> Range<u64> {
        LOW..LOW_END
    }

    /// The memory above the hole.
    pub fn high(&self) -> Range<u64> {
        HIGH..self.map.last_addr().0 + 1
    }

    /// Where the two high regions meet.
    pub fn seam(&self) -> u64 {
        self.shadow[2].start
    }

    /// What to tell the card of the regions; `keep` picks by their number.
    pub fn regions(&self, keep: impl Fn(usize) -> bool) -> Vec<VhostUserMemoryRegionInfo> {
        self.map
            .iter()
            .enumerate()
            .filter(|(number, _)| keep(*number))
            .map(|(_, region)| VhostUserMemoryRegionInfo::from_guest_region(region).expect("file"))
            .collect()
    }

    /// The same memory for another thread, without a shadow.
    pub fn shared(&self) -> GuestMemoryMmap<()> {
        self.map.clone()
    }

    /// The address in this process, as vhost-user wants it for the rings.
    pub fn host_address(&self, address: u64) -> u64 {
        self.map
            .get_host_address(GuestAddress(address))
            .expect("guest memory") as u64
    }

    pub fn write(&mut self, address: u64, bytes: &[u8]) {
        self.map
            .write_slice(bytes, GuestAddress(address))
            .expect("guest memory");
        for_pieces(&mut self.shadow, address, bytes.len(), |shadow, at| {
            shadow.copy_from_slice(&bytes[at..at + shadow.len()]);
        });
    }

    /// Writes the canary pattern anew.
    pub fn write_canary(&mut self, range: Range<u64>) {
        self.write(
            range.start,
            &canary(range.start, (range.end - range.start) as usize),
        );
    }

    pub fn read(&self, address: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.map
            .read_slice(&mut bytes, GuestAddress(address))
            .expect("guest memory");
        bytes
    }

    /// The bytes that a scatter list describes, in its order.
    pub fn gather(&self, segments: &[Segment]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for &(address, len) in segments {
            bytes.extend(self.read(address, len as usize));
        }
        bytes
    }

    pub fn load<T: AtomicAccess>(&self, address: u64) -> T {
        self.map
            .load(GuestAddress(address), Ordering::Acquire)
            .expect("guest memory")
    }

    /// Stores what the card may be reading at this moment.
    pub fn store<T: AtomicAccess + Copy>(&mut self, value: T, address: u64) {
        self.map
            .store(value, GuestAddress(address), Ordering::Release)
            .expect("guest memory");
        self.accept(address, size_of::<T>());
    }

    /// Takes what memory holds there now for right: the card was asked to
    /// write it.
    pub fn accept(&mut self, address: u64, len: usize) {
        let map = &self.map;
        for_pieces(&mut self.shadow, address, len, |shadow, at| {
            map.read_slice(shadow, GuestAddress(address + at as u64))
                .expect("guest memory");
        });
    }

    /// Takes what the segments hold now for right.
    pub fn accept_segments(&mut self, segments: &[Segment]) {
        for &(address, len) in segments {
            self.accept(address, len as usize);
        }
    }

    /// Leaves these bytes to the card from now on, to write at any time.
    pub fn leave_open(&mut self, address: u64, len: u64) {
        self.open.push(address..address + len);
    }

    /// Fails if any byte of any region is not what it should be.
    pub fn assert_untouched(&self) {
        let mut held = vec![0; 1 << 20];
        for region in &self.shadow {
            for (number, expected) in region.bytes.chunks(held.len()).enumerate() {
                let start = region.start + (number * held.len()) as u64;
                let held = &mut held[..expected.len()];
                self.map
                    .read_slice(held, GuestAddress(start))
                    .expect("guest memory");
                if held == expected {
                    continue;
                }
                let is_open = |i: usize| {
                    let address = start + i as u64;
                    self.open.iter().any(|open| open.contains(&address))
                };
                let wrong = (0..held.len()).filter(|&i| held[i] != expected[i] && !is_open(i));
                let Some(first) = wrong.clone().next() else {
                    continue;
                };
                panic!(
                    "the card wrote where it should not have: {} bytes from {:#x} on, \
                     the first {:#04x} where {:#04x} was",
                    wrong.count(),
                    start + first as u64,
                    held[first],
                    expected[first],
                );
            }
        }
    }
}

/// Calls `each` with every piece of the shadow that the range covers and the
/// piece's offset in the range.
fn for_pieces(
    shadow: &mut [Shadow],
    address: u64,
    len: usize,
    mut each: impl FnMut(&mut [u8], usize),
) {
    for region in shadow {
        let end = region.start + region.bytes.len() as u64;
        let from = address.max(region.start);
        let to = (address + len as u64).min(end);
        if from < to {
            let piece = (from - region.start) as usize..(to - region.start) as usize;
            each(&mut region.bytes[piece], (from - address) as usize);
        }
    }
}

/// A pattern in which every eight bytes depend on their address, so that what
/// is moved is seen as well as what is changed.
fn canary(start: u64, len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len + 8);
    let mut address = start & !7;
    while bytes.len() < len + 8 {
        bytes.extend(
            (address ^ 0x5ca1_ab1e)
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .to_le_bytes(),
        );
        address += 8;
    }
    let skip = (start & 7) as usize;
    bytes.truncate(skip + len);
    bytes.split_off(skip)
}
