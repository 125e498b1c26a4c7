//! The queue of buffers, which belongs to one session at a time.

use std::collections::VecDeque;
use std::time::Duration;

use zerocopy::FromZeros;

use super::refused::{Refused, busy, invalid};
use crate::dma::{Bus, DmaError, ScatterList, Segment};
use crate::wire::buffer::{
    BUF_FLAG_DONE, BUF_FLAG_ERROR, BUF_FLAG_QUEUED, BUF_FLAG_TIMESTAMP_MONOTONIC, Buffer,
    MEMORY_USERPTR,
};
use crate::wire::format::{BUF_TYPE_VIDEO_CAPTURE, FIELD_NONE};

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
    /// Bytes written.
    pub bytesused: u32,
    /// V4L2 sequence number.
    pub sequence: u32,
    /// CLOCK_MONOTONIC.
    pub timestamp: Duration,
    /// Whether the buffer comes back without a frame.
    pub error: bool,
}

#[derive(Debug)]
struct Slot {
    state: State,
    /// As the driver gave it, to be given back the same.
    userptr: u64,
    length: u32,
    completion: Completion,
    /// Empty unless the buffer is queued.
    list: ScatterList,
}

/// A buffer as the driver queues it.
#[derive(Debug, Clone, Copy)]
pub struct Queued {
    /// Its number.
    pub index: u32,
    /// The driver's own pointer.
    pub userptr: u64,
    /// Bytes of memory.
    pub length: u32,
}

/// The buffers, and the order in which they are filled and given back.
#[derive(Debug, Default)]
pub struct Buffers {
    owner: Option<u32>,
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

    /// Gives `session` `count` buffers (1 to [`MAX_BUFFERS`]) of `length`
    /// bytes in place of those there were.
    pub fn allocate(&mut self, session: u32, count: u32, length: u32) {
        self.free();
        self.owner = Some(session);
        self.slots.extend((0..count).map(|_| Slot {
            state: State::Dequeued,
            userptr: 0,
            length,
            completion: Completion::default(),
            list: ScatterList::default(),
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
            slot.list.release();
        }
    }

    /// Whether a buffer of that number can be queued now.
    pub fn check_dequeued(&self, index: u32) -> Result<(), Refused> {
        match self.slot(index)?.state {
            State::Dequeued => Ok(()),
            State::Queued | State::Done => Err(invalid("the buffer is queued already")),
        }
    }

    /// Queues a buffer whose frame will be `sizeimage` bytes.
    pub fn queue(
        &mut self,
        buffer: Queued,
        segments: impl ExactSizeIterator<Item = Segment>,
        sizeimage: u32,
        bus: Bus<'_>,
    ) -> Result<(), Refused> {
        self.check_dequeued(buffer.index)?;
        let slot = &mut self.slots[buffer.index as usize];
        slot.list.resolve(segments, buffer.length, sizeimage, bus)?;
        slot.state = State::Queued;
        slot.userptr = buffer.userptr;
        slot.length = buffer.length;
        slot.completion = Completion::default();
        self.queued.push_back(buffer.index);
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

    /// The buffer that the next frame goes to, and its memory.
    pub fn next(&self) -> Option<(u32, &ScatterList)> {
        let index = *self.queued.front()?;
        Some((index, &self.slots[index as usize].list))
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
            let result: Result<(), DmaError> = slots[index as usize].list.resolve_again(bus);
            if let Err(error) = &result {
                log::warn!("buffer {index} is given back: its memory went away: {error}");
                Self::complete(slots, done, index, completion);
            }
            result.is_ok()
        });
    }

    fn complete(slots: &mut [Slot], done: &mut VecDeque<u32>, index: u32, completion: Completion) {
        let slot = &mut slots[index as usize];
        slot.list.release();
        slot.completion = completion;
        slot.state = State::Done;
        done.push_back(index);
    }

    /// The next finished buffer that the driver has not been told of, with
    /// its session.
    pub fn finished(&self) -> Option<(u32, Buffer)> {
        let index = *self.done.front()?;
        let mut buffer = describe(index, &self.slots[index as usize]);
        // Pointers are not for others to see; VIRTIO asks for NULL here.
        buffer.m = 0.into();
        Some((self.owner?, buffer))
    }

    /// The driver has been told of the buffer that
    /// [`finished`](Self::finished) named: it is the driver's again.
    pub fn finished_sent(&mut self) {
        if let Some(index) = self.done.pop_front() {
            self.slots[index as usize].state = State::Dequeued;
        }
    }

    /// A buffer as VIDIOC_QUERYBUF shows it.
    pub fn describe(&self, index: u32) -> Result<Buffer, Refused> {
        self.slot(index).map(|slot| describe(index, slot))
    }

    fn slot(&self, index: u32) -> Result<&Slot, Refused> {
        self.slots
            .get(index as usize)
            .ok_or(invalid("there is no buffer of that number"))
    }
}

/// What `__fill_v4l2_buffer()` of videobuf2 would say of a buffer.
fn describe(index: u32, slot: &Slot) -> Buffer {
    let Completion {
        bytesused,
        sequence,
        timestamp,
        error,
    } = slot.completion;
    let mut flags = BUF_FLAG_TIMESTAMP_MONOTONIC;
    match slot.state {
        State::Dequeued => (),
        State::Queued => flags |= BUF_FLAG_QUEUED,
        State::Done => flags |= BUF_FLAG_DONE | if error { BUF_FLAG_ERROR } else { 0 },
    }
    Buffer {
        index: index.into(),
        type_: BUF_TYPE_VIDEO_CAPTURE.into(),
        bytesused: bytesused.into(),
        flags: flags.into(),
        field: FIELD_NONE.into(),
        timestamp_sec: i64::try_from(timestamp.as_secs())
            .unwrap_or(i64::MAX)
            .into(),
        timestamp_usec: i64::from(timestamp.subsec_micros()).into(),
        sequence: sequence.into(),
        memory: MEMORY_USERPTR.into(),
        m: slot.userptr.into(),
        length: slot.length.into(),
        ..FromZeros::new_zeroed()
    }
}
