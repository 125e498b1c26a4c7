//! V4L2 and virtio-media as bytes, written from their specifications and not
//! from the card's code, so that a mistake there is not repeated here.

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
pub const FIELD_NONE: u32 = 1;
pub const MEMORY_MMAP: u32 = 1;
pub const MEMORY_USERPTR: u32 = 2;
pub const MEMORY_DMABUF: u32 = 4;
pub const CAP_TIMEPERFRAME: u32 = 0x1000;

pub const BUF_FLAG_QUEUED: u32 = 2;
pub const BUF_FLAG_DONE: u32 = 4;
pub const BUF_FLAG_ERROR: u32 = 0x40;
pub const BUF_FLAG_LAST: u32 = 0x10_0000;

pub const YUYV: u32 = u32::from_le_bytes(*b"YUYV");
pub const NV12: u32 = u32::from_le_bytes(*b"NV12");
pub const RGB3: u32 = u32::from_le_bytes(*b"RGB3");
pub const MJPG: u32 = u32::from_le_bytes(*b"MJPG");
pub const GREY: u32 = u32::from_le_bytes(*b"GREY");

/// A pixel format, as V4L2's documentation has it.
pub struct Raw {
    pub fourcc: u32,
    pub name: &'static str,
    /// Bits a pixel.
    pub bits: u32,
    /// Bytes of a line for each of its pixels.
    pub line: u32,
    /// What widths and heights must be multiples of.
    pub step: (u32, u32),
}

const fn raw(fourcc: &[u8; 4], name: &'static str, bits: u32, line: u32, step: (u32, u32)) -> Raw {
    Raw {
        fourcc: u32::from_le_bytes(*fourcc),
        name,
        bits,
        line,
        step,
    }
}

/// The formats of a single-planar card whose frames are all of one length.
#[rustfmt::skip] // a table
pub const RAW: [Raw; 17] = [
    raw(b"YUYV", "YUYV 4:2:2", 16, 2, (2, 1)),
    raw(b"UYVY", "UYVY 4:2:2", 16, 2, (2, 1)),
    raw(b"YVYU", "YVYU 4:2:2", 16, 2, (2, 1)),
    raw(b"VYUY", "VYUY 4:2:2", 16, 2, (2, 1)),
    raw(b"RGB3", "24-bit RGB 8-8-8", 24, 3, (1, 1)),
    raw(b"BGR3", "24-bit BGR 8-8-8", 24, 3, (1, 1)),
    raw(b"XR24", "32-bit BGRX 8-8-8-8", 32, 4, (1, 1)),
    raw(b"BX24", "32-bit XRGB 8-8-8-8", 32, 4, (1, 1)),
    raw(b"RGBP", "16-bit RGB 5-6-5", 16, 2, (1, 1)),
    raw(b"GREY", "8-bit Greyscale", 8, 1, (1, 1)),
    raw(b"Y16 ", "16-bit Greyscale", 16, 2, (1, 1)),
    raw(b"NV12", "Y/UV 4:2:0", 12, 1, (2, 2)),
    raw(b"NV21", "Y/VU 4:2:0", 12, 1, (2, 2)),
    raw(b"NV16", "Y/UV 4:2:2", 16, 1, (2, 1)),
    raw(b"YU12", "Planar YUV 4:2:0", 12, 1, (2, 2)),
    raw(b"YV12", "Planar YVU 4:2:0", 12, 1, (2, 2)),
    raw(b"422P", "Planar YUV 4:2:2", 16, 1, (2, 1)),
];

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

/// Every ioctl that the card has.
pub const ALL: [Ioctl; 28] = [
    G_CTRL,
    S_CTRL,
    QUERYCTRL,
    QUERYMENU,
    QUERY_EXT_CTRL,
    G_EXT_CTRLS,
    S_EXT_CTRLS,
    TRY_EXT_CTRLS,
    SUBSCRIBE_EVENT,
    UNSUBSCRIBE_EVENT,
    G_SELECTION,
    S_SELECTION,
    ENUM_FMT,
    G_FMT,
    S_FMT,
    TRY_FMT,
    ENUM_FRAMESIZES,
    ENUM_FRAMEINTERVALS,
    G_PARM,
    S_PARM,
    ENUMINPUT,
    G_INPUT,
    S_INPUT,
    REQBUFS,
    QUERYBUF,
    QBUF,
    STREAMON,
    STREAMOFF,
];

/// Ids of controls, as the card documents them.
pub const HUE: u32 = 0x0098_0903;
pub const MOTION: u32 = 0x00f1_f000;
pub const TEXT: u32 = 0x00f1_f002;
pub const DROP_FRAMES: u32 = 0x00f2_f000;
pub const ERROR_FRAMES: u32 = 0x00f2_f001;
pub const REFUSE_QBUF: u32 = 0x00f2_f004;
pub const KILL_SESSION: u32 = 0x00f2_f007;
pub const END_OF_STREAM: u32 = 0x00f2_f008;
pub const HOLD_FRAMES: u32 = 0x00f2_f00a;

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
    fn le32(&self, offset: usize) -> u32;
    fn le64(&self, offset: usize) -> u64;
    fn with(self, offset: usize, value: u32) -> Self;
    fn with64(self, offset: usize, value: u64) -> Self;
    /// A NUL-terminated string of up to `len` bytes.
    fn text(&self, offset: usize, len: usize) -> String;
}

impl Fields for Vec<u8> {
    fn le32(&self, offset: usize) -> u32 {
        u32::from_le_bytes(self[offset..offset + 4].try_into().expect("four bytes"))
    }

    fn le64(&self, offset: usize) -> u64 {
        u64::from_le_bytes(self[offset..offset + 8].try_into().expect("eight bytes"))
    }

    fn with(mut self, offset: usize, value: u32) -> Self {
        self[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
        self
    }

    fn with64(mut self, offset: usize, value: u64) -> Self {
        self[offset..offset + 8].copy_from_slice(&value.to_le_bytes());
        self
    }

    fn text(&self, offset: usize, len: usize) -> String {
        let field = &self[offset..offset + len];
        let end = field.iter().position(|&byte| byte == 0);
        let text = &field[..end.expect("a terminated string")];
        String::from_utf8(text.to_vec()).expect("UTF-8")
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
    pub fn parse(format: &Vec<u8>) -> Self {
        assert_eq!(format.le32(0), CAPTURE);
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
    pub fn parse(bytes: &[u8]) -> Self {
        let bytes = bytes[..88].to_vec();
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
