//! V4L2 and virtio-media as bytes, written from their specifications and not
//! from the card's code, so that a mistake there is not repeated here.
//!
//! Names are those of videodev2.h and of VIRTIO 1.4, 5.22, without their
//! prefixes.
#![allow(
    missing_docs,
    reason = "the documents above describe the constants and fields"
)]

use std::fmt;

pub const EIO: u32 = 5;
pub const ENOMEM: u32 = 12;
pub const EACCES: u32 = 13;
pub const EBUSY: u32 = 16;
pub const EINVAL: u32 = 22;
pub const EMFILE: u32 = 24;
pub const ENOTTY: u32 = 25;
pub const ENOSPC: u32 = 28;
pub const ERANGE: u32 = 34;

pub const CMD_OPEN: u32 = 1;
pub const CMD_CLOSE: u32 = 2;
pub const CMD_IOCTL: u32 = 3;
pub const CMD_MMAP: u32 = 4;
pub const CMD_MUNMAP: u32 = 5;

pub const EVT_ERROR: u32 = 0;
pub const EVT_DQBUF: u32 = 1;
pub const EVT_EVENT: u32 = 2;

/// Bytes of the header of a response.
pub const RESPONSE: usize = 8;
/// Bytes of an event with a buffer: header, v4l2_buffer, v4l2_plane\[8\].
pub const EVENT: usize = 8 + 88 + 8 * 64;
/// Bytes of a v4l2_event with its header.
pub const V4L2_EVENT: usize = 8 + 136;

pub const CAPTURE: u32 = 1;
pub const OUTPUT: u32 = 2;
pub const CAPTURE_MPLANE: u32 = 9;
pub const OUTPUT_MPLANE: u32 = 10;
pub const FIELD_NONE: u32 = 1;
pub const MEMORY_MMAP: u32 = 1;
pub const MEMORY_USERPTR: u32 = 2;
pub const MEMORY_DMABUF: u32 = 4;
pub const CAP_TIMEPERFRAME: u32 = 0x1000;

pub const BUF_FLAG_QUEUED: u32 = 2;
pub const BUF_FLAG_DONE: u32 = 4;
pub const BUF_FLAG_ERROR: u32 = 0x40;
pub const BUF_FLAG_LAST: u32 = 0x10_0000;

/// An ioctl: the number, direction and size of its `_IO*` macro.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Ioctl {
    pub name: &'static str,
    pub code: u32,
    /// The driver gives a payload (_IOW, _IOWR).
    pub given: bool,
    /// The device answers with one (_IOR, _IOWR).
    pub answered: bool,
    /// Bytes of the payload.
    pub size: usize,
}

impl fmt::Debug for Ioctl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

const fn iowr(name: &'static str, code: u32, size: usize) -> Ioctl {
    Ioctl {
        name,
        code,
        given: true,
        answered: true,
        size,
    }
}

pub const ENUM_FMT: Ioctl = iowr("ENUM_FMT", 2, 64);
pub const G_FMT: Ioctl = iowr("G_FMT", 4, 208);
pub const S_FMT: Ioctl = iowr("S_FMT", 5, 208);
pub const REQBUFS: Ioctl = iowr("REQBUFS", 8, 20);
pub const QUERYBUF: Ioctl = iowr("QUERYBUF", 9, 88);
pub const QBUF: Ioctl = iowr("QBUF", 15, 88);
pub const STREAMON: Ioctl = Ioctl {
    answered: false,
    ..iowr("STREAMON", 18, 4)
};
pub const STREAMOFF: Ioctl = Ioctl {
    answered: false,
    ..iowr("STREAMOFF", 19, 4)
};
pub const G_PARM: Ioctl = iowr("G_PARM", 21, 204);
pub const S_PARM: Ioctl = iowr("S_PARM", 22, 204);
pub const ENUMINPUT: Ioctl = iowr("ENUMINPUT", 26, 80);
pub const G_INPUT: Ioctl = Ioctl {
    given: false,
    ..iowr("G_INPUT", 38, 4)
};
pub const S_INPUT: Ioctl = iowr("S_INPUT", 39, 4);
pub const TRY_FMT: Ioctl = iowr("TRY_FMT", 64, 208);
pub const ENUM_FRAMESIZES: Ioctl = iowr("ENUM_FRAMESIZES", 74, 44);
pub const ENUM_FRAMEINTERVALS: Ioctl = iowr("ENUM_FRAMEINTERVALS", 75, 52);

