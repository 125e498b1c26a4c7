//! The copy into guest memory.

use super::{Digest, DmaError, ScatterList};

/// Writes a frame into a scatter list, starting at the list's first byte.
pub struct FrameWriter<'a> {
    list: &'a ScatterList,
    run: usize,
    /// Bytes of `run` that are already written.
    at: u32,
    written: u64,
    digests: Option<&'a mut Vec<Digest>>,
}

impl<'a> FrameWriter<'a> {
    /// Begins a frame. If `digests` is given, one digest is added to it for
    /// every block written.
    pub fn new(list: &'a ScatterList, digests: Option<&'a mut Vec<Digest>>) -> Self {
        Self {
            list,
            run: 0,
            at: 0,
            written: 0,
            digests,
        }
    }

    /// Writes the next block of the frame: [`DIGEST_BLOCK`] bytes, or the rest
    /// of the frame. Each byte of guest memory is written once.
    ///
    /// # Errors
    /// [`DmaError::TooShort`] if the list has no room for the block.
    ///
    /// [`DIGEST_BLOCK`]: super::DIGEST_BLOCK
    pub fn write(&mut self, mut block: &[u8]) -> Result<(), DmaError> {
        if let Some(digests) = &mut self.digests {
            digests.push(Digest::of(block));
        }
        let length = self.written + block.len() as u64;
        while !block.is_empty() {
            let memory = self
                .list
                .memory(self.run, self.at)
                .ok_or(DmaError::TooShort {
                    held: self.written,
                    length,
                })?;
            let (now, later) = block.split_at(block.len().min(memory.len()));
            memory.copy_from(now);
            self.written += now.len() as u64;
            block = later;
            if now.len() == memory.len() {
                self.run += 1;
                self.at = 0;
            } else {
                // A run's length is a u32, and `at` stays below it.
                self.at += now.len() as u32;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dma::{Bus, DIGEST_BLOCK, Segment};
    use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

    #[test]
    fn a_frame_lands_in_its_segments_in_order_and_nowhere_else() {
        let memory = GuestMemoryMmap::from_ranges(&[
            (GuestAddress(0), 0x4000),
            (GuestAddress(0x4000), 0x4000),
        ])
        .unwrap();
        memory
            .write_slice(&[0xee; 0x8000], GuestAddress(0))
            .unwrap();
        // The segments run backwards, are unaligned, lie in two mappings, and
        // one is a byte long; blocks end within a segment, and segments within
        // a block.
        let segments = [
            (0x7001, 3000),
            (0x3f00, 0x200),
            (0x11, 1),
            (0x12, 2000),
            (0x5000, 4000),
        ]
        .map(|(start, len)| Segment { start, len });
        let total: u32 = segments.iter().map(|s| s.len).sum();
        let mut list = ScatterList::default();
        let bus = Bus {
            memory: &memory,
            forbidden: &[],
        };
        list.resolve(segments.into_iter(), total, total, bus)
            .unwrap();

        let frame: Vec<u8> = (0..total - 7).map(|i| (i % 251) as u8 | 1).collect();
        let mut digests = Vec::new();
        let mut writer = FrameWriter::new(&list, Some(&mut digests));
        for block in frame.chunks(DIGEST_BLOCK) {
            writer.write(block).unwrap();
        }

        let mut expected = vec![0xee; 0x8000];
        let mut rest = &frame[..];
        for Segment { start, len } in segments {
            let (now, later) = rest.split_at(rest.len().min(len as usize));
            expected[start as usize..][..now.len()].copy_from_slice(now);
            rest = later;
        }
        let mut found = vec![0; 0x8000];
        memory.read_slice(&mut found, GuestAddress(0)).unwrap();
        assert!(found == expected);
        let wanted: Vec<_> = frame.chunks(DIGEST_BLOCK).map(Digest::of).collect();
        assert_eq!(digests, wanted);
    }

    #[test]
    fn a_frame_larger_than_its_list_is_an_error() {
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x1000)]).unwrap();
        let mut list = ScatterList::default();
        let bus = Bus {
            memory: &memory,
            forbidden: &[],
        };
        let segment = Segment { start: 0, len: 100 };
        list.resolve([segment].into_iter(), 100, 100, bus).unwrap();
        let mut writer = FrameWriter::new(&list, None);
        writer.write(&[1; 64]).unwrap();
        assert_eq!(
            writer.write(&[1; 64]),
            Err(DmaError::TooShort {
                held: 100,
                length: 128
            })
        );
    }
}
