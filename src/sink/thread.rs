//! A sink whose frames a thread writes: the thread.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::encoding::Encoder;
use super::queue::{Queue, Step};
use super::target::File;

/// What the card and the thread share.
#[derive(Debug, Default)]
pub struct Shared {
    queue: Mutex<Queue>,
    /// Something has changed that the other side may wait for.
    pub changed: Condvar,
    /// The file is to take no more.
    pub stop: Arc<AtomicBool>,
}

impl Shared {
    /// Locks the queue. Nobody holds the lock while a file is written.
    pub fn lock(&self) -> MutexGuard<'_, Queue> {
        // No code panics while it holds the lock.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has nothing written any more.
    pub fn turn_off(&self) {
        let freed = self.lock().turn_off();
        self.changed.notify_all();
        drop(freed);
    }

    /// Waits until all frames are written, at most until that time. Returns
    /// whether they are.
    pub fn wait(&self, until: Instant) -> bool {
        let limit = until.saturating_duration_since(Instant::now());
        let waited = self
            .changed
            .wait_timeout_while(self.lock(), limit, |queue| queue.unwritten() > 0);
        let (queue, _) = waited.unwrap_or_else(PoisonError::into_inner);
        queue.unwritten() == 0
    }

    /// Has the thread stop as soon as it can, and returns the number of frames
    /// that it has not written.
    pub fn give_up(&self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.lock().unwritten()
    }
}

/// The task of the thread.
#[derive(Debug)]
pub struct Job {
    /// The name of the sink, for messages.
    pub name: String,
    /// What writes the frames.
    pub encoder: Encoder,
    /// Where it writes them.
    pub file: File,
}

/// Starts the thread.
///
/// # Errors
/// The system cannot start a thread.
pub fn start(job: Job, shared: &Arc<Shared>) -> io::Result<()> {
    let shared = Arc::clone(shared);
    let thread = std::thread::Builder::new().name("sink".into());
    thread.spawn(move || run(job, &shared)).map(drop)
}

fn run(mut job: Job, shared: &Shared) {
    let _alarm = Alarm {
        shared,
        name: job.name.clone(),
    };
    let mut rests = true;
    let mut queue = shared.lock();
    loop {
        match queue.step(rests) {
            Step::End => {
                shared.changed.notify_all();
                return;
            }
            Step::Wait => {
                shared.changed.notify_all();
                let waited = shared.changed.wait(queue);
                queue = waited.unwrap_or_else(PoisonError::into_inner);
            }
            Step::Rest => {
                drop(queue);
                job.encoder.rest();
                rests = true;
                queue = shared.lock();
            }
            Step::Write(frame) => {
                drop(queue);
                rests = false;
                if let Err(error) = job.encoder.write(&frame, &mut job.file) {
                    job.file.cut();
                    shared.turn_off();
                    // Whoever has it stop says so.
                    if !shared.stop.load(Ordering::Relaxed) {
                        log::warn!("{}: no more is written: {error}", job.name);
                    }
                    return;
                }
                job.file.end_frame();
                queue = shared.lock();
                let useless = queue.written(frame.memory);
                drop(queue);
                drop(useless);
                queue = shared.lock();
            }
        }
    }
}

/// Tells the card when this thread panics: a card that waits for memory would
/// wait for ever.
struct Alarm<'a> {
    shared: &'a Shared,
    name: String,
}

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.shared.turn_off();
            log::error!("{}: no more is written: its thread has panicked", self.name);
        }
    }
}
