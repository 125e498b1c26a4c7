//! A job: a frame is read, another is made of it, and written.

use super::M2mCard;
use super::context::Context;
use super::drain::Drain;
use super::workshop::Workshop;
use crate::card::buffers::Completion;
use crate::card::events::{Payload, Topic};
use crate::card::injection::Fault;
use crate::card::transfer::part_of;
use crate::card::witness::FrameTransferred;
use crate::card::{Direction, Now, Witness};
use crate::dma::{DmaError, FrameReader, FrameWriter, PIECE};
use crate::source::transform::TransformError;

/// Why no frame was made.
#[derive(Debug, thiserror::Error)]
enum JobError {
    #[error(transparent)]
    Memory(#[from] DmaError),
    #[error("the frame has {0} bytes in a plane of {1}")]
    Short(usize, u32),
    #[error(transparent)]
    Transform(#[from] TransformError),
}

/// What has become of a job.
#[derive(Debug, Default, Clone, Copy)]
struct Made {
    /// Bytes of the new frame.
    bytes: u32,
    /// Bytes that were read and written.
    moved: u64,
    /// Segments of both buffers.
    segments: usize,
}

impl M2mCard {
    /// Does what is due for a session; returns whether a frame was made.
    pub(super) fn work(&mut self, now: Now, session: u32) -> bool {
        let Self {
            contexts,
            workshop,
            witness,
            statistics,
            ..
        } = self;
        let Some(context) = contexts.get_mut(&session) else {
            return false;
        };
        context.held = None;
        if context.drain == Drain::Left(0) {
            context.drain = Drain::Done;
            self.give_back(now, session, None, Ok(0), true);
            return false;
        }
        if let Some(stall) = context.injection.begin_stall() {
            context.held = Some(now.monotonic + stall);
            return false;
        }
        let (Some(source), Some(target)) = (context.output.next(), context.capture.next()) else {
            return false;
        };
        let broken = context.injection.happens(Fault::Error);
        let short = context.injection.happens(Fault::Short);
        let made = convert(
            context,
            workshop,
            witness,
            now,
            (source, target),
            broken || short,
        );
        let last = context.drain.count();
        let bytes = match &made {
            Ok(made) => {
                statistics.frame(now, made.moved, made.segments);
                if broken {
                    Err(made.bytes)
                } else {
                    Ok(made.bytes)
                }
            }
            Err(error) => {
                log::error!(
                    "session {session}: buffers {source} and {target} come back without a \
                     frame: {error}"
                );
                Err(0)
            }
        };
        statistics.errors(usize::from(bytes.is_err()));
        self.give_back(now, session, Some(made.is_ok()), bytes, last);
        made.is_ok()
    }

    /// Gives the buffers of a job back to the driver: the one that was read, if
    /// there is one, well or not; and the one that was written, with so many bytes
    /// and well (`Ok`) or not (`Err`).
    fn give_back(
        &mut self,
        now: Now,
        session: u32,
        read: Option<bool>,
        written: Result<u32, u32>,
        last: bool,
    ) {
        let stamps = [self.stamp(), self.stamp()];
        let Some(context) = self.contexts.get_mut(&session) else {
            return;
        };
        let source = context.output.buffers.next().filter(|_| read.is_some());
        let label = source.map(|source| context.output.buffers.label(source));
        if let Some(well) = read {
            let queue = &mut context.output;
            queue.buffers.complete_next(Completion {
                sequence: queue.sequence,
                error: !well,
                stamp: stamps[0],
                ..Completion::default()
            });
            queue.sequence = queue.sequence.wrapping_add(1);
        }
        let queue = &mut context.capture;
        queue.buffers.complete_next(Completion {
            bytesused: written.unwrap_or_else(|bytes| bytes),
            sequence: queue.sequence,
            label: label.unwrap_or_default(),
            error: written.is_err(),
            last,
            stamp: stamps[1],
        });
        queue.sequence = queue.sequence.wrapping_add(1);
        if last {
            self.raise(now, session, Topic::Eos, Payload::Nothing, false);
        }
    }
}

/// Reads the frame in the buffer `source`, and writes what is made of it into the
/// buffer `target`; only its first half if it is `cut`.
fn convert(
    context: &mut Context,
    workshop: &mut Workshop,
    witness: &mut Witness,
    now: Now,
    (source, target): (u32, u32),
    cut: bool,
) -> Result<Made, JobError> {
    let mut made = Made::default();
    read(context, workshop, witness, source, &mut made)?;
    testify(context, witness, now, Direction::Output, source, u32::MAX);
    let how = context.transform();
    let (from, to) = (context.output.layout, context.capture.layout);
    let (frame, staging) = workshop.transform(&from, &to, &how)?;
    let bytes = if cut { frame.len() / 2 } else { frame.len() };
    let frame = &frame[..bytes];

    let memory = context.capture.buffers.memory(target);
    witness.begin(context.capture.buffers.planes().len());
    for (number, (plane, list, data)) in memory.enumerate() {
        // A frame's length fits: it is at most the layout's.
        let here = part_of(plane, &data, bytes as u32) as usize;
        let begin = (plane.offset as usize).min(bytes);
        made.segments += list.count();
        let mut writer = FrameWriter::new(list, staging, witness.digests(number));
        for piece in frame[begin..begin + here].chunks(PIECE) {
            writer.write(piece.len(), |out| out.copy_from_slice(piece))?;
        }
        writer.finish()?;
    }
    made.moved += bytes as u64;
    made.bytes = bytes as u32;
    testify(
        context,
        witness,
        now,
        Direction::Capture,
        target,
        made.bytes,
    );
    Ok(made)
}

/// Reads the frame in the buffer `source`.
fn read(
    context: &Context,
    workshop: &mut Workshop,
    witness: &mut Witness,
    source: u32,
    made: &mut Made,
) -> Result<(), JobError> {
    let buffers = &context.output.buffers;
    for (plane, _, data) in buffers.memory(source) {
        if data.len() < plane.sizeimage as usize {
            return Err(JobError::Short(data.len(), plane.sizeimage));
        }
    }
    workshop.prepare(&context.output.layout);
    witness.begin(buffers.planes().len());
    for (number, (plane, list, data)) in buffers.memory(source).enumerate() {
        made.segments += list.count();
        made.moved += u64::from(plane.sizeimage);
        let staging = &mut workshop.staging;
        let mut reader = FrameReader::new(list, staging, witness.digests(number));
        reader.skip(data.start)?;
        let place = &mut workshop.frame[plane.offset as usize..][..plane.sizeimage as usize];
        for piece in place.chunks_mut(PIECE) {
            piece.copy_from_slice(reader.read(piece.len())?);
        }
    }
    Ok(())
}

/// Records what was read from a buffer, or the first `bytes` bytes of a frame that
/// were written into it; and counts the frame.
fn testify(
    context: &mut Context,
    witness: &mut Witness,
    now: Now,
    direction: Direction,
    buffer: u32,
    bytes: u32,
) {
    let session = context.id;
    let queue = context.queue_mut(direction);
    let Some(stream) = &mut queue.stream else {
        return;
    };
    stream.frames += 1;
    let frame = FrameTransferred {
        sequence: queue.sequence,
        session,
        direction: Some(direction),
        buffer,
        time_ns: now.monotonic.saturating_sub(stream.began).as_nanos() as u64,
    };
    let memory = queue.buffers.memory(buffer);
    let memory = memory.map(|(plane, list, data)| (list.segments(), part_of(plane, &data, bytes)));
    witness.frame(frame, memory);
}
