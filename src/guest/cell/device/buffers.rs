//! The buffers of a device, of both APIs: each has one plane of memory. A
//! multi-planar buffer is told as a single-planar one.

use std::io;
use std::os::fd::{AsFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use crate::card::{BufferApi, Direction};
use crate::wire::Ioctl;
use crate::wire::buffer::{
    BUF_FLAG_DONE, BUF_FLAG_QUEUED, Buffer, MEMORY_MMAP, MEMORY_USERPTR, Plane, RequestBuffers,
};
use crate::wire::format::Format;
use libc::{MAP_SHARED, PROT_READ, PROT_WRITE};
use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

use super::Device;
use crate::guest::cell::span::{self, Span};

// These ioctls (linux/videodev2.h) are not commands of a virtio-media device.
const EXPBUF: u32 = 0xc040_5610;
const DQBUF: u32 = 0xc058_5611;
const CREATE_BUFS: u32 = 0xc100_565c;

/// Most buffers that a device is asked about: a driver may never come to an end.
const BUFFERS_MAX: u32 = 1024;

/// V4L2_MEMORY_DMABUF.
pub const MEMORY_DMABUF: u32 = 4;

/// `struct v4l2_create_buffers`.
#[derive(FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct CreateBuffers {
    index: U32,
    count: U32,
    memory: U32,
    padding: U32,
    format: Format,
    reserved: [U32; 8],
}

/// `struct v4l2_exportbuffer`.
#[derive(FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct ExportBuffer {
    type_: U32,
    index: U32,
    plane: U32,
    flags: U32,
    fd: U32,
    reserved: [U32; 11],
}

/// The memory of a buffer to queue.
#[derive(Debug, Clone, Copy)]
pub enum Memory {
    /// Memory of the process.
    User(Span),
    /// Memory of the driver; a frame in it has that many bytes.
    Driver(usize),
    /// The number of the file of a dma-buf, as an application gives it, and the length
    /// of the buffer in bytes.
    Dmabuf(RawFd, usize),
}

impl Device {
    /// Requests `count` buffers of that V4L2_MEMORY_*; returns how many there
    /// are now.
    pub fn request_buffers(&self, count: u32, memory: u32) -> io::Result<u32> {
        let mut request = RequestBuffers {
            count: count.into(),
            type_: self.buffer_type().into(),
            memory: memory.into(),
            ..FromZeros::new_zeroed()
        };
        self.ioctl(Ioctl::ReqBufs.request(), &mut request)?;
        Ok(request.count.get())
    }

    /// Prepares the creation of one more buffer of V4L2_MEMORY_MMAP. This is a
    /// separate call, so that [`create_buffer`](Self::create_buffer) makes only
    /// the ioctl.
    pub fn buffer_to_create(&self) -> io::Result<BufferToCreate> {
        Ok(BufferToCreate(CreateBuffers {
            count: 1.into(),
            memory: MEMORY_MMAP.into(),
            format: self.raw_format()?,
            ..FromZeros::new_zeroed()
        }))
    }

    /// Creates the buffer; returns how many were created.
    pub fn create_buffer(&self, wanted: &mut BufferToCreate) -> io::Result<u32> {
        wanted.0.count = 1.into();
        self.ioctl(CREATE_BUFS, &mut wanted.0)?;
        Ok(wanted.0.count.get())
    }

    /// Exports a buffer of V4L2_MEMORY_MMAP as a dma-buf, whose file allows `access`
    /// (O_RDONLY or O_RDWR).
    pub fn export(&self, index: u32, access: i32) -> io::Result<OwnedFd> {
        let mut export = ExportBuffer {
            type_: self.buffer_type().into(),
            index: index.into(),
            flags: ((access | libc::O_CLOEXEC) as u32).into(),
            ..FromZeros::new_zeroed()
        };
        self.ioctl(EXPBUF, &mut export)?;
        // SAFETY: the ioctl returned a new descriptor, which has no other
        // owner.
        Ok(unsafe { OwnedFd::from_raw_fd(export.fd.get() as i32) })
    }

    /// Returns the offset in the device from which a buffer of V4L2_MEMORY_MMAP
    /// is mapped.
    pub fn mmap_offset(&self, index: u32) -> io::Result<usize> {
        let buffer = self.query(index, MEMORY_MMAP)?;
        Ok(buffer.m.get() as u32 as usize)
    }

    /// Returns the length of a buffer of V4L2_MEMORY_MMAP in bytes.
    pub fn mmap_length(&self, index: u32) -> io::Result<usize> {
        let buffer = self.query(index, MEMORY_MMAP)?;
        Ok(buffer.length.get() as usize)
    }

    /// Maps a buffer of V4L2_MEMORY_MMAP.
    pub fn map(&self, index: u32) -> io::Result<Span> {
        let (length, offset) = (self.mmap_length(index)?, self.mmap_offset(index)?);
        let rights = PROT_READ | PROT_WRITE;
        span::map_file(length, rights, MAP_SHARED, self.as_fd(), offset)
    }

