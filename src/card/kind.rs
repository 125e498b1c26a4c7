//! What a card is for, and the type of its buffers.

use serde::{Deserialize, Serialize};

use super::refused::{Refused, invalid};
use crate::source::PixelFormat;
use crate::wire::Ioctl;
use crate::wire::format::{
    BUF_TYPE_VIDEO_CAPTURE, BUF_TYPE_VIDEO_CAPTURE_MPLANE, BUF_TYPE_VIDEO_OUTPUT,
    BUF_TYPE_VIDEO_OUTPUT_MPLANE,
};
use crate::wire::protocol::{
    CAP_VIDEO_CAPTURE, CAP_VIDEO_CAPTURE_MPLANE, CAP_VIDEO_OUTPUT, CAP_VIDEO_OUTPUT_MPLANE,
};

/// The kind of a card.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum CardKind {
    /// A capture card: it writes frames into the guest's memory.
    #[default]
    Capture,
    /// An output card: it reads frames out of the guest's memory.
    Output,
    /// A mem-to-mem card: it reads a frame and writes what it makes of it.
    M2m,
}

impl CardKind {
    /// Returns whether the card is a capture card.
    pub fn is_capture(&self) -> bool {
        *self == Self::Capture
    }

    /// Returns the name, as `pinhole device --kind` takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Capture => "capture",
            Self::Output => "output",
            Self::M2m => "m2m",
        }
    }

    /// Returns whether a card of this kind has the ioctl.
    pub fn has(self, ioctl: Ioctl) -> bool {
        use Ioctl::*;
        match ioctl {
            EnumInput | GInput | SInput => self == Self::Capture,
            EnumOutput | GOutput | SOutput => self == Self::Output,
            GSelection | SSelection => self != Self::Output,
            EnumFrameIntervals | GParm | SParm => self != Self::M2m,
            EncoderCmd | TryEncoderCmd => self == Self::M2m,
            _ => true,
        }
    }
}

/// Which way the frames of a queue of buffers go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// The card writes them.
    #[default]
    Capture,
    /// The card reads them.
    Output,
}

/// How a frame's colour planes are laid out in a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BufferApi {
    /// All planes lie in one piece of memory (V4L2's single-planar API).
    #[default]
    Single,
    /// Each plane lies in its own memory if the format asks for that (V4L2's
    /// multi-planar API).
    Multi,
}

impl BufferApi {
    /// Returns the supported formats, in the order of their enumeration.
    pub fn formats(self) -> impl Iterator<Item = PixelFormat> {
        PixelFormat::ALL
            .into_iter()
            .filter(|format| format.is_offered())
            .filter(move |format| self == Self::Multi || !format.is_separate())
    }
}

/// The type of the buffers of a queue (V4L2_BUF_TYPE_*).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BufferType {
    /// Which way the frames go.
    pub direction: Direction,
    /// How a frame's planes are laid out.
    pub api: BufferApi,
}

impl BufferType {
    /// Returns V4L2's number of the type.
    pub fn number(self) -> u32 {
        match (self.direction, self.api) {
            (Direction::Capture, BufferApi::Single) => BUF_TYPE_VIDEO_CAPTURE,
            (Direction::Capture, BufferApi::Multi) => BUF_TYPE_VIDEO_CAPTURE_MPLANE,
            (Direction::Output, BufferApi::Single) => BUF_TYPE_VIDEO_OUTPUT,
            (Direction::Output, BufferApi::Multi) => BUF_TYPE_VIDEO_OUTPUT_MPLANE,
        }
    }

    /// Returns the capability of a device that has such buffers alone.
    pub fn capability(self) -> u32 {
        match (self.direction, self.api) {
            (Direction::Capture, BufferApi::Single) => CAP_VIDEO_CAPTURE,
            (Direction::Capture, BufferApi::Multi) => CAP_VIDEO_CAPTURE_MPLANE,
            (Direction::Output, BufferApi::Single) => CAP_VIDEO_OUTPUT,
            (Direction::Output, BufferApi::Multi) => CAP_VIDEO_OUTPUT_MPLANE,
        }
    }

    /// Refuses every buffer type except this one.
    pub fn check(self, number: u32) -> Result<(), Refused> {
        match number == self.number() {
            true => Ok(()),
            false => Err(invalid("the card has no buffers of that type")),
        }
    }
}
