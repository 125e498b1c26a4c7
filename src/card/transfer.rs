//! The transfer of a frame: into its buffer, or out of it.

use std::ops::Range;

use super::clock::Now;
use super::events::{Payload, Topic};
use super::injection::Fault;
use super::stream::FrameResult;
use super::witness::FrameTransferred;
use super::{Card, Endpoint};
use crate::dma::{DmaError, FrameReader, FrameWriter, PIECE};
use crate::source::{FrameInfo, MemoryPlane};

/// What was transferred of a frame.
#[derive(Default)]
struct Transferred {
    bytes: u64,
    /// Number of segments of the buffer.
    segments: usize,
}

/// Returns how many of a frame's first `bytes` bytes lie in a plane that has so
/// much data.
pub(crate) fn part_of(plane: &MemoryPlane, data: &Range<u32>, bytes: u32) -> u32 {
    let length = data.end - data.start;
    length.min(bytes.saturating_sub(plane.offset))
}

impl Card {
    /// Transfers a frame of `bytes` bytes, or as much of it as succeeds, and gives
    /// its buffer back to the driver. Returns false if the transfer failed; an
    /// injected fault that cuts the frame short is no failure here.
    pub(super) fn make_frame(
        &mut self,
        now: Now,
        frame: &FrameInfo,
        buffer: u32,
        bytes: u32,
    ) -> bool {
        let sequence = frame.sequence;
        self.raise(now, Topic::FrameSync, Payload::FrameSync(sequence), None);
        let broken = self.injection.happens(Fault::Error);
        let short = self.injection.happens(Fault::Short);
        let whole = bytes.min(self.layout.sizeimage);
        let bytes = if broken || short { whole / 2 } else { whole };
        let result = self.transfer(buffer, bytes, broken);
        let Some(stream) = &mut self.stream else {
            return false;
        };
        let last = std::mem::take(&mut stream.ending);
        stream.clock.advance();
        match result {
            Ok(Transferred {
                bytes: transferred,
                segments,
            }) => {
                stream.frames += 1;
                let frame = FrameTransferred {
                    sequence,
                    session: stream.session,
                    direction: None,
                    buffer,
                    time_ns: stream.clock.elapsed(now).as_nanos() as u64,
                };
                let memory = self.buffers.memory(buffer);
                let memory = memory
                    .map(|(plane, list, data)| (list.segments(), part_of(plane, &data, bytes)));
                self.witness.frame(frame, memory);
                self.statistics.frame(now, transferred, segments);
            }
            Err(error) => log::error!("buffer {buffer} comes back without a frame: {error}"),
        }
        let failed = result.is_err();
        self.statistics.errors(usize::from(failed || broken));
        self.complete(
            now,
            FrameResult {
                sequence,
                bytes: if failed { 0 } else { bytes },
                error: failed || broken,
                last,
            },
        );
        !failed
    }

    /// Transfers the first `bytes` bytes of the frame that has begun. No piece
    /// crosses the end of a memory plane. A frame that is `broken` off is not displayed.
    fn transfer(&mut self, buffer: u32, bytes: u32, broken: bool) -> Result<Transferred, DmaError> {
        if let Endpoint::Display(display) = &mut self.endpoint {
            display.begin();
        }
        let result = self.transfer_planes(buffer, bytes);
        if let Endpoint::Display(display) = &mut self.endpoint {
            match result.is_ok() && !broken {
                true => display.finish(),
                false => display.abandon(),
            }
        }
        result
    }

    fn transfer_planes(&mut self, buffer: u32, bytes: u32) -> Result<Transferred, DmaError> {
        let mut transferred = Transferred::default();
        for (number, (plane, list, data)) in self.buffers.memory(buffer).enumerate() {
            transferred.segments += list.count();
            let digests = self.witness.digests(number);
            let here = part_of(plane, &data, bytes);
            transferred.bytes += u64::from(here);
            let first = plane.offset as usize;
            let end = first + here as usize;
            let pieces = (first..end).step_by(PIECE);
            let pieces = pieces.map(|offset| (offset, PIECE.min(end - offset)));
            match &mut self.endpoint {
                Endpoint::Camera(camera) => {
                    let mut writer = FrameWriter::new(list, &mut self.staging, digests);
                    for (offset, length) in pieces {
                        writer.write(length, |piece| camera.fill(offset, piece))?;
                    }
                    writer.finish()?;
                }
                Endpoint::Display(display) => {
                    let mut reader = FrameReader::new(list, &mut self.staging, digests);
                    reader.skip(data.start)?;
                    for (offset, length) in pieces {
                        display.take(offset, reader.read(length)?);
                    }
                }
            }
        }
        Ok(transferred)
    }
}
