//! The copy into guest memory.

use super::cursor::Cursor;
use super::{DIGEST_BLOCK, Digest, DmaError, ScatterList};

/// Length of what is drawn at once, in bytes. It stays in the processor's first
/// cache until it is copied.
pub const PIECE: usize = 4 * DIGEST_BLOCK;

/// Length of a page, and of what a copy may leave for the next one.
const PAGE: usize = 4096;

/// Private memory in which a frame is drawn before it is copied, or to which one
/// is copied that is read.
///
/// A frame that does not begin at a page's first byte has blocks that lie in two
/// pages each. Pages written in two parts take half as long again as pages
/// written in one, so the end of a page's content waits here for the rest of it.
pub struct Staging {
    room: Box<Room>,
}

/// Room for what waits, and after it for what is drawn, which begins with a line
/// of the processor's cache.
#[repr(C, align(64))]
struct Room([u8; PAGE + PIECE]);

impl Staging {
    /// Returns the room for a piece.
    pub(super) fn piece(&mut self) -> &mut [u8] {
        &mut self.room.0[PAGE..]
    }
}

impl Default for Staging {
    fn default() -> Self {
        Self {
            room: Box::new(Room([0; _])),
        }
    }
}

/// Writes a frame into a scatter list, starting at the list's first byte.
pub struct FrameWriter<'a> {
    cursor: Cursor<'a>,
    staging: &'a mut Staging,
    /// Number of bytes that wait in the staging, before [`PAGE`]; less than a
    /// page.
    waiting: usize,
    digests: Option<&'a mut Vec<Digest>>,
}

impl<'a> FrameWriter<'a> {
    /// Begins a frame. If `digests` is given, one digest is added to it for
    /// every block.
    pub fn new(
        list: &'a ScatterList,
        staging: &'a mut Staging,
        digests: Option<&'a mut Vec<Digest>>,
    ) -> Self {
        Self {
            cursor: Cursor::new(list),
            staging,
            waiting: 0,
            digests,
        }
    }

    /// Writes the next `length` bytes of the frame, all of which `draw` has to
    /// fill in: [`PIECE`], or less for the end of the frame. Each byte of guest
    /// memory is written once, by this call or a later one.
    ///
    /// # Errors
    /// [`DmaError::TooShort`] if the list has no room for them.
    pub fn write(&mut self, length: usize, draw: impl FnOnce(&mut [u8])) -> Result<(), DmaError> {
        let drawn = &mut self.staging.piece()[..length];
        draw(drawn);
        if let Some(digests) = &mut self.digests {
            digests.extend(drawn.chunks(DIGEST_BLOCK).map(Digest::of));
        }
        self.copy(length, Until::Page)
    }

    /// Writes what waits. A writer that is dropped instead leaves the end of its
    /// frame out.
    ///
    /// # Errors
    /// [`DmaError::TooShort`] if the list has no room for it.
    pub fn finish(mut self) -> Result<(), DmaError> {
        self.copy(0, Until::End)
    }

    /// Copies what waits and the `drawn` bytes after it, and has the rest wait.
    fn copy(&mut self, drawn: usize, until: Until) -> Result<(), DmaError> {
        let mut rest = &self.staging.room.0[PAGE - self.waiting..PAGE + drawn];
        while !rest.is_empty() {
            let memory = self.cursor.memory(rest.len())?;
            let now = match until {
                // A segment's end is written, whatever lies behind it.
                _ if memory.len() <= rest.len() => memory.len(),
                Until::Page => {
                    let end = memory.ptr_guard().as_ptr().addr() + rest.len();
                    rest.len().saturating_sub(end % PAGE)
                }
                Until::End => rest.len(),
            };
            if now == 0 {
                // What is left ends in the page in which it begins.
                break;
            }
            memory.copy_from(&rest[..now]);
            self.cursor.advance(now, memory.len());
            rest = &rest[now..];
        }
        self.waiting = rest.len();
        let left = PAGE + drawn - self.waiting..PAGE + drawn;
        self.staging.room.0.copy_within(left, PAGE - self.waiting);
        Ok(())
    }
}

