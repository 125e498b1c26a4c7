//! Threads that make frames before they are due, so that the card only copies
//! them.
//!
//! A stream whose frames are converted, adjusted or compressed gives its source
//! to these threads. They begin its frames one after the other, and process
//! several at a time; the frames wait in a [queue] until the card asks for them.
//! There are at most [`MOST_THREADS`] threads, and [`AHEAD`] frames more than
//! threads in the queue, in buffers that are reused.
//!
//! A frame is begun with the [`FrameInfo`] that it will probably be asked for
//! with. If it is asked for with another one (the guest had no buffer, say), it
//! is thrown away, and so are all frames when a setting changes: the frame that
//! the card asks for next has the new setting. A source whose frames come whole
//! takes those back that were not shown. The card then waits for the frame, as
//! it does for the first one of a stream.
//!
//! The threads start when they are needed first, and wait between streams
//! without memory of their own.

mod queue;
mod thread;

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::frame::{Begun, FrameInfo, Native, Pace};
use super::interface::Source;
use super::jpeg;
use super::layout::Layout;
use super::processing::{Product, Recipe};
use super::whole::Wake;
use queue::{Answer, Queue};

/// Maximal number of threads.
const MOST_THREADS: usize = 4;

/// Number of frames that are ready while each thread makes another.
const AHEAD: usize = 2;

/// The state that the threads and the camera share.
#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    /// Notified when a thread may have something to do.
    work: Condvar,
    /// Notified when a thread has done something.
    done: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Nothing panics while the lock is held.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Stands in for a source that the threads have.
struct Away(Native);

impl Source for Away {
    fn native(&self) -> Native {
        self.0
    }

    fn prepare(&mut self, _layout: &Layout) {}

    fn begin(&mut self, _frame: &FrameInfo) -> Begun {
        Begun::Ended
    }

    fn fill(&mut self, _offset: usize, out: &mut [u8]) {
        out.fill(0);
    }
}

/// The threads, and the frames that they have made.
pub struct Ahead {
    shared: Arc<Shared>,
    /// Number of threads that there are to be.
    threads: usize,
    is_running: bool,
    shown: Option<Arc<Product>>,
    /// The segment of the shown frame, if it is a JPEG.
    segment: Vec<u8>,
}

impl Default for Ahead {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self::with_threads(processors.min(MOST_THREADS))
    }
}

impl Ahead {
    fn with_threads(threads: usize) -> Self {
        let shared = Shared {
            queue: Mutex::new(Queue::new(threads + AHEAD)),
            work: Condvar::new(),
            done: Condvar::new(),
        };
        Self {
            shared: Arc::new(shared),
            threads,
            is_running: false,
            shown: None,
            segment: Vec::new(),
        }
    }

    /// Returns whether the threads have a source.
    pub fn is_running(&self) -> bool {
        self.is_running
    }

    /// Gives a source to the threads, and leaves a stand-in in its place. They
    /// process its frames by `recipe`. The first one is `next`, if it is known
    /// already.
    pub fn start(
        &mut self,
        source: &mut Box<dyn Source>,
        recipe: Recipe,
        pace: Option<Pace>,
        next: Option<FrameInfo>,
    ) {
        self.start_threads();
        let away = Box::new(Away(source.native()));
        let mut source = std::mem::replace(source, away);
        let mut queue = self.shared.lock();
        if let Some(whole) = source.whole() {
            let waker = Arc::downgrade(&self.shared);
            let wake: Wake = Arc::new(move || {
                if let Some(shared) = waker.upgrade() {
                    shared.lock().wake();
                    shared.work.notify_one();
                }
            });
            whole.go_ahead(Some((self.threads + AHEAD, wake)));
        }
        queue.open(source, Arc::new(recipe), pace, next);
        self.is_running = true;
        self.shared.work.notify_all();
    }

    /// Takes the source back, and puts it into `place`. Frames that have not
    /// been shown are thrown away, or the source takes them back. Does not wait
    /// for frames that are being processed.
    pub fn stop(&mut self, place: &mut Box<dyn Source>) {
        if !std::mem::take(&mut self.is_running) {
            return;
        }
        let mut queue = self.shared.lock();
        if let Some(shown) = self.shown.take() {
            queue.release(shown);
        }
        *place = loop {
            if let Some(source) = queue.close() {
                break source;
            }
            // A thread is about to put it back.
            let waited = self.shared.done.wait(queue);
            queue = waited.unwrap_or_else(PoisonError::into_inner);
        };
    }

    /// Frees the memory that the threads had for a source, which has been taken
    /// back.
    pub fn rest(&mut self, source: &mut dyn Source) {
        if let Some(whole) = source.whole() {
            whole.go_ahead(None);
        }
        self.shared.lock().free_memory();
        self.shared.work.notify_all();
    }

    /// Changes what the next frames will probably be.
    pub fn expect(&mut self, pace: Option<Pace>, next: Option<FrameInfo>) {
        self.shared.lock().expect(pace, next);
        self.shared.work.notify_all();
    }

    /// As [`Source::begin`]. Waits until the frame is made, or the source has
    /// none.
    pub fn begin(&mut self, info: &FrameInfo) -> Begun {
        let mut queue = self.shared.lock();
        let ask = queue.ask(info);
        self.shared.work.notify_all();
        loop {
            match queue.answer(ask) {
                Answer::Wait => {}
                Answer::Begun(begun) => return begun,
                Answer::Show(product) => {
                    if let Some(product) = product
                        && let Some(past) = self.shown.replace(product)
                    {
                        queue.release(past);
                    }
                    break;
                }
            }
            let waited = self.shared.done.wait(queue);
            queue = waited.unwrap_or_else(PoisonError::into_inner);
        }
        drop(queue);
        self.shared.work.notify_all();
        let Some(shown) = &self.shown else {
            return Begun::Ended;
        };
        if shown.has_segment() {
            jpeg::segment(info, &mut self.segment);
        }
        Begun::Frame {
            // No frame is longer than its layout's sizeimage, which is a u32.
            bytes: shown.len(&self.segment) as u32,
        }
    }

    /// As [`Source::fill`].
    pub fn fill(&self, offset: usize, out: &mut [u8]) {
        match &self.shown {
            Some(shown) => shown.fill(&self.segment, offset, out),
            None => out.fill(0),
        }
    }

    /// Starts the threads that there are not yet: all of them, or those that
    /// have panicked.
    fn start_threads(&self) {
        loop {
            let number = {
                let mut queue = self.shared.lock();
                if queue.threads >= self.threads {
                    return;
                }
                queue.threads += 1;
                queue.threads
            };
            let shared = Arc::clone(&self.shared);
            let started = std::thread::Builder::new()
                .name("ahead".into())
                .spawn(move || thread::run(&shared));
            if let Err(error) = started {
                let mut queue = self.shared.lock();
                queue.threads -= 1;
                log::error!("thread {number} that makes frames ahead cannot be started: {error}");
                queue.is_broken = queue.threads == 0;
                return;
            }
        }
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.shared.lock().end();
        self.shared.work.notify_all();
    }
}

#[cfg(test)]
pub(super) mod tests;
