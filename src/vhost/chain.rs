//! Descriptor chains: the readable part is copied once, the writable part is
//! kept as addresses.

use virtio_queue::DescriptorChain;
use virtio_queue::desc::split::Descriptor;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

/// Largest number of readable bytes taken from a chain; several times the size
/// of a scatter list of [`MAX_SEGMENTS`](crate::dma::MAX_SEGMENTS) entries.
pub const MAX_READABLE: usize = 1 << 20;

/// Largest number of writable bytes kept of a chain; more than any response or
/// event has. The longest response holds as many controls as V4L2 allows in one
/// ioctl.
const MAX_WRITABLE: usize = 32 * 1024;

/// Why a chain is malformed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// The chain has no descriptor, or its next descriptor cannot be read.
    #[error("a descriptor chain is broken")]
    Broken,
    /// A descriptor's memory is not guest memory.
    #[error("a descriptor of {len} bytes at {addr:#x} is not in guest memory")]
    Outside {
        /// Address of the memory.
        addr: u64,
        /// Length of the memory in bytes.
        len: u32,
    },
    /// A readable descriptor follows a writable one (VIRTIO 1.4, 2.7.4.2).
    #[error("a descriptor chain has a readable part after a writable one")]
    Order,
    /// The readable part is longer than any command.
    #[error("a command is longer than {MAX_READABLE} bytes")]
    TooLong,
}

/// A chain taken from a queue. One `Chain` serves all chains, so that its
/// memory is allocated once.
#[derive(Debug, Default)]
pub struct Chain {
    readable: Vec<u8>,
    writable: Vec<(GuestAddress, u32)>,
    capacity: usize,
}

