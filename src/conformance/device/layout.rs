//! The layout of a device's structures.

use crate::scripted::driver::v4l2::{
    CAPTURE, CAPTURE_MPLANE, Fields, G_FMT, OUTPUT, OUTPUT_MPLANE, With, payload,
};

/// The type of a device's buffers, which the layout of its structures depends
/// on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// V4L2_BUF_TYPE_*.
    pub kind: u32,
}

impl Layout {
    /// Returns the layout of the first of the types that `device_caps` has.
    pub fn of(caps: u32) -> Option<Self> {
        // V4L2_CAP_VIDEO_CAPTURE, _CAPTURE_MPLANE, _M2M_MPLANE, _M2M, _OUTPUT,
        // _OUTPUT_MPLANE.
        let types = [
            (0x1, CAPTURE),
            (0x1000, CAPTURE_MPLANE),
            (0x4000, CAPTURE_MPLANE),
            (0x8000, CAPTURE),
            (0x2, OUTPUT),
            (0x2000, OUTPUT_MPLANE),
        ];
        let found = types.iter().find(|(cap, _)| caps & cap != 0);
        found.map(|(_, kind)| Self { kind: *kind })
    }

    /// Returns whether buffers have planes.
    pub fn is_planar(self) -> bool {
        [CAPTURE_MPLANE, OUTPUT_MPLANE].contains(&self.kind)
    }

    /// Returns the lengths of the planes that a v4l2_format asks for.
    pub fn sizes(self, format: &[u8]) -> Vec<u32> {
        if !self.is_planar() {
            return vec![format.le32(28)];
        }
        let planes = usize::from(format.get(188).copied().unwrap_or_default()).clamp(1, 8);
        (0..planes)
            .map(|plane| format.le32(28 + 20 * plane))
            .collect()
    }

    /// A request of a format, zeroed but for its type.
    pub fn format(self) -> Vec<u8> {
        payload(G_FMT).with(0, self.kind)
    }
}
