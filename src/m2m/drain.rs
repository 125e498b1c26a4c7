//! The end of a session's stream: VIDIOC_ENCODER_CMD.
//!
//! STOP has the frames made that were given before it. The last one has
//! V4L2_BUF_FLAG_LAST; if there is none left to make, an empty buffer has it. After
//! it no frame is made until START, or until a queue is streamed anew ("Memory-to-
//! Memory Stateful Video Encoder Interface", Drain). Where only one queue streams
//! there is nothing to drain; but if OUTPUT stops meanwhile, CAPTURE is still told.

use crate::card::refused::{busy, invalid};
use crate::card::{Direction, Refused};
use crate::wire::encoder::{ENC_CMD_START, ENC_CMD_STOP, EncoderCmd};

/// How far the end of a stream is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Drain {
    /// No end is in sight.
    #[default]
    Off,
    /// So many frames that were given are still to be made, and if none, the end
    /// is still to be told.
    Left(usize),
    /// The last frame was made.
    Done,
}

impl Drain {
    /// Counts a frame that was made; returns whether it is the last one.
    pub fn count(&mut self) -> bool {
        match self {
            Self::Left(1) => *self = Self::Done,
            Self::Left(left) => *left = left.saturating_sub(1),
            Self::Off | Self::Done => (),
        }
        *self == Self::Done
    }
}

impl Drain {
    /// VIDIOC_ENCODER_CMD, while so many frames wait to be read; `None` if not both
    /// queues stream.
    pub fn command(
        &mut self,
        asked: &EncoderCmd,
        waiting: Option<usize>,
    ) -> Result<EncoderCmd, Refused> {
        let taken = taken(asked)?;
        *self = match (asked.cmd.get(), *self, waiting) {
            (_, Self::Left(_), _) => return Err(busy("the stream is being drained")),
            (ENC_CMD_STOP, Self::Off, Some(frames)) => Self::Left(frames),
            (ENC_CMD_START, Self::Done, _) => Self::Off,
            (_, drain, _) => drain,
        };
        Ok(taken)
    }

    /// Adapts to the end of a queue's stream, whose buffers are taken back: no frame
    /// is left to be made, but the end of the other stream is still told.
    pub fn stop(&mut self, stopped: Direction) {
        *self = match (stopped, *self) {
            (Direction::Output, Self::Left(_)) => Self::Left(0),
            _ => Self::Off,
        };
    }

    /// Adapts to a stream that begins: there is no end in sight.
    pub fn begin(&mut self) {
        *self = Self::Off;
    }

    /// Returns how many frames are still to be made before the end.
    pub fn left(self) -> usize {
        match self {
            Self::Left(left) => left,
            Self::Off | Self::Done => 0,
        }
    }

    /// Adapts to frames that will not be made before the end.
    pub fn lose(&mut self, gone: usize) {
        if let Self::Left(left) = self {
            *left = left.saturating_sub(gone);
        }
    }
}

/// VIDIOC_TRY_ENCODER_CMD: returns what the card takes of a command.
pub fn taken(asked: &EncoderCmd) -> Result<EncoderCmd, Refused> {
    match asked.cmd.get() {
        ENC_CMD_START | ENC_CMD_STOP => Ok(EncoderCmd {
            flags: 0.into(),
            ..*asked
        }),
        _ => Err(invalid("the card has no such command for its work")),
    }
}
