//! A memory layout: the buffer, and the canaries around it.

use std::any::Any;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::agent::cell::PAGE;
use crate::agent::cell::evidence::{CanarySeen, CanaryState, Place};
use crate::card::Direction;
use crate::dma::{DIGEST_BLOCK, Digest};

use super::exporters::Dmabuf;
use crate::guest::cell::contents::{Blocks, digests};
use crate::guest::cell::device::Memory;
use crate::guest::cell::span::{MemoryAccess, Span};

/// Number of patterns that this process has made.
static PATTERNS: AtomicU32 = AtomicU32::new(0);

/// A description of the wanted memory.
#[derive(Debug, Clone, Copy)]
pub struct Want {
    /// Offset of the buffer within its first page.
    pub offset: usize,
    /// Length of the buffer in bytes.
    pub length: usize,
    /// Whether anonymous memory of small pages must lie where it could be a
    /// huge page.
    pub roomy: bool,
    /// Which way the frames of the card go that uses the memory.
    pub direction: Direction,
}

impl Want {
    /// Returns the length in bytes of the pages that the buffer touches.
    pub fn pages(self) -> usize {
        (self.offset + self.length).next_multiple_of(PAGE)
    }

    /// Returns the length in bytes of a mapping with one more page before and
    /// one after those.
    pub fn with_canaries(self) -> usize {
        self.pages() + 2 * PAGE
    }
}

/// A memory layout.
pub struct Layout {
    /// The buffer.
    pub buffer: Span,
    /// Size in bytes of the pages in which the buffer lies: the unit of mapping
    /// and unmapping.
    granule: usize,
    /// The canaries around the buffer, which belong to the cell.
    canaries: Vec<Canary>,
    /// What the buffer holds, if reading it later would change the memory.
    content: Option<Vec<u8>>,
    /// The dma-buf by which it is given to the driver; `None` if that is by its address.
    pub dmabuf: Option<Dmabuf>,
    /// Values that must stay alive to keep the memory as it is.
    keep: Vec<Box<dyn Any>>,
}

/// Bytes to which nobody may write.
struct Canary {
    place: Place,
    span: Span,
    /// The expected bytes; `None` if they cannot be read.
    bytes: Option<Vec<u8>>,
}

impl Layout {
    /// Returns a layout of a buffer without readable memory around it.
    pub fn bare(buffer: Span) -> Self {
        Self {
            buffer,
            granule: PAGE,
            canaries: Vec::new(),
            content: None,
            dmabuf: None,
            keep: Vec::new(),
        }
    }

    /// Returns a layout of a buffer in the middle of `mapping`, whose length is
    /// [`Want::with_canaries`]; the rest of it is canaries.
    pub fn amid(mapping: Span, want: Want) -> Self {
        let buffer = mapping.part(PAGE + want.offset, want.length);
        let before = Span::new(mapping.start, buffer.start - mapping.start);
        let after = Span::new(buffer.end(), mapping.end() - buffer.end());
        let canary = |place, span| Canary {
            place,
            span,
            bytes: None,
        };
        Self {
            buffer,
            granule: PAGE,
            canaries: vec![canary(Place::Before, before), canary(Place::After, after)],
            content: None,
            dmabuf: None,
            keep: Vec::new(),
        }
    }

    /// Returns a layout of a buffer at the beginning of `mapping`, which is the buffer's
    /// pages and one more; what is behind the buffer is a canary.
    pub fn at_start(mapping: Span, want: Want) -> Self {
        let buffer = mapping.part(0, want.length);
        Self {
            canaries: vec![Canary {
                place: Place::After,
                span: mapping.part(want.length, mapping.len - want.length),
                bytes: None,
            }],
            ..Self::bare(buffer)
        }
    }

    /// Has the buffer given to the driver as a dma-buf, whose first byte is the buffer's.
    pub fn given_as(self, dmabuf: Dmabuf) -> Self {
        Self {
            dmabuf: Some(dmabuf),
            ..self
        }
    }

    /// Returns a layout of the same buffer, with nothing around it, for another queue.
    pub fn again(&self) -> Self {
        let numbered = |dmabuf: &Dmabuf| Dmabuf::numbered(dmabuf.number());
        Self {
            dmabuf: self.dmabuf.as_ref().map(numbered),
            ..Self::bare(self.buffer)
        }
    }

    /// Returns the buffer as a driver takes it.
    pub fn memory(&self) -> Memory {
        match &self.dmabuf {
            Some(dmabuf) => Memory::Dmabuf(dmabuf.number(), self.buffer.len),
            None => Memory::User(self.buffer),
        }
    }

