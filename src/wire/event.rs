//! Events: messages that the device sends without a command.

use zerocopy::little_endian::{I32, I64, U32};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::Errno;
use super::buffer::{Buffer, Plane};

/// VIRTIO_MEDIA_EVT_ERROR: a session is dead.
pub const EVT_ERROR: u32 = 0;
/// VIRTIO_MEDIA_EVT_DQBUF: the device returns a buffer to the driver.
pub const EVT_DQBUF: u32 = 1;
/// VIRTIO_MEDIA_EVT_EVENT: a V4L2 event that the session has subscribed to.
pub const EVT_EVENT: u32 = 2;
/// VIRTIO_MEDIA_MAX_PLANES.
pub const MAX_PLANES: usize = 8;

/// `struct virtio_media_event_header`.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct EventHeader {
    /// One of `EVT_*`.
    pub event: U32,
    /// The session that the event belongs to.
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
    /// Returns an event that declares the session dead, with `errno` as the
    /// reason.
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
    /// Returns an event that hands a buffer back to the driver, with its planes
    /// (at most [`MAX_PLANES`]) if it is multi-planar.
    pub fn new(session_id: u32, buffer: Buffer, planes: &[Plane]) -> Self {
        let mut event = Self {
            header: EventHeader {
                event: EVT_DQBUF.into(),
                session_id: session_id.into(),
            },
            buffer,
            planes: FromZeros::new_zeroed(),
        };
        for (place, plane) in event.planes.iter_mut().zip(planes) {
            *place = *plane;
        }
        event
    }
}

/// V4L2_EVENT_ALL: every event type; valid for unsubscribing only.
pub const EVENT_ALL: u32 = 0;
/// V4L2_EVENT_EOS: the last frame of a stream has been delivered.
pub const EVENT_EOS: u32 = 2;
/// V4L2_EVENT_CTRL: a control has changed.
pub const EVENT_CTRL: u32 = 3;
/// V4L2_EVENT_FRAME_SYNC: a frame begins.
pub const EVENT_FRAME_SYNC: u32 = 4;
/// V4L2_EVENT_SOURCE_CHANGE: the picture at an input has changed.
pub const EVENT_SOURCE_CHANGE: u32 = 5;

/// V4L2_EVENT_SUB_FL_SEND_INITIAL: the subscriber gets an event with the
/// current state at once.
pub const EVENT_SUB_FL_SEND_INITIAL: u32 = 1;
/// V4L2_EVENT_SUB_FL_ALLOW_FEEDBACK: the subscriber gets events about its own
/// changes as well.
pub const EVENT_SUB_FL_ALLOW_FEEDBACK: u32 = 2;

/// V4L2_EVENT_CTRL_CH_VALUE.
pub const EVENT_CTRL_CH_VALUE: u32 = 1;
/// V4L2_EVENT_CTRL_CH_FLAGS.
pub const EVENT_CTRL_CH_FLAGS: u32 = 2;
/// V4L2_EVENT_SRC_CH_RESOLUTION.
pub const EVENT_SRC_CH_RESOLUTION: u32 = 1;

/// `struct v4l2_event_subscription`.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct EventSubscription {
    /// V4L2_EVENT_*.
    pub type_: U32,
    /// Object that the events are about: a control id, an input index, or 0.
    pub id: U32,
    /// V4L2_EVENT_SUB_FL_*.
    pub flags: U32,
    /// Reserved.
    pub reserved: [U32; 5],
}

/// `struct v4l2_event_ctrl` of 64-bit Linux.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct EventCtrl {
    /// V4L2_EVENT_CTRL_CH_*.
    pub changes: U32,
    /// V4L2_CTRL_TYPE_*.
    pub type_: U32,
    /// The union: the value, of 32 or 64 bits; 0 for a string control.
    pub value: I64,
    /// V4L2_CTRL_FLAG_*.
    pub flags: U32,
    /// Least value.
    pub minimum: I32,
    /// Greatest value.
    pub maximum: I32,
    /// Step between values.
    pub step: I32,
    /// Default value.
    pub default_value: I32,
    /// Fills the structure up to its alignment.
    pub tail: U32,
}

/// `struct v4l2_event` of 64-bit Linux.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct V4l2Event {
    /// V4L2_EVENT_*.
    pub type_: U32,
    /// Aligns the union to its 64-bit values.
    pub padding: U32,
    /// The union; its content depends on the type.
    pub u: [u8; 64],
    /// Number of events that wait after this one.
    pub pending: U32,
    /// Sequence number of the event in its session.
    pub sequence: U32,
    /// Timestamp on CLOCK_MONOTONIC: seconds.
    pub timestamp_sec: I64,
    /// Timestamp: nanoseconds.
    pub timestamp_nsec: I64,
    /// Object that the event is about: a control id, an input index, or 0.
    pub id: U32,
    /// Reserved.
    pub reserved: [U32; 8],
    /// Fills the structure up to its alignment.
    pub tail: U32,
}

/// `struct virtio_media_event_event`.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct SessionEvent {
    /// Header.
    pub header: EventHeader,
    /// The event.
    pub event: V4l2Event,
}

impl SessionEvent {
    /// Returns `event`, addressed to the session `session_id`.
    pub fn new(session_id: u32, event: V4l2Event) -> Self {
        Self {
            header: EventHeader {
                event: EVT_EVENT.into(),
                session_id: session_id.into(),
            },
            event,
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
        assert_layout!(EventSubscription, 32, { type_: 0, id: 4, flags: 8, reserved: 12 });
        assert_layout!(EventCtrl, 40, {
            changes: 0, type_: 4, value: 8, flags: 16, minimum: 20, maximum: 24, step: 28,
            default_value: 32,
        });
        assert_layout!(V4l2Event, 136, {
            type_: 0, u: 8, pending: 72, sequence: 76, timestamp_sec: 80, timestamp_nsec: 88,
            id: 96, reserved: 100,
        });
        assert_layout!(SessionEvent, 144, { header: 0, event: 8 });
    }
}
