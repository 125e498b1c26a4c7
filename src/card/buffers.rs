//! The queue of buffers, which belongs to one session at a time.

use std::collections::VecDeque;
use std::time::Duration;

use zerocopy::FromZeros;

use super::format::BufferApi;
use super::refused::{Refused, busy, invalid};
use crate::dma::{Bus, DmaError, ScatterList, Segment};
use crate::source::MemoryPlane;
use crate::source::layout::MAX_MEMORY_PLANES;
use crate::wire::buffer::{
    BUF_FLAG_DONE, BUF_FLAG_ERROR, BUF_FLAG_LAST, BUF_FLAG_QUEUED, BUF_FLAG_TIMESTAMP_MONOTONIC,
    Buffer, MEMORY_USERPTR, Plane,
};
use crate::wire::format::FIELD_NONE;

/// Buffers a queue has at most (VIDEO_MAX_FRAME of Linux).
pub const MAX_BUFFERS: u32 = 32;

/// Who has a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The driver.
    Dequeued,
    /// The card, for a frame.
    Queued,
    /// The card, until the driver has been told that it is finished.
    Done,
}

/// How a buffer came to be finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Completion {
    /// Bytes written, counted through the frame.
    pub bytesused: u32,
    /// V4L2 sequence number.
    pub sequence: u32,
    /// CLOCK_MONOTONIC.
    pub timestamp: Duration,
    /// Whether the buffer comes back without a whole frame.
    pub error: bool,
    /// Whether no frame comes after it.
    pub last: bool,
    /// Its place among all events of the card.
    pub stamp: u64,
}

/// The memory of one plane of a buffer, or all of it if that is single-planar.
#[derive(Debug, Default)]
struct PlaneMemory {
    /// As the driver gave it, to be given back the same.
    userptr: u64,
    length: u32,
    /// Empty unless the buffer is queued.
    list: ScatterList,
}

#[derive(Debug)]
struct Slot {
    state: State,
    /// As many as a frame has memory planes.
    pieces: Vec<PlaneMemory>,
    completion: Completion,
}

impl Slot {
    fn release(&mut self) {
        for piece in &mut self.pieces {
            piece.list.release();
        }
    }
}

/// A piece of memory as the driver queues it.
#[derive(Debug, Clone, Copy)]
pub struct Queued {
    /// The driver's own pointer.
    pub userptr: u64,
    /// Bytes of memory.
    pub length: u32,
}

/// A buffer as V4L2 describes it, and its planes if it is multi-planar.
#[derive(Debug, Clone, Copy)]
pub struct BufferDescription {
    /// The buffer.
    pub buffer: Buffer,
    planes: [Plane; MAX_MEMORY_PLANES],
    count: usize,
}

impl BufferDescription {
    /// The planes; none if the buffer is single-planar.
    pub fn planes(&self) -> &[Plane] {
        &self.planes[..self.count]
    }
}

/// The buffers, and the order in which they are filled and given back.
#[derive(Debug, Default)]
pub struct Buffers {
    owner: Option<u32>,
    kind: BufferApi,
    /// The memory planes of a frame.
    planes: Vec<MemoryPlane>,
    slots: Vec<Slot>,
    /// Buffers waiting for a frame.
    queued: VecDeque<u32>,
    /// Buffers whose events wait to be sent.
    done: VecDeque<u32>,
}

impl Buffers {
    /// Whether there are any.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The session that has them.
    pub fn owner(&self) -> Option<u32> {
        self.owner
    }

    /// Refuses a session when another one has the buffers.
    pub fn check_owner(&self, session: u32) -> Result<(), Refused> {
        match self.owner {
            Some(owner) if owner != session => Err(busy("another session has the buffers")),
            _ => Ok(()),
        }
    }

