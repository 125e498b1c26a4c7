//! A cell with several buffers, queued by two threads, while a third takes the
//! lock of the address space as often as it can.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::Scope;
use std::time::Duration;

use crate::agent::cell::PAGE;
use crate::agent::cell::evidence::{Evidence, Moment};
use crate::wire::buffer::MEMORY_USERPTR;

use super::contents::{Blocks, digests, frame};
use super::device::{Device, Memory};
use super::evidence_writer::EvidenceWriter;
use super::patience::{self, FRAME_LIMIT};
use super::span::{self, MemoryAccess, Span};
use super::{memory, pagemap};

/// Number of buffers in such a cell.
pub const BUFFERS: usize = 4;

/// Number of frames that are captured or sent in all.
const FRAMES: u32 = 24;

/// Number of bytes that the third thread maps each time.
const MAPPED: usize = 16 * PAGE;

/// How long a thread waits for a frame before it checks whether there are
/// enough.
const LOOK: Duration = Duration::from_millis(50);

/// A buffer of such a cell.
pub struct ContendedBuffer {
    /// Its memory.
    pub span: Span,
    /// What the card is to read from it next; empty if it is to write.
    pub sent: Mutex<Blocks>,
}

impl ContendedBuffer {
    /// Fills the buffer anew, if the card is to read it.
    fn renew(&self, access: &MemoryAccess) {
        let mut sent = lock(&self.sent);
        // What cannot be written to is sent once more.
        if !sent.is_empty() && memory::refill(access, self.span).is_ok() {
            *sent = digests(access, self.span);
        }
    }
}

/// Writes which pages the buffers have while all are queued, and the counters.
pub fn tell_queued(writer: &EvidenceWriter, buffers: &[ContendedBuffer]) -> io::Result<()> {
    for (index, buffer) in (0..).zip(buffers) {
        let mut pages = pagemap::look(Moment::Queued, buffer.span)?;
        pages.buffer = index;
        writer.write(&Evidence::Pages(pages));
    }
    let counters = pagemap::counters(Moment::Queued)?;
    writer.write(&Evidence::Counters(counters));
    Ok(())
}

/// Captures into `buffers`, or sends what is in them, until there are enough
/// frames; a buffer that is sent again has other content then. The device does nothing
/// until `all_queued` has returned, which is called when every buffer is queued: it is
/// held, or the stream is not on before. The third thread rests meanwhile, as the
/// kernel pins its pages for a moment, too.
pub fn transfer(
    device: &Device,
    writer: &EvidenceWriter,
    buffers: &[ContendedBuffer],
    all_queued: impl FnOnce() -> io::Result<()>,
) -> io::Result<()> {
    let idle = Mutex::new((0..buffers.len() as u32).collect::<Vec<_>>());
    let taken = AtomicU32::new(0);
    let over = AtomicBool::new(false);
    let rest = Mutex::new(());
    let is_wanted = AtomicBool::new(false);
    let queue = |index: u32| {
        let memory = buffers[index as usize].span;
        writer.call("VIDIOC_QBUF", || device.queue(index, Memory::User(memory)))
    };
    let queue_all = || -> io::Result<()> {
        loop {
            let next = lock(&idle).pop();
            match next {
                Some(index) => queue(index)?,
                None => return Ok(()),
            }
        }
    };
    let queue_and_dequeue = || -> io::Result<()> {
        let access = MemoryAccess::new()?;
        let mut waited = Duration::ZERO;
        while taken.load(Ordering::Relaxed) < FRAMES {
            let next = lock(&idle).pop();
            if let Some(index) = next {
                buffers[index as usize].renew(&access);
                queue(index)?;
            }
            match device.wait(LOOK) {
                Err(error) if error.raw_os_error() == Some(libc::ETIMEDOUT) => {
                    waited += LOOK;
                    if waited > patience::of(FRAME_LIMIT) {
                        return Err(error);
                    }
                    continue;
                }
                other => other?,
            }
            let buffer = match device.dequeue(MEMORY_USERPTR) {
                // The other thread dequeued the buffer first.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                other => other?,
            };
            let index = buffer.index.get();
            let taken_back = buffers.get(index as usize);
            let taken_back = taken_back.ok_or(io::ErrorKind::InvalidData)?;
            taken.fetch_add(1, Ordering::Relaxed);
            let sent = lock(&taken_back.sent).clone();
            let seen = frame(&access, taken_back.span, &buffer, &sent);
            writer.write(&Evidence::Frame(seen));
            lock(&idle).push(index);
        }
        Ok(())
    };
    let disturb = || -> io::Result<u32> {
        let access = MemoryAccess::new()?;
        let mut rounds = 0;
        while !over.load(Ordering::Relaxed) {
            // Who waits for the lock would not get it for long.
            while is_wanted.load(Ordering::Relaxed) {
                std::thread::yield_now();
            }
            let _turn = lock(&rest);
            let mapping = span::anonymous(MAPPED)?;
            access.write(mapping.start, &[rounds as u8; MAPPED])?;
            span::protect(mapping.part(PAGE, PAGE), libc::PROT_READ)?;
            span::unmap(mapping)?;
            rounds += 1;
        }
        Ok(rounds)
    };
    std::thread::scope(|scope| {
        let third = scope.spawn(disturb);
        let captured = by_two(scope, &queue_all)
            .and_then(|()| {
                is_wanted.store(true, Ordering::Relaxed);
                let _turn = lock(&rest);
                is_wanted.store(false, Ordering::Relaxed);
                all_queued()
            })
            .and_then(|()| by_two(scope, &queue_and_dequeue));
        over.store(true, Ordering::Relaxed);
        let rounds = third.join().unwrap_or(Err(panicked()))?;
        writer.note(format!(
            "{rounds} times memory was mapped, written to and unmapped"
        ));
        captured
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has two threads do the same work; returns the first error.
fn by_two<'scope>(
    scope: &'scope Scope<'scope, '_>,
    work: &'scope (impl Fn() -> io::Result<()> + Sync),
) -> io::Result<()> {
    let threads = [scope.spawn(work), scope.spawn(work)];
    let results = threads.map(|thread| thread.join().unwrap_or(Err(panicked())));
    results.into_iter().collect()
}

fn panicked() -> io::Error {
    io::Error::other("a thread panicked")
}
