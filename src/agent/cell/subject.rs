//! A device under judgement that was not made for it: how a cell uses it, and what
//! a cell may do to the machine that has it.

use serde::{Deserialize, Serialize};

use crate::card::{BufferApi, Direction};

/// How a cell uses a device of any driver, as a survey of it has found
/// ([`crate::agent::survey`]). The device holds nothing back: a hazard before the DMA
/// comes between QBUF and STREAMON, one after it between poll(2) and DQBUF.
///
/// Of a mem-to-mem device it is the queue of the frames that the device reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// The API of its buffers; each has one plane of memory.
    pub api: BufferApi,
    /// The format of its frames, a FourCC.
    pub pixelformat: u32,
    /// Pixels per line.
    pub width: u32,
    /// Lines.
    pub height: u32,
    /// Bytes from one line to the next; 0 if the format has no lines: it is compressed.
    pub bytesperline: u32,
    /// Bytes of a line that are pixels, the rest is padding; `None` if that is not
    /// known of the format, or if it has several planes in one piece of memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// Length of a buffer in bytes (v4l2_plane_pix_format::sizeimage).
    pub sizeimage: u32,
    /// Number of buffers that must be queued before the device streams: what REQBUFS
    /// makes of 1.
    pub buffers: u32,
    /// What a mem-to-mem device makes of its frames; `None` of any other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made: Option<Box<Made>>,
}

/// What a mem-to-mem device makes of the frames that it reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    /// The queue of the frames that it makes.
    pub queue: Subject,
    /// Whether it makes the same of the same frame each time, so that a cell can find out
    /// in memory of the driver's own what the device is to make of a frame.
    pub repeats: bool,
}

impl Subject {
    /// Returns how a cell uses the queue of the frames that go in that direction.
    pub fn of(&self, direction: Direction) -> &Self {
        match (direction, &self.made) {
            (Direction::Capture, Some(made)) => &made.queue,
            _ => self,
        }
    }
}

/// What a cell may do to the machine that it runs on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// It is a guest of Pinhole's: anything.
    #[default]
    Guest,
    /// It is somebody's machine: nothing that outlives the cell or harms others. No
    /// module is loaded, nothing mounted, no swap made, no setting of the kernel's
    /// changed.
    Machine,
}

impl Scope {
    /// Returns whether it is a guest of Pinhole's.
    pub fn is_guest(&self) -> bool {
        *self == Self::Guest
    }
}
