//! The ioctls, as strict as videobuf2 and a V4L2 driver would be.

use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::buffers::{MAX_BUFFERS, Queued};
use super::clock::{Interval, Now};
use super::refused::{Refused, busy, invalid};
use super::{Card, format};
use crate::dma::{Bus, Segment};
use crate::wire::buffer::{
    BUF_CAP_SUPPORTS_USERPTR, BUF_FLAG_REQUEST_FD, Buffer, MEMORY_USERPTR, RequestBuffers,
};
use crate::wire::capture::StreamParm;
use crate::wire::format::Format;
use crate::wire::protocol::SgEntry;
use crate::wire::request::Truncated;
use crate::wire::{Errno, Ioctl, Reply};

impl Card {
    /// Executes an ioctl of a session that may give commands.
    pub(super) fn ioctl(
        &mut self,
        now: Now,
        session: u32,
        code: u32,
        payload: &[u8],
        bus: Bus<'_>,
        reply: &mut Reply,
    ) -> Result<(), Refused> {
        let ioctl = Ioctl::from_code(code).ok_or(Refused::Because(
            Errno::ENOTTY,
            "the card has no such ioctl",
        ))?;
        if payload.len() < ioctl.bytes_in() {
            return Err(Truncated.into());
        }
        if !reply.has_room_for(ioctl.bytes_out()) {
            return Err(Refused::NoRoom);
        }
        match ioctl {
            Ioctl::EnumFmt => reply.succeed(&format::describe(read(payload)?)?),
            Ioctl::EnumFrameSizes => reply.succeed(&format::frame_sizes(read(payload)?)?),
            Ioctl::EnumFrameIntervals => {
                reply.succeed(&format::frame_intervals(read(payload)?, self.shortest)?);
            }
            Ioctl::EnumInput => reply.succeed(&format::input(read(payload)?)?),
            Ioctl::GFmt => reply.succeed(&self.get_format(read(payload)?)?),
            Ioctl::TryFmt => reply.succeed(&try_format(read(payload)?)?),
            Ioctl::SFmt => reply.succeed(&self.set_format(read(payload)?)?),
            Ioctl::GParm => reply.succeed(&self.get_parm(read(payload)?)?),
            Ioctl::SParm => reply.succeed(&self.set_parm(read(payload)?)?),
            Ioctl::GInput => reply.succeed(&U32::ZERO),
            Ioctl::SInput => {
                let input: &U32 = read(payload)?;
                format::check_input(input.get())?;
                reply.succeed(input);
            }
            Ioctl::ReqBufs => reply.succeed(&self.request_buffers(session, read(payload)?)?),
            Ioctl::QueryBuf => reply.succeed(&self.query_buffer(read(payload)?)?),
            Ioctl::QBuf => reply.succeed(&self.queue_buffer(session, payload, bus)?),
            Ioctl::StreamOn => {
                self.stream_on(now, session, *read(payload)?)?;
                reply.succeed(&[0u8; 0]);
            }
            Ioctl::StreamOff => {
                self.stream_off(session, *read(payload)?)?;
                reply.succeed(&[0u8; 0]);
            }
        }
        Ok(())
    }

    fn get_format(&self, asked: &Format) -> Result<Format, Refused> {
        format::check_type(asked.type_.get())?;
        Ok(Format::capture(format::pix_format(&self.layout)))
    }

    fn set_format(&mut self, asked: &Format) -> Result<Format, Refused> {
        let answer = try_format(asked)?;
        if !self.buffers.is_empty() {
            return Err(busy("the format is fixed while there are buffers"));
        }
        self.layout = format::nearest(&asked.pix);
        Ok(answer)
    }

    fn get_parm(&self, asked: &StreamParm) -> Result<StreamParm, Refused> {
        format::check_type(asked.type_.get())?;
        Ok(StreamParm::capture(format::fraction(self.interval)))
    }

    fn set_parm(&mut self, asked: &StreamParm) -> Result<StreamParm, Refused> {
        format::check_type(asked.type_.get())?;
        if self.stream.is_some() {
            return Err(busy("the frame interval is fixed while streaming"));
        }
        self.interval = Interval::nearest(
            asked.timeperframe.numerator.get(),
            asked.timeperframe.denominator.get(),
            self.shortest,
        );
        self.get_parm(asked)
    }

