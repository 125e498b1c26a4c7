//! The ioctls of buffers and streams, with the same checks as videobuf2.

use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, FromZeros};

use super::Card;
use super::buffers::{BufferDescription, Buffers, MAX_BUFFERS};
use super::clock::Now;
use super::injection::{Fault, Injection};
use super::kind::BufferApi;
use super::label::Label;
use super::queued::{MemoryKind, Queued};
use super::refused::{Refused, busy, invalid};
use crate::dma::{Bus, Segment, own};
use crate::source::MemoryPlane;
use crate::wire::buffer::{
    BUF_CAP_SUPPORTS_MMAP, BUF_CAP_SUPPORTS_ORPHANED_BUFS, BUF_CAP_SUPPORTS_USERPTR,
    BUF_FLAG_REQUEST_FD, Buffer, Plane, RequestBuffers,
};
use crate::wire::event::MAX_PLANES;
use crate::wire::protocol::SgEntry;
use crate::wire::request::Truncated;
use crate::wire::{Errno, Reply};

impl Card {
    /// VIDIOC_REQBUFS.
    pub(super) fn request_buffers(
        &mut self,
        session: u32,
        asked: &RequestBuffers,
    ) -> Result<RequestBuffers, Refused> {
        self.buffer_type().check(asked.type_.get())?;
        let memory = self.supported(asked.memory)?;
        self.buffers.check_owner(session)?;
        let mut count = asked.count.get().min(MAX_BUFFERS);
        if count == 0 {
            self.end_stream();
            self.buffers.free();
            // A source that dictates its format may have waited for the buffers
            // to be freed.
            self.obey_source();
        } else if self.stream.is_some() {
            return Err(busy("buffers cannot be replaced while streaming"));
        } else if memory == MemoryKind::Mmap {
            count = self.allocate_own(session, count)?;
        } else {
            let planes = self.layout.memory_planes();
            self.buffers.allocate(session, count, planes);
        }
        let mut capabilities = BUF_CAP_SUPPORTS_USERPTR;
        if self.region.is_open() {
            capabilities |= BUF_CAP_SUPPORTS_MMAP | BUF_CAP_SUPPORTS_ORPHANED_BUFS;
        }
        Ok(RequestBuffers {
            count: count.into(),
            type_: asked.type_,
            memory: asked.memory,
            capabilities: capabilities.into(),
            ..FromZeros::new_zeroed()
        })
    }

    /// Allocates buffers of the card's own memory, as many of `count` as there
    /// is memory for.
    fn allocate_own(&mut self, session: u32, count: u32) -> Result<u32, Refused> {
        const FULL: Refused = Refused::Because(
            Errno::ENOMEM,
            "the buffers that exist, and those that are still mapped, leave no memory for one",
        );
        let planes = self.layout.memory_planes();
        let needed: u64 = planes.map(|plane| own::size_of(plane.sizeimage)).sum();
        if needed > self.pool.left() + self.buffers.own_bytes() {
            return Err(FULL);
        }
        let planes = self.layout.memory_planes();
        let pool = &self.pool;
        self.buffers
            .allocate_own(session, count, planes, |bytes| pool.make(bytes))
            .map_err(|error| {
                log::debug!("no memory for a buffer can be made: {error}");
                FULL
            })
    }

    /// Returns the kind of memory that V4L2_MEMORY_* names.
    fn supported(&self, memory: U32) -> Result<MemoryKind, Refused> {
        match MemoryKind::of(memory.get()) {
            Some(MemoryKind::SharedPages) => Ok(MemoryKind::SharedPages),
            Some(MemoryKind::Mmap) if self.region.is_open() => Ok(MemoryKind::Mmap),
            Some(MemoryKind::Mmap) => Err(invalid(
                "the front end has no shared memory region for MMAP buffers",
            )),
            None => Err(invalid("the card takes no such memory")),
        }
    }

    /// VIDIOC_STREAMON.
    pub(super) fn stream_on(
        &mut self,
        now: Now,
        session: u32,
        buffer_type: U32,
    ) -> Result<(), Refused> {
        self.buffer_type().check(buffer_type.get())?;
        self.buffers.check_owner(session)?;
        if self.buffers.is_empty() {
            return Err(invalid("there are no buffers to stream into"));
        }
        if self.stream.is_none() {
            self.injection.fail(Fault::FailStreamOn)?;
            self.begin_stream(now, session);
        }
        Ok(())
    }

    /// VIDIOC_STREAMOFF.
    pub(super) fn stream_off(&mut self, session: u32, buffer_type: U32) -> Result<(), Refused> {
        self.buffer_type().check(buffer_type.get())?;
        self.buffers.check_owner(session)?;
        self.end_stream();
        // STREAMOFF takes back the queued buffers even if no stream is on.
        self.buffers.cancel();
        Ok(())
    }
}

