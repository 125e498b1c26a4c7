//! A sink whose frames a thread writes: the card's side.

use std::sync::Arc;
use std::time::Instant;

use super::encoding::{Encoder, Form};
use super::queue::{Frame, Stream};
use super::target::{File, Target};
use super::thread::{self, Job, Shared};
use crate::source::{Layout, PixelFormat};

/// A sink whose frames a thread writes. Its functions are those of
/// [`Display`](super::Display).
#[derive(Debug)]
pub struct Writer {
    name: String,
    form: Form,
    shared: Arc<Shared>,
    /// The task of the thread; `None` once it is started.
    job: Option<Job>,
    /// The stream that is on.
    stream: Option<Stream>,
    /// The frame that has begun.
    frame: Option<Frame>,
}

impl Writer {
    /// Makes a sink that writes to `target`, which is empty. The first stream
    /// starts its thread.
    pub fn new(name: &str, target: impl Target, form: Form) -> Self {
        let shared = Arc::new(Shared::default());
        Self {
            name: name.to_owned(),
            form,
            job: Some(Job {
                name: name.to_owned(),
                encoder: Encoder::new(form, name),
                file: File::new(target, &shared.stop),
            }),
            shared,
            stream: None,
            frame: None,
        }
    }

    /// Returns the name of the sink, for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// As [`Display::takes`](super::Display::takes).
    pub fn takes(&self, format: PixelFormat) -> bool {
        self.form.takes(format)
    }

    /// As [`Display::prepare`](super::Display::prepare).
    pub fn prepare(&mut self, layout: &Layout, interval: (u32, u32)) {
        self.end();
        self.stream = Some(Stream {
            layout: *layout,
            interval,
        });
        if let Some(job) = self.job.take()
            && let Err(error) = thread::start(job, &self.shared)
        {
            self.shared.turn_off();
            log::warn!("{}: nothing is written: {error}", self.name);
        }
        self.shared.lock().prepare(layout.sizeimage as usize);
    }

    /// As [`Display::is_ready`](super::Display::is_ready).
    pub fn is_ready(&self) -> bool {
        self.shared.lock().is_ready()
    }

    /// As [`Display::begin`](super::Display::begin).
    pub fn begin(&mut self) {
        self.abandon();
        let memory = self.shared.lock().memory();
        let stream = self.stream;
        self.frame = memory.zip(stream).map(|(memory, stream)| Frame {
            stream,
            memory,
            length: 0,
        });
    }

    /// As [`Display::take`](super::Display::take).
    pub fn take(&mut self, offset: usize, bytes: &[u8]) {
        if let Some(frame) = &mut self.frame {
            frame.take(offset, bytes);
        }
    }

    /// As [`Display::finish`](super::Display::finish).
    pub fn finish(&mut self) {
        if let Some(mut frame) = self.frame.take() {
            frame.complete();
            // A refused frame is freed after the lock is.
            let refused = self.shared.lock().push(frame);
            self.shared.changed.notify_all();
            drop(refused);
        }
    }

    /// As [`Display::abandon`](super::Display::abandon).
    pub fn abandon(&mut self) {
        if let Some(frame) = self.frame.take() {
            let useless = self.shared.lock().give_back(frame.memory);
            drop(useless);
        }
    }

    /// As [`Display::end`](super::Display::end).
    pub fn end(&mut self) {
        self.abandon();
        self.stream = None;
        let memories = self.shared.lock().end();
        self.shared.changed.notify_all();
        drop(memories);
    }

    /// Says that no frame comes any more. The thread ends when all are written.
    pub fn close(&self) {
        self.shared.lock().close();
        self.shared.changed.notify_all();
    }

    /// Waits until all frames are written, at most until that time. Returns
    /// whether they are, or will never be.
    pub fn wait(&self, until: Instant) -> bool {
        self.shared.wait(until)
    }

    /// Has the thread write no more, and cut the file to its last whole frame.
    /// Returns the number of frames that are not in it.
    pub fn give_up(&self) -> usize {
        self.shared.give_up()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.close();
    }
}
