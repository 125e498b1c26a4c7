//! The card's device: single-planar buffers of one direction, with direct ioctls. A
//! mem-to-mem device has buffers of both.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, Instant};

use crate::agent::cell::{FrameSize, Point};
use crate::card::{BufferApi, BufferType, Direction};
use crate::wire::Ioctl;
use crate::wire::buffer::{
    BUF_FLAG_DONE, BUF_FLAG_QUEUED, Buffer, MEMORY_MMAP, MEMORY_USERPTR, RequestBuffers,
};
use crate::wire::control::{
    CTRL_FLAG_NEXT_COMPOUND, CTRL_FLAG_NEXT_CTRL, Control, ExtControl, ExtControls, QueryExtCtrl,
};
use crate::wire::event::{EVENT_FRAME_SYNC, EventSubscription};
use crate::wire::format::{FIELD_NONE, Format, Fract, PixFormat};
use crate::wire::parm::StreamParm;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

use super::span::{Span, check};

// These ioctls (linux/videodev2.h) are not commands of a virtio-media device.
const EXPBUF: u32 = 0xc040_5610;
const DQBUF: u32 = 0xc058_5611;
const DQEVENT: u32 = 0x8088_5659;
const CREATE_BUFS: u32 = 0xc100_565c;

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
pub enum Memory<'a> {
    /// Memory of the process.
    User(Span),
    /// Memory of the driver; a frame in it has that many bytes.
    Driver(usize),
    /// A dma-buf of another driver, with its length in bytes.
    Dmabuf(BorrowedFd<'a>, usize),
}

/// An open device, as one of its queues has it.
#[derive(Debug)]
pub struct Device {
    file: File,
    direction: Direction,
}

impl AsFd for Device {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Device {
    /// Opens the device, for buffers of that direction, non-blocking, so that DQBUF
    /// does not wait.
    pub fn open(path: &str, direction: Direction) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(path)?;
        Ok(Self { file, direction })
    }

    /// Returns the same open file for buffers of that direction, which a mem-to-mem
    /// device has besides. The file is closed when all that have it are dropped.
    pub fn queue_of(&self, direction: Direction) -> io::Result<Self> {
        Ok(Self {
            file: self.file.try_clone()?,
            direction,
        })
    }

    /// Returns the V4L2_BUF_TYPE_* of the device's buffers.
    fn buffer_type(&self) -> u32 {
        let type_ = BufferType {
            direction: self.direction,
            api: BufferApi::Single,
        };
        type_.number()
    }

    /// Sets the device's format to GREY frames of that size; returns the size
    /// of a frame in bytes.
    pub fn set_format(&self, size: FrameSize) -> io::Result<usize> {
        let grey = u32::from_le_bytes(*b"GREY");
        let format = self.set_pixels(grey, size.width, size.height)?;
        Ok(format.sizeimage.get() as usize)
    }

    /// Sets the device's format to frames of that format and size; returns the
    /// one that the device has then.
    pub fn set_pixels(&self, pixelformat: u32, width: u32, height: u32) -> io::Result<PixFormat> {
        let mut format = Format::of(
            self.buffer_type(),
            PixFormat {
                width: width.into(),
                height: height.into(),
                pixelformat: pixelformat.into(),
                field: FIELD_NONE.into(),
                ..FromZeros::new_zeroed()
            },
        );
        self.ioctl(Ioctl::SFmt.request(), &mut format)?;
        Ok(format.pix)
    }

    /// Sets the device's rate in frames per second, or the nearest one that it
    /// has.
    pub fn set_rate(&self, rate: u32) -> io::Result<()> {
        let interval = Fract {
            numerator: 1.into(),
            denominator: rate.into(),
        };
        let mut parameters = StreamParm::of(self.buffer_type(), interval);
        self.ioctl(Ioctl::SParm.request(), &mut parameters)
    }

