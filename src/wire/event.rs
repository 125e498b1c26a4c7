//! Events: what the device sends of itself.

use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::Errno;
use super::buffer::{Buffer, Plane};

/// VIRTIO_MEDIA_EVT_ERROR: a session is dead.
pub const EVT_ERROR: u32 = 0;
/// VIRTIO_MEDIA_EVT_DQBUF: a buffer goes back to the driver.
pub const EVT_DQBUF: u32 = 1;
/// VIRTIO_MEDIA_MAX_PLANES.
pub const MAX_PLANES: usize = 8;

/// `struct virtio_media_event_header`.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct EventHeader {
    /// One of `EVT_*`.
    pub event: U32,
    /// The session it is about.
    pub session_id: U32,
}

/// `struct virtio_media_event_error`.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct ErrorEvent {
    /// Header.
    pub header: EventHeader,
    /// Linux error number.
    pub errno: U32,
    /// Reserved.
    pub reserved: U32,
}

impl ErrorEvent {
    /// The session is dead of `errno`.
    pub fn new(session_id: u32, errno: Errno) -> Self {
        Self {
            header: EventHeader {
                event: EVT_ERROR.into(),
                session_id: session_id.into(),
            },
            errno: errno.0.into(),
            reserved: U32::ZERO,
        }
    }
}

/// `struct virtio_media_event_dqbuf`.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct DqbufEvent {
    /// Header.
    pub header: EventHeader,
    /// The buffer; its pointers are zero.
    pub buffer: Buffer,
    /// Planes of a multi-planar buffer; zero for a single-planar one.
    pub planes: [Plane; MAX_PLANES],
}

impl DqbufEvent {
    /// A single-planar buffer goes back.
    pub fn new(session_id: u32, buffer: Buffer) -> Self {
        Self {
            header: EventHeader {
                event: EVT_DQBUF.into(),
                session_id: session_id.into(),
            },
            buffer,
            planes: FromZeros::new_zeroed(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::assert_layout;

    #[test]
    fn layouts() {
        assert_layout!(EventHeader, 8, { event: 0, session_id: 4 });
        assert_layout!(ErrorEvent, 16, { header: 0, errno: 8, reserved: 12 });
        assert_layout!(DqbufEvent, 608, { header: 0, buffer: 8, planes: 96 });
    }
}
