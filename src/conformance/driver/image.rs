//! Payloads of ioctls as a program has them in its memory, in the layout of 64-bit
//! Linux (linux/videodev2.h), or in that of a 32-bit program.

use std::time::Duration;

use crate::agent::ioctls::{IoctlCall, Ioctls, Pointer};
use crate::wire::Ioctl;

/// Length of a frame of the device that has one.
pub const FRAME: u32 = 64 * 48;

/// VIDIOC_DQBUF and VIDIOC_DQEVENT, which are no commands of a media device.
pub const DQBUF: u32 = 0xc058_5611;
const DQEVENT: u32 = 0x8088_5659;

/// `V4L2_BUF_TYPE_VIDEO_CAPTURE`, and its multi-planar twin.
pub const CAPTURE: u32 = 1;
/// See [`CAPTURE`].
pub const CAPTURE_MPLANE: u32 = 9;

/// `V4L2_MEMORY_USERPTR`.
pub const USERPTR: u32 = 2;

/// `sizeof(struct v4l2_buffer)` and `sizeof(struct v4l2_plane)`.
pub const BUFFER: usize = 88;
/// See [`BUFFER`].
pub const PLANE: usize = 64;
/// `sizeof(struct v4l2_ext_controls)` and `sizeof(struct v4l2_ext_control)`.
pub const CONTROLS: usize = 32;
/// See [`CONTROLS`].
pub const CONTROL: usize = 20;

/// Where the pictures begin in their memory: across a page, and at no round place.
pub const SHIFT: u32 = 4096 - 300;

/// What the memory around a picture holds.
pub const MARK: u8 = 0xa5;

/// A program's memory, and the ioctls that it makes.
#[derive(Debug, Default)]
pub struct Image {
    bytes: Vec<u8>,
    pointers: Vec<Pointer>,
    calls: Vec<IoctlCall>,
}

impl Image {
    /// Adds room of so many bytes, aligned, and returns its offset.
    pub fn room(&mut self, size: usize) -> u32 {
        let at = self.bytes.len().next_multiple_of(16);
        self.bytes.resize(at + size, 0);
        at as u32
    }

    /// Puts a number into the memory.
    pub fn put(&mut self, at: u32, value: u32) {
        let at = at as usize;
        self.bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }

    /// Puts a pointer into the memory.
    pub fn point(&mut self, at: u32, to: u32) {
        self.pointers.push(Pointer {
            at,
            to,
            narrow: false,
        });
    }

    /// Adds an ioctl; returns its index among them.
    pub fn call(&mut self, request: u32, at: u32) -> usize {
        self.calls.push(IoctlCall {
            request,
            at,
            narrow: false,
        });
        self.calls.len() - 1
    }

    /// Adds an ioctl whose payload consists of that number.
    pub fn number(&mut self, ioctl: Ioctl, value: u32) -> usize {
        let at = self.room(4);
        self.put(at, value);
        self.call(ioctl.request(), at)
    }

    /// Adds REQBUFS of user pointers.
    pub fn reqbufs(&mut self, kind: u32, count: u32) -> usize {
        let at = self.room(20);
        self.put(at, count);
        self.put(at + 4, kind);
        self.put(at + 8, USERPTR);
        self.call(Ioctl::ReqBufs.request(), at)
    }

    /// Adds G_FMT, S_FMT or TRY_FMT of 64x48 GREY.
    pub fn format(&mut self, ioctl: Ioctl, kind: u32) -> usize {
        let at = self.room(208);
        self.put(at, kind);
        self.put(at + 8, 64);
        self.put(at + 12, 48);
        self.put(at + 16, u32::from_le_bytes(*b"GREY"));
        self.put(at + 20, 1);
        self.call(ioctl.request(), at)
    }

    /// Adds the same ioctl as a 32-bit program makes it, whose `struct v4l2_format`
    /// has no gap behind `type` and is 204 bytes long.
    pub fn narrow_format(&mut self, ioctl: Ioctl, kind: u32) -> usize {
        let at = self.room(204);
        self.put(at, kind);
        self.put(at + 4, 64);
        self.put(at + 8, 48);
        self.put(at + 12, u32::from_le_bytes(*b"GREY"));
        self.put(at + 16, 1);
        let request = ioctl.request() & !(0x3fff << 16) | 204 << 16;
        let call = self.call(request, at);
        self.calls[call].narrow = true;
        call
    }

    /// Adds an ioctl of extended controls with one number in it; returns its index,
    /// and the offset of the `struct v4l2_ext_control`.
    pub fn control(&mut self, ioctl: Ioctl, id: u32, value: u32) -> (usize, u32) {
        let at = self.room(CONTROLS);
        let control = self.room(CONTROL);
        self.put(at + 4, 1);
        self.point(at + 24, control);
        self.put(control, id);
        self.put(control + 12, value);
        (self.call(ioctl.request(), at), control)
    }

