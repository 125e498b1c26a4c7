//! The capture device: single-planar capture by ioctls of its own.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, Instant};

use pinhole::agent::cell::{FrameSize, Point};
use pinhole::wire::Ioctl;
use pinhole::wire::buffer::{Buffer, MEMORY_MMAP, MEMORY_USERPTR, RequestBuffers};
use pinhole::wire::control::{CTRL_FLAG_NEXT_CTRL, Control, QueryExtCtrl};
use pinhole::wire::event::{EVENT_FRAME_SYNC, EventSubscription};
use pinhole::wire::format::{BUF_TYPE_VIDEO_CAPTURE, FIELD_NONE, Format, PixFormat};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use zerocopy::little_endian::U32;
use zerocopy::{FromZeros, IntoBytes};

use super::span::{Span, check};

/// VIDIOC_DQBUF, which is no command of a virtio-media device.
const DQBUF: u32 = 0xc058_5611;

/// An open capture device.
#[derive(Debug)]
pub struct Device(File);

impl AsFd for Device {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Device {
    /// Opens the device; DQBUF does not wait.
    pub fn open(path: &str) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(path)?;
        Ok(Self(file))
    }

    /// Makes GREY frames of that size the device's format; gives the bytes of
    /// one.
    pub fn set_format(&self, size: FrameSize) -> io::Result<usize> {
        let mut format = Format::capture(PixFormat {
            width: size.width.into(),
            height: size.height.into(),
            pixelformat: u32::from_le_bytes(*b"GREY").into(),
            field: FIELD_NONE.into(),
            ..FromZeros::new_zeroed()
        });
        self.ioctl(Ioctl::SFmt.request(), &mut format)?;
        Ok(format.pix.sizeimage.get() as usize)
    }

    /// Asks for `count` buffers of that V4L2_MEMORY_*; gives how many there
    /// are now.
    pub fn request_buffers(&self, count: u32, memory: u32) -> io::Result<u32> {
        let mut request = RequestBuffers {
            count: count.into(),
            type_: BUF_TYPE_VIDEO_CAPTURE.into(),
            memory: memory.into(),
            ..FromZeros::new_zeroed()
        };
        self.ioctl(Ioctl::ReqBufs.request(), &mut request)?;
        Ok(request.count.get())
    }

    /// Where in the device a buffer of V4L2_MEMORY_MMAP is to be mapped from.
    pub fn mmap_offset(&self, index: u32) -> io::Result<usize> {
        let mut buffer = buffer(index, MEMORY_MMAP);
        self.ioctl(Ioctl::QueryBuf.request(), &mut buffer)?;
        Ok(buffer.m.get() as u32 as usize)
    }

    /// Queues memory as a buffer.
    pub fn queue(&self, index: u32, memory: Span) -> io::Result<()> {
        let mut buffer = buffer(index, MEMORY_USERPTR);
        buffer.m = (memory.start as u64).into();
        buffer.length = (memory.len as u32).into();
        self.ioctl(Ioctl::QBuf.request(), &mut buffer)
    }

    /// Starts the stream.
    pub fn stream_on(&self) -> io::Result<()> {
        self.ioctl(
            Ioctl::StreamOn.request(),
            &mut U32::new(BUF_TYPE_VIDEO_CAPTURE),
        )
    }

    /// Ends it.
    pub fn stream_off(&self) -> io::Result<()> {
        self.ioctl(
            Ioctl::StreamOff.request(),
            &mut U32::new(BUF_TYPE_VIDEO_CAPTURE),
        )
    }

    /// Takes a finished buffer back; WouldBlock if there is none.
    pub fn dequeue(&self) -> io::Result<Buffer> {
        let mut buffer = buffer(0, MEMORY_USERPTR);
        self.ioctl(DQBUF, &mut buffer)?;
        Ok(buffer)
    }

    /// Waits until a buffer is finished, or the device in error.
    pub fn wait(&self, limit: Duration) -> io::Result<()> {
        self.wait_for(PollFlags::IN, limit)
    }

    /// Waits until the card has written a frame, of which the event is told
    /// even while finished buffers are held back: the card tells of a frame's
    /// beginning when it is done with the frame.
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

    /// Subscribes to the beginnings of frames.
    pub fn subscribe_to_frames(&self) -> io::Result<()> {
        let mut subscription = EventSubscription {
            type_: EVENT_FRAME_SYNC.into(),
            ..FromZeros::new_zeroed()
        };
        self.ioctl(Ioctl::SubscribeEvent.request(), &mut subscription)
    }

    /// Has the card hold back what a [`Point`] wants held back, or lets it go.
    pub fn hold(&self, point: Point, hold: bool) -> io::Result<()> {
        let name = match point {
            Point::BeforeDma => "Hold Frames",
            Point::AfterDma => "Hold Events",
        };
        let mut control = Control {
            id: self.control(name)?.into(),
            value: i32::from(hold).into(),
        };
        self.ioctl(Ioctl::SCtrl.request(), &mut control)
    }

    /// The id of the control of that name.
    fn control(&self, name: &str) -> io::Result<u32> {
        let mut id = 0;
        loop {
            let mut query = QueryExtCtrl {
                id: (id | CTRL_FLAG_NEXT_CTRL).into(),
                ..FromZeros::new_zeroed()
            };
            // EINVAL after the last.
            self.ioctl(Ioctl::QueryExtCtrl.request(), &mut query)?;
            let end = query.name.iter().position(|byte| *byte == 0);
            if &query.name[..end.unwrap_or(query.name.len())] == name.as_bytes() {
                return Ok(query.id.get());
            }
            id = query.id.get();
        }
    }

    fn ioctl<T: IntoBytes>(&self, request: u32, payload: &mut T) -> io::Result<()> {
        let payload: *mut T = payload;
        // SAFETY: the request's size is that of the structure, which is valid
        // for writes and for which any bytes are a value; user pointers in it
        // are the experiment's, and the kernel checks them.
        check(unsafe { libc::ioctl(self.0.as_raw_fd(), request.into(), payload) })
    }
}

fn buffer(index: u32, memory: u32) -> Buffer {
    Buffer {
        index: index.into(),
        type_: BUF_TYPE_VIDEO_CAPTURE.into(),
        memory: memory.into(),
        ..FromZeros::new_zeroed()
    }
}
