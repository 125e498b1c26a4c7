//! The bytes of the wire, and what the card is known to have.

pub use pinhole::scripted::driver::v4l2::*;

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

/// Strings of a structure.
pub trait Text {
    /// A NUL-terminated string of up to `len` bytes.
    fn text(&self, offset: usize, len: usize) -> String;
}

impl Text for [u8] {
    fn text(&self, offset: usize, len: usize) -> String {
        let field = &self[offset..offset + len];
        let end = field.iter().position(|&byte| byte == 0);
        let text = &field[..end.expect("a terminated string")];
        String::from_utf8(text.to_vec()).expect("UTF-8")
    }
}