    /// Returns two layouts, of the first `at` bytes of the buffer and of the rest; each
    /// has the canaries on its side, and the first keeps alive what the memory needs.
    /// `None` if the content is not to be read.
    pub fn split(mut self, at: usize) -> Option<(Self, Self)> {
        if !self.is_readable() {
            return None;
        }
        let Span { start, len } = self.buffer;
        let second = Span::new(start.wrapping_add(at), len.checked_sub(at)?);
        let is_behind = |canary: &mut Canary| canary.place == Place::After;
        let second = Self {
            granule: self.granule,
            canaries: self.canaries.extract_if(.., is_behind).collect(),
            ..Self::bare(second)
        };
        self.buffer.len = at;
        Some((self, second))
    }

    /// Returns whether the buffer may be read before it is queued.
    pub fn is_readable(&self) -> bool {
        self.content.is_none()
    }

    /// Sets the page size: the memory consists of huge pages, which cannot be
    /// split.
    pub fn of_pages(mut self, bytes: usize) -> Self {
        self.granule = bytes;
        self
    }

    /// Returns the pages that the buffer touches.
    pub fn pages(&self) -> Span {
        let Span { start, len } = self.buffer;
        let from = start / self.granule * self.granule;
        Span::new(from, (start - from + len).next_multiple_of(self.granule))
    }

    /// Keeps a value alive as long as the memory; for a layout that is being
    /// built.
    pub fn keeping(mut self, what: impl Any) -> Self {
        self.keep.push(Box::new(what));
        self
    }

    /// Keeps a value alive as long as the memory.
    pub fn keep_also(&mut self, what: impl Any) {
        self.keep.push(Box::new(what));
    }

    /// Returns the range of the buffer's pages and the canaries.
    pub fn whole(&self) -> Span {
        let spans = self.canaries.iter().map(|canary| canary.span);
        let all = || spans.clone().chain([self.pages()]);
        let start = all().map(|span| span.start).min();
        let end = all().map(Span::end).max();
        match (start, end) {
            (Some(start), Some(end)) if end > start => Span::new(start, end - start),
            _ => self.pages(),
        }
    }

    /// Removes the buffer's pages from the canaries, because the process gives
    /// them up.
    pub fn give_up_pages(&mut self) {
        let pages = self.pages();
        for canary in &mut self.canaries {
            let span = canary.span;
            let (from, to) = match canary.place {
                Place::Before => (0, pages.start.saturating_sub(span.start)),
                Place::After => (pages.end().saturating_sub(span.start), span.len),
            };
            canary.span = span.part(from.min(to), to.saturating_sub(from));
            if let Some(bytes) = &mut canary.bytes {
                *bytes = bytes.get(from..to).unwrap_or_default().to_vec();
            }
        }
    }

    /// Moves all addresses by a distance, which may wrap.
    pub fn shift(&mut self, by: usize) {
        self.buffer.start = self.buffer.start.wrapping_add(by);
        for canary in &mut self.canaries {
            canary.span.start = canary.span.start.wrapping_add(by);
        }
    }

    /// Reads the canaries, before the device knows the buffer.
    pub fn note_canaries(&mut self, access: &MemoryAccess) {
        for canary in &mut self.canaries {
            if canary.bytes.is_none() {
                canary.bytes = access.read(canary.span).ok();
            }
        }
    }

    /// Sets the expected canaries, if reading them would change the memory.
    fn expect_canaries(&mut self, bytes: impl Fn(Span) -> Vec<u8>) {
        for canary in &mut self.canaries {
            canary.bytes = Some(bytes(canary.span));
        }
    }

    /// Reads the buffer, which must not be read any more before it is queued.
    pub fn note_content(&mut self, access: &MemoryAccess) {
        self.content = access.read(self.buffer).ok();
    }

    /// Sets the content of the buffer, if reading it would change the memory.
    pub fn expect_content(&mut self, bytes: &[u8]) {
        self.content = Some(bytes.to_vec());
    }

    /// Sets what the mapping holds in which the layout is, from the first canary on, if
    /// reading it would change the memory.
    pub fn expect(&mut self, bytes: &[u8]) {
        let start = self.whole().start;
        let of = |span: Span| {
            let from = span.start - start;
            bytes[from..from + span.len].to_vec()
        };
        self.expect_canaries(of);
        self.expect_content(&of(self.buffer));
    }

