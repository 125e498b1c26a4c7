//! Scatter lists, resolved against guest memory.

use std::sync::Arc;

use vm_memory::{
    Address, GuestAddress, GuestMemoryBackend, GuestMemoryRegion, MmapRegion, VolatileMemory,
    VolatileSlice,
};

use super::{Bus, DmaError, MAX_SEGMENTS, OwnMemory};

/// A segment of guest memory, as the driver gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Guest-physical (bus) address of the first byte.
    pub start: u64,
    /// Length in bytes.
    pub len: u32,
}

/// A segment, or the part of one that lies in one mapping of guest memory.
///
/// A list may have thousands, and a card dozens of lists, so the segments are not
/// kept besides, as they follow from the runs, and a run is 12 bytes.
#[derive(Debug, Clone, Copy)]
struct Run {
    len: u32,
    /// The low 32 bits of the offset in the mapping, and the 16 above them.
    low: u32,
    high: u16,
    /// Index into [`ScatterList::mappings`], and in the top bit whether the run
    /// goes on with the segment of the run before it.
    mapping: u16,
}

impl Run {
    const CONTINUES: u16 = 1 << 15;

    /// Returns `None` if the numbers are larger than a run has room for.
    fn new(mapping: usize, offset: u64, len: u32, continues: bool) -> Option<Self> {
        let index = u16::try_from(mapping).ok()?;
        let continues = if continues { Self::CONTINUES } else { 0 };
        (index < Self::CONTINUES).then_some(Self {
            len,
            low: offset as u32,
            high: u16::try_from(offset >> 32).ok()?,
            mapping: index | continues,
        })
    }

    fn mapping(self) -> usize {
        usize::from(self.mapping & !Self::CONTINUES)
    }

    fn offset(self) -> u64 {
        u64::from(self.high) << 32 | u64::from(self.low)
    }

    fn continues(self) -> bool {
        self.mapping & Self::CONTINUES != 0
    }
}

/// A mapping of guest memory, and the guest-physical address of its first byte;
/// or the card's own memory, at 0.
#[derive(Debug)]
struct Mapping {
    region: Arc<MmapRegion>,
    base: u64,
}

/// The scatter list of a buffer, resolved against guest memory.
///
/// The list holds the mappings against which it was resolved, so that they
/// outlive a change of the guest's memory table until [`resolve_again`] or
/// [`release`] drops them. The list's own allocations are kept from one use to
/// the next.
///
/// [`resolve_again`]: Self::resolve_again
/// [`release`]: Self::release
#[derive(Debug, Default)]
pub struct ScatterList {
    runs: Vec<Run>,
    /// Number of segments.
    count: usize,
    mappings: Vec<Mapping>,
    /// Whether the memory is the card's own.
    own: bool,
}

impl ScatterList {
    /// Resolves the segments of a buffer of `length` bytes, of which the first
    /// `needed` bytes are used.
    ///
    /// Every segment up to `length` is checked; the segments up to `needed` are
    /// kept; the segments beyond `length` are left in the iterator. On error
    /// the list is empty.
    pub fn resolve(
        &mut self,
        segments: impl ExactSizeIterator<Item = Segment>,
        length: u32,
        needed: u32,
        bus: Bus<'_>,
    ) -> Result<(), DmaError> {
        self.release();
        let most = segments.len().min(MAX_SEGMENTS).min(needed as usize);
        self.runs.reserve_exact(most);
        let result = self.take(segments, u64::from(length), u64::from(needed), bus);
        if result.is_err() {
            self.release();
        }
        result
    }

    fn take(
        &mut self,
        mut segments: impl Iterator<Item = Segment>,
        length: u64,
        needed: u64,
        bus: Bus<'_>,
    ) -> Result<(), DmaError> {
        let mut held = 0;
        while held < length {
            let Some(segment) = segments.next() else {
                return Err(DmaError::TooShort { held, length });
            };
            check(segment, bus)?;
            if held < needed {
                if self.count == MAX_SEGMENTS {
                    return Err(DmaError::TooMany);
                }
                self.map(segment, bus)?;
            } else {
                each_run(segment, bus, |_, _, _| Ok(()))?;
            }
            held += u64::from(segment.len);
        }
        Ok(())
    }

    /// Takes memory of the card's own, whose first `needed` bytes hold the
    /// frame. It is one segment at 0.
    pub fn take_own(&mut self, memory: &OwnMemory, needed: u32) {
        self.release();
        self.own = true;
        self.mappings.push(Mapping {
            region: memory.region(),
            base: 0,
        });
        self.runs.push(Run {
            len: needed,
            low: 0,
            high: 0,
            mapping: 0,
        });
        self.count = 1;
    }

