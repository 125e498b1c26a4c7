//! The queue of buffers, which belongs to one session at a time.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use zerocopy::FromZeros;

use super::kind::{BufferApi, BufferType, Direction};
use super::label::{Label, LabelSource};
use super::queued::{MemoryKind, Queued};
use super::refused::{Refused, busy, invalid};
use crate::dma::{Bus, DmaError, OwnMemory, ScatterList, Segment};
use crate::source::MemoryPlane;
use crate::source::layout::MAX_MEMORY_PLANES;
use crate::wire::buffer::{
    BUF_FLAG_DONE, BUF_FLAG_ERROR, BUF_FLAG_LAST, BUF_FLAG_MAPPED, BUF_FLAG_QUEUED, Buffer, Plane,
};
use crate::wire::format::FIELD_NONE;

/// Largest number of buffers in a queue (VIDEO_MAX_FRAME of Linux).
pub const MAX_BUFFERS: u32 = 32;

/// The owner of a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The driver owns the buffer.
    Dequeued,
    /// The card owns the buffer and will write a frame into it, or read one.
    Queued,
    /// The card has finished the buffer, and the driver has not been told yet.
    Done,
}

/// How a buffer was finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Completion {
    /// Bytes written, counted over the whole frame. A frame that was read has
    /// the bytes that it was queued with.
    pub bytesused: u32,
    /// V4L2 sequence number.
    pub sequence: u32,
    /// The frame's time, and what else is said of it.
    pub label: Label,
    /// Whether the buffer is returned with V4L2_BUF_FLAG_ERROR.
    pub error: bool,
    /// Whether this is the last frame of the stream.
    pub last: bool,
    /// Position among all events of the card.
    pub stamp: u64,
}

/// The memory of one plane of a buffer; for a single-planar buffer, all of its
/// memory.
#[derive(Debug, Default)]
struct PlaneMemory {
    /// The driver's own pointer, returned to the driver unchanged; for memory of
    /// the card's own, the offset to map.
    m: u64,
    length: u32,
    /// The bytes that hold the frame, since the buffer was queued last.
    data: Range<u32>,
    /// The card's own memory, if the buffers have it.
    own: Option<Arc<OwnMemory>>,
    /// The scatter list; empty unless the buffer is queued.
    list: ScatterList,
}

#[derive(Debug)]
struct Slot {
    state: State,
    /// One entry for each memory plane of a frame.
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

/// A buffer as V4L2 describes it, with its planes if it is multi-planar.
#[derive(Debug, Clone, Copy)]
pub struct BufferDescription {
    /// The buffer.
    pub buffer: Buffer,
    planes: [Plane; MAX_MEMORY_PLANES],
    count: usize,
}

impl BufferDescription {
    /// Returns the planes; there are none if the buffer is single-planar.
    pub fn planes(&self) -> &[Plane] {
        &self.planes[..self.count]
    }
}

/// The buffers, and the order in which they are filled and returned.
#[derive(Debug)]
pub struct Buffers {
    type_: BufferType,
    labels: LabelSource,
    owner: Option<u32>,
    memory: MemoryKind,
    /// The memory planes of a frame.
    planes: Vec<MemoryPlane>,
    slots: Vec<Slot>,
    /// Buffers that wait for a frame.
    queued: VecDeque<u32>,
    /// Buffers whose events wait to be sent.
    done: VecDeque<u32>,
}

impl Buffers {
    /// Returns a queue without buffers.
    pub fn new(type_: BufferType, labels: LabelSource) -> Self {
        Self {
            type_,
            labels,
            owner: None,
            memory: MemoryKind::default(),
            planes: Vec::new(),
            slots: Vec::new(),
            queued: VecDeque::new(),
            done: VecDeque::new(),
        }
    }

    /// Returns the type of the buffers.
    pub fn type_(&self) -> BufferType {
        self.type_
    }

    /// Returns how many buffers there are.
    pub fn count(&self) -> usize {
        self.slots.len()
    }

    /// Returns whether there are no buffers.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Returns the session that owns the buffers.
    pub fn owner(&self) -> Option<u32> {
        self.owner
    }

    /// Refuses a session if another session owns the buffers.
    pub fn check_owner(&self, session: u32) -> Result<(), Refused> {
        match self.owner {
            Some(owner) if owner != session => Err(busy("another session has the buffers")),
            _ => Ok(()),
        }
    }

    /// Returns whose the memory of the buffers is.
    pub fn memory_kind(&self) -> MemoryKind {
        self.memory
    }

