//! Numbers, directions and payload sizes of the ioctls that the card implements
//! (linux/videodev2.h).

use zerocopy::little_endian::U32;

use super::buffer::{Buffer, RequestBuffers};
use super::control::{Control, ExtControls, QueryCtrl, QueryExtCtrl, QueryMenu};
use super::encoder::EncoderCmd;
use super::event::EventSubscription;
use super::format::{FmtDesc, Format, FrmIvalEnum, FrmSizeEnum};
use super::input::Input;
use super::output::Output;
use super::parm::StreamParm;
use super::selection::Selection;

/// An ioctl; its value is the ioctl's number, the second argument of its `_IO*`
/// macro.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
#[allow(missing_docs)] // named as in the V4L2 specification
pub enum Ioctl {
    EnumFmt = 2,
    GFmt = 4,
    SFmt = 5,
    ReqBufs = 8,
    QueryBuf = 9,
    QBuf = 15,
    StreamOn = 18,
    StreamOff = 19,
    GParm = 21,
    SParm = 22,
    EnumInput = 26,
    GCtrl = 27,
    SCtrl = 28,
    QueryCtrl = 36,
    QueryMenu = 37,
    GInput = 38,
    SInput = 39,
    GOutput = 46,
    SOutput = 47,
    EnumOutput = 48,
    TryFmt = 64,
    GExtCtrls = 71,
    SExtCtrls = 72,
    TryExtCtrls = 73,
    EnumFrameSizes = 74,
    EnumFrameIntervals = 75,
    EncoderCmd = 77,
    TryEncoderCmd = 78,
    SubscribeEvent = 90,
    UnsubscribeEvent = 91,
    GSelection = 94,
    SSelection = 95,
    QueryExtCtrl = 103,
}

/// Direction in which an ioctl's payload travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// `_IOR`: the payload follows the response header.
    Read,
    /// `_IOW`: the payload follows the command.
    Write,
    /// `_IOWR`: a payload follows both.
    ReadWrite,
}

impl Ioctl {
    /// Every ioctl that the card implements.
    pub const ALL: [Self; 33] = [
        Self::EnumFmt,
        Self::GFmt,
        Self::SFmt,
        Self::ReqBufs,
        Self::QueryBuf,
        Self::QBuf,
        Self::StreamOn,
        Self::StreamOff,
        Self::GParm,
        Self::SParm,
        Self::EnumInput,
        Self::GCtrl,
        Self::SCtrl,
        Self::QueryCtrl,
        Self::QueryMenu,
        Self::GInput,
        Self::SInput,
        Self::GOutput,
        Self::SOutput,
        Self::EnumOutput,
        Self::TryFmt,
        Self::GExtCtrls,
        Self::SExtCtrls,
        Self::TryExtCtrls,
        Self::EnumFrameSizes,
        Self::EnumFrameIntervals,
        Self::EncoderCmd,
        Self::TryEncoderCmd,
        Self::SubscribeEvent,
        Self::UnsubscribeEvent,
        Self::GSelection,
        Self::SSelection,
        Self::QueryExtCtrl,
    ];

