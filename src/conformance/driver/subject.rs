//! A scripted device in the guest, with its camera.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::image::{CAPTURE, CAPTURE_MPLANE, Done, FRAME};
use crate::scripted::device::camera::{
    BOOLEAN, Camera, Control, INTEGER, INTEGER64, Memory, STRING, Shared,
};
use crate::scripted::device::{Config, Device, EVENT_DQBUF};

/// Lengths of the planes of the device that has two.
pub const PLANES: [u32; 2] = [3072, 1500];

/// Ids of the controls: a number, a wide number, a switch and a string.
pub const NUMBER: u32 = 0x0098_0900;
/// See [`NUMBER`].
pub const WIDE: u32 = 0x00f3_0002;
const SWITCH: u32 = 0x00f3_0003;
/// See [`NUMBER`].
pub const TEXT: u32 = 0x00f3_0007;

/// Interval between two looks for a buffer to fill.
const LOOK: Duration = Duration::from_millis(1);

/// A device, its camera, and where the guest has it.
pub struct Subject {
    /// The device.
    pub device: Device,
    /// The camera that answers for it.
    pub camera: Shared,
    /// What the guest calls it; `None` if no driver is bound to it.
    pub place: Option<Place>,
    /// What it called it last, to bind a driver to it again.
    pub bound: Option<Place>,
}

/// A buffer that a program has queued.
pub struct Queued {
    /// The session in which it is.
    pub session: u32,
    /// Its index.
    pub index: u32,
    /// Its memory, plane by plane.
    pub memory: Vec<Memory>,
}

/// Where the guest has a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its node, such as `/dev/video0`.
    pub node: String,
    /// Its name on the virtio bus, such as `virtio1`.
    pub virtio: String,
    /// The directory of the driver that is bound to it.
    pub driver: String,
}

/// Returns a camera that keeps all rules.
pub fn camera(planes: &[u32]) -> Camera {
    let control = |id, kind, name, range, value| Control {
        id,
        kind,
        name,
        range,
        value,
        ..Control::default()
    };
    Camera {
        controls: vec![
            control(NUMBER, INTEGER, "Number", (0, 100, 1, 10), 50),
            control(WIDE, INTEGER64, "Wide", (0, 1 << 41, 1, 0), 1 << 40),
            control(SWITCH, BOOLEAN, "Switch", (0, 1, 1, 0), 0),
            Control {
                text: "here".into(),
                ..control(TEXT, STRING, "Text", (0, 16, 1, 0), 0)
            },
        ],
        planes: planes.to_vec(),
        tries: true,
        ..Camera::default()
    }
}

/// Returns a plane of a stream's frame of that number: no two parts of it are the
/// same, nor are two planes or frames.
pub fn picture(number: u32, plane: usize, length: u32) -> Vec<u8> {
    let seed = number.wrapping_mul(0x0101_6b55) ^ (plane as u32).wrapping_mul(0x5bd1_e995);
    let byte = |at: u32| ((at ^ seed).wrapping_mul(0x9e37_79b1) >> 24) as u8;
    (0..length).map(byte).collect()
}

impl Subject {
    /// Serves a device with a camera of these planes, none of a single-planar one.
    pub fn serve(
        socket: &std::path::Path,
        config: Config,
        planes: &[u32],
    ) -> std::io::Result<Self> {
        let camera = Shared::new(camera(planes));
        let device = Device::serve(socket, config, camera.answers())?;
        Ok(Self {
            device,
            camera,
            place: None,
            bound: None,
        })
    }

    /// Makes camera and device what they were at the start; sessions stay.
    pub fn reset(&self, planes: &[u32]) {
        *self.camera.get() = camera(planes);
        self.device.be_silent(false);
        self.device.release();
    }

    /// Returns the node; an empty name, which nobody can open, where there is none.
    pub fn node(&self) -> &str {
        self.place.as_ref().map_or("", |place| &place.node)
    }

    /// Returns the next buffer to fill, when `filled` were already in this stream;
    /// `None` as long as there is none, or no stream.
    pub fn queued(&self, filled: usize) -> Option<Queued> {
        let camera = self.camera.get();
        let (index, memory) = camera.queued.get(filled).filter(|_| camera.streaming)?;
        Some(Queued {
            session: camera.session,
            index: *index,
            memory: memory.clone(),
        })
    }

    /// Writes a stream's frame of that number, from 1, into a buffer's memory. Where
    /// there is none is a fault of the driver's.
    pub fn fill(&self, queued: &Queued, number: u32) {
        for (plane, pieces) in queued.memory.iter().enumerate() {
            let length = pieces.iter().map(|piece| piece.1).sum();
            let picture = picture(number, plane, length);
            let mut rest = &picture[..];
            for (start, length) in pieces {
                let (now, then) = rest.split_at(rest.len().min(*length as usize));
                rest = then;
                if !self.device.write(*start, now) {
                    let piece = format!("{length} bytes at {start:#x}");
                    self.device
                        .fault(format!("a queued buffer: {piece} are no memory"));
                }
            }
        }
    }

    /// Fills buffers as they come and gives them back, until told to stop.
    pub fn film(&self, enough: &AtomicBool) {
        let mut stream = 0;
        let mut filled = 0;
        while !enough.load(Ordering::Relaxed) {
            let now = self.camera.get().streamons;
            if std::mem::replace(&mut stream, now) != now {
                filled = 0;
            }
            let Some(queued) = self.queued(filled) else {
                thread::sleep(LOOK);
                continue;
            };
            filled += 1;
            self.fill(&queued, filled as u32);
            let planes = self.camera.get().planes.clone();
            let done = Done {
                index: queued.index,
                used: if planes.is_empty() { FRAME } else { 0 },
                planes: &planes,
                pointer: 0,
                sequence: filled as u32 - 1,
            };
            let sent = self
                .device
                .send(queued.session, EVENT_DQBUF, &done.body(), Done::SIZE);
            if sent.is_err() {
                return;
            }
        }
    }
}

/// The type of a subject's buffers.
pub fn kind(subject: &Subject) -> u32 {
    match subject.camera.get().planes.is_empty() {
        true => CAPTURE,
        false => CAPTURE_MPLANE,
    }
}