    /// Returns the V4L2_BUF_FLAG_* of a buffer.
    pub fn flags(&self, index: u32, memory: u32) -> io::Result<u32> {
        Ok(self.query(index, memory)?.flags.get())
    }

    /// Returns whether the device owns a buffer, finished or not.
    pub fn has_queued(&self, index: u32, memory: u32) -> io::Result<bool> {
        Ok(self.flags(index, memory)? & (BUF_FLAG_QUEUED | BUF_FLAG_DONE) != 0)
    }

    fn query(&self, index: u32, memory: u32) -> io::Result<Buffer> {
        let mut buffer = self.buffer(index, memory);
        self.exchange(Ioctl::QueryBuf.request(), &mut buffer)?;
        Ok(buffer)
    }

    /// Queues memory as a buffer; all of it is a frame, if the card reads.
    pub fn queue(&self, index: u32, memory: Memory) -> io::Result<()> {
        self.queue_at(index, memory, Duration::ZERO)
    }

    /// Queues memory as [`queue`](Self::queue) does. A frame that the card reads is given
    /// that time, which a mem-to-mem device may copy.
    pub fn queue_at(&self, index: u32, memory: Memory, time: Duration) -> io::Result<()> {
        let mut buffer = self.buffer(index, memory.number());
        if self.type_.direction == Direction::Output {
            buffer.bytesused = (memory.len() as u32).into();
            buffer.timestamp_sec = (time.as_secs() as i64).into();
            buffer.timestamp_usec = i64::from(time.subsec_micros()).into();
        }
        match memory {
            Memory::User(span) => {
                buffer.m = (span.start as u64).into();
                buffer.length = (span.len as u32).into();
            }
            Memory::Driver(_) => {}
            Memory::Dmabuf(fd, length) => {
                buffer.m = (fd as u64).into();
                buffer.length = (length as u32).into();
            }
        }
        self.exchange(Ioctl::QBuf.request(), &mut buffer)?;
        Ok(())
    }

    /// Makes an ioctl on a buffer. If the API is the multi-planar one, the kernel gets
    /// and gives what is of the memory in the buffer's only plane. Returns at which
    /// byte of it the frame begins (v4l2_plane::data_offset).
    fn exchange(&self, request: u32, buffer: &mut Buffer) -> io::Result<u32> {
        if self.type_.api == BufferApi::Single {
            self.ioctl(request, buffer)?;
            return Ok(0);
        }
        let mut plane = Plane {
            bytesused: buffer.bytesused,
            length: buffer.length,
            m: buffer.m,
            ..FromZeros::new_zeroed()
        };
        buffer.m = (&raw mut plane as u64).into();
        buffer.length = 1.into();
        let made = self.ioctl(request, buffer);
        buffer.bytesused = plane.bytesused;
        buffer.length = plane.length;
        buffer.m = plane.m;
        made.map(|()| plane.data_offset.get())
    }

    fn buffer(&self, index: u32, memory: u32) -> Buffer {
        Buffer {
            index: index.into(),
            type_: self.buffer_type().into(),
            memory: memory.into(),
            ..FromZeros::new_zeroed()
        }
    }

    /// Dequeues a finished buffer of that V4L2_MEMORY_*; WouldBlock if there is
    /// none.
    pub fn dequeue(&self, memory: u32) -> io::Result<Buffer> {
        Ok(self.dequeue_whole(memory)?.0)
    }

    /// Dequeues a finished buffer as [`dequeue`](Self::dequeue) does; returns it, and at
    /// which byte of its memory the frame begins.
    pub fn dequeue_whole(&self, memory: u32) -> io::Result<(Buffer, u32)> {
        let mut buffer = self.buffer(0, memory);
        let begins = self.exchange(DQBUF, &mut buffer)?;
        Ok((buffer, begins))
    }

    /// Returns whether a buffer is finished and not dequeued yet.
    pub(super) fn is_any_done(&self) -> io::Result<bool> {
        for index in 0..BUFFERS_MAX {
            match self.query(index, 0) {
                Ok(buffer) if buffer.flags.get() & BUF_FLAG_DONE != 0 => return Ok(true),
                Ok(_) => {}
                // There is no buffer of that index.
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }
}

/// The request to create a buffer with the device's format.
pub struct BufferToCreate(CreateBuffers);

impl Memory {
    /// Returns the V4L2_MEMORY_* of the memory.
    pub fn number(self) -> u32 {
        match self {
            Self::User(_) => MEMORY_USERPTR,
            Self::Driver(_) => MEMORY_MMAP,
            Self::Dmabuf(..) => MEMORY_DMABUF,
        }
    }

    /// Returns the length of a frame in it in bytes.
    fn len(self) -> usize {
        match self {
            Self::User(span) => span.len,
            Self::Driver(length) | Self::Dmabuf(_, length) => length,
        }
    }
}
