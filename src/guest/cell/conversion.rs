//! What a mem-to-mem device makes of a frame in memory of its driver's own: a job of one
//! open file, whose buffers are V4L2_MEMORY_MMAP.

use std::borrow::Cow;
use std::io;

use thiserror::Error;

use crate::agent::cell::Subject;
use crate::agent::cell::picture::Picture;
use crate::card::{BufferType, Direction};
use crate::wire::buffer::{BUF_FLAG_ERROR, MEMORY_MMAP};

use super::device::{Device, Memory};
use super::memory::layout::pattern;
use super::patience::{self, FRAME_LIMIT};
use super::span::{self, MemoryAccess, Span};

/// What the memory holds into which a cell has the frame made.
const FILLING: u8 = 0;

/// Why nothing was made of a frame.
#[derive(Debug, Error)]
pub enum NotMade {
    /// A call failed.
    #[error("{0}: {1}")]
    Call(&'static str, io::Error),
    /// The device said that it could not do it.
    #[error("what it made came back in error")]
    InError,
    /// What is set is not what was found.
    #[error("the device makes frames of {0} bytes now, not of {1}")]
    Format(u32, u32),
}

/// How a device is asked what it makes of a frame.
#[derive(Debug, Clone)]
pub struct Conversion {
    device: String,
    subject: Subject,
}

/// One of the two queues, and the mappings of its buffers.
struct Queue {
    device: Device,
    mappings: Vec<Span>,
}

impl Conversion {
    /// Returns how the mem-to-mem device at that path is asked.
    pub fn new(device: &str, subject: &Subject) -> Self {
        Self {
            device: device.to_owned(),
            subject: subject.clone(),
        }
    }

    /// Returns a frame of random bytes, another one each time.
    pub fn sample(&self) -> Vec<u8> {
        pattern(self.subject.sizeimage as usize)
    }

    /// Returns what the device makes of a frame, as a buffer would hold it.
    ///
    /// # Errors
    ///
    /// [`NotMade`] if it makes nothing of it.
    pub fn picture(&self, frame: &[u8]) -> Result<Picture, NotMade> {
        let made = self.make(frame, FILLING)?;
        let sizeimage = self.subject.of(Direction::Capture).sizeimage;
        Ok(Picture::of(&made, sizeimage as usize))
    }

    /// Has the device make a frame of another, in memory that holds `filling` before;
    /// returns the bytes that it says it has written.
    ///
    /// # Errors
    ///
    /// [`NotMade`] if it makes nothing of it.
    pub fn make(&self, frame: &[u8], filling: u8) -> Result<Vec<u8>, NotMade> {
        let of = |call| move |error| NotMade::Call(call, error);
        let type_ = BufferType {
            direction: Direction::Output,
            api: self.subject.api,
        };
        let read = Device::open_for(&self.device, type_).map_err(of("open"))?;
        let written = read.queue_of(Direction::Capture).map_err(of("dup"))?;
        let mut queues = [read, written].map(|device| Queue {
            device,
            mappings: Vec::new(),
        });
        let made = self.run(&mut queues, frame, filling);
        // The driver frees no buffer that is mapped.
        for queue in &mut queues {
            let mut mappings = queue.mappings.drain(..);
            mappings.try_for_each(span::unmap).map_err(of("munmap"))?;
        }
        made
    }

    /// Returns how the two queues are used.
    fn uses(&self) -> [&Subject; 2] {
        [Direction::Output, Direction::Capture].map(|direction| self.subject.of(direction))
    }

    fn run(&self, queues: &mut [Queue; 2], frame: &[u8], filling: u8) -> Result<Vec<u8>, NotMade> {
        let of = |call| move |error| NotMade::Call(call, error);
        for (queue, subject) in queues.iter().zip(self.uses()) {
            let set = queue.device.set_subject(subject);
            let sizeimage = set.map_err(of("VIDIOC_S_FMT"))?.sizeimage.get();
            if sizeimage != subject.sizeimage {
                return Err(NotMade::Format(sizeimage, subject.sizeimage));
            }
        }
        for (queue, subject) in queues.iter_mut().zip(self.uses()) {
            let made = queue.device.request_buffers(subject.buffers, MEMORY_MMAP);
            for index in 0..made.map_err(of("VIDIOC_REQBUFS"))? {
                let mapping = queue.device.map(index).map_err(of("mmap"))?;
                queue.mappings.push(mapping);
            }
        }
        let access = MemoryAccess::new().map_err(of("memory"))?;
        let [read, written] = &*queues;
        for (queue, is_read) in [(read, true), (written, false)] {
            for (index, mapping) in (0..).zip(&queue.mappings) {
                let bytes = match is_read {
                    true => Cow::from(&frame[..frame.len().min(mapping.len)]),
                    false => vec![filling; mapping.len].into(),
                };
                access.write(mapping.start, &bytes).map_err(of("memory"))?;
                let queued = queue.device.queue(index, Memory::Driver(bytes.len()));
                queued.map_err(of("VIDIOC_QBUF"))?;
            }
        }
        for queue in [read, written] {
            queue.device.stream_on().map_err(of("VIDIOC_STREAMON"))?;
        }
        let made = take(&written.device, &written.mappings, &access);
        for queue in [read, written] {
            queue.device.stream_off().map_err(of("VIDIOC_STREAMOFF"))?;
        }
        made
    }
}

/// Takes the first frame that was made.
fn take(device: &Device, mappings: &[Span], access: &MemoryAccess) -> Result<Vec<u8>, NotMade> {
    let of = |call| move |error| NotMade::Call(call, error);
    let limit = patience::of(FRAME_LIMIT);
    device.wait(limit).map_err(of("poll for a frame"))?;
    let made = device.dequeue(MEMORY_MMAP).map_err(of("VIDIOC_DQBUF"))?;
    let nothing = || io::Error::from_raw_os_error(libc::ERANGE);
    let mapping = mappings.get(made.index.get() as usize).ok_or_else(nothing);
    let mapping = mapping.map_err(of("VIDIOC_DQBUF"))?;
    let used = (made.bytesused.get() as usize).min(mapping.len);
    match made.flags.get() & BUF_FLAG_ERROR {
        0 => access.read(mapping.part(0, used)).map_err(of("memory")),
        _ => Err(NotMade::InError),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::card::BufferApi;

    #[test]
    fn what_cannot_be_asked_says_which_call_failed() {
        let subject = Subject {
            api: BufferApi::Single,
            pixelformat: u32::from_le_bytes(*b"GREY"),
            width: 64,
            height: 64,
            bytesperline: 64,
            line: Some(64),
            sizeimage: 4096,
            buffers: 1,
            made: None,
        };
        let made = |path: &str| Conversion::new(path, &subject).picture(&[1; 4096]);
        let why = made("/no/such/device").unwrap_err().to_string();
        assert!(why.starts_with("open: No such file"), "{why}");
        let why = made("/dev/null").unwrap_err().to_string();
        assert!(why.starts_with("VIDIOC_S_FMT: "), "{why}");
    }
}
