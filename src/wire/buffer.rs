//! Buffers.

use zerocopy::little_endian::{I64, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// V4L2_MEMORY_MMAP: the device allocates the memory, and the application maps
/// it.
pub const MEMORY_MMAP: u32 = 1;
/// V4L2_MEMORY_USERPTR, which virtio-media calls SHARED_PAGES: the driver
/// gives the memory as a list of scatter entries.
pub const MEMORY_USERPTR: u32 = 2;
/// V4L2_BUF_CAP_SUPPORTS_MMAP.
pub const BUF_CAP_SUPPORTS_MMAP: u32 = 0x0000_0001;
/// V4L2_BUF_CAP_SUPPORTS_ORPHANED_BUFS: buffers can be freed while they are
/// mapped, and the mappings stay.
pub const BUF_CAP_SUPPORTS_ORPHANED_BUFS: u32 = 0x0000_0010;
/// V4L2_BUF_CAP_SUPPORTS_USERPTR.
pub const BUF_CAP_SUPPORTS_USERPTR: u32 = 0x0000_0002;

/// V4L2_BUF_FLAG_MAPPED: the buffer is mapped.
pub const BUF_FLAG_MAPPED: u32 = 0x0000_0001;
/// V4L2_BUF_FLAG_QUEUED: the device has the buffer.
pub const BUF_FLAG_QUEUED: u32 = 0x0000_0002;
/// V4L2_BUF_FLAG_DONE: the device has filled it.
pub const BUF_FLAG_DONE: u32 = 0x0000_0004;
/// V4L2_BUF_FLAG_KEYFRAME.
pub const BUF_FLAG_KEYFRAME: u32 = 0x0000_0008;
/// V4L2_BUF_FLAG_PFRAME.
pub const BUF_FLAG_PFRAME: u32 = 0x0000_0010;
/// V4L2_BUF_FLAG_BFRAME.
pub const BUF_FLAG_BFRAME: u32 = 0x0000_0020;
/// V4L2_BUF_FLAG_ERROR: the device returned the buffer without a frame, or with
/// part of one.
pub const BUF_FLAG_ERROR: u32 = 0x0000_0040;
/// V4L2_BUF_FLAG_TIMECODE: the time code is valid.
pub const BUF_FLAG_TIMECODE: u32 = 0x0000_0100;
/// V4L2_BUF_FLAG_TSTAMP_SRC_MASK: at which end of the frame its time is.
pub const BUF_FLAG_TSTAMP_SRC_MASK: u32 = 0x0007_0000;
/// V4L2_BUF_FLAG_LAST: no frame comes after this one.
pub const BUF_FLAG_LAST: u32 = 0x0010_0000;
/// V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC.
pub const BUF_FLAG_TIMESTAMP_MONOTONIC: u32 = 0x0000_2000;
/// V4L2_BUF_FLAG_TIMESTAMP_COPY: the time is that of the frame it was made of.
pub const BUF_FLAG_TIMESTAMP_COPY: u32 = 0x0000_4000;
/// V4L2_BUF_FLAG_REQUEST_FD: `request_fd` is valid.
pub const BUF_FLAG_REQUEST_FD: u32 = 0x0080_0000;

/// `struct v4l2_timecode`.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Default,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
    Unaligned,
)]
#[repr(C)]
pub struct TimeCode {
    /// Frame rate.
    pub type_: U32,
    /// Flags.
    pub flags: U32,
    /// Frames.
    pub frames: u8,
    /// Seconds.
    pub seconds: u8,
    /// Minutes.
    pub minutes: u8,
    /// Hours.
    pub hours: u8,
    /// User bits.
    pub userbits: [u8; 4],
}

/// `struct v4l2_buffer` of 64-bit Linux.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Buffer {
    /// Index of the buffer.
    pub index: U32,
    /// Buffer type.
    pub type_: U32,
    /// Bytes of data in the buffer.
    pub bytesused: U32,
    /// V4L2_BUF_FLAG_*.
    pub flags: U32,
    /// V4L2_FIELD_*.
    pub field: U32,
    /// Aligns `timestamp_sec` to 8 bytes.
    pub padding: U32,
    /// Timestamp of the frame: seconds.
    pub timestamp_sec: I64,
    /// Timestamp of the frame: microseconds.
    pub timestamp_usec: I64,
    /// The frame's time code, if the flags say that there is one.
    pub timecode: TimeCode,
    /// Sequence number of the frame.
    pub sequence: U32,
    /// V4L2_MEMORY_*.
    pub memory: U32,
    /// The union: for SHARED_PAGES the driver's own `userptr`, for MMAP the
    /// offset to map, or the driver's pointer to the planes.
    pub m: U64,
    /// Bytes of memory; for a multi-planar buffer, the number of its planes.
    pub length: U32,
    /// Reserved.
    pub reserved2: U32,
    /// Not used by the card.
    pub request_fd: U32,
    /// Fills the structure up to its alignment.
    pub tail: U32,
}

/// `struct v4l2_plane` of 64-bit Linux.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Plane {
    /// Bytes of data.
    pub bytesused: U32,
    /// Bytes of memory.
    pub length: U32,
    /// The union: for SHARED_PAGES the driver's own `userptr`, for MMAP the
    /// offset to map.
    pub m: U64,
    /// Offset of the data within the plane.
    pub data_offset: U32,
    /// Reserved.
    pub reserved: [U32; 11],
}

/// `struct v4l2_requestbuffers`.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RequestBuffers {
    /// Number of buffers: requested by the driver, allocated by the card.
    pub count: U32,
    /// Buffer type.
    pub type_: U32,
    /// V4L2_MEMORY_*.
    pub memory: U32,
    /// V4L2_BUF_CAP_*.
    pub capabilities: U32,
    /// V4L2_MEMORY_FLAG_*.
    pub flags: u8,
    /// Reserved.
    pub reserved: [u8; 3],
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::assert_layout;

    #[test]
    fn layouts() {
        assert_layout!(TimeCode, 16, { type_: 0, flags: 4, frames: 8, userbits: 12 });
        assert_layout!(Buffer, 88, {
            index: 0, type_: 4, bytesused: 8, flags: 12, field: 16, timestamp_sec: 24,
            timestamp_usec: 32, timecode: 40, sequence: 56, memory: 60, m: 64, length: 72,
            reserved2: 76, request_fd: 80,
        });
        assert_layout!(Plane, 64, {
            bytesused: 0, length: 4, m: 8, data_offset: 16, reserved: 20,
        });
        assert_layout!(RequestBuffers, 20, {
            count: 0, type_: 4, memory: 8, capabilities: 12, flags: 16, reserved: 17,
        });
    }
}