pub const G_CTRL: Ioctl = iowr("G_CTRL", 27, 8);
pub const S_CTRL: Ioctl = iowr("S_CTRL", 28, 8);
pub const QUERYCTRL: Ioctl = iowr("QUERYCTRL", 36, 68);
pub const QUERYMENU: Ioctl = iowr("QUERYMENU", 37, 44);
pub const G_EXT_CTRLS: Ioctl = iowr("G_EXT_CTRLS", 71, 32);
pub const S_EXT_CTRLS: Ioctl = iowr("S_EXT_CTRLS", 72, 32);
pub const TRY_EXT_CTRLS: Ioctl = iowr("TRY_EXT_CTRLS", 73, 32);
pub const SUBSCRIBE_EVENT: Ioctl = Ioctl {
    answered: false,
    ..iowr("SUBSCRIBE_EVENT", 90, 32)
};
pub const UNSUBSCRIBE_EVENT: Ioctl = Ioctl {
    answered: false,
    ..iowr("UNSUBSCRIBE_EVENT", 91, 32)
};
pub const G_SELECTION: Ioctl = iowr("G_SELECTION", 94, 64);
pub const S_SELECTION: Ioctl = iowr("S_SELECTION", 95, 64);
pub const QUERY_EXT_CTRL: Ioctl = iowr("QUERY_EXT_CTRL", 103, 232);

/// The ioctls above.
pub const NAMES: [Ioctl; 28] = [
    ENUM_FMT,
    G_FMT,
    S_FMT,
    REQBUFS,
    QUERYBUF,
    QBUF,
    STREAMON,
    STREAMOFF,
    G_PARM,
    S_PARM,
    ENUMINPUT,
    G_INPUT,
    S_INPUT,
    TRY_FMT,
    ENUM_FRAMESIZES,
    ENUM_FRAMEINTERVALS,
    G_CTRL,
    S_CTRL,
    QUERYCTRL,
    QUERYMENU,
    G_EXT_CTRLS,
    S_EXT_CTRLS,
    TRY_EXT_CTRLS,
    SUBSCRIBE_EVENT,
    UNSUBSCRIBE_EVENT,
    G_SELECTION,
    S_SELECTION,
    QUERY_EXT_CTRL,
];

/// A struct v4l2_ext_controls and its controls: id, size, value or pointer.
pub fn ext_controls(which: u32, controls: &[(u32, u32, u64)]) -> Vec<u8> {
    let mut bytes = payload(G_EXT_CTRLS)
        .with(0, which)
        .with(4, controls.len() as u32)
        .with64(24, 0xfeed_f00d);
    for (id, size, value) in controls {
        bytes.extend_from_slice(&id.to_le_bytes());
        bytes.extend_from_slice(&size.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&value.to_le_bytes());
    }
    bytes
}

/// Bytes of the answer to [`ext_controls`] of that many.
pub fn ext_answer(count: usize) -> usize {
    32 + 20 * count
}

/// A struct v4l2_event_subscription.
pub fn subscription(kind: u32, id: u32, flags: u32) -> Vec<u8> {
    payload(SUBSCRIBE_EVENT)
        .with(0, kind)
        .with(4, id)
        .with(8, flags)
}

/// A multi-planar struct v4l2_buffer and its planes: length and pointer.
pub fn planar_buffer(index: u32, planes: &[(u32, u64)]) -> Vec<u8> {
    let mut bytes = payload(QBUF)
        .with(0, index)
        .with(4, CAPTURE_MPLANE)
        .with(60, MEMORY_USERPTR)
        .with64(64, 0xfeed_f00d)
        .with(72, planes.len() as u32);
    for (length, pointer) in planes {
        bytes.extend(vec![0; 64].with(4, *length).with64(8, *pointer));
    }
    bytes
}

/// A struct v4l2_format that asks for a multi-planar picture.
pub fn planar_format(pixelformat: u32, width: u32, height: u32) -> Vec<u8> {
    format(pixelformat, width, height).with(0, CAPTURE_MPLANE)
}

/// Little-endian fields of a structure, by their offset in it.
pub trait Fields {
    /// Returns four bytes; those beyond the end read as zero. Whether a
    /// structure is whole is checked where it arrives.
    fn le32(&self, offset: usize) -> u32;

    /// Returns eight bytes, as [`le32`](Self::le32) does.
    fn le64(&self, offset: usize) -> u64;
}

impl Fields for [u8] {
    fn le32(&self, offset: usize) -> u32 {
        u32::from_le_bytes(bytes_at(self, offset))
    }

    fn le64(&self, offset: usize) -> u64 {
        u64::from_le_bytes(bytes_at(self, offset))
    }
}

