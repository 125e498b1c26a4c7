//! One of the two queues of a session.

use std::time::Duration;

use crate::card::buffers::Buffers;
use crate::card::label::LabelSource;
use crate::card::{BufferApi, BufferType, Direction};
use crate::source::{Layout, PixelFormat};

/// Which frames the card makes of others. Real devices have a node for each, and
/// programs tell by its formats whether it converts or compresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Makes {
    /// All that it can.
    #[default]
    All,
    /// Raw ones: it is a converter.
    Raw,
    /// JPEGs: it is an encoder.
    Jpeg,
}

impl Makes {
    fn has(self, format: PixelFormat) -> bool {
        match self {
            Self::All => true,
            Self::Raw => !format.is_compressed(),
            Self::Jpeg => format.is_compressed(),
        }
    }
}

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
    /// Which frames it may be of.
    makes: Makes,
    /// The layout of a frame.
    pub layout: Layout,
    /// Whether an application has set it.
    pub is_chosen: bool,
    /// The buffers.
    pub buffers: Buffers,
    /// The stream, while it is on.
    pub stream: Option<Stream>,
    /// V4L2 sequence number of the next buffer; 0 at STREAMON.
    pub sequence: u32,
}

impl Queue {
    /// Returns the queue of the frames that the card reads.
    pub fn output(api: BufferApi, size: (u32, u32)) -> Self {
        Self::new(Direction::Output, api, Makes::Raw, size)
    }

    /// Returns the queue of the frames that the card makes.
    pub fn capture(api: BufferApi, makes: Makes, size: (u32, u32)) -> Self {
        Self::new(Direction::Capture, api, makes, size)
    }

    /// Returns a queue without buffers, for frames of that size in the first format.
    fn new(direction: Direction, api: BufferApi, makes: Makes, size: (u32, u32)) -> Self {
        let mut queue = Self {
            makes,
            layout: Layout::new(PixelFormat::ALL[0], size.0, size.1),
            is_chosen: false,
            buffers: Buffers::new(BufferType { direction, api }, LabelSource::Copy),
            stream: None,
            sequence: 0,
        };
        queue.layout = Layout::new(queue.first_format(), size.0, size.1);
        queue
    }

    /// Returns which way the frames go.
    pub fn direction(&self) -> Direction {
        self.buffers.type_().direction
    }

    /// Returns the formats of the queue: the card reads no compressed frames.
    pub fn formats(&self) -> impl Iterator<Item = PixelFormat> + use<> {
        let makes = self.makes;
        let formats = self.buffers.type_().api.formats();
        formats.filter(move |format| makes.has(*format))
    }

    /// Returns the first of them.
    pub fn first_format(&self) -> PixelFormat {
        self.formats().next().unwrap_or(PixelFormat::ALL[0])
    }

    /// Returns the number of the buffer that is next, if the queue streams.
    pub fn next(&self) -> Option<u32> {
        self.stream.as_ref()?;
        self.buffers.next()
    }
}