    /// Allocates `count` buffers (1 to [`MAX_BUFFERS`]) to `session`, for
    /// frames with the given memory planes. They replace any earlier buffers.
    pub fn allocate(
        &mut self,
        session: u32,
        count: u32,
        planes: impl Iterator<Item = MemoryPlane>,
    ) {
        self.begin(session, planes);
        for _ in 0..count {
            let piece = |plane: &MemoryPlane| PlaneMemory {
                length: plane.sizeimage,
                ..PlaneMemory::default()
            };
            let pieces = self.planes.iter().map(piece).collect();
            self.add(pieces);
        }
    }

    /// Does the same as [`allocate`](Self::allocate) with memory of the card's
    /// own, which `make` makes for so many bytes, and returns how many buffers
    /// there are: fewer than `count` if no more memory can be made.
    ///
    /// # Errors
    /// There is no memory for a single buffer, and the earlier ones are freed.
    pub fn allocate_own(
        &mut self,
        session: u32,
        count: u32,
        planes: impl Iterator<Item = MemoryPlane>,
        make: impl Fn(u32) -> std::io::Result<OwnMemory>,
    ) -> std::io::Result<u32> {
        self.begin(session, planes);
        self.memory = MemoryKind::Mmap;
        let mut offset = 0;
        for made in 0..count {
            let piece = |plane: &MemoryPlane| {
                let own = make(plane.sizeimage)?;
                let m = offset;
                offset += own.size();
                Ok(PlaneMemory {
                    m,
                    length: own.length(),
                    own: Some(Arc::new(own)),
                    ..PlaneMemory::default()
                })
            };
            match self.planes.iter().map(piece).collect() {
                Ok(pieces) => self.add(pieces),
                Err(error) if made == 0 => {
                    self.free();
                    return Err(error);
                }
                Err(error) => {
                    log::debug!("{made} of {count} buffers: {error}");
                    return Ok(made);
                }
            }
        }
        Ok(count)
    }

    fn begin(&mut self, session: u32, planes: impl Iterator<Item = MemoryPlane>) {
        self.free();
        self.owner = Some(session);
        self.planes.extend(planes);
        // Capacity is reserved here, so that queueing never allocates.
        self.queued.reserve(MAX_BUFFERS as usize);
        self.done.reserve(MAX_BUFFERS as usize);
    }

    fn add(&mut self, pieces: Vec<PlaneMemory>) {
        self.slots.push(Slot {
            state: State::Dequeued,
            pieces,
            completion: Completion::default(),
        });
    }

    /// Returns the memory of the card's own that has that offset.
    pub fn own_memory(&self, offset: u32) -> Option<&Arc<OwnMemory>> {
        let pieces = self.slots.iter().flat_map(|slot| &slot.pieces);
        let mut own = pieces.filter_map(|piece| Some((piece.m, piece.own.as_ref()?)));
        own.find_map(|(m, own)| (m == u64::from(offset)).then_some(own))
    }

    /// Returns the bytes that are free once the buffers are: those of memory of
    /// the card's own that the guest has not mapped.
    pub fn own_bytes(&self) -> u64 {
        let pieces = self.slots.iter().flat_map(|slot| &slot.pieces);
        let own = pieces.filter_map(|piece| piece.own.as_ref());
        let unmapped = own.filter(|own| !own.is_mapped());
        unmapped.map(|own| own.size()).sum()
    }

    /// Frees all buffers; no session owns them afterwards.
    pub fn free(&mut self) {
        *self = Self::new(self.type_, self.labels);
    }

    /// Takes all buffers back from the card, and drops their unsent events.
    pub fn cancel(&mut self) {
        self.queued.clear();
        self.done.clear();
        for slot in &mut self.slots {
            slot.state = State::Dequeued;
            slot.release();
        }
    }

    /// Returns the memory planes of a frame.
    pub fn planes(&self) -> &[MemoryPlane] {
        &self.planes
    }

    /// Refuses a buffer that does not exist or is not dequeued.
    pub fn check_dequeued(&self, index: u32) -> Result<(), Refused> {
        match self.slot(index)?.state {
            State::Dequeued => Ok(()),
            State::Queued | State::Done => Err(invalid("the buffer is queued already")),
        }
    }

