//! The witness: the card's record of what it wrote or read, one JSON object per
//! line.
//!
//! The rig compares the bytes that the application has with these records, so
//! their format is a contract between the two. Addresses are guest-physical
//! (bus) addresses, or offsets in the card's own memory. Digests are XXH3-64 (seed
//! 0) of each 4 KiB of a plane as written or read, the last one of the bytes that
//! remain, as sixteen lower-case hexadecimal digits.

mod background;
mod lines;
mod sink;

use serde::{Deserialize, Serialize};

use super::{CardKind, Direction};

pub use crate::dma::{DIGEST_BLOCK, Digest};
pub use background::{Background, Target};
pub use lines::Lines;
pub use sink::{FrameTransferred, RecordSink, Witness};

/// One line of the witness.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Record {
    /// A session began to stream, with one of its queues.
    StreamOn {
        /// The session.
        session: u32,
        /// When it began, in nanoseconds since the Unix epoch.
        wall_ns: u64,
        /// V4L2 pixel format as its four characters.
        format: String,
        /// Pixels per line.
        width: u32,
        /// Lines per frame.
        height: u32,
        /// Whose memory the buffers are.
        #[serde(default)]
        memory: StreamMemory,
        /// Which way the frames go. It is left out if they are captured.
        #[serde(default, skip_serializing_if = "CardKind::is_capture")]
        card: CardKind,
        /// Of a mem-to-mem card: which of the session's queues it is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        direction: Option<Direction>,
        /// Bytes from one line to the next, in each plane.
        bytesperline: Vec<u32>,
        /// Bytes of a frame in each plane.
        sizeimage: Vec<u32>,
    },
    /// A frame was written into a buffer, or read out of it.
    Frame {
        /// V4L2 sequence number; dropped frames are counted, too.
        sequence: u32,
        /// The session.
        session: u32,
        /// Of a mem-to-mem card: whether the frame was read (output) or written.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        direction: Option<Direction>,
        /// Index of the buffer.
        buffer: u32,
        /// The card's clock when the frame was made, in nanoseconds since
        /// STREAMON.
        time_ns: u64,
        /// The data written or read, for each plane.
        planes: Vec<PlaneRecord>,
    },
    /// A session ended its stream, of one of its queues.
    StreamOff {
        /// The session.
        session: u32,
        /// Of a mem-to-mem card: which of the session's queues it is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        direction: Option<Direction>,
        /// Frames written or read since STREAMON.
        frames: u64,
        /// Frames that were due and not transferred, because no buffer was queued
        /// or the card was too slow.
        dropped: u64,
    },
}

impl Record {
    /// Returns the planes of a frame; none of another record.
    fn into_planes(self) -> Vec<PlaneRecord> {
        match self {
            Self::Frame { planes, .. } => planes,
            Self::StreamOn { .. } | Self::StreamOff { .. } => Vec::new(),
        }
    }
}

/// Whose memory the buffers of a stream are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StreamMemory {
    /// The guest's; segments are guest-physical (bus) addresses.
    #[default]
    Guest,
    /// The card's own (MMAP buffers); segments are offsets in the memory of the
    /// buffer's plane.
    Card,
}

/// The data that the card wrote into one plane of a buffer, or read out of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaneRecord {
    /// Number of bytes written, counted from the plane's first; or read, counted
    /// from the first that an application says are data (`data_offset`).
    pub bytes: u32,
    /// Scatter list of the plane: `[address, length]`, in order.
    pub segments: Vec<(u64, u32)>,
    /// One digest for each [`DIGEST_BLOCK`] of `bytes`.
    pub digests: Vec<Digest>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_one_line_and_reads_back() {
        let record = Record::Frame {
            sequence: 7,
            session: 1,
            direction: None,
            buffer: 2,
            time_ns: 16_666_667,
            planes: vec![PlaneRecord {
                bytes: 4098,
                segments: vec![(0x1000, 4096), (0x9000, 2)],
                digests: vec![Digest(1), Digest(0xfedc_ba98_7654_3210)],
            }],
        };
        let line = serde_json::to_string(&record).unwrap();
        assert_eq!(
            line,
            r#"{"event":"frame","sequence":7,"session":1,"buffer":2,"time_ns":16666667,"planes":[{"bytes":4098,"segments":[[4096,4096],[36864,2]],"digests":["0000000000000001","fedcba9876543210"]}]}"#
        );
        assert_eq!(serde_json::from_str::<Record>(&line).unwrap(), record);
    }
}
