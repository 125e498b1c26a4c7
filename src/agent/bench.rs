//! Measurements in the guest: how fast a capture device streams, and how long
//! it takes to pin memory.
//!
//! Each request is executed in a process of its own, so that one that takes too
//! much memory does not take the agent with it.

use serde::{Deserialize, Serialize};

/// Request to stream from a capture device, whose frames nobody reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stream {
    /// The capture device in the guest.
    pub device: String,
    /// Where the frames' memory is from.
    pub memory: StreamMemory,
    /// Four-character code of the format.
    pub format: String,
    /// Width of a frame in pixels.
    pub width: u32,
    /// Height of a frame in pixels.
    pub height: u32,
    /// Frames per second to ask for; `None` leaves the device's rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<u32>,
    /// Number of buffers.
    pub buffers: u32,
    /// Number of frames before the measurement begins, at least one.
    pub warm_up: u32,
    /// Number of frames that are measured, at least one.
    pub frames: u32,
    /// Time limit for the whole request, in milliseconds.
    pub limit_ms: u64,
}

/// Where the memory of a stream's frames is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StreamMemory {
    /// V4L2_MEMORY_MMAP.
    Mmap,
    /// V4L2_MEMORY_USERPTR.
    Userptr,
}

impl StreamMemory {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Mmap, Self::Userptr];

    /// Returns the name that is printed.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mmap => "mmap",
            Self::Userptr => "userptr",
        }
    }
}

/// A stream that came to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamAnswer {
    /// Size in bytes of a frame.
    pub frame_bytes: u32,
    /// Time since the kernel started when the first frame was dequeued, in
    /// microseconds.
    pub first_frame_us: u64,
    /// Time from the last frame of the warm-up to the last one, in
    /// microseconds.
    pub elapsed_us: u64,
    /// Time in that time for which the guest's processors were not idle, all
    /// added up, in microseconds. The kernel counts it in hundredths of a
    /// second.
    pub busy_us: u64,
    /// The timestamps of the measured frames, in microseconds.
    pub timestamps_us: Vec<u64>,
    /// Number of frames that are missing among the measured ones.
    pub dropped: u64,
}

/// Request to pin memory, and to release it, several times.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// What pins it.
    pub by: Pinner,
    /// Size in bytes of the memory, whole pages.
    pub bytes: u64,
    /// The pages that it consists of.
    pub pages: PageSize,
    /// How often; each time it is other memory.
    pub runs: u32,
    /// Time limit for the whole request, in milliseconds.
    pub limit_ms: u64,
}

/// What pins memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pinner {
    /// VIDIOC_QBUF of a user pointer, before the stream is on, so that the
    /// device does not get it; VIDIOC_REQBUFS of none releases it.
    Device {
        /// The capture device in the guest.
        path: String,
        /// Four-character code of the format.
        format: String,
        /// Width of a frame in pixels.
        width: u32,
        /// Height of a frame in pixels.
        height: u32,
    },
    /// `get_vaddr_frames()` and `put_vaddr_frames()` alone, called by the module
    /// frame_vector_probe.ko, which must be loaded.
    FrameVector,
}

/// The pages of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PageSize {
    /// Pages of 4 KiB, whose neighbours in memory are not neighbours in the
    /// address space.
    Small,
    /// Transparent huge pages.
    Huge,
}

impl PageSize {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Small, Self::Huge];

    /// Returns the name that is printed.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Small => "4 KiB",
            Self::Huge => "huge",
        }
    }
}

/// How long it took to pin memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinAnswer {
    /// Least number of bytes in transparent huge pages, of all times.
    pub huge_bytes: u64,
    /// Times to pin the memory, in nanoseconds.
    pub pin_ns: Vec<u64>,
    /// Times to release it, in nanoseconds.
    pub release_ns: Vec<u64>,
}

/// A request, as the agent gives it to the process that executes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)] // each variant is the struct of its name
pub enum Measurement {
    Stream(Stream),
    Pin(Pin),
}
