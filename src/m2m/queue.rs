//! One of the two queues of a session.

use std::time::Duration;

use crate::card::buffers::{Buffers, TimeSource};
use crate::card::format::BufferApi;
use crate::card::{BufferType, Direction};
use crate::source::{Layout, PixelFormat};

/// A stream that is on.
#[derive(Debug)]
pub struct Stream {
    /// When it began, on CLOCK_MONOTONIC.
    pub began: Duration,
    /// Frames read or written.
    pub frames: u64,
}

/// A queue of buffers, their format, and their stream.
#[derive(Debug)]
pub struct Queue {
    /// The layout of a frame.
    pub layout: Layout,
    /// The buffers.
    pub buffers: Buffers,
    /// The stream, while it is on.
    pub stream: Option<Stream>,
    /// V4L2 sequence number of the next buffer; 0 at STREAMON.
    pub sequence: u32,
}

impl Queue {
    /// Returns a queue without buffers, for frames of 640x480 in the first format.
    pub fn new(direction: Direction, api: BufferApi) -> Self {
        Self {
            layout: Layout::new(PixelFormat::ALL[0], 640, 480),
            buffers: Buffers::new(BufferType { direction, api }, TimeSource::Copy),
            stream: None,
            sequence: 0,
        }
    }

    /// Returns which way the frames go.
    pub fn direction(&self) -> Direction {
        self.buffers.type_().direction
    }

    /// Returns the formats of the queue: the card reads no compressed frames.
    pub fn formats(&self) -> impl Iterator<Item = PixelFormat> + use<> {
        let BufferType { direction, api } = self.buffers.type_();
        let reads = direction == Direction::Output;
        api.formats()
            .filter(move |format| !(reads && format.is_compressed()))
    }

    /// Returns the number of the buffer that is next, if the queue streams.
    pub fn next(&self) -> Option<u32> {
        self.stream.as_ref()?;
        self.buffers.next()
    }
}
