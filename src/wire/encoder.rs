//! Commands to an encoder: when it is to come to an end, and to go on.

use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// V4L2_ENC_CMD_START.
pub const ENC_CMD_START: u32 = 0;
/// V4L2_ENC_CMD_STOP.
pub const ENC_CMD_STOP: u32 = 1;

/// `struct v4l2_encoder_cmd`.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct EncoderCmd {
    /// V4L2_ENC_CMD_*.
    pub cmd: U32,
    /// V4L2_ENC_CMD_STOP_AT_GOP_END, which the card has no use for.
    pub flags: U32,
    /// The union, of which no command makes use.
    pub raw: [U32; 8],
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::assert_layout;

    #[test]
    fn layouts() {
        assert_layout!(EncoderCmd, 40, { cmd: 0, flags: 4, raw: 8 });
    }
}
