//! The moments of a cell at which the agent collects evidence.

use serde::{Deserialize, Serialize};

/// The moment of an observation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Moment {
    /// The cell's process has begun, and has no memory laid out yet.
    Begun,
    /// The memory is laid out; no buffer was queued.
    LaidOut,
    /// The buffer holds the frame that the card is to read, and is queued next.
    Filled,
    /// QBUF has pinned half of the buffer, and waits.
    Pinning,
    /// The buffer is queued and the stream is on. With [`Point::AfterDma`] the
    /// card has written the frame, or read it.
    ///
    /// [`Point::AfterDma`]: super::Point::AfterDma
    Queued,
    /// The hazard has happened; the device still owns the buffer.
    AfterHazard,
    /// The buffer was dequeued.
    Dequeued,
    /// The stream is off and the buffers are freed.
    Stopped,
    /// The cell's process has ended, and the agent observed. The pages are
    /// those of the previous observation.
    Ended,
}

impl Moment {
    /// Returns the name in a report.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Begun => "begun",
            Self::LaidOut => "laid out",
            Self::Filled => "filled",
            Self::Pinning => "pinning",
            Self::Queued => "queued",
            Self::AfterHazard => "after hazard",
            Self::Dequeued => "dequeued",
            Self::Stopped => "stopped",
            Self::Ended => "ended",
        }
    }
}