    /// Returns what the buffer held when it was laid out or filled; `None` if part of it
    /// cannot be read.
    pub fn bytes(&self, access: &MemoryAccess) -> Option<Vec<u8>> {
        let noted = self.content.clone();
        noted.or_else(|| access.read(self.buffer).ok())
    }

    /// Returns the digests of what the buffer held when it was laid out or
    /// filled; `None` for a block that cannot be read.
    pub fn content(&self, access: &MemoryAccess) -> Blocks {
        match &self.content {
            Some(bytes) => {
                let blocks = bytes.chunks(DIGEST_BLOCK);
                blocks.map(|block| Some(Digest::of(block))).collect()
            }
            None => digests(access, self.buffer),
        }
    }

    /// Returns the bytes that the buffer was filled with; `None` if it was not, or not
    /// with a [`pattern`], or if part of it cannot be read. Memory that is a device's is
    /// not read.
    pub fn filling(&self, access: &MemoryAccess) -> Option<Vec<u8>> {
        if self.canaries.is_empty() {
            return None;
        }
        let bytes = self.bytes(access)?;
        looks_like_chance(&bytes).then_some(bytes)
    }

    /// Returns what the card is to read from the buffer, which is queued next;
    /// nothing if it is to write.
    pub fn sent(&self, direction: Direction, access: &MemoryAccess) -> Blocks {
        match direction {
            Direction::Capture => Blocks::new(),
            Direction::Output => self.content(access),
        }
    }

    /// Returns the state of the canaries.
    pub fn canaries(&self, access: &MemoryAccess) -> impl Iterator<Item = CanarySeen> {
        self.canaries.iter().map(|canary| canary.seen(access))
    }
}

impl Canary {
    fn seen(&self, access: &MemoryAccess) -> CanarySeen {
        let state = match (&self.bytes, access.read(self.span)) {
            (Some(before), Ok(now)) => {
                let changed = |(before, now): (&u8, &u8)| before != now;
                let mut pairs = before.iter().zip(&now);
                match pairs.position(changed) {
                    None => CanaryState::Intact,
                    Some(first) => CanaryState::Changed {
                        first: (self.span.start + first) as u64,
                        bytes: 1 + pairs.filter(|pair| changed(*pair)).count() as u64,
                    },
                }
            }
            _ => CanaryState::Unreadable,
        };
        CanarySeen {
            place: self.place,
            address: self.span.start as u64,
            length: self.span.len as u64,
            state,
        }
    }
}

/// Fills a whole mapping with a [`pattern`], so that a moved canary is detected
/// as well as one that was overwritten.
pub fn fill(access: &MemoryAccess, mapping: Span) -> io::Result<()> {
    access.write(mapping.start, &pattern(mapping.len))
}

/// Returns `len` bytes of which no page is like another, nor like one that this
/// or another process of the guest was given before: what a card reads tells
/// where it was.
pub fn pattern(len: usize) -> Vec<u8> {
    let number = PATTERNS.fetch_add(1, Ordering::Relaxed);
    let seed = u64::from(std::process::id()) << 32 | u64::from(number);
    let first = mix(seed);
    let mut bytes = vec![0; len];
    for (place, word) in bytes.chunks_mut(size_of::<u64>()).enumerate() {
        let number = mix(first.wrapping_add(place as u64));
        word.copy_from_slice(&number.to_ne_bytes()[..word.len()]);
    }
    bytes
}

/// Returns whether bytes look like chance, as what the process fills memory with does.
fn looks_like_chance(bytes: &[u8]) -> bool {
    /// Of so many bytes of chance, all but a few are distinct.
    const SAMPLE: usize = 64;
    let distinct = |sample: &[u8]| {
        let mut values = [0u64; 4];
        for byte in sample {
            values[usize::from(byte / 64)] |= 1 << (byte % 64);
        }
        values.iter().map(|bits| bits.count_ones()).sum::<u32>() as usize
    };
    let mut samples = bytes.chunks_exact(SAMPLE);
    !bytes.is_empty() && samples.all(|sample| distinct(sample) > SAMPLE / 2)
}

/// Returns a number that looks like chance, another one for each number
/// (SplitMix64).
fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_does_not_look_like_chance() {
        assert!(looks_like_chance(&pattern(4096)));
        assert!(looks_like_chance(&pattern(4096).repeat(2)));
        assert!(!looks_like_chance(&[0; 4096]));
        assert!(!looks_like_chance(&[pattern(4096), vec![0; 64]].concat()));
        assert!(!looks_like_chance(&[]));
    }
}