    /// Gives `session` `count` buffers (1 to [`MAX_BUFFERS`]) for frames of
    /// those memory planes in place of those there were.
    pub fn allocate(
        &mut self,
        session: u32,
        count: u32,
        kind: BufferApi,
        planes: impl Iterator<Item = MemoryPlane>,
    ) {
        self.free();
        self.owner = Some(session);
        self.kind = kind;
        self.planes.extend(planes);
        let piece = |plane: &MemoryPlane| PlaneMemory {
            length: plane.sizeimage,
            ..PlaneMemory::default()
        };
        self.slots.extend((0..count).map(|_| Slot {
            state: State::Dequeued,
            pieces: self.planes.iter().map(piece).collect(),
            completion: Completion::default(),
        }));
        // So that queueing never allocates.
        self.queued.reserve(self.slots.len());
        self.done.reserve(self.slots.len());
    }

    /// Frees all buffers; nobody has them then.
    pub fn free(&mut self) {
        *self = Self::default();
    }

    /// Takes all buffers back from the card, and their unsent events with
    /// them.
    pub fn cancel(&mut self) {
        self.queued.clear();
        self.done.clear();
        for slot in &mut self.slots {
            slot.state = State::Dequeued;
            slot.release();
        }
    }

    /// The memory planes of a frame.
    pub fn planes(&self) -> &[MemoryPlane] {
        &self.planes
    }

    /// Whether a buffer of that number can be queued now.
    pub fn check_dequeued(&self, index: u32) -> Result<(), Refused> {
        match self.slot(index)?.state {
            State::Dequeued => Ok(()),
            State::Queued | State::Done => Err(invalid("the buffer is queued already")),
        }
    }

    /// Queues buffer `index`, whose pieces are at least as large as the memory
    /// planes; `segments` are those of the first piece, then of the second, and
    /// so on. On error it is not queued.
    pub fn queue(
        &mut self,
        index: u32,
        pieces: impl Iterator<Item = Queued>,
        mut segments: impl ExactSizeIterator<Item = Segment>,
        bus: Bus<'_>,
    ) -> Result<(), Refused> {
        self.check_dequeued(index)?;
        let slot = &mut self.slots[index as usize];
        for ((piece, plane), given) in slot.pieces.iter_mut().zip(&self.planes).zip(pieces) {
            let needed = plane.sizeimage;
            let result = piece.list.resolve(&mut segments, given.length, needed, bus);
            if let Err(error) = result {
                slot.release();
                return Err(error.into());
            }
            piece.userptr = given.userptr;
            piece.length = given.length;
        }
        slot.state = State::Queued;
        slot.completion = Completion::default();
        self.queued.push_back(index);
        Ok(())
    }

    /// How many are queued for a frame.
    pub fn queued(&self) -> usize {
        self.queued.len()
    }

    /// How many are finished and wait for their events to be sent.
    pub fn done(&self) -> usize {
        self.done.len()
    }

    /// The buffer that the next frame goes to.
    pub fn next(&self) -> Option<u32> {
        self.queued.front().copied()
    }

    /// The memory of a queued buffer, for each memory plane.
    pub fn memory(&self, index: u32) -> impl Iterator<Item = (&MemoryPlane, &ScatterList)> {
        let pieces = self.slots.get(index as usize).map(|slot| &slot.pieces);
        let lists = pieces.into_iter().flatten().map(|piece| &piece.list);
        self.planes.iter().zip(lists)
    }

    /// Takes the buffer of the next frame out of the queue, to be given back
    /// to the driver.
    pub fn complete_next(&mut self, completion: Completion) {
        if let Some(index) = self.queued.pop_front() {
            Self::complete(&mut self.slots, &mut self.done, index, completion);
        }
    }

    /// Resolves the memory of all queued buffers again; one that has lost its
    /// memory is given back as `completion` says.
    pub fn memory_changed(&mut self, bus: Bus<'_>, completion: Completion) {
        let Self {
            slots,
            queued,
            done,
            ..
        } = self;
        queued.retain(|&index| {
            let pieces = slots[index as usize].pieces.iter_mut();
            // Each of them, so that none refers to the old memory.
            let result: Result<(), DmaError> = pieces
                .map(|piece| piece.list.resolve_again(bus))
                .fold(Ok(()), Result::and);
            if let Err(error) = &result {
                log::warn!("buffer {index} is given back: its memory went away: {error}");
                Self::complete(slots, done, index, completion);
            }
            result.is_ok()
        });
    }

