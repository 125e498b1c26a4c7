//! Frames a second, and the guest's processor time a frame.

use serde::Serialize;

use super::BenchError;
use super::guest::{BenchGuest, CARD, VIVID};
use super::spread::Spread;
use crate::agent::bench::{Stream, StreamAnswer, StreamMemory};
use crate::vm::progress::Step;

/// The frames that are streamed: a format, with width and height.
const FRAMES: [(&str, u32, u32); 3] = [
    ("YUYV", 1280, 720),
    ("YUYV", 1920, 1080),
    ("NV12", 1920, 1080),
];

/// The devices, with the number of frames that are measured: the card is so much
/// faster that its stream lasts about as long: some hundred of the ticks in
/// which the kernel counts the processors' time.
const DEVICES: [(&str, &str, u32); 2] = [("pinhole", CARD, 3000), ("vivid", VIVID, 120)];

/// Number of buffers.
const BUFFERS: u32 = 4;

/// The stream of one device.
#[derive(Debug, Clone, Serialize)]
pub struct Streaming {
    /// `pinhole`, whose card fills buffers as fast as they come, or `vivid` at
    /// its highest rate, 60 frames a second.
    pub device: &'static str,
    /// Where the frames' memory is from.
    pub memory: &'static str,
    /// Four-character code of the format.
    pub format: &'static str,
    /// Width of a frame in pixels.
    pub width: u32,
    /// Height of a frame in pixels.
    pub height: u32,
    /// Frames per second.
    pub rate: Spread,
    /// Time of the guest's processors a frame, in microseconds.
    pub busy_us: Spread,
    /// Number of frames that the device did not deliver, of all runs.
    pub dropped: u64,
}

impl Streaming {
    /// Returns whether it is the same stream, of either device.
    pub fn is_beside(&self, other: &Self) -> bool {
        (self.memory, self.format, self.width, self.height)
            == (other.memory, other.format, other.width, other.height)
    }
}

/// Measures all streams.
pub fn measure(
    guest: &mut BenchGuest,
    runs: u32,
    step: &Step,
) -> Result<Vec<Streaming>, BenchError> {
    let mut all = Vec::new();
    for (format, width, height) in FRAMES {
        guest.set_vivid((width, height))?;
        for memory in StreamMemory::ALL {
            let mut answers = DEVICES.map(|_| Vec::new());
            for _ in 0..runs {
                for (answers, (name, device, frames)) in answers.iter_mut().zip(DEVICES) {
                    step.update(&format!(
                        "{name}, {width}x{height} {format}, {}",
                        memory.name()
                    ));
                    answers.push(guest.stream(Stream {
                        device: device.to_owned(),
                        memory,
                        format: format.to_owned(),
                        width,
                        height,
                        rate: None,
                        buffers: BUFFERS,
                        warm_up: 2 * BUFFERS,
                        frames,
                        limit_ms: 0,
                    })?);
                }
            }
            for (answers, (device, ..)) in answers.iter().zip(DEVICES) {
                let frames = |answer: &StreamAnswer| answer.timestamps_us.len().max(1) as f64;
                all.push(Streaming {
                    device,
                    memory: memory.name(),
                    format,
                    width,
                    height,
                    rate: Spread::of(
                        answers
                            .iter()
                            .map(|one| frames(one) * 1e6 / one.elapsed_us.max(1) as f64),
                    ),
                    busy_us: Spread::of(answers.iter().map(|one| one.busy_us as f64 / frames(one))),
                    dropped: answers.iter().map(|one| one.dropped).sum(),
                });
            }
        }
    }
    Ok(all)
}
