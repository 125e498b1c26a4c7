//! A chain of a queue, read out.

use virtio_queue::DescriptorChain;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::record::{Descriptor, Exchange};

/// Most bytes of a request, and of an answer, that this device has to do with: a
/// driver may name one page again and again.
const MOST: usize = 1 << 20;

/// A chain.
pub struct Chain {
    /// Index of its head.
    pub head: u16,
    /// What is recorded of it.
    pub exchange: Exchange,
    /// What could not be read.
    pub fault: Option<String>,
}

impl Chain {
    /// Reads a chain; the front end has started the device `start` times.
    pub fn read(
        chain: DescriptorChain<&GuestMemoryMmap>,
        memory: &GuestMemoryMmap,
        start: u32,
    ) -> Self {
        let head = chain.head_index();
        let mut fault = None;
        let mut exchange = Exchange {
            start,
            event_queue: false,
            descriptors: Vec::new(),
            request: Vec::new(),
            length: 0,
            endless: false,
            answer: None,
        };
        for descriptor in chain {
            exchange.endless = descriptor.has_next();
            let one = Descriptor {
                addr: descriptor.addr().0,
                length: descriptor.len(),
                writable: descriptor.is_write_only(),
            };
            exchange.descriptors.push(one);
            if !one.writable {
                exchange.length += u64::from(one.length);
                let begin = exchange.request.len();
                let length = (one.length as usize).min(MOST - begin.min(MOST));
                exchange.request.resize(begin + length, 0);
                let into = &mut exchange.request[begin..];
                if let Err(error) = memory.read_slice(into, GuestAddress(one.addr)) {
                    fault = Some(format!("a request at {:#x}: {error}", one.addr));
                }
            }
        }
        Self {
            head,
            exchange,
            fault,
        }
    }

    /// Returns how many bytes of an answer are written.
    pub fn room(&self) -> usize {
        usize::try_from(self.exchange.room()).map_or(MOST, |room| room.min(MOST))
    }

    /// Writes an answer to the writable part, as far as it has room.
    pub fn write(&self, memory: &GuestMemoryMmap, mut bytes: &[u8]) -> Option<String> {
        let mut fault = None;
        for one in self.exchange.descriptors.iter().filter(|one| one.writable) {
            let (now, rest) = bytes.split_at(bytes.len().min(one.length as usize));
            bytes = rest;
            if let Err(error) = memory.write_slice(now, GuestAddress(one.addr)) {
                fault = Some(format!("an answer at {:#x}: {error}", one.addr));
            }
        }
        fault
    }

    /// Returns whether the request is in memory what it was when it came.
    pub fn is_unchanged(&self, memory: &GuestMemoryMmap) -> bool {
        let mut at = 0;
        let readable = self.exchange.descriptors.iter();
        readable.filter(|one| !one.writable).all(|one| {
            let rest = &self.exchange.request[at..];
            let then = &rest[..rest.len().min(one.length as usize)];
            at += then.len();
            let mut now = vec![0; then.len()];
            memory.read_slice(&mut now, GuestAddress(one.addr)).is_ok() && now == then
        })
    }
}
