//! The copy out of guest memory.

use super::cursor::Cursor;
use super::writer::Staging;
use super::{DIGEST_BLOCK, Digest, DmaError, ScatterList};

/// Reads a frame out of a scatter list.
///
/// Each byte of guest memory is read once: the digest and whoever gets the frame
/// see the same copy, whatever the guest writes meanwhile.
pub struct FrameReader<'a> {
    cursor: Cursor<'a>,
    staging: &'a mut Staging,
    digests: Option<&'a mut Vec<Digest>>,
}

impl<'a> FrameReader<'a> {
    /// Begins at the list's first byte. If `digests` is given, one digest is
    /// added to it for every block that is read.
    pub fn new(
        list: &'a ScatterList,
        staging: &'a mut Staging,
        digests: Option<&'a mut Vec<Digest>>,
    ) -> Self {
        Self {
            cursor: Cursor::new(list),
            staging,
            digests,
        }
    }

    /// Passes over `length` bytes, which are not read.
    ///
    /// # Errors
    /// [`DmaError::TooShort`] if the list has fewer.
    pub fn skip(&mut self, length: u32) -> Result<(), DmaError> {
        let mut left = length as usize;
        while left > 0 {
            let here = self.cursor.memory(left)?.len();
            let now = here.min(left);
            self.cursor.advance(now, here);
            left -= now;
        }
        Ok(())
    }

    /// Reads the next `length` bytes: [`PIECE`](super::PIECE), or less for the end
    /// of the frame.
    ///
    /// # Errors
    /// [`DmaError::TooShort`] if the list has fewer.
    pub fn read(&mut self, length: usize) -> Result<&[u8], DmaError> {
        let mut read = 0;
        while read < length {
            let memory = self.cursor.memory(length - read)?;
            let here = memory.len();
            let now = here.min(length - read);
            memory.copy_to(&mut self.staging.piece()[read..read + now]);
            self.cursor.advance(now, here);
            read += now;
        }
        let piece = &self.staging.piece()[..length];
        if let Some(digests) = &mut self.digests {
            digests.extend(piece.chunks(DIGEST_BLOCK).map(Digest::of));
        }
        Ok(piece)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dma::{Bus, Segment};
    use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

    /// Guest memory whose bytes depend on their addresses.
    fn memory() -> GuestMemoryMmap {
        let memory = GuestMemoryMmap::from_ranges(&[
            (GuestAddress(0), 0x8000),
            (GuestAddress(0x8000), 0x8000),
        ])
        .unwrap();
        let bytes: Vec<u8> = (0..0x10000u32).map(byte).collect();
        memory
            .write_slice(&bytes[..0x8000], GuestAddress(0))
            .unwrap();
        memory
            .write_slice(&bytes[0x8000..], GuestAddress(0x8000))
            .unwrap();
        memory
    }

    fn byte(address: u32) -> u8 {
        (address.wrapping_mul(31) >> 3) as u8
    }

    fn list(memory: &GuestMemoryMmap, segments: &[(u64, u32)]) -> ScatterList {
        let segments = segments.iter().map(|&(start, len)| Segment { start, len });
        let length = segments.clone().map(|segment| segment.len).sum();
        let mut list = ScatterList::default();
        let bus = Bus {
            memory,
            forbidden: &[],
        };
        list.resolve(segments, length, length, bus).unwrap();
        list
    }

    #[test]
    fn what_is_read_is_what_the_segments_hold_in_their_order() {
        let memory = memory();
        // The second segment lies in two mappings.
        let segments = [
            (0x3001, 0x1fff),
            (0x7ff0, 0x20),
            (0x100, 1),
            (0x5000, 0x2345),
        ];
        let list = list(&memory, &segments);
        let wanted: Vec<u8> = segments
            .iter()
            .flat_map(|&(start, len)| (start as u32..start as u32 + len).map(byte))
            .collect();
        for skipped in [0, 1, 0x1fff, 0x2010, 0x2021] {
            let mut staging = Staging::default();
            let mut digests = Vec::new();
            let mut reader = FrameReader::new(&list, &mut staging, Some(&mut digests));
            reader.skip(skipped as u32).unwrap();
            let mut read = Vec::new();
            let wanted = &wanted[skipped..];
            for piece in wanted.chunks(super::super::PIECE) {
                read.extend_from_slice(reader.read(piece.len()).unwrap());
            }
            assert!(read == wanted, "after {skipped}");
            let blocks: Vec<_> = wanted.chunks(DIGEST_BLOCK).map(Digest::of).collect();
            assert_eq!(digests, blocks, "after {skipped}");
        }
    }

    #[test]
    fn a_list_that_is_too_short_is_an_error() {
        let memory = memory();
        let list = list(&memory, &[(0x1000, 100), (0x3000, 28)]);
        let mut staging = Staging::default();
        let mut reader = FrameReader::new(&list, &mut staging, None);
        reader.skip(100).unwrap();
        assert_eq!(
            reader.read(29),
            Err(DmaError::TooShort {
                held: 128,
                length: 129
            })
        );
        let mut reader = FrameReader::new(&list, &mut staging, None);
        assert_eq!(
            reader.skip(200),
            Err(DmaError::TooShort {
                held: 128,
                length: 200
            })
        );
    }
}