    /// Queues buffer `index`. The caller has checked that each piece is at
    /// least as large as its memory plane. `segments` lists the segments of the
    /// first piece, then those of the second, and so on. On error the buffer is
    /// not queued.
    pub fn queue(
        &mut self,
        index: u32,
        pieces: impl Iterator<Item = Queued>,
        mut segments: impl ExactSizeIterator<Item = Segment>,
        bus: Bus<'_>,
        label: Label,
    ) -> Result<(), Refused> {
        self.check_dequeued(index)?;
        let slot = &mut self.slots[index as usize];
        for ((piece, plane), given) in slot.pieces.iter_mut().zip(&self.planes).zip(pieces) {
            let data = given.data(self.type_.direction, given.length, plane);
            let result = data.and_then(|data| {
                let needed = data.end;
                let list = &mut piece.list;
                list.resolve(&mut segments, given.length, needed, bus)?;
                Ok(data)
            });
            piece.data = match result {
                Ok(data) => data,
                Err(refused) => {
                    slot.release();
                    return Err(refused);
                }
            };
            piece.m = given.userptr;
            piece.length = given.length;
        }
        self.put(index, label);
        Ok(())
    }

    /// Queues buffer `index`, whose memory is the card's own. On error the buffer
    /// is not queued.
    pub fn queue_own(
        &mut self,
        index: u32,
        pieces: impl Iterator<Item = Queued>,
        label: Label,
    ) -> Result<(), Refused> {
        self.check_dequeued(index)?;
        let slot = &mut self.slots[index as usize];
        for ((piece, plane), given) in slot.pieces.iter_mut().zip(&self.planes).zip(pieces) {
            let Some(own) = &piece.own else { continue };
            match given.data(self.type_.direction, own.length(), plane) {
                Ok(data) => {
                    piece.list.take_own(own, data.end);
                    piece.data = data;
                }
                Err(refused) => {
                    slot.release();
                    return Err(refused);
                }
            }
        }
        self.put(index, label);
        Ok(())
    }

    /// Gives the card a buffer whose memory is ready. The application's label of a
    /// frame to read stays with it, if labels are copied.
    fn put(&mut self, index: u32, label: Label) {
        let label = self.keeps_labels().then_some(label);
        let slot = &mut self.slots[index as usize];
        slot.state = State::Queued;
        slot.completion = Completion {
            label: label.unwrap_or_default(),
            ..Completion::default()
        };
        self.queued.push_back(index);
    }

    /// Returns the application's label of a queued buffer.
    pub fn label(&self, index: u32) -> Label {
        let slot = self.slots.get(index as usize);
        slot.map_or(Label::default(), |slot| slot.completion.label)
    }

    /// Returns how many buffers are queued for a frame.
    pub fn queued(&self) -> usize {
        self.queued.len()
    }

    /// Returns how many buffers are finished and wait for their events to be
    /// sent.
    pub fn done(&self) -> usize {
        self.done.len()
    }

    /// Returns the buffer that the next frame goes to.
    pub fn next(&self) -> Option<u32> {
        self.queued.front().copied()
    }

    /// Returns how much of a frame a queued buffer holds, in bytes from the frame's
    /// first; a plane may hold less than the planes behind it.
    pub fn extent(&self, index: u32) -> u32 {
        let planes = self.memory(index);
        // A plane's length fits in 32 bits, and so does the frame's.
        let ends = planes.map(|(plane, _, data)| plane.offset + data.len() as u32);
        ends.max().unwrap_or(0)
    }

    /// Returns the memory of a queued buffer, one item for each memory plane, and
    /// the bytes of it that hold the frame.
    pub fn memory(
        &self,
        index: u32,
    ) -> impl Iterator<Item = (&MemoryPlane, &ScatterList, Range<u32>)> {
        let pieces = self.slots.get(index as usize).map(|slot| &slot.pieces);
        let pieces = pieces.into_iter().flatten();
        let planes = self.planes.iter().zip(pieces);
        planes.map(|(plane, piece)| (plane, &piece.list, piece.data.clone()))
    }

    /// Takes the buffer of the next frame out of the queue, to be returned to
    /// the driver.
    pub fn complete_next(&mut self, completion: Completion) {
        if let Some(index) = self.queued.pop_front() {
            let keeps = self.keeps_labels();
            Self::complete(&mut self.slots, &mut self.done, index, completion, keeps);
        }
    }

    /// Resolves the memory of all queued buffers again. A buffer that has lost its
    /// memory is returned as `lost` says, which gets its place in the queue.
    pub fn memory_changed(&mut self, bus: Bus<'_>, mut lost: impl FnMut(usize) -> Completion) {
        let keeps = self.keeps_labels();
        let Self {
            slots,
            queued,
            done,
            ..
        } = self;
        let mut places = 0..;
        queued.retain(|&index| {
            let place = places.next().unwrap_or_default();
            let pieces = slots[index as usize].pieces.iter_mut();
            // Every plane is resolved, even after an error, so that none refers
            // to the old memory.
            let result: Result<(), DmaError> = pieces
                .map(|piece| piece.list.resolve_again(bus))
                .fold(Ok(()), Result::and);
            if let Err(error) = &result {
                log::warn!("buffer {index} is given back: its memory went away: {error}");
                Self::complete(slots, done, index, lost(place), keeps);
            }
            result.is_ok()
        });
    }

