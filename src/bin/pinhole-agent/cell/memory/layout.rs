//! A memory layout: the buffer, and the canaries around it.

use std::any::Any;
use std::io;

use pinhole::agent::cell::PAGE;
use pinhole::agent::cell::evidence::{CanarySeen, CanaryState, Place};

use crate::cell::span::{MemoryAccess, Span};

/// The byte from which the buffer's initial content is derived.
const FILLER: u8 = 0xa5;

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
            keep: Vec::new(),
        }
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
    pub fn expect_canaries(&mut self, bytes: impl Fn(Span) -> Vec<u8>) {
        for canary in &mut self.canaries {
            canary.bytes = Some(bytes(canary.span));
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

/// Fills a whole mapping. Nearby bytes all differ, so that a moved canary is
/// detected as well as one that was overwritten.
pub fn fill(access: &MemoryAccess, mapping: Span) -> io::Result<()> {
    access.write(mapping.start, &pattern(mapping.len))
}

/// Returns the `len` bytes with which [`fill`] fills a mapping.
pub fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| FILLER ^ (at ^ (at >> 8)) as u8).collect()
}