impl Chain {
    /// Takes a chain: copies the readable part, so that the guest cannot change
    /// it any more, and checks that the writable part can be written.
    ///
    /// # Errors
    /// Returns the first error found. The writable part is taken nevertheless,
    /// so that the caller can answer with an error.
    pub fn take<'m>(
        &mut self,
        chain: DescriptorChain<&'m GuestMemoryMmap>,
        memory: &'m GuestMemoryMmap,
    ) -> Result<(), ChainError> {
        self.readable.clear();
        self.writable.clear();
        self.capacity = 0;
        let mut result = Ok(());
        let mut complete = false;
        for descriptor in chain {
            complete = !descriptor.has_next();
            if let Err(error) = self.add(descriptor, memory) {
                result = result.and(Err(error));
            }
        }
        if complete {
            result
        } else {
            result.and(Err(ChainError::Broken))
        }
    }

    fn add(&mut self, descriptor: Descriptor, memory: &GuestMemoryMmap) -> Result<(), ChainError> {
        let (addr, len) = (descriptor.addr(), descriptor.len());
        if len == 0 {
            return Ok(());
        }
        if !memory.check_range(addr, len as usize) {
            return Err(ChainError::Outside { addr: addr.0, len });
        }
        if descriptor.is_write_only() {
            if self.capacity < MAX_WRITABLE {
                self.writable.push((addr, len));
            }
            self.capacity += len as usize;
            return Ok(());
        }
        if !self.writable.is_empty() {
            return Err(ChainError::Order);
        }
        let start = self.readable.len();
        if len as usize > MAX_READABLE - start {
            return Err(ChainError::TooLong);
        }
        self.readable.resize(start + len as usize, 0);
        memory
            .read_slice(&mut self.readable[start..], addr)
            .map_err(|_| ChainError::Outside { addr: addr.0, len })
    }

    /// Returns the copy of the readable part.
    pub fn readable(&self) -> &[u8] {
        &self.readable
    }

    /// Returns the length of the writable part in bytes.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Writes `bytes` to the writable part, and returns how many bytes fitted.
    pub fn write(&self, mut bytes: &[u8], memory: &GuestMemoryMmap) -> u32 {
        let mut written = 0;
        for &(addr, len) in &self.writable {
            let (now, later) = bytes.split_at(bytes.len().min(len as usize));
            if now.is_empty() || memory.write_slice(now, addr).is_err() {
                break;
            }
            // The length is at most MAX_WRITABLE and one descriptor.
            written += now.len() as u32;
            bytes = later;
        }
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use virtio_bindings::bindings::virtio_ring::{
        VRING_DESC_F_INDIRECT, VRING_DESC_F_NEXT, VRING_DESC_F_WRITE,
    };
    use virtio_queue::desc::RawDescriptor;
    use virtio_queue::{Queue, QueueOwnedT, QueueT};

    const NEXT: u16 = VRING_DESC_F_NEXT as u16;
    const WRITE: u16 = VRING_DESC_F_WRITE as u16;
    const INDIRECT: u16 = VRING_DESC_F_INDIRECT as u16;

    fn memory() -> GuestMemoryMmap {
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x40_0000)]).unwrap();
        for i in 0..0x100 {
            memory
                .write_obj(i as u8, GuestAddress(0x2_0000 + i))
                .unwrap();
        }
        memory
    }

    /// Takes the chain that starts with the first descriptor `(addr, len,
    /// flags, next)`.
    fn take(
        memory: &GuestMemoryMmap,
        table: &[(u64, u32, u16, u16)],
    ) -> (Chain, Result<(), ChainError>) {
        let mut queue = Queue::new(16).unwrap();
        queue.set_desc_table_address(Some(0x1000), None);
        queue.set_avail_ring_address(Some(0x2000), None);
        queue.set_used_ring_address(Some(0x3000), None);
        queue.set_ready(true);
        put(memory, 0x1000, table);
        // One chain is available, and its head is descriptor 0.
        memory
            .write_obj([0u16, 1, 0], GuestAddress(0x2000))
            .unwrap();
        let head = queue.iter(memory).unwrap().next().unwrap();
        let mut chain = Chain::default();
        let result = chain.take(head, memory);
        (chain, result)
    }

    /// Writes a descriptor table.
    fn put(memory: &GuestMemoryMmap, at: u64, table: &[(u64, u32, u16, u16)]) {
        for (index, &(addr, len, flags, next)) in table.iter().enumerate() {
            let descriptor = RawDescriptor::from(Descriptor::new(addr, len, flags, next));
            memory
                .write_obj(descriptor, GuestAddress(at + 16 * index as u64))
                .unwrap();
        }
    }

    #[test]
    fn both_parts_are_taken_in_pieces_and_empty_descriptors_passed_over() {
        let memory = memory();
        let (chain, result) = take(
            &memory,
            &[
                (0x2_0000, 3, NEXT, 1),
                (0xdead_0000_0000, 0, NEXT, 2),
                (0x2_0010, 2, NEXT, 3),
                (0x3_0000, 5, NEXT | WRITE, 4),
                (0x3_0100, 0, NEXT | WRITE, 5),
                (0x3_0200, 6, WRITE, 0),
            ],
        );
        result.unwrap();
        assert_eq!(chain.readable(), [0, 1, 2, 0x10, 0x11]);
        assert_eq!(chain.capacity(), 11);
        assert_eq!(chain.write(&[9; 7], &memory), 7);
        assert_eq!(chain.write(&[7; 20], &memory), 11);
        let mut after = [0; 6];
        memory
            .read_slice(&mut after, GuestAddress(0x3_0200))
            .unwrap();
        assert_eq!(after, [7; 6]);
    }

    #[test]
    fn an_indirect_table_is_followed() {
        let memory = memory();
        put(
            &memory,
            0x1_0000,
            &[(0x2_0000, 4, NEXT, 1), (0x3_0000, 8, WRITE, 0)],
        );
        let (chain, result) = take(&memory, &[(0x1_0000, 32, INDIRECT, 0)]);
        result.unwrap();
        assert_eq!((chain.readable(), chain.capacity()), (&[0, 1, 2, 3][..], 8));
        // The indirect table is not a whole number of descriptors, or is not in
        // guest memory.
        for (addr, len) in [(0x1_0000, 31), (0x1_0000, 0), (0xdead_0000_0000, 32)] {
            let (_, result) = take(&memory, &[(addr, len, INDIRECT, 0)]);
            assert_eq!(result, Err(ChainError::Broken), "{addr:#x} {len}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_and_what_is_writable_is_kept() {
        let memory = memory();
        let answer = (0x3_0000, 8, WRITE, 0);
        let long = MAX_READABLE as u32;
        for (table, error) in [
            (
                vec![(0xdead_0000_0000, 4, NEXT, 1), answer],
                ChainError::Outside {
                    addr: 0xdead_0000_0000,
                    len: 4,
                },
            ),
            (
                vec![(u64::MAX - 1, 4, NEXT, 1), answer],
                ChainError::Outside {
                    addr: u64::MAX - 1,
                    len: 4,
                },
            ),
            (
                vec![(0x10_0000, long, NEXT, 1), (0x2_0000, 1, NEXT, 2), answer],
                ChainError::TooLong,
            ),
            (
                vec![(0x3_0000, 8, WRITE | NEXT, 1), (0x2_0000, 4, 0, 0)],
                ChainError::Order,
            ),
            (vec![(0x3_0000, 8, WRITE | NEXT, 16)], ChainError::Broken),
            // The descriptors form a loop: the chain is cut after as many as
            // the queue has.
            (vec![(0x3_0000, 1, WRITE | NEXT, 0)], ChainError::Broken),
        ] {
            let (chain, result) = take(&memory, &table);
            assert_eq!(result, Err(error), "{table:x?}");
            assert!(chain.capacity() >= 8);
        }
        let (chain, result) = take(&memory, &[(0x10_0000, long, 0, 0)]);
        assert_eq!((result, chain.capacity()), (Ok(()), 0));
    }
}
