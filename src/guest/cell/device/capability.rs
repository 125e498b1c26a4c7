//! What a device says of itself.

use std::io;

use crate::card::{BufferApi, BufferType, CardKind, Direction};
use crate::wire::protocol::{CAP_VIDEO_M2M, CAP_VIDEO_M2M_MPLANE};
use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

use super::{Device, name_of};

/// VIDIOC_QUERYCAP (linux/videodev2.h), which is no command of a virtio-media device.
const QUERYCAP: u32 = 0x8068_5600;

/// V4L2_CAP_DEVICE_CAPS: `device_caps` is valid.
const CAP_DEVICE_CAPS: u32 = 0x8000_0000;

/// `struct v4l2_capability`.
#[derive(FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct Capability {
    driver: [u8; 16],
    card: [u8; 32],
    bus_info: [u8; 32],
    version: U32,
    capabilities: U32,
    device_caps: U32,
    reserved: [U32; 3],
}

impl Device {
    /// Returns what the device says of itself.
    pub fn capability(&self) -> io::Result<Capability> {
        let mut capability = Capability::new_zeroed();
        self.ioctl(QUERYCAP, &mut capability)?;
        Ok(capability)
    }
}

impl Capability {
    /// Returns the name of the driver.
    pub fn driver(&self) -> String {
        text(&self.driver)
    }

    /// Returns the name of the device.
    pub fn card(&self) -> String {
        text(&self.card)
    }

    /// Returns where the device is.
    pub fn bus(&self) -> String {
        text(&self.bus_info)
    }

    /// Returns the version of the driver (`KERNEL_VERSION()`), as `6.12.107`.
    pub fn version(&self) -> String {
        let version = self.version.get();
        let (major, minor, patch) = (version >> 16, version >> 8 & 0xff, version & 0xff);
        format!("{major}.{minor}.{patch}")
    }

    /// Returns what this node of the device is for, and the API of its buffers; `None`
    /// if it moves no video frames.
    pub fn kind(&self) -> Option<(CardKind, BufferApi)> {
        let capabilities = match self.capabilities.get() & CAP_DEVICE_CAPS {
            0 => self.capabilities.get(),
            _ => self.device_caps.get(),
        };
        let has = |capability: u32| capabilities & capability != 0;
        let of = |direction, api| has(BufferType { direction, api }.capability());
        for (api, m2m) in [
            (BufferApi::Single, CAP_VIDEO_M2M),
            (BufferApi::Multi, CAP_VIDEO_M2M_MPLANE),
        ] {
            let both = of(Direction::Capture, api) && of(Direction::Output, api);
            if has(m2m) || both {
                return Some((CardKind::M2m, api));
            }
            if of(Direction::Capture, api) {
                return Some((CardKind::Capture, api));
            }
            if of(Direction::Output, api) {
                return Some((CardKind::Output, api));
            }
        }
        None
    }
}

fn text(field: &[u8]) -> String {
    String::from_utf8_lossy(name_of(field)).into_owned()
}

#[cfg(test)]
mod tests {
    use crate::wire::protocol::{
        CAP_VIDEO_CAPTURE, CAP_VIDEO_CAPTURE_MPLANE, CAP_VIDEO_OUTPUT, CAP_VIDEO_OUTPUT_MPLANE,
    };

    use super::*;

    #[test]
    fn a_device_is_what_its_node_can_do() {
        let mut capability = Capability {
            driver: *b"vivid\0\0\0\0\0\0\0\0\0\0\0",
            version: (6 << 16 | 12 << 8 | 107).into(),
            ..FromZeros::new_zeroed()
        };
        assert_eq!(capability.driver(), "vivid");
        assert_eq!(capability.version(), "6.12.107");
        let streaming = 0x0400_0000;
        for (node, kind) in [
            (
                CAP_VIDEO_CAPTURE,
                Some((CardKind::Capture, BufferApi::Single)),
            ),
            (
                CAP_VIDEO_CAPTURE_MPLANE,
                Some((CardKind::Capture, BufferApi::Multi)),
            ),
            (
                CAP_VIDEO_OUTPUT,
                Some((CardKind::Output, BufferApi::Single)),
            ),
            (
                CAP_VIDEO_OUTPUT_MPLANE,
                Some((CardKind::Output, BufferApi::Multi)),
            ),
            (CAP_VIDEO_M2M, Some((CardKind::M2m, BufferApi::Single))),
            (
                CAP_VIDEO_M2M_MPLANE,
                Some((CardKind::M2m, BufferApi::Multi)),
            ),
            (
                CAP_VIDEO_CAPTURE | CAP_VIDEO_OUTPUT,
                Some((CardKind::M2m, BufferApi::Single)),
            ),
            (0, None),
        ] {
            // Other nodes of the device may be for anything.
            capability.capabilities = (CAP_DEVICE_CAPS | 0xff).into();
            capability.device_caps = (streaming | node).into();
            assert_eq!(capability.kind(), kind, "{node:#x}");
            capability.capabilities = (streaming | node).into();
            capability.device_caps = 0.into();
            assert_eq!(capability.kind(), kind, "{node:#x}");
        }
    }
}
