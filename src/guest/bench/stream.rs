//! How fast a capture device streams.

use std::io;
use std::time::Duration;

use crate::agent::bench::{Stream, StreamAnswer, StreamMemory};
use crate::agent::cell::PAGE;
use crate::card::Direction;
use crate::wire::buffer::{Buffer, MEMORY_MMAP, MEMORY_USERPTR};
use rustix::time::{ClockId, clock_gettime};

use super::processors::Processors;
use crate::guest::cell::device::{Device, Memory};
use crate::guest::cell::span::{self, Span};
use crate::guest::failure::Failure;

/// How long a frame may take.
const FRAME_LIMIT: Duration = Duration::from_secs(20);

/// Streams, and dequeues all frames as they come.
///
/// # Errors
///
/// [`Failure`] if the device refuses, or no frame comes.
pub fn measure(request: &Stream) -> Result<StreamAnswer, Failure> {
    let path = &request.device;
    let failed = |what: &str, error: io::Error| Failure::io(format_args!("{what} {path}"), error);
    let device = Device::open(path, Direction::Capture).map_err(|error| failed("open", error))?;
    let format = device
        .set_pixels(code(&request.format)?, request.width, request.height)
        .map_err(|error| failed("set the format of", error))?;
    let (width, height) = (format.width.get(), format.height.get());
    if (width, height) != (request.width, request.height) {
        return Err(Failure::new(format!(
            "{path} makes frames of {width}x{height}, not of {}x{}",
            request.width, request.height
        )));
    }
    if let Some(rate) = request.rate {
        device
            .set_rate(rate)
            .map_err(|error| failed("set the rate of", error))?;
    }
    let stream = Open {
        buffers: Buffers::make(&device, request, format.sizeimage.get() as usize)
            .map_err(|error| failed("get buffers for", error))?,
        device,
    };
    for index in 0..request.buffers {
        stream
            .queue(index)
            .map_err(|error| failed("queue a buffer at", error))?;
    }
    let on = stream.device.stream_on();
    on.map_err(|error| failed("start the stream of", error))?;
    let lost = |error| failed("capture a frame from", error);

    let mut last = stream.frame().map_err(lost)?;
    let up = clock_gettime(ClockId::Boottime);
    for _ in 1..request.warm_up.max(1) {
        last = stream.frame().map_err(lost)?;
    }
    let before = Processors::look()?;
    let mut timestamps_us = Vec::new();
    let mut dropped = 0;
    for _ in 0..request.frames.max(1) {
        let next = stream.frame().map_err(lost)?;
        let step = next.sequence.get().wrapping_sub(last.sequence.get());
        dropped += u64::from(step.saturating_sub(1));
        let (seconds, micros) = (next.timestamp_sec.get(), next.timestamp_usec.get());
        timestamps_us.push(seconds as u64 * 1_000_000 + micros as u64);
        last = next;
    }
    let (elapsed, busy) = Processors::look()?.since(&before);
    let off = stream.device.stream_off();
    off.map_err(|error| failed("stop the stream of", error))?;
    Ok(StreamAnswer {
        frame_bytes: format.sizeimage.get(),
        first_frame_us: up.tv_sec as u64 * 1_000_000 + up.tv_nsec as u64 / 1000,
        elapsed_us: elapsed.as_micros() as u64,
        busy_us: busy.as_micros() as u64,
        timestamps_us,
        dropped,
    })
}

/// Returns the number of a format's four-character code.
pub fn code(name: &str) -> Result<u32, Failure> {
    let bytes: [u8; 4] = name
        .as_bytes()
        .try_into()
        .map_err(|_| Failure::new(format!("{name:?} is no four-character code")))?;
    Ok(u32::from_le_bytes(bytes))
}

/// A device, and its buffers.
struct Open {
    device: Device,
    buffers: Buffers,
}

impl Open {
    /// Waits for a frame, and queues its buffer again.
    fn frame(&self) -> io::Result<Buffer> {
        self.device.wait(FRAME_LIMIT)?;
        let buffer = self.device.dequeue(self.buffers.number())?;
        self.queue(buffer.index.get())?;
        Ok(buffer)
    }

    fn queue(&self, index: u32) -> io::Result<()> {
        let memory = match &self.buffers {
            // Who captures need not say how long a frame is.
            Buffers::Mmap => Memory::Driver(0),
            Buffers::Userptr(spans) => match spans.get(index as usize) {
                Some(span) => Memory::User(*span),
                None => return Err(io::ErrorKind::InvalidData.into()),
            },
        };
        self.device.queue(index, memory)
    }
}

/// The buffers of a stream.
enum Buffers {
    /// Memory of the driver, which is not even mapped: nobody reads it.
    Mmap,
    /// Memory of this process.
    Userptr(Vec<Span>),
}

impl Buffers {
    /// Requests the buffers, each for `bytes`, and has all their memory.
    fn make(device: &Device, request: &Stream, bytes: usize) -> io::Result<Self> {
        let buffers = match request.memory {
            StreamMemory::Mmap => Self::Mmap,
            StreamMemory::Userptr => {
                let one = |_| {
                    let span = span::map(
                        bytes.next_multiple_of(PAGE),
                        libc::PROT_READ | libc::PROT_WRITE,
                        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE,
                    )?;
                    Ok(span.part(0, bytes))
                };
                Self::Userptr((0..request.buffers).map(one).collect::<io::Result<_>>()?)
            }
        };
        let count = device.request_buffers(request.buffers, buffers.number())?;
        match count == request.buffers {
            true => Ok(buffers),
            false => Err(io::Error::other(format!("there are {count} of them"))),
        }
    }

    /// Returns the V4L2_MEMORY_* of the buffers.
    const fn number(&self) -> u32 {
        match self {
            Self::Mmap => MEMORY_MMAP,
            Self::Userptr(_) => MEMORY_USERPTR,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_has_four_characters() {
        assert_eq!(code("YUYV").unwrap(), 0x5659_5559);
        assert!(code("Y16").is_err());
    }
}
