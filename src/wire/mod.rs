//! virtio-media on the wire: bytes <-> types, no policy.
//!
//! VIRTIO 1.4, "Media Device": the driver sends V4L2 ioctls as commands and
//! the device answers them; finished buffers come back as events. All values
//! are little-endian, and V4L2 structures have their 64-bit layout, which is
//! why they are defined here and not taken from the host's headers.
//!
//! | file | what is in it |
//! |---|---|
//! | [`protocol`] | headers, scatter entries, the configuration space |
//! | [`ioctl`] | numbers, directions and payload sizes of ioctls |
//! | [`format`] | `v4l2_fmtdesc`, `v4l2_format`, frame sizes and intervals |
//! | [`buffer`] | `v4l2_buffer`, `v4l2_plane`, `v4l2_requestbuffers` |
//! | [`input`] | `v4l2_input` |
//! | [`output`] | `v4l2_output` |
//! | [`encoder`] | `v4l2_encoder_cmd` |
//! | [`parm`] | `v4l2_streamparm` |
//! | [`control`] | `v4l2_queryctrl`, `v4l2_ext_controls` and their kin |
//! | [`selection`] | `v4l2_selection` |
//! | [`event`] | messages that the device sends without a command |
//! | [`errno`] | the errors with which the card answers a command |
//! | [`request`] | a command as read from a descriptor chain |
//! | [`reply`] | the response, bounded by the chain's writable bytes |

pub mod buffer;
pub mod control;
pub mod encoder;
pub mod errno;
pub mod event;
pub mod format;
pub mod input;
pub mod ioctl;
pub mod output;
pub mod parm;
pub mod protocol;
pub mod reply;
pub mod request;
pub mod selection;

pub use errno::Errno;
pub use ioctl::Ioctl;
pub use reply::Reply;
pub use request::Request;

/// Asserts the size of a structure and the offsets of its fields, as the
/// kernel's 64-bit headers have them.
#[cfg(test)]
macro_rules! assert_layout {
    ($type:ty, $size:expr, { $($field:ident : $offset:expr),* $(,)? }) => {
        assert_eq!(size_of::<$type>(), $size, "size of {}", stringify!($type));
        $(assert_eq!(
            core::mem::offset_of!($type, $field),
            $offset,
            "offset of {}.{}", stringify!($type), stringify!($field),
        );)*
    };
}
#[cfg(test)]
pub(crate) use assert_layout;
