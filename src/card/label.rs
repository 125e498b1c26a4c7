//! What is said of a frame besides its bytes: its time, its time code and its
//! flags.

use std::time::Duration;

use crate::wire::buffer::{
    BUF_FLAG_BFRAME, BUF_FLAG_KEYFRAME, BUF_FLAG_PFRAME, BUF_FLAG_TIMECODE,
    BUF_FLAG_TIMESTAMP_COPY, BUF_FLAG_TIMESTAMP_MONOTONIC, BUF_FLAG_TSTAMP_SRC_MASK, Buffer,
    TimeCode,
};

/// The flags that a frame that is made of another takes over from it (as Linux's
/// v4l2_m2m_buf_copy_metadata()).
const FLAGS: u32 = BUF_FLAG_TIMECODE
    | BUF_FLAG_KEYFRAME
    | BUF_FLAG_PFRAME
    | BUF_FLAG_BFRAME
    | BUF_FLAG_TSTAMP_SRC_MASK;

/// The time of a frame, as a buffer has it (`struct timeval`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timestamp {
    /// Seconds.
    pub sec: i64,
    /// Microseconds.
    pub usec: i64,
}

impl From<Duration> for Timestamp {
    fn from(time: Duration) -> Self {
        Self {
            sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
            usec: time.subsec_micros().into(),
        }
    }
}

/// Whose the labels of a queue's frames are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LabelSource {
    /// The card's: the time of CLOCK_MONOTONIC.
    #[default]
    Card,
    /// The application's: it labels a frame that is read, and the frame that is
    /// made of it has the same label.
    Copy,
}

impl LabelSource {
    /// Returns V4L2_BUF_FLAG_TIMESTAMP_*.
    pub fn flag(self) -> u32 {
        match self {
            Self::Card => BUF_FLAG_TIMESTAMP_MONOTONIC,
            Self::Copy => BUF_FLAG_TIMESTAMP_COPY,
        }
    }
}

/// The label of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Label {
    /// Its time.
    pub time: Timestamp,
    /// Its time code, if the flags say that it has one.
    timecode: TimeCode,
    /// V4L2_BUF_FLAG_*: those of [`FLAGS`].
    flags: u32,
}

impl Label {
    /// Returns the label of a frame of the card's own.
    pub fn at(time: impl Into<Timestamp>) -> Self {
        Self {
            time: time.into(),
            ..Self::default()
        }
    }

    /// Returns the label that an application gives a frame.
    pub fn of(buffer: &Buffer) -> Self {
        let flags = buffer.flags.get() & FLAGS;
        Self {
            time: Timestamp {
                sec: buffer.timestamp_sec.get(),
                usec: buffer.timestamp_usec.get(),
            },
            timecode: match flags & BUF_FLAG_TIMECODE {
                0 => TimeCode::default(),
                _ => buffer.timecode,
            },
            flags,
        }
    }

    /// Puts the label on a buffer, beside the other flags that it has.
    pub fn put(&self, buffer: &mut Buffer) {
        buffer.timestamp_sec = self.time.sec.into();
        buffer.timestamp_usec = self.time.usec.into();
        buffer.timecode = self.timecode;
        buffer.flags |= self.flags;
    }
}

#[cfg(test)]
mod tests {
    use zerocopy::FromZeros;

    use super::*;
    use crate::wire::buffer::{BUF_FLAG_ERROR, BUF_FLAG_QUEUED};

    #[test]
    fn a_label_is_taken_over_and_no_other_flag() {
        let mut given = Buffer::new_zeroed();
        given.timestamp_sec = (-3).into();
        given.timestamp_usec = 999_999.into();
        given.timecode.hours = 23;
        given.timecode.userbits = [1, 2, 3, 4];
        given.flags = (FLAGS | BUF_FLAG_QUEUED).into();
        let mut made = Buffer::new_zeroed();
        made.flags = BUF_FLAG_ERROR.into();
        Label::of(&given).put(&mut made);
        assert_eq!(made.flags.get(), FLAGS | BUF_FLAG_ERROR);
        assert_eq!(
            (made.timestamp_sec, made.timestamp_usec),
            (given.timestamp_sec, given.timestamp_usec)
        );
        assert_eq!(made.timecode, given.timecode);
    }

    #[test]
    fn a_time_code_that_is_not_said_to_be_one_is_none() {
        let mut given = Buffer::new_zeroed();
        given.timecode.hours = 23;
        let mut made = Buffer::new_zeroed();
        Label::of(&given).put(&mut made);
        assert_eq!((made.flags.get(), made.timecode), (0, TimeCode::default()));
    }
}