    /// Returns the ioctl with the number `code`, if the card implements it.
    pub fn from_code(code: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|ioctl| *ioctl as u32 == code)
    }

    /// Returns the direction of the payload.
    pub fn direction(self) -> Direction {
        match self {
            Self::GInput | Self::GOutput => Direction::Read,
            Self::StreamOn | Self::StreamOff | Self::SubscribeEvent | Self::UnsubscribeEvent => {
                Direction::Write
            }
            _ => Direction::ReadWrite,
        }
    }

    /// Returns the size of the payload in bytes, without the arrays that follow
    /// it: planes, controls, scatter entries.
    pub fn payload_size(self) -> usize {
        match self {
            Self::EnumFmt => size_of::<FmtDesc>(),
            Self::GFmt | Self::SFmt | Self::TryFmt => size_of::<Format>(),
            Self::ReqBufs => size_of::<RequestBuffers>(),
            Self::QueryBuf | Self::QBuf => size_of::<Buffer>(),
            Self::GParm | Self::SParm => size_of::<StreamParm>(),
            Self::EnumInput => size_of::<Input>(),
            Self::EnumOutput => size_of::<Output>(),
            Self::StreamOn | Self::StreamOff => size_of::<U32>(),
            Self::GInput | Self::SInput | Self::GOutput | Self::SOutput => size_of::<U32>(),
            Self::EnumFrameSizes => size_of::<FrmSizeEnum>(),
            Self::EnumFrameIntervals => size_of::<FrmIvalEnum>(),
            Self::EncoderCmd | Self::TryEncoderCmd => size_of::<EncoderCmd>(),
            Self::GCtrl | Self::SCtrl => size_of::<Control>(),
            Self::QueryCtrl => size_of::<QueryCtrl>(),
            Self::QueryExtCtrl => size_of::<QueryExtCtrl>(),
            Self::QueryMenu => size_of::<QueryMenu>(),
            Self::GExtCtrls | Self::SExtCtrls | Self::TryExtCtrls => size_of::<ExtControls>(),
            Self::SubscribeEvent | Self::UnsubscribeEvent => size_of::<EventSubscription>(),
            Self::GSelection | Self::SSelection => size_of::<Selection>(),
        }
    }

    /// Returns the number that ioctl(2) takes, with direction and size
    /// (`_IOC()` of asm-generic/ioctl.h).
    pub fn request(self) -> u32 {
        let direction = match self.direction() {
            Direction::Write => 1,
            Direction::Read => 2,
            Direction::ReadWrite => 3,
        };
        direction << 30 | (self.payload_size() as u32) << 16 | u32::from(b'V') << 8 | self as u32
    }

    /// Returns how many payload bytes must follow the command.
    pub fn bytes_in(self) -> usize {
        match self.direction() {
            Direction::Read => 0,
            Direction::Write | Direction::ReadWrite => self.payload_size(),
        }
    }

    /// Returns how many payload bytes follow the response header on success.
    pub fn bytes_out(self) -> usize {
        match self.direction() {
            Direction::Write => 0,
            Direction::Read | Direction::ReadWrite => self.payload_size(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_directions_and_sizes_make_the_codes_of_videodev2_h() {
        for (ioctl, code) in [
            (Ioctl::EnumFmt, 0xc040_5602),
            (Ioctl::GFmt, 0xc0d0_5604),
            (Ioctl::SFmt, 0xc0d0_5605),
            (Ioctl::ReqBufs, 0xc014_5608),
            (Ioctl::QueryBuf, 0xc058_5609),
            (Ioctl::QBuf, 0xc058_560f),
            (Ioctl::StreamOn, 0x4004_5612),
            (Ioctl::StreamOff, 0x4004_5613),
            (Ioctl::GParm, 0xc0cc_5615),
            (Ioctl::SParm, 0xc0cc_5616),
            (Ioctl::EnumInput, 0xc050_561a),
            (Ioctl::GCtrl, 0xc008_561b),
            (Ioctl::SCtrl, 0xc008_561c),
            (Ioctl::QueryCtrl, 0xc044_5624),
            (Ioctl::QueryMenu, 0xc02c_5625),
            (Ioctl::GInput, 0x8004_5626),
            (Ioctl::SInput, 0xc004_5627),
            (Ioctl::GOutput, 0x8004_562e),
            (Ioctl::SOutput, 0xc004_562f),
            (Ioctl::EnumOutput, 0xc048_5630),
            (Ioctl::TryFmt, 0xc0d0_5640),
            (Ioctl::GExtCtrls, 0xc020_5647),
            (Ioctl::SExtCtrls, 0xc020_5648),
            (Ioctl::TryExtCtrls, 0xc020_5649),
            (Ioctl::EnumFrameSizes, 0xc02c_564a),
            (Ioctl::EnumFrameIntervals, 0xc034_564b),
            (Ioctl::EncoderCmd, 0xc028_564d),
            (Ioctl::TryEncoderCmd, 0xc028_564e),
            (Ioctl::SubscribeEvent, 0x4020_565a),
            (Ioctl::UnsubscribeEvent, 0x4020_565b),
            (Ioctl::GSelection, 0xc040_565e),
            (Ioctl::SSelection, 0xc040_565f),
            (Ioctl::QueryExtCtrl, 0xc0e8_5667),
        ] {
            assert_eq!(ioctl.request(), code, "{ioctl:?}");
            assert_eq!(Ioctl::from_code(code & 0xff), Some(ioctl));
        }
        // The card does not implement QUERYCAP, DQBUF, or a number beyond all
        // ioctls.
        for code in [0, 17, 59, 255, 256 + 4] {
            assert_eq!(Ioctl::from_code(code), None);
        }
    }
}