    /// Returns whether the memory is the card's own.
    pub fn is_own(&self) -> bool {
        self.own
    }

    /// Resolves the same segments against the current memory. On error the list
    /// is empty. A change of guest memory does not concern the card's own.
    pub fn resolve_again(&mut self, bus: Bus<'_>) -> Result<(), DmaError> {
        if self.own {
            return Ok(());
        }
        let before = std::mem::take(self);
        self.runs.reserve_exact(before.runs.len());
        let result = before
            .segments()
            .try_for_each(|segment| check(segment, bus).and_then(|()| self.map(segment, bus)));
        if result.is_err() {
            self.release();
        }
        result
    }

    /// Empties the list and drops its mappings of guest memory.
    pub fn release(&mut self) {
        self.runs.clear();
        self.count = 0;
        self.mappings.clear();
        self.own = false;
    }

    /// Returns the number of segments that hold the frame.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Returns the segments that hold the frame, as the driver gave them.
    pub fn segments(&self) -> impl Iterator<Item = Segment> {
        let mut runs = self.runs.iter().peekable();
        std::iter::from_fn(move || {
            let first = runs.next()?;
            let mut len = first.len;
            while let Some(more) = runs.next_if(|run| run.continues()) {
                len += more.len;
            }
            Some(Segment {
                start: self.mappings[first.mapping()].base + first.offset(),
                len,
            })
        })
    }

    /// Copies the first bytes of the buffer to `out`. If `out` is longer than
    /// the buffer, the rest of `out` stays unchanged.
    pub fn read(&self, mut out: &mut [u8]) {
        for run in 0.. {
            let Some(memory) = self.memory(run, 0).filter(|_| !out.is_empty()) else {
                return;
            };
            let (now, later) = out.split_at_mut(memory.len().min(out.len()));
            memory.copy_to(now);
            out = later;
        }
    }

    /// Copies `bytes` to the first bytes of the buffer. What is longer than the
    /// buffer is left out.
    pub fn write(&self, mut bytes: &[u8]) {
        for run in 0.. {
            let Some(memory) = self.memory(run, 0).filter(|_| !bytes.is_empty()) else {
                return;
            };
            let (now, later) = bytes.split_at(memory.len().min(bytes.len()));
            memory.copy_from(now);
            bytes = later;
        }
    }

    /// Adds a segment.
    fn map(&mut self, segment: Segment, bus: Bus<'_>) -> Result<(), DmaError> {
        let Self { runs, mappings, .. } = self;
        let mut continues = false;
        each_run(segment, bus, |region, offset, len| {
            let known = mappings
                .iter()
                .position(|mapping| mapping.region.as_ptr() == region.as_ptr());
            let mapping = known.unwrap_or_else(|| {
                mappings.push(Mapping {
                    region: region.get_mmap(),
                    base: region.start_addr().raw_value(),
                });
                mappings.len() - 1
            });
            let continues = std::mem::replace(&mut continues, true);
            runs.push(Run::new(mapping, offset, len, continues).ok_or(DmaError::TooMany)?);
            Ok(())
        })?;
        self.count += 1;
        Ok(())
    }

    /// Returns the memory of the run with the index `run` from byte `at` on, or
    /// `None` after the last run.
    pub(super) fn memory(&self, run: usize, at: usize) -> Option<VolatileSlice<'_>> {
        let run = self.runs.get(run)?;
        let offset = usize::try_from(run.offset()).ok()?;
        self.mappings[run.mapping()]
            .region
            .get_slice(offset, run.len as usize)
            .and_then(|slice| slice.offset(at))
            .ok()
    }
}

/// Checks everything about a segment that does not depend on the memory map.
fn check(segment: Segment, bus: Bus<'_>) -> Result<(), DmaError> {
    let Segment { start, len } = segment;
    if len == 0 {
        return Err(DmaError::Empty { start });
    }
    let end = start
        .checked_add(u64::from(len))
        .ok_or(DmaError::Wraps { start, len })?;
    if bus
        .forbidden
        .iter()
        .any(|range| start < range.end && range.start < end)
    {
        return Err(DmaError::Forbidden { start, len });
    }
    Ok(())
}