    /// Adds the memory of planes of these lengths, each at [`SHIFT`] and with
    /// [`MARK`] around it; returns where each is.
    pub fn frames(&mut self, lengths: &[u32]) -> Vec<u32> {
        let mut places = Vec::new();
        for length in lengths {
            let page = self.bytes.len().next_multiple_of(4096);
            let room = (SHIFT as usize + *length as usize).next_multiple_of(4096);
            self.bytes.resize(page, 0);
            self.bytes.resize(page + room, MARK);
            places.push(page as u32 + SHIFT);
        }
        places
    }

    /// Adds QBUF of a buffer in that memory, or DQBUF with room for one; returns its
    /// index, and the offset of the `struct v4l2_buffer`.
    pub fn buffer(
        &mut self,
        request: u32,
        kind: u32,
        index: u32,
        planes: &[(u32, u32)],
    ) -> (usize, u32) {
        let at = self.room(BUFFER);
        self.put(at, index);
        self.put(at + 4, kind);
        self.put(at + 60, USERPTR);
        match (kind, planes) {
            (CAPTURE, [(place, length)]) => {
                if request != DQBUF {
                    self.point(at + 64, *place);
                }
                self.put(at + 72, *length);
            }
            _ => {
                let array = self.room(PLANE * planes.len());
                self.point(at + 64, array);
                self.put(at + 72, planes.len() as u32);
                for (plane, (place, length)) in planes.iter().enumerate() {
                    let entry = array + (PLANE * plane) as u32;
                    self.put(entry + 4, *length);
                    if request != DQBUF {
                        self.point(entry + 8, *place);
                    }
                }
            }
        }
        (self.call(request, at), at)
    }

    /// Adds the subscription of a control's event, and the wait for one.
    pub fn wait_for_event(&mut self, control: u32) {
        let at = self.room(32);
        self.put(at, 3);
        self.put(at + 4, control);
        self.call(Ioctl::SubscribeEvent.request(), at);
        let event = self.room(136);
        self.call(DQEVENT, event);
    }

    /// Returns the request that makes the ioctls on a device.
    pub fn request(self, device: &str, limit: Duration) -> Ioctls {
        Ioctls {
            device: device.to_owned(),
            memory: self.bytes.into(),
            pointers: self.pointers,
            calls: self.calls,
            limit_ms: limit.as_millis() as u64,
        }
    }
}

/// Returns the little-endian number at an offset; 0 behind the end.
pub fn number(bytes: &[u8], at: usize) -> u32 {
    let bytes = bytes.get(at..at + 4).and_then(|four| four.try_into().ok());
    bytes.map_or(0, u32::from_le_bytes)
}

/// Returns the pointer at an offset; 0 behind the end.
pub fn pointer(bytes: &[u8], at: usize) -> u64 {
    u64::from(number(bytes, at)) | u64::from(number(bytes, at + 4)) << 32
}

/// A buffer as a DQBUF event tells of it.
#[derive(Debug, Clone, Copy)]
pub struct Done<'a> {
    /// Its index.
    pub index: u32,
    /// The planes' bytes used; none of a single-planar buffer.
    pub planes: &'a [u32],
    /// Bytes used of a single-planar buffer.
    pub used: u32,
    /// What the pointers are.
    pub pointer: u64,
    /// Its number in the stream, from 0.
    pub sequence: u32,
}

impl Done<'_> {
    /// Bytes of the event, header included: always with room for eight planes.
    pub const SIZE: u32 = 8 + (BUFFER + 8 * PLANE) as u32;

    /// Returns what follows the event's header.
    pub fn body(&self) -> Vec<u8> {
        let mut bytes = vec![0; BUFFER + 8 * PLANE];
        let mut put = |at: usize, value: u32| {
            bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        };
        let kind = if self.planes.is_empty() {
            CAPTURE
        } else {
            CAPTURE_MPLANE
        };
        // V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC, V4L2_FIELD_NONE.
        for (at, value) in [
            (0, self.index),
            (4, kind),
            (8, self.used),
            (12, 0x2000),
            (16, 1),
        ] {
            put(at, value);
        }
        put(60, USERPTR);
        // A frame each thirtieth of a second.
        put(24, 1 + self.sequence / 30);
        put(32, self.sequence % 30 * 33_333);
        put(56, self.sequence);
        match self.planes.len() {
            // The planes' lengths are those of the frame's.
            0 => put(72, FRAME),
            planes => put(72, planes as u32),
        }
        for (plane, used) in self.planes.iter().enumerate() {
            put(BUFFER + PLANE * plane, *used);
            put(BUFFER + PLANE * plane + 4, *used);
        }
        let mut point = |at: usize| {
            bytes[at..at + 8].copy_from_slice(&self.pointer.to_le_bytes());
        };
        point(64);
        for plane in 0..self.planes.len() {
            point(BUFFER + PLANE * plane + 8);
        }
        bytes
    }
}