    /// Returns whether a buffer's label is the one that it was queued with.
    fn keeps_labels(&self) -> bool {
        self.labels == LabelSource::Copy && self.type_.direction == Direction::Output
    }

    fn complete(
        slots: &mut [Slot],
        done: &mut VecDeque<u32>,
        index: u32,
        completion: Completion,
        keeps_label: bool,
    ) {
        let slot = &mut slots[index as usize];
        slot.release();
        let queued = slot.completion.label;
        slot.completion = completion;
        if keeps_label {
            slot.completion.label = queued;
        }
        slot.state = State::Done;
        done.push_back(index);
    }

    /// Returns the stamp of the next finished buffer of which the driver has
    /// not been told.
    pub fn oldest_finished(&self) -> Option<u64> {
        let index = *self.done.front()?;
        Some(self.slots[index as usize].completion.stamp)
    }

    /// Returns the next finished buffer of which the driver has not been told,
    /// with its session.
    pub fn finished(&self) -> Option<(u32, BufferDescription)> {
        let index = *self.done.front()?;
        let mut described = self.describe(index).ok()?;
        // VIRTIO asks for NULL pointers here: other sessions must not see the
        // driver's. The offset of memory of the card's own is no pointer.
        if self.memory == MemoryKind::SharedPages {
            described.buffer.m = 0.into();
            for plane in &mut described.planes {
                plane.m = 0.into();
            }
        }
        Some((self.owner?, described))
    }

    /// Notes that the driver has been told of the buffer that
    /// [`finished`](Self::finished) returned: the driver owns the buffer again.
    pub fn finished_sent(&mut self) {
        if let Some(index) = self.done.pop_front() {
            self.slots[index as usize].state = State::Dequeued;
        }
    }

    /// Returns a buffer as VIDIOC_QUERYBUF describes it, with the same content
    /// as `__fill_v4l2_buffer()` of videobuf2.
    pub fn describe(&self, index: u32) -> Result<BufferDescription, Refused> {
        let slot = self.slot(index)?;
        let Completion {
            bytesused,
            sequence,
            label,
            error,
            last,
            ..
        } = slot.completion;
        let mut flags = self.labels.flag();
        match slot.state {
            State::Dequeued => (),
            State::Queued => flags |= BUF_FLAG_QUEUED,
            State::Done => {
                flags |= BUF_FLAG_DONE;
                flags |= if error { BUF_FLAG_ERROR } else { 0 };
                flags |= if last { BUF_FLAG_LAST } else { 0 };
            }
        }
        let mut own = slot.pieces.iter().filter_map(|piece| piece.own.as_ref());
        if own.any(|own| own.is_mapped()) {
            flags |= BUF_FLAG_MAPPED;
        }
        let mut described = BufferDescription {
            buffer: Buffer {
                index: index.into(),
                type_: self.type_.number().into(),
                flags: flags.into(),
                field: FIELD_NONE.into(),
                sequence: sequence.into(),
                memory: self.memory.memory().into(),
                ..FromZeros::new_zeroed()
            },
            planes: FromZeros::new_zeroed(),
            count: 0,
        };
        label.put(&mut described.buffer);
        let pieces = slot.pieces.iter().zip(&self.planes);
        let reads = self.type_.direction == Direction::Output;
        match (self.type_.api, slot.pieces.first()) {
            (BufferApi::Single, Some(piece)) => {
                let bytesused = if reads { piece.data.end } else { bytesused };
                described.buffer.bytesused = bytesused.into();
                described.buffer.m = piece.m.into();
                described.buffer.length = piece.length.into();
            }
            _ => {
                described.count = slot.pieces.len();
                // The count is at most MAX_MEMORY_PLANES.
                described.buffer.length = (described.count as u32).into();
                for (plane, (piece, memory)) in described.planes.iter_mut().zip(pieces) {
                    let here = bytesused.saturating_sub(memory.offset);
                    plane.bytesused = here.min(memory.sizeimage).into();
                    if reads {
                        plane.bytesused = piece.data.end.into();
                        plane.data_offset = piece.data.start.into();
                    }
                    plane.length = piece.length.into();
                    plane.m = piece.m.into();
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