    fn complete(slots: &mut [Slot], done: &mut VecDeque<u32>, index: u32, completion: Completion) {
        let slot = &mut slots[index as usize];
        slot.release();
        slot.completion = completion;
        slot.state = State::Done;
        done.push_back(index);
    }

    /// The stamp of the next finished buffer that the driver has not been told
    /// of.
    pub fn oldest_finished(&self) -> Option<u64> {
        let index = *self.done.front()?;
        Some(self.slots[index as usize].completion.stamp)
    }

    /// The next finished buffer that the driver has not been told of, with
    /// its session.
    pub fn finished(&self) -> Option<(u32, BufferDescription)> {
        let index = *self.done.front()?;
        let mut described = self.describe(index).ok()?;
        // Pointers are not for others to see; VIRTIO asks for NULL here.
        described.buffer.m = 0.into();
        for plane in &mut described.planes {
            plane.m = 0.into();
        }
        Some((self.owner?, described))
    }

    /// The driver has been told of the buffer that
    /// [`finished`](Self::finished) named: it is the driver's again.
    pub fn finished_sent(&mut self) {
        if let Some(index) = self.done.pop_front() {
            self.slots[index as usize].state = State::Dequeued;
        }
    }

    /// A buffer as VIDIOC_QUERYBUF shows it: what `__fill_v4l2_buffer()` of
    /// videobuf2 would say of it.
    pub fn describe(&self, index: u32) -> Result<BufferDescription, Refused> {
        let slot = self.slot(index)?;
        let Completion {
            bytesused,
            sequence,
            timestamp,
            error,
            last,
            ..
        } = slot.completion;
        let mut flags = BUF_FLAG_TIMESTAMP_MONOTONIC;
        match slot.state {
            State::Dequeued => (),
            State::Queued => flags |= BUF_FLAG_QUEUED,
            State::Done => {
                flags |= BUF_FLAG_DONE;
                flags |= if error { BUF_FLAG_ERROR } else { 0 };
                flags |= if last { BUF_FLAG_LAST } else { 0 };
            }
        }
        let mut described = BufferDescription {
            buffer: Buffer {
                index: index.into(),
                type_: self.kind.buffer_type().into(),
                flags: flags.into(),
                field: FIELD_NONE.into(),
                timestamp_sec: i64::try_from(timestamp.as_secs())
                    .unwrap_or(i64::MAX)
                    .into(),
                timestamp_usec: i64::from(timestamp.subsec_micros()).into(),
                sequence: sequence.into(),
                memory: MEMORY_USERPTR.into(),
                ..FromZeros::new_zeroed()
            },
            planes: FromZeros::new_zeroed(),
            count: 0,
        };
        let pieces = slot.pieces.iter().zip(&self.planes);
        match (self.kind, slot.pieces.first()) {
            (BufferApi::Single, Some(piece)) => {
                described.buffer.bytesused = bytesused.into();
                described.buffer.m = piece.userptr.into();
                described.buffer.length = piece.length.into();
            }
            _ => {
                described.count = slot.pieces.len();
                // At most MAX_MEMORY_PLANES.
                described.buffer.length = (described.count as u32).into();
                for (plane, (piece, memory)) in described.planes.iter_mut().zip(pieces) {
                    let here = bytesused.saturating_sub(memory.offset);
                    plane.bytesused = here.min(memory.sizeimage).into();
                    plane.length = piece.length.into();
                    plane.m = piece.userptr.into();
                }
            }
        }
        Ok(described)
    }

    fn slot(&self, index: u32) -> Result<&Slot, Refused> {
        self.slots
            .get(index as usize)
            .ok_or(invalid("there is no buffer of that number"))
    }
}
