//! The guest's memory, and a shadow of what it should hold.
//!
//! Whatever the driver writes goes into the shadow too, and what the device may
//! write is accepted into it piece by piece. So memory that differs from its
//! shadow was written by the device where it should not have been.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::atomic::Ordering;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
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
    /// What the device may write whenever it likes; not compared.
    open: Vec<Range<u64>>,
}

impl Memory {
    /// Makes memory with `high` bytes above the hole, for frames; two pages at
    /// least.
    ///
    /// # Errors
    /// The system has no such memory.
    pub fn new(high: u64) -> io::Result<Self> {
        // The device has the file, and could cut it under this process.
        Self::with(high, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)
    }

    /// As [`new`](Self::new), of a file whose length can be changed, by the
    /// device as well.
    ///
    /// # Errors
    /// The system has no such memory.
    pub fn unsealed(high: u64) -> io::Result<Self> {
        Self::with(high, SealFlags::empty())
    }

    fn with(high: u64, seals: SealFlags) -> io::Result<Self> {
        let high = high.max(2 * PAGE);
        let half = (high / 2).next_multiple_of(PAGE);
        let ranges = [
            (LOW, LOW_END - LOW),
            (HIGH, half),
            (HIGH + half, high.next_multiple_of(PAGE) - half),
        ];
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = File::from(memfd_create("guest", flags)?);
        file.set_len(ranges.iter().map(|(_, len)| len).sum())?;
        fcntl_add_seals(&file, seals)?;
        let mut offset = 0;
        let mut with_files = Vec::new();
        for (start, len) in ranges {
            let file = FileOffset::new(file.try_clone()?, offset);
            offset += len;
            with_files.push((GuestAddress(start), len as usize, Some(file)));
        }
        let map = GuestMemoryMmap::from_ranges_with_files(with_files).map_err(io::Error::other)?;
        let shadow = ranges.map(|(start, len)| Shadow {
            start,
            bytes: canary(start, len as usize),
        });
        for region in &shadow {
            map.write_slice(&region.bytes, GuestAddress(region.start))
                .map_err(io::Error::other)?;
        }
        Ok(Self {
            map,
            shadow: shadow.into(),
            open: Vec::new(),
        })
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

    /// What to tell the device of the regions; `keep` picks by their number.
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

    /// Returns the address in this process, as vhost-user wants it for the rings.
    pub fn host_address(&self, address: u64) -> u64 {
        self.map
            .get_host_address(GuestAddress(address))
            .expect("guest memory") as u64
    }

    /// Writes as the driver does.
    ///
    /// # Panics
    /// The range is not guest memory: the caller chose it. So do the others.
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

    /// Returns what is there.
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

    /// Loads what the device may be storing at this moment.
    pub fn load<T: AtomicAccess>(&self, address: u64) -> T {
        self.map
            .load(GuestAddress(address), Ordering::Acquire)
            .expect("guest memory")
    }

    /// Stores what the device may be reading at this moment.
    pub fn store<T: AtomicAccess + Copy>(&mut self, value: T, address: u64) {
        self.map
            .store(value, GuestAddress(address), Ordering::Release)
            .expect("guest memory");
        self.accept(address, size_of::<T>());
    }

    /// Takes what memory holds there now for right: the device was asked to
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

    /// Leaves these bytes to the device from now on, to write at any time.
    pub fn leave_open(&mut self, address: u64, len: u64) {
        self.open.push(address..address + len);
    }

    /// Looks for bytes that are not what they should be, in all of memory.
    ///
    /// # Errors
    /// [`Stray`]: the device wrote where it should not have.
    pub fn check_untouched(&self) -> Result<(), Stray> {
        self.check_range(0..u64::MAX)
    }

    /// As [`check_untouched`](Self::check_untouched), in a range of addresses.
    ///
    /// # Errors
    /// [`Stray`]: the device wrote where it should not have.
    pub fn check_range(&self, range: Range<u64>) -> Result<(), Stray> {
        let mut held = vec![0; 1 << 20];
        for region in &self.shadow {
            let from = range.start.clamp(region.start, region.end());
            let to = range.end.clamp(from, region.end());
            let shadow =
                &region.bytes[(from - region.start) as usize..(to - region.start) as usize];
            for (number, expected) in shadow.chunks(held.len()).enumerate() {
                let start = from + (number * held.len()) as u64;
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
                if let Some(first) = wrong.clone().next() {
                    return Err(Stray {
                        bytes: wrong.count(),
                        first: start + first as u64,
                        held: held[first],
                        expected: expected[first],
                    });
                }
            }
        }
        Ok(())
    }
}

/// Bytes that the device wrote where it should not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the device wrote where it should not have: {bytes} bytes from {first:#x} on, the first \
     {held:#04x} where {expected:#04x} was"
)]
pub struct Stray {
    /// How many there are in the first MiB that has some.
    pub bytes: usize,
    /// Address of the first.
    pub first: u64,
    /// What it is.
    pub held: u8,
    /// What it should be.
    pub expected: u8,
}

impl Shadow {
    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
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
        let end = region.end();
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
