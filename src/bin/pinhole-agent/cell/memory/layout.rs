//! Memory that is laid out: the buffer, and what is watched around it.

use std::any::Any;
use std::io;

use pinhole::agent::cell::PAGE;
use pinhole::agent::cell::evidence::{CanarySeen, CanaryState, Place};

use crate::cell::span::{MemoryAccess, Span};

/// What the buffer is filled with before it is queued.
const FILLER: u8 = 0xa5;

/// What memory is wanted.
#[derive(Debug, Clone, Copy)]
pub struct Want {
    /// Where in its page the buffer begins.
    pub offset: usize,
    /// Bytes of the buffer.
    pub length: usize,
    /// Whether anonymous memory of small pages is to lie where it could be a
    /// huge page.
    pub roomy: bool,
}

impl Want {
    /// Bytes of the pages that the buffer touches.
    pub fn pages(self) -> usize {
        (self.offset + self.length).next_multiple_of(PAGE)
    }

    /// Bytes of a mapping that has a page before and one after those.
    pub fn with_canaries(self) -> usize {
        self.pages() + 2 * PAGE
    }
}

/// Memory, laid out.
pub struct Layout {
    /// The buffer.
    pub buffer: Span,
    /// Bytes of the pages that it lies in; less of them cannot be mapped or
    /// unmapped.
    granule: usize,
    /// What is around it and belongs to the cell.
    canaries: Vec<Canary>,
    /// What must stay alive for the memory to be what it is.
    keep: Vec<Box<dyn Any>>,
}

/// Bytes that nobody may write to.
struct Canary {
    place: Place,
    span: Span,
    /// What they are; nothing where they cannot be read.
    bytes: Option<Vec<u8>>,
}

impl Layout {
    /// A buffer with no memory around it that one could look at.
    pub fn bare(buffer: Span) -> Self {
        Self {
            buffer,
            granule: PAGE,
            canaries: Vec::new(),
            keep: Vec::new(),
        }
    }

    /// A buffer in the middle of `mapping`, which is as long as
    /// [`Want::with_canaries`] says; all the rest of it is watched.
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

    /// The memory is of huge pages, which cannot be taken apart.
    pub fn of_pages(mut self, bytes: usize) -> Self {
        self.granule = bytes;
        self
    }

    /// The pages that the buffer touches.
    pub fn pages(&self) -> Span {
        let Span { start, len } = self.buffer;
        let from = start / self.granule * self.granule;
        Span::new(from, (start - from + len).next_multiple_of(self.granule))
    }

    /// Keeps something alive as long as the memory.
    pub fn keeping(mut self, what: impl Any) -> Self {
        self.keep.push(Box::new(what));
        self
    }

    /// Keeps something alive from now on.
    pub fn keep_also(&mut self, what: impl Any) {
        self.keep.push(Box::new(what));
    }

    /// The buffer's pages, and what is watched around them.
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

    /// The process gives up the buffer's pages, and what is watched in them.
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

    /// All of it has moved by that distance, which may wrap.
    pub fn shift(&mut self, by: usize) {
        self.buffer.start = self.buffer.start.wrapping_add(by);
        for canary in &mut self.canaries {
            canary.span.start = canary.span.start.wrapping_add(by);
        }
    }

    /// Notes what the canaries are, before the device knows of the buffer.
    pub fn note_canaries(&mut self, access: &MemoryAccess) {
        for canary in &mut self.canaries {
            if canary.bytes.is_none() {
                canary.bytes = access.read(canary.span).ok();
            }
        }
    }

    /// Says what the canaries are, where they cannot be read without harm.
    pub fn expect_canaries(&mut self, bytes: impl Fn(Span) -> Vec<u8>) {
        for canary in &mut self.canaries {
            canary.bytes = Some(bytes(canary.span));
        }
    }

    /// What has become of the canaries.
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

/// Fills a whole mapping: no two bytes near each other are alike, so that a
/// canary that was moved is seen as well as one that was written to.
pub fn fill(access: &MemoryAccess, mapping: Span) -> io::Result<()> {
    access.write(mapping.start, &pattern(mapping.len))
}

/// What [`fill`] fills `len` bytes with.
pub fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| FILLER ^ (at ^ (at >> 8)) as u8).collect()
}
