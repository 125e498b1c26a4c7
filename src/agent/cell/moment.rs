//! The moments of a cell at which something is looked at.

use serde::{Deserialize, Serialize};

/// When something was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Moment {
    /// The memory is laid out; nothing was queued.
    LaidOut,
    /// The buffer is queued and the stream is on; with [`Point::AfterDma`]
    /// the card has written the frame.
    ///
    /// [`Point::AfterDma`]: super::Point::AfterDma
    Queued,
    /// The hazard has come; the device still has the buffer.
    AfterHazard,
    /// The buffer was dequeued.
    Dequeued,
    /// The stream is off and the buffers are freed.
    Stopped,
    /// The cell's process has ended; the agent looked. Pages are those of the
    /// last look before.
    Ended,
}

impl Moment {
    /// Its name in a report.
    pub const fn name(self) -> &'static str {
        match self {
            Self::LaidOut => "laid out",
            Self::Queued => "queued",
            Self::AfterHazard => "after hazard",
            Self::Dequeued => "dequeued",
            Self::Stopped => "stopped",
            Self::Ended => "ended",
        }
    }
}
