//! A program that captures one frame into its own memory, step by step.

use std::time::Duration;

use super::image::FRAME;
use super::image::{DQBUF, Done, Image};
use super::stand::{Broken, Stand};
use super::subject::kind;
use super::subject::{Queued, Subject};
use crate::agent::ioctls::{Ioctls, IoctlsAnswer};
use crate::scripted::device::{EVENT_DQBUF, EventError};
use crate::vm::channel::Pending;
use crate::wire::Ioctl;

/// A program that is about to wait for a frame.
pub struct Capture {
    pending: Pending<Ioctls>,
    limit: Duration,
    dqbuf: usize,
    at: u32,
    places: Vec<(u32, u32)>,
}

/// What became of the program.
pub struct Ended {
    /// What became of its ioctls.
    pub answer: IoctlsAnswer,
    /// Which of them is DQBUF.
    pub dqbuf: usize,
    /// Offset of DQBUF's structure in the program's memory.
    pub at: u32,
    /// Offsets and lengths of the planes' memory in it.
    pub places: Vec<(u32, u32)>,
}

/// An event's contents.
pub struct Contents {
    index: u32,
    planes: Vec<u32>,
    pointer: u64,
}

impl Contents {
    /// Returns the event.
    pub fn as_done(&self) -> Done<'_> {
        Done {
            index: self.index,
            used: if self.planes.is_empty() { FRAME } else { 0 },
            planes: &self.planes,
            pointer: self.pointer,
            sequence: 0,
        }
    }
}

/// Returns the event of a whole buffer, with that for its pointers.
pub fn done(queued: &Queued, subject: &Subject, pointer: u64) -> Contents {
    Contents {
        index: queued.index,
        planes: subject.camera.get().planes.clone(),
        pointer,
    }
}

/// Starts the program, which is killed after `limit`.
pub fn start(stand: &Stand, subject: &Subject, limit: Duration) -> Result<Capture, Broken> {
    {
        let mut camera = subject.camera.get();
        camera.queued.clear();
        camera.streaming = false;
    }
    let kind = kind(subject);
    let planes = match subject.camera.get().planes.clone() {
        none if none.is_empty() => vec![FRAME],
        planes => planes,
    };
    let mut image = Image::default();
    let places = image.frames(&planes);
    let memory: Vec<_> = places.iter().copied().zip(planes.iter().copied()).collect();
    image.reqbufs(kind, 1);
    image.buffer(Ioctl::QBuf.request(), kind, 0, &memory);
    image.number(Ioctl::StreamOn, kind);
    let (dqbuf, at) = image.buffer(DQBUF, kind, 0, &memory);
    image.number(Ioctl::StreamOff, kind);
    Ok(Capture {
        pending: stand.start_ioctls(image, subject.node(), limit)?,
        limit,
        dqbuf,
        at,
        places: memory,
    })
}

/// Sends the event of a buffer.
pub fn send(subject: &Subject, session: u32, done: &Done<'_>) -> Result<(), EventError> {
    subject
        .device
        .send(session, EVENT_DQBUF, &done.body(), Done::SIZE)
}

impl Capture {
    /// Waits until the device has the buffer and streams; `None` if that does not
    /// come.
    pub fn wait(&self, stand: &Stand, subject: &Subject) -> Option<Queued> {
        let mut queued = None;
        stand.holds(self.limit, || {
            queued = subject.queued(0);
            queued.is_some()
        });
        queued
    }

    /// The request's id, to kill the program.
    pub fn id(&self) -> u64 {
        self.pending.id()
    }

    /// Waits for the program's end; `None` if it was killed.
    pub fn end(self, stand: &Stand) -> Result<Option<Ended>, Broken> {
        let answer = stand.ioctls_end(&self.pending, self.limit)?;
        Ok(answer.map(|answer| Ended {
            answer,
            dqbuf: self.dqbuf,
            at: self.at,
            places: self.places,
        }))
    }
}
