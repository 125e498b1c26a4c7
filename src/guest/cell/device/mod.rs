//! A device, with direct ioctls: the queue of one direction's buffers, of one of V4L2's
//! two APIs. A mem-to-mem device has buffers of both directions.
//!
//! | file | what is in it |
//! |---|---|
//! | [`buffers`] | buffers: making, queueing and dequeueing them |
//! | [`formats`] | formats and frame rates |
//! | [`controls`] | controls |
//! | [`capability`] | what a device says of itself |

mod buffers;
mod capability;
mod controls;
mod formats;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::card::{BufferApi, BufferType, Direction};
use crate::wire::Ioctl;
use crate::wire::event::{EVENT_FRAME_SYNC, EventSubscription};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use zerocopy::little_endian::U32;
use zerocopy::{FromZeros, IntoBytes};

pub use self::buffers::{BufferToCreate, MEMORY_DMABUF, Memory};
pub use self::controls::name_of;
use super::patience;
use super::span::{Span, check};

/// VIDIOC_DQEVENT (linux/videodev2.h), which is no command of a virtio-media device.
const DQEVENT: u32 = 0x8088_5659;

/// Returns the directory of sysfs that is about a video device, given the path of its
/// node, or of a link to it.
pub fn sysfs_of(node: &str) -> PathBuf {
    let node = Path::new(node);
    let real = node.canonicalize().unwrap_or_else(|_| node.to_owned());
    Path::new("/sys/class/video4linux").join(real.file_name().unwrap_or_default())
}

/// An open device, as one of its queues has it.
#[derive(Debug)]
pub struct Device {
    file: File,
    type_: BufferType,
}

impl AsFd for Device {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Device {
    /// Opens a device, for single-planar buffers of that direction, as
    /// [`open_for`](Self::open_for) does.
    pub fn open(path: &str, direction: Direction) -> io::Result<Self> {
        let api = BufferApi::Single;
        Self::open_for(path, BufferType { direction, api })
    }

    /// Opens a device, for buffers of that type, non-blocking, so that DQBUF does not
    /// wait.
    pub fn open_for(path: &str, type_: BufferType) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(path)?;
        Ok(Self { file, type_ })
    }

    /// Returns the same open file for buffers of that direction, which a mem-to-mem
    /// device has besides. The file is closed when all that have it are dropped.
    pub fn queue_of(&self, direction: Direction) -> io::Result<Self> {
        Ok(Self {
            file: self.file.try_clone()?,
            type_: BufferType {
                direction,
                ..self.type_
            },
        })
    }

    /// Returns the same open file for buffers of that type.
    pub fn for_buffers_of(self, type_: BufferType) -> Self {
        Self { type_, ..self }
    }

    /// Returns the V4L2_BUF_TYPE_* of the device's buffers.
    fn buffer_type(&self) -> u32 {
        self.type_.number()
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

    /// Waits until a buffer is finished, or the device reports an error.
    pub fn wait(&self, limit: Duration) -> io::Result<()> {
        match self.type_.direction {
            Direction::Capture => self.wait_for(PollFlags::IN, limit),
            Direction::Output => self.wait_for_done(limit),
        }
    }

    /// Waits as [`wait`](Self::wait). Poll(2) does not do for an output: it is
    /// ready as well while one of its buffers is not queued, and videobuf2 makes one
    /// to spare.
    fn wait_for_done(&self, limit: Duration) -> io::Result<()> {
        patience::wait_until(limit, || self.is_any_done())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_to_a_device_is_about_the_device() {
        let dir = tempfile::tempdir().unwrap();
        let node = dir.path().join("video7");
        std::fs::write(&node, "").unwrap();
        let link = dir.path().join("usb-a_camera-index0");
        std::os::unix::fs::symlink("video7", &link).unwrap();
        let of = |path: &Path| sysfs_of(path.to_str().unwrap());
        let expected = Path::new("/sys/class/video4linux/video7");
        assert_eq!([of(&node), of(&link)], [expected; 2]);
        assert_eq!(of(Path::new("/no/such/video7")), expected);
    }
}