    /// Returns the device's format.
    fn format(&self) -> io::Result<Format> {
        let mut format = Format::of(self.buffer_type(), FromZeros::new_zeroed());
        self.ioctl(Ioctl::GFmt.request(), &mut format)?;
        Ok(format)
    }

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
            format: self.format()?,
            ..FromZeros::new_zeroed()
        }))
    }

    /// Creates the buffer; returns how many were created.
    pub fn create_buffer(&self, wanted: &mut BufferToCreate) -> io::Result<u32> {
        wanted.0.count = 1.into();
        self.ioctl(CREATE_BUFS, &mut wanted.0)?;
        Ok(wanted.0.count.get())
    }

    /// Exports a buffer of V4L2_MEMORY_MMAP as a dma-buf.
    pub fn export(&self, index: u32) -> io::Result<OwnedFd> {
        let mut export = ExportBuffer {
            type_: self.buffer_type().into(),
            index: index.into(),
            flags: (libc::O_CLOEXEC as u32).into(),
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

    /// Returns whether the device owns a buffer, finished or not.
    pub fn has_queued(&self, index: u32, memory: u32) -> io::Result<bool> {
        let flags = self.query(index, memory)?.flags.get();
        Ok(flags & (BUF_FLAG_QUEUED | BUF_FLAG_DONE) != 0)
    }

    fn query(&self, index: u32, memory: u32) -> io::Result<Buffer> {
        let mut buffer = self.buffer(index, memory);
        self.ioctl(Ioctl::QueryBuf.request(), &mut buffer)?;
        Ok(buffer)
    }

    /// Queues memory as a buffer; all of it is a frame, if the card reads.
    pub fn queue(&self, index: u32, memory: Memory<'_>) -> io::Result<()> {
        let mut buffer = self.buffer(index, memory.number());
        if self.direction == Direction::Output {
            buffer.bytesused = (memory.len() as u32).into();
        }
        match memory {
            Memory::User(span) => {
                buffer.m = (span.start as u64).into();
                buffer.length = (span.len as u32).into();
            }
            Memory::Driver(_) => {}
            Memory::Dmabuf(fd, length) => {
                buffer.m = (fd.as_raw_fd() as u64).into();
                buffer.length = (length as u32).into();
            }
        }
        self.ioctl(Ioctl::QBuf.request(), &mut buffer)
    }

    fn buffer(&self, index: u32, memory: u32) -> Buffer {
        Buffer {
            index: index.into(),
            type_: self.buffer_type().into(),
            memory: memory.into(),
            ..FromZeros::new_zeroed()
        }
    }

    /// Starts the stream.
    pub fn stream_on(&self) -> io::Result<()> {
        self.ioctl(Ioctl::StreamOn.request(), &mut U32::new(self.buffer_type()))
    }

    /// Stops the stream.
    pub fn stream_off(&self) -> io::Result<()> {
        self.ioctl(
            Ioctl::StreamOff.request(),
            &mut U32::new(self.buffer_type()),
        )
    }

    /// Dequeues a finished buffer of that V4L2_MEMORY_*; WouldBlock if there is
    /// none.
    pub fn dequeue(&self, memory: u32) -> io::Result<Buffer> {
        let mut buffer = self.buffer(0, memory);
        self.ioctl(DQBUF, &mut buffer)?;
        Ok(buffer)
    }

    /// Waits until a buffer is finished, or the device reports an error.
    pub fn wait(&self, limit: Duration) -> io::Result<()> {
        match self.direction {
            Direction::Capture => self.wait_for(PollFlags::IN, limit),
            Direction::Output => self.wait_for_done(limit),
        }
    }

    /// Waits as [`wait`](Self::wait). Poll(2) does not do for an output: it is
    /// ready as well while one of its buffers is not queued, and videobuf2 makes one
    /// to spare.
    fn wait_for_done(&self, limit: Duration) -> io::Result<()> {
        /// Time between two looks.
        const LOOK: Duration = Duration::from_millis(1);
        let deadline = Instant::now() + limit;
        while !self.is_any_done()? {
            if Instant::now() >= deadline {
                return Err(io::Error::from_raw_os_error(libc::ETIMEDOUT));
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Returns whether a buffer is finished and not dequeued yet.
    fn is_any_done(&self) -> io::Result<bool> {
        for index in 0.. {
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

    /// Waits until the card has written a frame, or read it. This works even while the card
    /// holds finished buffers back, because the card sends the event of a
    /// frame's start when it has finished the frame.
    pub fn wait_for_event(&self, limit: Duration) -> io::Result<()> {
        self.wait_for(PollFlags::PRI, limit)
    }

    fn wait_for(&self, what: PollFlags, limit: Duration) -> io::Result<()> {
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let left = Timespec {
                tv_sec: left.as_secs() as i64,
                tv_nsec: left.subsec_nanos().into(),
            };
            let mut fds = [PollFd::new(self, what)];
            match poll(&mut fds, Some(&left)) {
                Ok(0) => return Err(io::Error::from_raw_os_error(libc::ETIMEDOUT)),
                Ok(_) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Subscribes to the events of frames' starts.
    pub fn subscribe_to_frames(&self) -> io::Result<()> {
        self.subscribe(EVENT_FRAME_SYNC)
    }

    /// Subscribes to events of the type `event` (V4L2_EVENT_*), which needs no
    /// id.
    pub fn subscribe(&self, event: u32) -> io::Result<()> {
        let mut subscription = EventSubscription {
            type_: event.into(),
            ..FromZeros::new_zeroed()
        };
        self.ioctl(Ioctl::SubscribeEvent.request(), &mut subscription)
    }

    /// Dequeues the event of a frame's start.
    pub fn take_event(&self) -> io::Result<()> {
        /// Size of `struct v4l2_event` in bytes.
        const SIZE: usize = 136;
        let mut event = [0u8; SIZE];
        self.ioctl(DQEVENT, &mut event)?;
        match event[..4] == EVENT_FRAME_SYNC.to_le_bytes() {
            true => Ok(()),
            false => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// Makes the card hold back what the [`Point`] requires, or lets the card
    /// continue.
    pub fn hold(&self, point: Point, hold: bool) -> io::Result<()> {
        let name = match point {
            Point::BeforeDma => "Hold Frames",
            Point::AfterDma => "Hold Events",
            // A point that is a call needs nothing held back.
            _ => return Ok(()),
        };
        self.set_control(self.control(name)?, i32::from(hold))
    }

    /// Makes a mem-to-mem card turn the frames of this open file upside down.
    pub fn turn_frames(&self) -> io::Result<()> {
        self.set_control(self.control("Vertical Flip")?, 1)
    }

    /// Returns the id of the control with that name.
    pub fn control(&self, name: &str) -> io::Result<u32> {
        let controls = self.controls()?;
        let found = controls.iter().find(|control| {
            let end = control.name.iter().position(|byte| *byte == 0);
            &control.name[..end.unwrap_or(control.name.len())] == name.as_bytes()
        });
        let id = found.map(|control| control.id.get());
        id.ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))
    }

    /// Returns all controls.
    pub fn controls(&self) -> io::Result<Vec<QueryExtCtrl>> {
        let mut controls: Vec<QueryExtCtrl> = Vec::new();
        loop {
            let last = controls.last().map_or(0, |control| control.id.get());
            let mut query = QueryExtCtrl {
                id: (last | CTRL_FLAG_NEXT_CTRL | CTRL_FLAG_NEXT_COMPOUND).into(),
                ..FromZeros::new_zeroed()
            };
            match self.ioctl(Ioctl::QueryExtCtrl.request(), &mut query) {
                // The query fails after the last control.
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => return Ok(controls),
                other => other?,
            }
            controls.push(query);
        }
    }

    /// Sets a numeric control.
    pub fn set_control(&self, id: u32, value: i32) -> io::Result<()> {
        let mut control = Control {
            id: id.into(),
            value: value.into(),
        };
        self.ioctl(Ioctl::SCtrl.request(), &mut control)
    }

    /// Returns the value of a numeric control.
    pub fn get_control(&self, id: u32) -> io::Result<i32> {
        let mut control = Control {
            id: id.into(),
            value: 0.into(),
        };
        self.ioctl(Ioctl::GCtrl.request(), &mut control)?;
        Ok(control.value.get())
    }

    /// Sets a string control; `text` ends in a zero byte.
    pub fn set_text(&self, id: u32, text: &[u8]) -> io::Result<()> {
        // The kernel does not write to the text.
        self.text(Ioctl::SExtCtrls, id, text.as_ptr().cast_mut(), text.len())
    }

    /// Reads a string control into `text`, which has room for the longest
    /// value.
    pub fn get_text(&self, id: u32, text: &mut [u8]) -> io::Result<()> {
        self.text(Ioctl::GExtCtrls, id, text.as_mut_ptr(), text.len())
    }

    fn text(&self, ioctl: Ioctl, id: u32, text: *mut u8, size: usize) -> io::Result<()> {
        let mut control = ExtControl {
            id: id.into(),
            size: (size as u32).into(),
            reserved2: 0.into(),
            value: (text as i64).into(),
        };
        let mut controls = ExtControls {
            count: 1.into(),
            controls: (&raw mut control as u64).into(),
            ..FromZeros::new_zeroed()
        };
        self.ioctl(ioctl.request(), &mut controls)
    }

    /// Reads a frame into `frame`, which has room for it, with read(2).
    pub fn read(&self, frame: Span) -> io::Result<usize> {
        // SAFETY: the range belongs to the cell, and Rust holds no reference
        // into it.
        let count = unsafe { libc::read(self.file.as_raw_fd(), frame.start as *mut _, frame.len) };
        usize::try_from(count).map_err(|_| io::Error::last_os_error())
    }

    /// Closes the device, and returns the result of close(2).
    pub fn close(self) -> io::Result<()> {
        // SAFETY: this value is the only owner of the descriptor, and gives it
        // up.
        check(unsafe { libc::close(self.file.into_raw_fd()) })
    }

    fn ioctl<T: IntoBytes>(&self, request: u32, payload: &mut T) -> io::Result<()> {
        let payload: *mut T = payload;
        // SAFETY: the request's size is that of the structure, which is valid
        // for writes and has no invalid bit patterns; user pointers in it
        // belong to the cell, and the kernel checks them.
        check(unsafe { libc::ioctl(self.file.as_raw_fd(), request.into(), payload) })
    }
}

/// The request to create a buffer with the device's format.
pub struct BufferToCreate(CreateBuffers);

impl Memory<'_> {
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
