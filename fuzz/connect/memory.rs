//! The guest's memory: what lies where, and what the device may not change.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;

use rustix::fs;

/// Two regions of guest memory, adjacent in their file: for each, its address
/// in the guest, and in the process that is the front end.
pub const REGION: u64 = 0x1_0000;
pub const REGIONS: [(u64, u64); 2] = [(0, 0x7000_0000_0000), (0x10_0000, 0x7100_0000_0000)];
/// Addresses in the first region. The device may write from [`WRITABLE`] on.
pub const INDIRECT: u64 = 0x2000;
pub const COMMANDS: u64 = 0x3000;
pub const WRITABLE: u64 = 0x5000;
/// Number of descriptors of a queue.
pub const SIZE: u16 = 16;

/// The memory, and the expected contents of the part that the device may not write
/// to.
pub struct Memory {
    file: File,
    shadow: Vec<u8>,
}

impl Memory {
    /// Makes memory of zeros.
    pub fn new() -> Self {
        let file = fs::memfd_create("guest", fs::MemfdFlags::CLOEXEC).expect("a memfd");
        let memory = Self {
            file: File::from(file),
            shadow: vec![0; WRITABLE as usize],
        };
        memory.truncate(2 * REGION);
        memory
    }

    /// Makes the file so long.
    pub fn truncate(&self, len: u64) {
        self.file.set_len(len).expect("a length");
    }

    /// Writes bytes, and expects them to stay.
    pub fn put(&mut self, at: u64, bytes: &[u8]) {
        self.scribble(at, bytes);
        let end = (at as usize + bytes.len()).min(self.shadow.len());
        if (at as usize) < end {
            let len = end - at as usize;
            self.shadow[at as usize..end].copy_from_slice(&bytes[..len]);
        }
    }

    /// Writes bytes, and expects nothing.
    pub fn scribble(&self, at: u64, bytes: &[u8]) {
        self.file.write_at(bytes, at).expect("guest memory");
    }

    /// Reads 32 bits.
    pub fn word(&self, at: u64) -> u32 {
        u32::from_le_bytes(self.bytes(at))
    }

    /// Reads 16 bits.
    pub fn half(&self, at: u64) -> u16 {
        u16::from_le_bytes(self.bytes(at))
    }

    fn bytes<const N: usize>(&self, at: u64) -> [u8; N] {
        let mut bytes = [0; N];
        let read = self.file.read_exact_at(&mut bytes, at);
        read.expect("guest memory");
        bytes
    }

    /// Returns all of it.
    pub fn contents(&self) -> Vec<u8> {
        let mut bytes = vec![0; 2 * REGION as usize];
        let read = self.file.read_at(&mut bytes, 0).expect("guest memory");
        bytes.truncate(read);
        bytes
    }

    /// Checks that bytes have changed only in the used rings and where the device
    /// may write.
    pub fn is_intact(&self) {
        let is_rings = |at: usize| (0x800..0x900).contains(&(at % 0x1000)) && at < 0x2000;
        let found = self.contents();
        for (at, (is, was)) in found.iter().zip(&self.shadow).enumerate() {
            assert!(is == was || is_rings(at), "byte {at:#x} was written");
        }
    }
}

impl AsFd for Memory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Returns the address of a queue's descriptors. Its available ring is at 0x400
/// from there, its used ring at 0x800.
pub fn ring(queue: usize) -> u64 {
    queue as u64 * 0x1000
}
