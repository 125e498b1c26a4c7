//! A pin that comes to the middle of a buffer and waits there for a page, until it is
//! given back. Whatever happens to the memory meanwhile happens to one that is pinned
//! by half.

use std::io;
use std::time::{Duration, Instant};

use super::buffer::CellBuffer;
use super::evidence_writer::EvidenceWriter;
use super::fault_fd::FaultFd;
use super::memory::layout::Layout;
use super::patience::{self, FRAME_LIMIT};
use super::span::{self, MemoryAccess, Span};
use super::{Stop, hazards, pagemap};
use crate::agent::cell::evidence::{Evidence, Moment};
use crate::agent::cell::phases::Phase;
use crate::agent::cell::{Cell, Kind, PAGE};

/// Queues the buffer by `qbuf`, with the cell's hazard when the pin has come to its middle.
/// Returns whether it is queued.
pub fn queue(
    buffer: &mut CellBuffer<'_>,
    cell: &Cell,
    writer: &EvidenceWriter,
    access: &MemoryAccess,
    qbuf: impl FnOnce() -> io::Result<()> + Send,
) -> Result<bool, Stop> {
    let missing = MissingHalf::of(&buffer.layout, cell.kind, access)?;
    // A fork() finds the other thread in a system call, without a lock of this program.
    let (happened, queued) = std::thread::scope(|scope| {
        let queueing = scope.spawn(qbuf);
        let waits = missing.wait_unless(|| queueing.is_finished());
        let happened = waits.and_then(|waits| match waits {
            true => {
                let counters = pagemap::counters(Moment::Pinning)?;
                writer.write(&Evidence::Counters(counters));
                let mut context = buffer.in_hazard(cell.point);
                let run = || hazards::run(cell.hazard, &mut context);
                writer.spend(Phase::Hazard, run).map(|()| true)
            }
            false => Ok(false),
        });
        // Whatever has happened: the thread must end.
        missing.give_back();
        (happened, queueing.join())
    });
    let has_waited = happened?;
    let queued = queued.map_err(|_| Stop::Failed("the thread that queues panicked".into()))?;
    match (queued, has_waited) {
        (queued, true) => Ok(queued.is_ok()),
        (Ok(()), false) if cell.subject.is_some() => Err(Stop::Impossible(
            "QBUF took the memory without its pages: the driver does not pin there".into(),
        )),
        (Ok(()), false) => Err(Stop::Failed(
            "QBUF did not wait for the pages that were missing".into(),
        )),
        (Err(_), false) => {
            writer.note("QBUF did not come to the middle of the buffer: nothing happened there");
            Ok(false)
        }
    }
}

/// The pages of a buffer's second half, which are not there.
struct MissingHalf {
    fault_fd: FaultFd,
    pages: Span,
    contents: Vec<u8>,
}

impl MissingHalf {
    /// Takes the pages away.
    fn of(layout: &Layout, kind: Kind, access: &MemoryAccess) -> Result<Self, Stop> {
        let pages = second_half(layout.buffer).ok_or_else(|| {
            Stop::Impossible("the buffer is too short for a pin that waits in its middle".into())
        })?;
        let contents = access.read(pages)?;
        let fault_fd = FaultFd::open()?;
        // What is registered is a mapping of its own, and mremap(2) moves one only.
        fault_fd.register(layout.whole(), FaultFd::MISSING)?;
        let advice = match kind {
            Kind::MemfdShared => libc::MADV_REMOVE,
            _ => libc::MADV_DONTNEED,
        };
        span::advise(pages, advice)?;
        Ok(Self {
            fault_fd,
            pages,
            contents,
        })
    }

    /// Waits until somebody misses a page; returns `false` if `is_over` says first that
    /// nobody will.
    fn wait_unless(&self, is_over: impl Fn() -> bool) -> Result<bool, Stop> {
        /// How long to wait before looking whether it is over.
        const LOOK: Duration = Duration::from_millis(5);
        let deadline = Instant::now() + patience::of(FRAME_LIMIT);
        while Instant::now() < deadline {
            let over = is_over();
            if self.fault_fd.is_missed_within(LOOK)? {
                return Ok(true);
            }
            if over {
                return Ok(false);
            }
        }
        Err(Stop::Failed(
            "QBUF neither waits for a page nor ends".into(),
        ))
    }

    /// Gives the pages back, as far as they have still a place, and wakes who waits.
    fn give_back(self) {
        let pages = self.pages.page_addresses();
        for (page, contents) in pages.zip(self.contents.chunks(PAGE)) {
            // There is no place where the hazard has taken the mapping away.
            let _ = self.fault_fd.copy(page, contents);
        }
        // The end of the userfaultfd wakes who waits without a place.
        drop(self.fault_fd);
    }
}

/// Returns the pages of a buffer's second half; `None` if one of the halves has none. A
/// last one that is not the buffer's alone is left out: its other bytes would be lost where
/// the mapping moves away.
fn second_half(buffer: Span) -> Option<Span> {
    let all = buffer.pages();
    let middle = all.len / PAGE / 2 * PAGE;
    let end = buffer.end() / PAGE * PAGE;
    let len = end.saturating_sub(all.start + middle);
    (middle > 0 && len > 0).then(|| all.part(middle, len))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_page_is_missed_that_others_have_bytes_in() {
        let at = |page: usize| 0x10_0000 + page * PAGE;
        let half = |start, len| second_half(Span::new(start, len)).map(|it| (it.start, it.len));
        assert_eq!(half(at(0), 16 * PAGE), Some((at(8), 8 * PAGE)));
        // It begins in the first of five pages, and ends in the last.
        assert_eq!(half(at(0) + 100, 4 * PAGE), Some((at(2), 2 * PAGE)));
        assert_eq!(half(at(0), 2 * PAGE), Some((at(1), PAGE)));
        assert_eq!(half(at(0), PAGE + 1), None);
        assert_eq!(half(at(0), PAGE), None);
    }
}