    fn request_buffers(
        &mut self,
        session: u32,
        asked: &RequestBuffers,
    ) -> Result<RequestBuffers, Refused> {
        format::check_type(asked.type_.get())?;
        check_memory(asked.memory)?;
        self.buffers.check_owner(session)?;
        let count = asked.count.get().min(MAX_BUFFERS);
        if count == 0 {
            self.end_stream();
            self.buffers.free();
        } else if self.stream.is_some() {
            return Err(busy("buffers cannot be replaced while streaming"));
        } else {
            self.buffers.allocate(session, count, self.layout.sizeimage);
        }
        Ok(RequestBuffers {
            count: count.into(),
            type_: asked.type_,
            memory: asked.memory,
            capabilities: BUF_CAP_SUPPORTS_USERPTR.into(),
            ..FromZeros::new_zeroed()
        })
    }

    fn query_buffer(&self, asked: &Buffer) -> Result<Buffer, Refused> {
        format::check_type(asked.type_.get())?;
        self.buffers.describe(asked.index.get())
    }

    fn queue_buffer(
        &mut self,
        session: u32,
        payload: &[u8],
        bus: Bus<'_>,
    ) -> Result<Buffer, Refused> {
        let (asked, rest) = Buffer::ref_from_prefix(payload).map_err(|_| Truncated)?;
        format::check_type(asked.type_.get())?;
        self.buffers.check_owner(session)?;
        let index = asked.index.get();
        self.buffers.check_dequeued(index)?;
        check_memory(asked.memory)?;
        if asked.flags.get() & BUF_FLAG_REQUEST_FD != 0 {
            return Err(invalid("the card has no requests"));
        }
        let length = asked.length.get();
        if length < self.layout.sizeimage {
            return Err(invalid("the buffer is smaller than a frame"));
        }
        // The list ends where the chain does; what is left of an entry is not
        // one.
        let count = rest.len() / size_of::<SgEntry>();
        let (entries, _) =
            <[SgEntry]>::ref_from_prefix_with_elems(rest, count).map_err(|_| Truncated)?;
        let segments = entries.iter().map(|entry| Segment {
            start: entry.start.get(),
            len: entry.len.get(),
        });
        let buffer = Queued {
            index,
            userptr: asked.m.get(),
            length,
        };
        self.buffers
            .queue(buffer, segments, self.layout.sizeimage, bus)?;
        self.buffers.describe(index)
    }

    fn stream_on(&mut self, now: Now, session: u32, buffer_type: U32) -> Result<(), Refused> {
        format::check_type(buffer_type.get())?;
        self.buffers.check_owner(session)?;
        if self.buffers.is_empty() {
            return Err(invalid("there are no buffers to stream into"));
        }
        if self.stream.is_none() {
            self.begin_stream(now, session);
        }
        Ok(())
    }

    fn stream_off(&mut self, session: u32, buffer_type: U32) -> Result<(), Refused> {
        format::check_type(buffer_type.get())?;
        self.buffers.check_owner(session)?;
        self.end_stream();
        // Not streaming, too, STREAMOFF takes back what is queued.
        self.buffers.cancel();
        Ok(())
    }
}

fn try_format(asked: &Format) -> Result<Format, Refused> {
    format::check_type(asked.type_.get())?;
    let layout = format::nearest(&asked.pix);
    Ok(Format::capture(format::pix_format(&layout)))
}

fn check_memory(memory: U32) -> Result<(), Refused> {
    if memory == MEMORY_USERPTR {
        Ok(())
    } else {
        Err(invalid(
            "the card takes SHARED_PAGES (USERPTR) buffers only",
        ))
    }
}

/// The payload as the structure it is to be.
fn read<T>(payload: &[u8]) -> Result<&T, Refused>
where
    T: FromBytes + IntoBytes + Immutable + KnownLayout + Unaligned,
{
    T::ref_from_prefix(payload)
        .map(|(value, _)| value)
        .map_err(|_| Truncated.into())
}
