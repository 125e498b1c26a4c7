//! The ioctls of buffers and streams, with the same checks as videobuf2.

use zerocopy::FromZeros;
use zerocopy::little_endian::U32;

use super::context::Context;
use super::queue::Stream;
use super::{M2mCard, MAX_BUFFERS};
use crate::card::buffers;
use crate::card::injection::Fault;
use crate::card::queued::MemoryKind;
use crate::card::refused::{Refused, busy, invalid};
use crate::card::witness::{Record, StreamMemory};
use crate::card::{CardKind, Direction, Now};
use crate::wire::Errno;
use crate::wire::buffer::{BUF_CAP_SUPPORTS_USERPTR, RequestBuffers};

/// The session of an ioctl is alive, and so it has a context; this is said to a
/// caller that is wrong about it.
const GONE: Refused = invalid("the session is gone");

impl M2mCard {
    /// VIDIOC_REQBUFS.
    pub(super) fn request_buffers(
        &mut self,
        session: u32,
        asked: &RequestBuffers,
    ) -> Result<RequestBuffers, Refused> {
        let of_queue = |queue: &super::queue::Queue| queue.buffers.count();
        let queues = self.contexts.values().flat_map(Context::queues);
        let mut taken: usize = queues.map(of_queue).sum();
        let context = self.context(session)?;
        let direction = context.direction(asked.type_.get())?;
        if MemoryKind::of(asked.memory.get()) != Some(MemoryKind::SharedPages) {
            return Err(invalid("the card takes no such memory"));
        }
        let mut count = asked.count.get().min(buffers::MAX_BUFFERS);
        if count == 0 {
            self.end_stream(session, direction);
            self.context(session)?.queue_mut(direction).buffers.free();
        } else {
            let queue = context.queue_mut(direction);
            if queue.stream.is_some() {
                return Err(busy("buffers cannot be replaced while streaming"));
            }
            taken -= queue.buffers.count();
            // The number fits: it is small.
            count = count.min(MAX_BUFFERS.saturating_sub(taken) as u32);
            if count == 0 {
                return Err(Refused::Because(
                    Errno::ENOMEM,
                    "the sessions have too many buffers",
                ));
            }
            let planes = queue.layout.memory_planes();
            queue.buffers.allocate(session, count, planes);
        }
        Ok(RequestBuffers {
            count: count.into(),
            type_: asked.type_,
            memory: asked.memory,
            capabilities: BUF_CAP_SUPPORTS_USERPTR.into(),
            ..FromZeros::new_zeroed()
        })
    }

    /// VIDIOC_STREAMON.
    pub(super) fn stream_on(
        &mut self,
        now: Now,
        session: u32,
        buffer_type: U32,
    ) -> Result<(), Refused> {
        let context = self.context(session)?;
        let direction = context.direction(buffer_type.get())?;
        let (queue, injection) = context.queue_and_faults(direction);
        if queue.buffers.is_empty() {
            return Err(invalid("there are no buffers to stream with"));
        }
        if queue.stream.is_some() {
            return Ok(());
        }
        injection.fail(Fault::FailStreamOn)?;
        queue.sequence = 0;
        queue.stream = Some(Stream {
            began: now.monotonic,
            frames: 0,
        });
        let layout = queue.layout;
        log::info!(
            "session {session} streams {} {}x{} {}",
            layout.format,
            layout.width,
            layout.height,
            match direction {
                Direction::Output => "to the card",
                Direction::Capture => "from the card",
            }
        );
        let planes = queue.buffers.planes();
        let record = Record::StreamOn {
            session,
            wall_ns: now.wall.as_nanos() as u64,
            format: layout.format.to_string(),
            width: layout.width,
            height: layout.height,
            memory: StreamMemory::Guest,
            card: CardKind::M2m,
            direction: Some(direction),
            bytesperline: planes.iter().map(|plane| plane.bytesperline).collect(),
            sizeimage: planes.iter().map(|plane| plane.sizeimage).collect(),
        };
        context.drain.begin();
        self.witness.record(record);
        Ok(())
    }

    /// VIDIOC_STREAMOFF.
    pub(super) fn stream_off(&mut self, session: u32, buffer_type: U32) -> Result<(), Refused> {
        let direction = self.context(session)?.direction(buffer_type.get())?;
        self.end_stream(session, direction);
        // STREAMOFF takes back the queued buffers even if no stream is on.
        self.context(session)?.queue_mut(direction).buffers.cancel();
        Ok(())
    }

    /// Ends a stream, if it is on.
    pub(super) fn end_stream(&mut self, session: u32, direction: Direction) {
        let Some(context) = self.contexts.get_mut(&session) else {
            return;
        };
        let Some(Stream { frames, .. }) = context.queue_mut(direction).stream.take() else {
            return;
        };
        context.held = None;
        context.drain.stop(direction);
        log::info!("session {session} streams no more: {frames} frames");
        self.witness.record(Record::StreamOff {
            session,
            direction: Some(direction),
            frames,
            dropped: 0,
        });
        self.witness.finish();
    }

    /// Returns the context of a session that is alive.
    pub(super) fn context(&mut self, session: u32) -> Result<&mut Context, Refused> {
        self.contexts.get_mut(&session).ok_or(GONE)
    }
}
