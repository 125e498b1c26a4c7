//! What belongs to a session.

use std::time::Duration;

use super::drain::Drain;
use super::queue::{Makes, Queue};
use crate::card::controls::Controls;
use crate::card::controls::table::cid;
use crate::card::format::{Colorimetry, colorimetry};
use crate::card::injection::Injection;
use crate::card::refused::{Refused, invalid};
use crate::card::{BufferApi, BufferType, Direction, Modes};
use crate::source::settings::Rect;
use crate::source::transform::Transform;

/// Width and height of a session's first frames, if the card has every size.
const FIRST_SIZE: (u32, u32) = (640, 480);

/// What the frames of every session of a card can be.
#[derive(Debug)]
pub struct Abilities {
    /// V4L2's single-planar or multi-planar API.
    pub planes: BufferApi,
    /// Which frames the card makes.
    pub makes: Makes,
    /// The sizes of both; it has no rates.
    pub modes: Modes,
}

/// A session: its two queues, and what is done between them.
#[derive(Debug)]
pub struct Context {
    /// Number of the session.
    pub id: u32,
    /// The frames that the card reads.
    pub output: Queue,
    /// The frames that it writes.
    pub capture: Queue,
    /// How the pictures are to be seen, as the application says of those that it
    /// gives. The card does not change it.
    pub colors: Colorimetry,
    /// The sizes that a frame of either queue may have.
    pub modes: Modes,
    /// The part of the picture that is read; `None` for all of it.
    pub crop: Option<Rect>,
    /// The controls.
    pub controls: Controls,
    /// The faults that are to happen.
    pub injection: Injection,
    /// How far the end of the stream is.
    pub drain: Drain,
    /// Time on CLOCK_MONOTONIC until which nothing is done.
    pub held: Option<Duration>,
}

impl Context {
    /// Returns the context of a session that has just been opened.
    pub fn new(id: u32, abilities: &Abilities, controls: Controls) -> Self {
        let Abilities {
            planes,
            makes,
            modes,
        } = abilities;
        let size = modes.sizes().first().copied().unwrap_or(FIRST_SIZE);
        let output = Queue::output(*planes, size);
        Self {
            id,
            colors: colorimetry(output.layout.format),
            output,
            capture: Queue::capture(*planes, *makes, size),
            modes: modes.clone(),
            crop: None,
            controls,
            injection: Injection::default(),
            drain: Drain::default(),
            held: None,
        }
    }

    /// Returns both queues.
    pub fn queues(&self) -> impl Iterator<Item = &Queue> + Clone {
        [&self.output, &self.capture].into_iter()
    }

    /// Returns both queues.
    pub fn queues_mut(&mut self) -> impl Iterator<Item = &mut Queue> {
        [&mut self.output, &mut self.capture].into_iter()
    }

    /// Returns a queue.
    pub fn queue(&self, direction: Direction) -> &Queue {
        match direction {
            Direction::Output => &self.output,
            Direction::Capture => &self.capture,
        }
    }

    /// Returns a queue.
    pub fn queue_mut(&mut self, direction: Direction) -> &mut Queue {
        self.queue_and_faults(direction).0
    }

    /// Returns a queue, and the faults that are to happen to it.
    pub fn queue_and_faults(&mut self, direction: Direction) -> (&mut Queue, &mut Injection) {
        let queue = match direction {
            Direction::Output => &mut self.output,
            Direction::Capture => &mut self.capture,
        };
        (queue, &mut self.injection)
    }

    /// Returns which queue has buffers of the type V4L2_BUF_TYPE_*.
    pub fn direction(&self, number: u32) -> Result<Direction, Refused> {
        let of = |queue: &Queue| {
            let type_: BufferType = queue.buffers.type_();
            (type_.number() == number).then_some(type_.direction)
        };
        let found = self.queues().find_map(of);
        found.ok_or(invalid("the card has no buffers of that type"))
    }

    /// Returns whether a queue streams.
    pub fn is_streaming(&self) -> bool {
        self.queues().any(|queue| queue.stream.is_some())
    }

    /// Returns whether both queues stream.
    pub fn is_at_work(&self) -> bool {
        self.queues().all(|queue| queue.stream.is_some())
    }

    /// Returns when there is something to do, on CLOCK_MONOTONIC: a frame to make,
    /// or the end of a stream to tell. `None` while there is nothing.
    pub fn due(&self) -> Option<Duration> {
        if self.injection.holds_frames() {
            return None;
        }
        self.capture.next()?;
        let has_work = match self.drain {
            Drain::Off | Drain::Left(1..) => self.output.next().is_some(),
            Drain::Left(0) => true,
            Drain::Done => false,
        };
        has_work.then(|| self.held.unwrap_or_default())
    }

    /// Returns the stamp and the queue of the finished buffer of which the driver
    /// is to be told next.
    pub fn oldest_finished(&self) -> Option<(u64, Direction)> {
        if self.injection.holds_events() {
            return None;
        }
        let finished = self.queues().filter_map(|queue| {
            let stamp = queue.buffers.oldest_finished()?;
            Some((stamp, queue.direction()))
        });
        finished.min_by_key(|(stamp, _)| *stamp)
    }

    /// Returns what becomes of a frame.
    pub fn transform(&self) -> Transform {
        // Every value is within its control's range.
        let number = |id| self.controls.number(id);
        Transform {
            hflip: number(cid::HFLIP) != 0,
            vflip: number(cid::VFLIP) != 0,
            rotate: number(cid::ROTATE) as u16,
            crop: self.crop,
            quality: number(cid::JPEG_COMPRESSION_QUALITY) as u8,
        }
    }
}
