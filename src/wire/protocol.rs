//! Headers, scatter entries and the configuration space (VIRTIO 1.4, 5.22,
//! "Device Operation" of the Media Device).

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Index of the queue of commands.
pub const COMMAND_QUEUE: usize = 0;
/// Index of the queue of events.
pub const EVENT_QUEUE: usize = 1;
/// Number of queues.
pub const QUEUES: usize = 2;

/// VIRTIO_MEDIA_CMD_OPEN: opens a session.
pub const CMD_OPEN: u32 = 1;
/// VIRTIO_MEDIA_CMD_CLOSE: closes a session.
pub const CMD_CLOSE: u32 = 2;
/// VIRTIO_MEDIA_CMD_IOCTL: an ioctl on a session.
pub const CMD_IOCTL: u32 = 3;

/// VIRTIO_MEDIA_CMD_MMAP: maps a buffer into [`REGION`].
pub const CMD_MMAP: u32 = 4;
/// VIRTIO_MEDIA_CMD_MUNMAP: undoes CMD_MMAP.
pub const CMD_MUNMAP: u32 = 5;

/// VIRTIO_MEDIA_MMAP_FLAG_RW: the mapping can be written to.
pub const MMAP_FLAG_RW: u32 = 1;

/// Id of the shared memory region that holds the mapped buffers.
pub const REGION: u8 = 0;

/// `struct virtio_media_cmd_header`.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct CommandHeader {
    /// One of `CMD_*`.
    pub cmd: U32,
    /// Reserved.
    pub reserved: U32,
}

/// `struct virtio_media_cmd_close` without its header.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct CloseBody {
    /// The session to close.
    pub session_id: U32,
    /// Reserved.
    pub reserved: U32,
}

/// `struct virtio_media_cmd_ioctl` without its header and payload.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct IoctlBody {
    /// The session.
    pub session_id: U32,
    /// The ioctl's number: the second argument of its `_IO*` macro.
    pub code: U32,
}

/// `struct virtio_media_cmd_mmap` without its header.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct MmapBody {
    /// The session.
    pub session_id: U32,
    /// `MMAP_FLAG_*`.
    pub flags: U32,
    /// `mem_offset` of the buffer's plane, as QUERYBUF returns it.
    pub offset: U32,
}

/// `struct virtio_media_cmd_munmap` without its header.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct MunmapBody {
    /// Offset of the mapping in the region.
    pub driver_addr: U64,
}

/// `struct virtio_media_resp_mmap` without its header.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct MmapReply {
    /// Offset of the mapping in the region.
    pub driver_addr: U64,
    /// Length of the buffer's plane in bytes.
    pub len: U64,
}

/// `struct virtio_media_resp_header`.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct ResponseHeader {
    /// 0, or a Linux error number.
    pub status: U32,
    /// Reserved.
    pub reserved: U32,
}

/// `struct virtio_media_resp_open` without its header.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct OpenReply {
    /// The new session.
    pub session_id: U32,
    /// Reserved.
    pub reserved: U32,
}

/// `struct virtio_media_sg_entry`: a segment of guest memory.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct SgEntry {
    /// Guest-physical (bus) address of the first byte.
    pub start: U64,
    /// Length in bytes.
    pub len: U32,
    /// Reserved.
    pub reserved: U32,
}

/// `struct virtio_media_config`.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Config {
    /// `device_caps` of `struct v4l2_capability`.
    pub device_caps: U32,
    /// `enum vfl_devnode_type`; 0 means a video device.
    pub device_type: U32,
    /// Name of the device.
    pub card: [u8; 32],
}

/// V4L2_CAP_VIDEO_CAPTURE: single-planar capture.
pub const CAP_VIDEO_CAPTURE: u32 = 0x0000_0001;
/// V4L2_CAP_VIDEO_CAPTURE_MPLANE: multi-planar capture.
pub const CAP_VIDEO_CAPTURE_MPLANE: u32 = 0x0000_1000;
/// V4L2_CAP_VIDEO_OUTPUT: single-planar output.
pub const CAP_VIDEO_OUTPUT: u32 = 0x0000_0002;
/// V4L2_CAP_VIDEO_OUTPUT_MPLANE: multi-planar output.
pub const CAP_VIDEO_OUTPUT_MPLANE: u32 = 0x0000_2000;
/// V4L2_CAP_VIDEO_M2M: single-planar mem-to-mem.
pub const CAP_VIDEO_M2M: u32 = 0x0000_8000;
/// V4L2_CAP_VIDEO_M2M_MPLANE: multi-planar mem-to-mem.
pub const CAP_VIDEO_M2M_MPLANE: u32 = 0x0000_4000;
/// V4L2_CAP_EXT_PIX_FORMAT: the extended fields of `v4l2_pix_format` are valid.
pub const CAP_EXT_PIX_FORMAT: u32 = 0x0020_0000;
/// V4L2_CAP_STREAMING: the device supports the streaming ioctls.
pub const CAP_STREAMING: u32 = 0x0400_0000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::assert_layout;

    #[test]
    fn layouts() {
        assert_layout!(CommandHeader, 8, { cmd: 0, reserved: 4 });
        assert_layout!(CloseBody, 8, { session_id: 0, reserved: 4 });
        assert_layout!(IoctlBody, 8, { session_id: 0, code: 4 });
        assert_layout!(MmapBody, 12, { session_id: 0, flags: 4, offset: 8 });
        assert_layout!(MunmapBody, 8, { driver_addr: 0 });
        assert_layout!(MmapReply, 16, { driver_addr: 0, len: 8 });
        assert_layout!(ResponseHeader, 8, { status: 0, reserved: 4 });
        assert_layout!(OpenReply, 8, { session_id: 0, reserved: 4 });
        assert_layout!(SgEntry, 16, { start: 0, len: 8, reserved: 12 });
        assert_layout!(Config, 40, { device_caps: 0, device_type: 4, card: 8 });
    }
}