/// VIDIOC_QUERYBUF, with as many planes as the driver has room for.
pub fn query(buffers: &Buffers, payload: &[u8], reply: &mut Reply) -> Result<(), Refused> {
    let (asked, rest) = Buffer::ref_from_prefix(payload).map_err(|_| Truncated)?;
    buffers.type_().check(asked.type_.get())?;
    let described = buffers.describe(asked.index.get())?;
    let (planes, _) = given_planes(buffers, asked, rest)?;
    answer(asked, described, planes.len(), reply)
}

/// VIDIOC_QBUF, which `injection` may have fail.
pub fn queue(
    buffers: &mut Buffers,
    session: u32,
    payload: &[u8],
    injection: &mut Injection,
    bus: Bus<'_>,
    reply: &mut Reply,
) -> Result<(), Refused> {
    let (asked, rest) = Buffer::ref_from_prefix(payload).map_err(|_| Truncated)?;
    buffers.type_().check(asked.type_.get())?;
    buffers.check_owner(session)?;
    let index = asked.index.get();
    buffers.check_dequeued(index)?;
    if asked.memory.get() != buffers.memory_kind().memory() {
        return Err(invalid("the buffers have memory of another kind"));
    }
    if asked.flags.get() & BUF_FLAG_REQUEST_FD != 0 {
        return Err(invalid("the card has no requests"));
    }
    let label = Label::of(asked);
    let (planes, rest) = given_planes(buffers, asked, rest)?;
    if !reply.has_room_for(size_of::<Buffer>() + size_of_val(planes)) {
        return Err(Refused::NoRoom);
    }
    let memory = buffers.planes();
    if buffers.type_().api == BufferApi::Multi && planes.len() < memory.len() {
        return Err(invalid("the buffer has too few planes"));
    }
    // A single-planar buffer is one piece.
    let single = Queued {
        userptr: asked.m.get(),
        length: asked.length.get(),
        bytesused: asked.bytesused.get(),
        data_offset: 0,
    };
    let single = std::iter::repeat_n(single, usize::from(planes.is_empty()));
    let pieces = single.chain(planes.iter().map(|plane| Queued {
        userptr: plane.m.get(),
        length: plane.length.get(),
        bytesused: plane.bytesused.get(),
        data_offset: plane.data_offset.get(),
    }));
    if buffers.memory_kind() == MemoryKind::Mmap {
        let given = planes.len();
        injection.fail(Fault::RefuseQbuf)?;
        buffers.queue_own(index, pieces, label)?;
        return answer(asked, buffers.describe(index)?, given, reply);
    }
    let small = |(piece, plane): (Queued, &MemoryPlane)| piece.length < plane.sizeimage;
    if pieces.clone().zip(memory).any(small) {
        return Err(invalid("the buffer is smaller than a frame"));
    }
    injection.fail(Fault::RefuseQbuf)?;
    // The list of entries ends where the chain does; a partial entry at the
    // end is ignored.
    let count = rest.len() / size_of::<SgEntry>();
    let (entries, _) =
        <[SgEntry]>::ref_from_prefix_with_elems(rest, count).map_err(|_| Truncated)?;
    let segments = entries.iter().map(segment);
    let given = planes.len();
    buffers.queue(index, pieces, segments, bus, label)?;
    answer(asked, buffers.describe(index)?, given, reply)
}

/// Returns the planes of a multi-planar buffer, and the bytes that follow
/// them; a single-planar buffer has no planes.
fn given_planes<'p>(
    buffers: &Buffers,
    asked: &Buffer,
    rest: &'p [u8],
) -> Result<(&'p [Plane], &'p [u8]), Refused> {
    let count = match buffers.type_().api {
        BufferApi::Single => return Ok((&[], rest)),
        BufferApi::Multi => asked.length.get() as usize,
    };
    if count == 0 || count > MAX_PLANES {
        return Err(invalid("a buffer has one to eight planes"));
    }
    <[Plane]>::ref_from_prefix_with_elems(rest, count).map_err(|_| Truncated.into())
}

/// Answers with a buffer and as many of its planes as the driver gave.
fn answer(
    asked: &Buffer,
    described: BufferDescription,
    given: usize,
    reply: &mut Reply,
) -> Result<(), Refused> {
    let planes = described.planes();
    let planes = &planes[..given.min(planes.len())];
    if !reply.has_room_for(size_of::<Buffer>() + size_of_val(planes)) {
        return Err(Refused::NoRoom);
    }
    let mut buffer = described.buffer;
    if given > 0 {
        // The driver gets its own pointer to the planes back, and at most eight
        // planes.
        buffer.m = asked.m;
        buffer.length = (planes.len() as u32).into();
    }
    reply.succeed_with(&buffer, planes);
    Ok(())
}

/// Converts a scatter entry into a segment for the DMA engine.
pub(crate) fn segment(entry: &SgEntry) -> Segment {
    Segment {
        start: entry.start.get(),
        len: entry.len.get(),
    }
}