/// Calls `found` for each mapping that a segment touches, with the offset in
/// the mapping and the number of bytes. The segment is already checked not to
/// wrap.
fn each_run(
    segment: Segment,
    bus: Bus<'_>,
    mut found: impl FnMut(&vm_memory::GuestRegionMmap, u64, u32) -> Result<(), DmaError>,
) -> Result<(), DmaError> {
    let Segment { mut start, mut len } = segment;
    while len > 0 {
        let region = bus
            .memory
            .find_region(GuestAddress(start))
            .ok_or(DmaError::Outside {
                start: segment.start,
                len: segment.len,
            })?;
        let offset = start - region.start_addr().raw_value();
        // The value fits in 32 bits: it is at most `len`.
        let here = (region.len() - offset).min(u64::from(len)) as u32;
        found(region, offset, here)?;
        start += u64::from(here);
        len -= here;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dma::own::Pool;
    use crate::dma::{FrameWriter, Staging};
    use std::os::unix::fs::FileExt;
    use vm_memory::{Bytes, GuestMemoryMmap};

    fn seg(start: u64, len: u32) -> Segment {
        Segment { start, len }
    }

    /// Returns two regions that touch, and one that lies apart.
    fn memory() -> GuestMemoryMmap {
        GuestMemoryMmap::from_ranges(&[
            (GuestAddress(0), 0x4000),
            (GuestAddress(0x4000), 0x4000),
            (GuestAddress(0x10_0000), 0x4000),
        ])
        .unwrap()
    }

    fn resolve(segments: &[Segment], length: u32, needed: u32) -> Result<ScatterList, DmaError> {
        let memory = memory();
        let mut list = ScatterList::default();
        let bus = Bus {
            memory: &memory,
            forbidden: std::slice::from_ref(&(0x2000..0x2100)),
        };
        list.resolve(segments.iter().copied(), length, needed, bus)
            .map(|()| list)
    }

    #[test]
    fn a_run_keeps_what_it_is_made_of_and_nothing_that_is_too_large() {
        const MOST: u64 = (1 << 48) - 1;
        for (mapping, offset, continues) in [
            (0, 0, false),
            (0, MOST, true),
            (0x7fff, 0, true),
            (0x7fff, MOST, false),
            (5, 0x1_2345_6789, true),
        ] {
            let run = Run::new(mapping, offset, u32::MAX, continues).unwrap();
            let kept = (run.mapping(), run.offset(), run.continues());
            assert_eq!(kept, (mapping, offset, continues));
            assert_eq!(run.len, u32::MAX);
        }
        assert!(Run::new(0x8000, 0, 1, false).is_none());
        assert!(Run::new(0, MOST + 1, 1, false).is_none());
        assert_eq!(size_of::<Run>(), 12);
    }

    #[test]
    fn segments_are_those_that_were_given_wherever_the_mappings_end() {
        let given = [
            seg(0x0, 16),
            seg(16, 16),
            seg(0x3ff0, 32),
            seg(0x10_0004, 8),
        ];
        let list = resolve(&given, 72, 72).unwrap();
        // The witness shows what the driver gave.
        assert_eq!(segments(&list), given);
        assert_eq!(list.count(), 4);
        let runs: Vec<_> = list.runs.iter().map(|p| (p.mapping(), p.len)).collect();
        assert_eq!(runs, [(0, 16), (0, 16), (0, 16), (1, 16), (2, 8)]);
    }

    fn segments(list: &ScatterList) -> Vec<Segment> {
        list.segments().collect()
    }

    #[test]
    fn what_is_read_or_written_lies_there_in_order() {
        let memory = memory();
        let bus = Bus {
            memory: &memory,
            forbidden: &[],
        };
        memory
            .write_slice(b"hole", GuestAddress(0x10_0000))
            .unwrap();
        memory.write_slice(b"pin", GuestAddress(0x3ffe)).unwrap();
        let segments = [seg(0x3ffe, 3), seg(0x10_0000, 9)];
        let mut list = ScatterList::default();
        list.resolve(segments.into_iter(), 4, 4, bus).unwrap();
        let mut text = [b'-'; 7];
        list.read(&mut text);
        assert_eq!(&text, b"pinhole");
        list.resolve(segments.into_iter(), 2, 2, bus).unwrap();
        let mut text = [b'-'; 5];
        list.read(&mut text);
        assert_eq!(&text, b"pin--");

        list.resolve(segments.into_iter(), 4, 4, bus).unwrap();
        list.write(b"cap");
        list.read(&mut text);
        assert_eq!(&text, b"capho");
        list.write(b"twelve chars and more");
        let mut text = [b'-'; 13];
        list.read(&mut text);
        assert_eq!(&text, b"twelve chars-");
    }

    #[test]
    fn own_memory_is_one_segment_and_stays_when_guest_memory_goes() {
        let own = Pool::new(1 << 20).make(5000).unwrap();
        let mut list = ScatterList::default();
        list.take_own(&own, 5000);
        let nothing = GuestMemoryMmap::new();
        let bus = Bus {
            memory: &nothing,
            forbidden: std::slice::from_ref(&(0..0x1_0000)),
        };
        list.resolve_again(bus).unwrap();
        assert_eq!(segments(&list), [seg(0, 5000)]);
        assert!(list.is_own());
        let mut staging = Staging::default();
        let mut writer = FrameWriter::new(&list, &mut staging, None);
        writer.write(4096, |bytes| bytes.fill(7)).unwrap();
        writer.write(904, |bytes| bytes.fill(8)).unwrap();
        writer.finish().unwrap();
        let mut bytes = [1; 5001];
        own.file().read_exact_at(&mut bytes, 0).unwrap();
        assert!(bytes[..4096].iter().all(|byte| *byte == 7));
        assert!(bytes[4096..5000].iter().all(|byte| *byte == 8));
        assert_eq!(bytes[5000], 0);
        // The same list is guest memory's afterwards.
        assert!(list.resolve([seg(0, 8)].into_iter(), 8, 8, bus).is_err());
        assert!(!list.is_own());
    }

    #[test]
    fn a_bad_segment_is_refused_wherever_it_stands() {
        for (bad, error) in [
            (seg(0x100, 0), DmaError::Empty { start: 0x100 }),
            (
                seg(u64::MAX - 3, 4),
                DmaError::Wraps {
                    start: u64::MAX - 3,
                    len: 4,
                },
            ),
            (
                seg(0x7fff, 2),
                DmaError::Outside {
                    start: 0x7fff,
                    len: 2,
                },
            ),
            (
                seg(0x8000, 1),
                DmaError::Outside {
                    start: 0x8000,
                    len: 1,
                },
            ),
            (
                seg(0x20ff, 1),
                DmaError::Forbidden {
                    start: 0x20ff,
                    len: 1,
                },
            ),
            (
                seg(0x1fff, 2),
                DmaError::Forbidden {
                    start: 0x1fff,
                    len: 2,
                },
            ),
            (
                seg(0, 0x4000),
                DmaError::Forbidden {
                    start: 0,
                    len: 0x4000,
                },
            ),
        ] {
            let good = seg(0x1000, 16);
            for segments in [
                &[bad, good, good][..],
                &[good, bad, good],
                &[good, good, bad],
            ] {
                assert_eq!(resolve(segments, 40, 20).unwrap_err(), error);
            }
        }
        // A segment next to the forbidden range is valid.
        resolve(&[seg(0x1ff0, 16), seg(0x2100, 16)], 32, 32).unwrap();
    }

    #[test]
    fn segments_must_cover_the_length_and_the_rest_is_not_looked_at() {
        assert_eq!(
            resolve(&[seg(0, 10), seg(32, 10)], 21, 16).unwrap_err(),
            DmaError::TooShort {
                held: 20,
                length: 21
            }
        );
        assert!(resolve(&[], 1, 1).is_err());
        let list = resolve(&[seg(0, 10), seg(32, 10), seg(64, 9), seg(0, 0)], 29, 15).unwrap();
        assert_eq!(segments(&list), [seg(0, 10), seg(32, 10)]);
    }

    #[test]
    fn the_number_of_segments_is_bounded() {
        let one = |n: usize| {
            (0..n)
                .map(|i| seg(i as u64 % 0x2000, 1))
                .collect::<Vec<_>>()
        };
        let most = MAX_SEGMENTS as u32;
        resolve(&one(MAX_SEGMENTS), most, most).unwrap();
        assert_eq!(
            resolve(&one(MAX_SEGMENTS + 1), most + 1, most + 1).unwrap_err(),
            DmaError::TooMany
        );
        // Segments beyond the frame need not be kept.
        resolve(&one(MAX_SEGMENTS + 1), most + 1, most).unwrap();
    }

    #[test]
    fn memory_is_let_go_of_when_it_is_resolved_again_or_released() {
        let old = memory();
        let mapping = Arc::downgrade(&old.find_region(GuestAddress(0)).unwrap().get_mmap());
        let mut list = ScatterList::default();
        let bus = Bus {
            memory: &old,
            forbidden: &[],
        };
        list.resolve([seg(0, 64)].into_iter(), 64, 64, bus).unwrap();
        drop(old);
        assert!(mapping.upgrade().is_some());

        let new = memory();
        let bus = Bus {
            memory: &new,
            forbidden: &[],
        };
        list.resolve_again(bus).unwrap();
        assert!(mapping.upgrade().is_none());
        assert_eq!(segments(&list), [seg(0, 64)]);

        let elsewhere = GuestMemoryMmap::from_ranges(&[(GuestAddress(32), 0x4000)]).unwrap();
        let bus = Bus {
            memory: &elsewhere,
            forbidden: &[],
        };
        assert!(list.resolve_again(bus).is_err());
        assert_eq!(segments(&list), []);
        assert!(list.mappings.is_empty() && list.runs.is_empty());
    }
}