fn bytes_at<const N: usize>(bytes: &[u8], offset: usize) -> [u8; N] {
    let mut field = [0; N];
    let found = bytes.get(offset..).unwrap_or_default();
    let len = found.len().min(N);
    field[..len].copy_from_slice(&found[..len]);
    field
}

/// Structures of our own, built field by field.
pub trait With {
    /// Returns it with four bytes at that offset, which it must have.
    fn with(self, offset: usize, value: u32) -> Self;

    /// Returns it with eight bytes at that offset, which it must have.
    fn with64(self, offset: usize, value: u64) -> Self;
}

impl With for Vec<u8> {
    fn with(mut self, offset: usize, value: u32) -> Self {
        self[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
        self
    }

    fn with64(mut self, offset: usize, value: u64) -> Self {
        self[offset..offset + 8].copy_from_slice(&value.to_le_bytes());
        self
    }
}

/// A zeroed payload of that ioctl.
pub fn payload(ioctl: Ioctl) -> Vec<u8> {
    vec![0; ioctl.size]
}

/// A command of nothing but its header.
pub fn command(cmd: u32) -> Vec<u8> {
    vec![0; 8].with(0, cmd)
}

/// CLOSE of that session.
pub fn close_command(session: u32) -> Vec<u8> {
    vec![0; 16].with(0, CMD_CLOSE).with(8, session)
}

/// MMAP of the buffer at that offset; flag 1 is for writing.
pub fn mmap_command(session: u32, flags: u32, offset: u32) -> Vec<u8> {
    let command = vec![0; 20].with(0, CMD_MMAP).with(8, session);
    command.with(12, flags).with(16, offset)
}

/// MUNMAP of what is mapped there.
pub fn munmap_command(address: u64) -> Vec<u8> {
    vec![0; 16].with(0, CMD_MUNMAP).with64(8, address)
}

/// An ioctl command with whatever follows its header.
pub fn ioctl_command(session: u32, code: u32, payload: &[u8]) -> Vec<u8> {
    let mut command = vec![0; 16]
        .with(0, CMD_IOCTL)
        .with(8, session)
        .with(12, code);
    command.extend_from_slice(payload);
    command
}

/// The picture as struct v4l2_pix_format has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Picture {
    pub width: u32,
    pub height: u32,
    pub pixelformat: u32,
    pub field: u32,
    pub bytesperline: u32,
    pub sizeimage: u32,
    pub colorspace: u32,
}

impl Picture {
    /// From a struct v4l2_format.
    pub fn parse(format: &[u8]) -> Self {
        Self {
            width: format.le32(8),
            height: format.le32(12),
            pixelformat: format.le32(16),
            field: format.le32(20),
            bytesperline: format.le32(24),
            sizeimage: format.le32(28),
            colorspace: format.le32(32),
        }
    }
}

/// A struct v4l2_format that asks for a picture.
pub fn format(pixelformat: u32, width: u32, height: u32) -> Vec<u8> {
    payload(S_FMT)
        .with(0, CAPTURE)
        .with(8, width)
        .with(12, height)
        .with(16, pixelformat)
}

/// A struct v4l2_requestbuffers.
pub fn request_buffers(count: u32, kind: u32, memory: u32) -> Vec<u8> {
    payload(REQBUFS)
        .with(0, count)
        .with(4, kind)
        .with(8, memory)
}

/// A struct v4l2_buffer of SHARED_PAGES memory.
pub fn buffer(index: u32, userptr: u64, length: u32) -> Vec<u8> {
    payload(QBUF)
        .with(0, index)
        .with(4, CAPTURE)
        .with(60, MEMORY_USERPTR)
        .with64(64, userptr)
        .with(72, length)
}

/// Scatter entries, as they follow a struct v4l2_buffer.
pub fn scatter_list(segments: &[(u64, u32)]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(16 * segments.len());
    for (start, len) in segments {
        bytes.extend_from_slice(&start.to_le_bytes());
        bytes.extend_from_slice(&len.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
    }
    bytes
}

/// A struct v4l2_buffer as the card gives it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Buffer {
    pub index: u32,
    pub kind: u32,
    pub bytesused: u32,
    pub flags: u32,
    pub field: u32,
    pub sequence: u32,
    pub memory: u32,
    pub userptr: u64,
    pub length: u32,
}

impl Buffer {
    /// From a struct v4l2_buffer.
    pub fn parse(bytes: &[u8]) -> Self {
        Self {
            index: bytes.le32(0),
            kind: bytes.le32(4),
            bytesused: bytes.le32(8),
            flags: bytes.le32(12),
            field: bytes.le32(16),
            sequence: bytes.le32(56),
            memory: bytes.le32(60),
            userptr: bytes.le64(64),
            length: bytes.le32(72),
        }
    }
}