/// Where a copy ends.
#[derive(Clone, Copy)]
enum Until {
    /// At the end of a page or of a segment; what comes after it waits.
    Page,
    /// At the end of what there is.
    End,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dma::{Bus, Segment};
    use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

    const SIZE: usize = 0x20000;

    /// Writes a frame that is 7 bytes shorter than the segments, and compares
    /// all of the guest's memory with what it has to be.
    fn check(segments: &[(u64, u32)]) {
        let half = SIZE / 2;
        let memory = GuestMemoryMmap::from_ranges(&[
            (GuestAddress(0), half),
            (GuestAddress(half as u64), half),
        ])
        .unwrap();
        memory.write_slice(&[0xee; SIZE], GuestAddress(0)).unwrap();
        let segments = segments.iter().map(|&(start, len)| Segment { start, len });
        let total: u32 = segments.clone().map(|s| s.len).sum();
        let mut list = ScatterList::default();
        let bus = Bus {
            memory: &memory,
            forbidden: &[],
        };
        let given: Vec<Segment> = segments.clone().collect();
        list.resolve(given.into_iter(), total, total, bus).unwrap();

        let frame: Vec<u8> = (0..total - 7).map(|i| (i % 251) as u8 | 1).collect();
        let mut digests = Vec::new();
        let mut staging = Staging::default();
        let mut writer = FrameWriter::new(&list, &mut staging, Some(&mut digests));
        for piece in frame.chunks(PIECE) {
            writer
                .write(piece.len(), |drawn| drawn.copy_from_slice(piece))
                .unwrap();
        }
        writer.finish().unwrap();

        let mut expected = vec![0xee; SIZE];
        let mut rest = &frame[..];
        for Segment { start, len } in segments {
            let (now, later) = rest.split_at(rest.len().min(len as usize));
            expected[start as usize..][..now.len()].copy_from_slice(now);
            rest = later;
        }
        let mut found = vec![0; SIZE];
        memory.read_slice(&mut found, GuestAddress(0)).unwrap();
        assert!(found == expected);
        let wanted: Vec<_> = frame.chunks(DIGEST_BLOCK).map(Digest::of).collect();
        assert_eq!(digests, wanted);
    }

    #[test]
    fn a_frame_lands_in_its_segments_in_order_and_nowhere_else() {
        // The segments run backwards, are unaligned, lie in two mappings, and
        // one is a byte long; blocks end within a segment, and segments within
        // a block.
        check(&[
            (0x1f001, 3000),
            (0xff00, 0x200),
            (0x11, 1),
            (0x12, 2000),
            (0x15000, 4000),
        ]);
    }

    #[test]
    fn a_frame_of_many_blocks_lands_wherever_its_pages_begin_and_end() {
        for offset in [0, 1, 16, 1234, 4095] {
            // Pages that lie apart, as a process's do.
            let first = (0x1e000 + offset, 0x1000 - offset as u32);
            let pages = (0..14).rev().map(|page| (page * 0x2000, 0x1000));
            check(&std::iter::once(first).chain(pages).collect::<Vec<_>>());
            // One segment, and two that meet within a page.
            check(&[(offset, 0x1c000)]);
            check(&[(offset, 0x5800), (0x10000 + offset, 0xb001)]);
        }
        // Segments that are shorter than a page, and end within it.
        let short = (0..200).map(|i| (i * 600, 501));
        check(&short.collect::<Vec<_>>());
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
        let mut staging = Staging::default();
        let mut writer = FrameWriter::new(&list, &mut staging, None);
        writer.write(64, |drawn| drawn.fill(1)).unwrap();
        assert_eq!(
            writer.write(64, |drawn| drawn.fill(1)),
            Err(DmaError::TooShort {
                held: 100,
                length: 128
            })
        );
    }
}
