//! The life of a stream: a sequence of steps. Each call that a cell can be
//! about is a constant, and the lives are lists of them.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use crate::agent::cell::evidence::Evidence;
use crate::agent::cell::{FrameSize, Point};
use crate::card::Direction;
use crate::source::pattern::integrity::{LINE, Line};
use crate::wire::buffer::{Buffer, MEMORY_MMAP, MEMORY_USERPTR};
use rustix::fs::{OFlags, fcntl_setfl};
use zerocopy::FromZeros;

use super::abilities::Abilities;
use super::driver::{Driver, Order};
use crate::guest::cell::contents::{Blocks, digests, frame};
use crate::guest::cell::device::{BufferToCreate, Device, MEMORY_DMABUF, Memory};
use crate::guest::cell::evidence_writer::EvidenceWriter;
use crate::guest::cell::patience::{self, FRAME_LIMIT};
use crate::guest::cell::span::{self, MemoryAccess, Span};

/// The context that all lives of a cell share.
pub struct LifeContext<'a> {
    /// Writer of the frames' evidence.
    pub writer: &'a EvidenceWriter,
    pub access: &'a MemoryAccess,
    /// Path of the device's node.
    pub node: &'a str,
    pub size: FrameSize,
    /// Abilities of the device.
    pub abilities: Abilities,
    /// Driver of the device.
    pub driver: Driver,
    /// A dma-buf and its mapping, if the cell is about one.
    pub dmabuf: Option<(OwnedFd, Span)>,
}

/// The state of a life.
pub struct Life<'a> {
    context: &'a LifeContext<'a>,
    /// The process's own memory, for user pointers and read(2).
    own: Span,
    /// Value of the controls: 0 and 1 in turn, so that each life sets them to a
    /// different value than the one before.
    value: u8,
    device: Option<Device>,
    order: Option<Order>,
    to_create: Option<BufferToCreate>,
    /// V4L2_MEMORY_* of the buffers.
    memory: u32,
    offset: usize,
    mapping: Option<Span>,
    exported: Option<OwnedFd>,
    /// Descriptors of the process before it requests another.
    descriptors: Vec<i32>,
    /// What the card is to read from `own`, if it reads.
    own_sent: Blocks,
    /// What it is to read from the buffer that is queued next.
    sent: Blocks,
    taken: Option<Buffer>,
}

/// The call that a step makes.
type Call = fn(&mut Life<'_>) -> io::Result<()>;

/// A step of a life.
#[derive(Clone, Copy)]
pub struct Step {
    /// Name of the call, as in the manual.
    pub name: &'static str,
    /// The point that is about this step.
    pub point: Option<Point>,
    /// Makes the call, and only that: it allocates no memory.
    pub make: Call,
    /// The reaction of an application when the call was refused: it checks the
    /// result, and makes the call again if necessary.
    pub again: Call,
}

/// Returns a step that cells are about.
const fn call(name: &'static str, point: Point, make: Call) -> Step {
    Step {
        name,
        point: Some(point),
        make,
        again: make,
    }
}

/// Returns a step that no cell is about.
const fn step(name: &'static str, make: Call) -> Step {
    Step {
        name,
        point: None,
        make,
        again: make,
    }
}

const OPEN: Step = call("open", Point::Open, |life| {
    let context = life.context;
    life.device = Some(Device::open(context.node, context.abilities.direction())?);
    Ok(())
});
const SUBSCRIBE_EVENT: Step =
    call(
        "VIDIOC_SUBSCRIBE_EVENT",
        Point::SubscribeEvent,
        |life| match life.context.abilities.tells_of_frames() {
            true => life.device()?.subscribe_to_frames(),
            false => Ok(()),
        },
    );
const S_CTRL: Step = call("VIDIOC_S_CTRL", Point::SCtrl, |life| {
    match life.context.abilities.number() {
        Some(control) => {
            let value = control.minimum.get() as i32 + i32::from(life.value);
            life.device()?.set_control(control.id.get(), value)
        }
        None => Ok(()),
    }
});
const S_EXT_CTRLS: Step = call("VIDIOC_S_EXT_CTRLS", Point::SExtCtrls, |life| {
    match life.context.abilities.text() {
        Some(control) => {
            let text = life.text();
            life.device()?.set_text(control.id.get(), &text)
        }
        None => Ok(()),
    }
});
const LOOK_AT_CONTROLS: Step = step("a look at the controls", |life| life.look_at_controls());
const S_FMT: Step = call("VIDIOC_S_FMT", Point::SFmt, |life| {
    let size = life.context.size;
    match life.device()?.set_format(size)? == size.bytes() {
        true => Ok(()),
        false => Err(io::ErrorKind::InvalidData.into()),
    }
});
const REQBUFS: Step = call("VIDIOC_REQBUFS", Point::Reqbufs, |life| {
    life.request(MEMORY_USERPTR)
});
const REQBUFS_MMAP: Step = call("VIDIOC_REQBUFS", Point::ReqbufsMmap, |life| {
    life.request(MEMORY_MMAP)
});
const REQBUFS_DMABUF: Step = step("VIDIOC_REQBUFS", |life| life.request(MEMORY_DMABUF));
const PREPARE_CREATE_BUFS: Step = step("VIDIOC_G_FMT", |life| {
    life.to_create = Some(life.device()?.buffer_to_create()?);
    Ok(())
});
const CREATE_BUFS: Step = call("VIDIOC_CREATE_BUFS", Point::CreateBufs, |life| {
    let device = life.device.as_ref().ok_or(io::ErrorKind::NotFound)?;
    let wanted = life.to_create.as_mut().ok_or(io::ErrorKind::NotFound)?;
    got_any(device.create_buffer(wanted)?)
});
const PREPARE_MMAP: Step = step("VIDIOC_QUERYBUF", |life| {
    life.offset = life.device()?.mmap_offset(0)?;
    Ok(())
});
const MMAP: Step = call("mmap", Point::Mmap, |life| {
    let access = libc::PROT_READ | libc::PROT_WRITE;
    let (len, offset) = (life.context.size.bytes(), life.offset);
    let fd = life.device()?.as_fd();
    life.mapping = Some(span::map_file(len, access, libc::MAP_SHARED, fd, offset)?);
    Ok(())
});
const MUNMAP: Step = step("munmap", |life| {
    life.exported = None;
    life.mapping.take().map_or(Ok(()), span::unmap)
});
const PREPARE_EXPBUF: Step = step("a look at the descriptors", |life| {
    life.descriptors = descriptors()?;
    Ok(())
});
const EXPBUF: Step = Step {
    again: |life| {
        // If its number could not be copied to the process, the descriptor
        // exists but the process does not know it.
        close_others(&life.descriptors)?;
        life.export()
    },
    ..call("VIDIOC_EXPBUF", Point::Expbuf, |life| life.export())
};
const NOTE_SENT: Step = step("a look at the buffer", |life| life.note_sent());
const QBUF: Step = queueing(Point::Qbuf);
const QBUF_MMAP: Step = queueing(Point::QbufMmap);
const QBUF_DMABUF: Step = queueing(Point::QbufDmabuf);
const STREAMON: Step = call("VIDIOC_STREAMON", Point::Streamon, |life| {
    life.device()?.stream_on()
});
const POLL: Step = step("poll", |life| life.poll());
const DQBUF: Step = Step {
    again: |life| {
        if life.dequeue().is_ok() {
            return Ok(());
        }
        // If the result could not be copied to the process, the buffer belongs
        // to the process again, but it does not know about the frame.
        if life.has_queued()? {
            return Err(io::Error::other("the buffer is neither given back nor due"));
        }
        life.queue()?;
        life.poll()?;
        life.dequeue()
    },
    ..call("VIDIOC_DQBUF", Point::Dqbuf, |life| life.dequeue())
};
const EVENT: Step = step("VIDIOC_DQEVENT", |life| {
    if !life.context.abilities.tells_of_frames() {
        return Ok(());
    }
    life.device()?.wait_for_event(patience::of(FRAME_LIMIT))?;
    life.device()?.take_event()
});
const LOOK: Step = step("a look at the frame", |life| {
    let taken = life.taken.ok_or(io::ErrorKind::NotFound)?;
    life.tell(life.mapped()?, &taken);
    Ok(())
});
const STREAMOFF: Step = call("VIDIOC_STREAMOFF", Point::Streamoff, |life| {
    life.device()?.stream_off()
});
const PREPARE_READ: Step = step("fcntl", |life| {
    // In blocking mode one call creates the buffers, starts the stream and
    // waits for the frame.
    Ok(fcntl_setfl(life.device()?, OFlags::empty())?)
});
const READ: Step = call("read", Point::Read, |life| {
    let own = life.own;
    match life.device()?.read(own)? {
        count if count == own.len => Ok(()),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
});
const LOOK_AT_WHAT_WAS_READ: Step = step("a look at the frame", |life| {
    // The call does not return which frame it read; the frame's content tells.
    let first = life.context.access.read(life.own.part(0, LINE))?;
    let line = first.first_chunk().and_then(Line::of);
    let taken = Buffer {
        sequence: line.unwrap_or_default().sequence.into(),
        bytesused: (life.own.len as u32).into(),
        ..FromZeros::new_zeroed()
    };
    life.tell(life.own, &taken);
    Ok(())
});
const CLOSE: Step = Step {
    // The device is closed in any case.
    again: |_| Ok(()),
    ..call("close", Point::Close, |life| match life.device.take() {
        Some(device) => device.close(),
        None => Ok(()),
    })
};

const PREPARE_UNBIND: Step = step("open the driver's unbind", |life| {
    let driver = &life.context.driver;
    life.order = match driver.is_bound() {
        true => Some(driver.unbinder()?),
        // The driver was refused at the last bind.
        false => None,
    };
    Ok(())
});
const UNBIND: Step = Step {
    again: |life| match life.context.driver.is_bound() {
        true => life.give_order(),
        false => Ok(()),
    },
    ..call("unbind", Point::Unbind, |life| life.give_order())
};
const PREPARE_BIND: Step = step("open the driver's bind", |life| {
    life.order = Some(life.context.driver.binder()?);
    Ok(())
});
const BIND: Step = Step {
    again: |life| match life.context.driver.is_bound() {
        true => Ok(()),
        false => life.give_order(),
    },
    ..call("bind", Point::Bind, |life| life.give_order())
};
const RMMOD: Step = step("delete_module", |life| {
    let driver = &life.context.driver;
    driver.bind_when_loaded(false)?;
    match driver.is_loaded() {
        true => driver.unload(),
        false => Ok(()),
    }
});
const INSMOD: Step = call("finit_module", Point::Insmod, |life| {
    life.context.driver.load()
});
const LOADED: Step = step("drivers_autoprobe", |life| {
    life.context.driver.bind_when_loaded(true)
});
const LOOK_AT_DEVICE: Step = step("a look at the device", |life| {
    life.context.abilities.are_those_of(life.context.node)
});

/// Returns the step that queues the buffer, for any memory.
const fn queueing(point: Point) -> Step {
    Step {
        again: |life| match life.has_queued()? {
            true => Ok(()),
            false => life.queue(),
        },
        ..call("VIDIOC_QBUF", point, |life| life.queue())
    }
}

/// A frame in the process's own memory.
const USER: &[Step] = &[
    OPEN,
    SUBSCRIBE_EVENT,
    S_CTRL,
    S_EXT_CTRLS,
    LOOK_AT_CONTROLS,
    S_FMT,
    REQBUFS,
    NOTE_SENT,
    QBUF,
    STREAMON,
    POLL,
    DQBUF,
    EVENT,
    LOOK,
    STREAMOFF,
    CLOSE,
];

/// Capture that ends before there is a frame.
const CUT_SHORT: &[Step] = &[OPEN, S_FMT, REQBUFS, QBUF, STREAMON, CLOSE];

/// Capture into the driver's memory.
const DRIVERS: &[Step] = &[
    OPEN,
    S_FMT,
    REQBUFS_MMAP,
    PREPARE_CREATE_BUFS,
    CREATE_BUFS,
    PREPARE_MMAP,
    MMAP,
    PREPARE_EXPBUF,
    EXPBUF,
    NOTE_SENT,
    QBUF_MMAP,
    STREAMON,
    POLL,
    DQBUF,
    LOOK,
    STREAMOFF,
    MUNMAP,
    CLOSE,
];

/// Capture into another driver's memory.
const ANOTHERS: &[Step] = &[
    OPEN,
    S_FMT,
    REQBUFS_DMABUF,
    NOTE_SENT,
    QBUF_DMABUF,
    STREAMON,
    POLL,
    DQBUF,
    LOOK,
    STREAMOFF,
    CLOSE,
];

/// Capture of a frame with read(2).
const READING: &[Step] = &[
    OPEN,
    S_FMT,
    PREPARE_READ,
    READ,
    LOOK_AT_WHAT_WAS_READ,
    CLOSE,
];

/// Unbinding and binding the driver.
const BINDING: &[Step] = &[PREPARE_UNBIND, UNBIND, PREPARE_BIND, BIND, LOOK_AT_DEVICE];

/// Unloading and loading the driver.
const LOADING: &[Step] = &[
    PREPARE_UNBIND,
    UNBIND,
    RMMOD,
    INSMOD,
    LOADED,
    PREPARE_BIND,
    BIND,
    LOOK_AT_DEVICE,
];

/// Returns the life that contains a point. Every life ends with a capture into
/// the process's own memory.
pub fn with(point: Point) -> Vec<Step> {
    let before: &[Step] = match point {
        Point::ReqbufsMmap | Point::CreateBufs | Point::Mmap | Point::Expbuf | Point::QbufMmap => {
            DRIVERS
        }
        Point::QbufDmabuf => ANOTHERS,
        Point::Read => READING,
        Point::Close => CUT_SHORT,
        Point::Unbind | Point::Bind => BINDING,
        Point::Insmod => LOADING,
        _ => &[],
    };
    [before, USER].concat()
}

/// Returns whether a life may end when a call was refused: without a driver
/// there is nothing to capture with, and binding a driver again takes longer
/// than the refused call.
pub fn may_end_with(point: Point) -> bool {
    matches!(point, Point::Bind | Point::Insmod)
}

/// Returns a capture into the process's own memory.
pub fn plain() -> Vec<Step> {
    USER.to_vec()
}

impl<'a> Life<'a> {
    /// Returns a life that is about to begin; `own_sent` is what a card that reads
    /// is to read from `own`, and `turn` counts the lives.
    pub fn new(context: &'a LifeContext<'a>, own: Span, own_sent: Blocks, turn: usize) -> Self {
        Self {
            context,
            own,
            value: (turn % 2) as u8,
            device: None,
            order: None,
            to_create: None,
            memory: 0,
            offset: 0,
            mapping: None,
            exported: None,
            descriptors: Vec::new(),
            own_sent,
            sent: Blocks::new(),
            taken: None,
        }
    }

    fn device(&self) -> io::Result<&Device> {
        self.device.as_ref().ok_or(io::ErrorKind::NotFound.into())
    }

    fn dmabuf(&self) -> io::Result<(&'a OwnedFd, Span)> {
        let dmabuf = self.context.dmabuf.as_ref();
        let (fd, span) = dmabuf.ok_or(io::ErrorKind::NotFound)?;
        Ok((fd, *span))
    }

    fn memory(&self) -> io::Result<Memory> {
        Ok(match self.memory {
            MEMORY_USERPTR => Memory::User(self.own),
            MEMORY_DMABUF => {
                let (fd, span) = self.dmabuf()?;
                Memory::Dmabuf(fd.as_raw_fd(), span.len)
            }
            _ => Memory::Driver(self.context.size.bytes()),
        })
    }

    /// Returns where the process has the buffer mapped.
    fn mapped(&self) -> io::Result<Span> {
        match self.memory()? {
            Memory::User(span) => Ok(span),
            Memory::Driver(_) => self.mapping.ok_or(io::ErrorKind::NotFound.into()),
            Memory::Dmabuf(..) => Ok(self.dmabuf()?.1),
        }
    }

    /// Notes what a card that reads is to read from the buffer. The process's own
    /// memory must not be read for it: that would change some of its kinds.
    fn note_sent(&mut self) -> io::Result<()> {
        self.sent = match (self.context.abilities.direction(), self.memory) {
            (Direction::Capture, _) => Blocks::new(),
            (Direction::Output, MEMORY_USERPTR) => self.own_sent.clone(),
            (Direction::Output, _) => digests(self.context.access, self.mapped()?),
        };
        Ok(())
    }

    /// Requests two buffers; one is enough.
    fn request(&mut self, memory: u32) -> io::Result<()> {
        self.memory = memory;
        got_any(self.device()?.request_buffers(2, memory)?)
    }

    fn queue(&mut self) -> io::Result<()> {
        self.device()?.queue(0, self.memory()?)
    }

    fn has_queued(&self) -> io::Result<bool> {
        self.device()?.has_queued(0, self.memory)
    }

    fn poll(&mut self) -> io::Result<()> {
        self.device()?.wait(patience::of(FRAME_LIMIT))
    }

    fn dequeue(&mut self) -> io::Result<()> {
        self.taken = Some(self.device()?.dequeue(self.memory)?);
        Ok(())
    }

    fn export(&mut self) -> io::Result<()> {
        self.exported = Some(self.device()?.export(0, libc::O_RDONLY)?);
        Ok(())
    }

    fn give_order(&mut self) -> io::Result<()> {
        self.order.as_mut().map_or(Ok(()), Order::give)
    }

    /// Returns the value of the string control, with its zero byte.
    fn text(&self) -> [u8; 2] {
        [b'0' + self.value, 0]
    }

    /// Checks that the controls have the values they were set to.
    fn look_at_controls(&mut self) -> io::Result<()> {
        let abilities = &self.context.abilities;
        let mut good = true;
        if let Some(control) = abilities.number() {
            let value = self.device()?.get_control(control.id.get())?;
            good &= i64::from(value) == control.minimum.get() + i64::from(self.value);
        }
        if let Some(control) = abilities.text() {
            let mut text = vec![0; control.elem_size.get() as usize];
            self.device()?.get_text(control.id.get(), &mut text)?;
            good &= text.starts_with(&self.text());
        }
        match good {
            true => Ok(()),
            false => Err(io::Error::other("they are not what they were set to")),
        }
    }

    fn tell(&self, span: Span, taken: &Buffer) {
        let seen = frame(self.context.access, span, taken, &self.sent);
        self.context.writer.write(&Evidence::Frame(seen));
    }
}

impl Drop for Life<'_> {
    fn drop(&mut self) {
        // The device cannot be closed while the memory is mapped.
        let _ = self.mapping.take().map(span::unmap);
    }
}

fn got_any(count: u32) -> io::Result<()> {
    match count {
        0 => Err(io::Error::other("no buffer was made")),
        _ => Ok(()),
    }
}

/// Returns the descriptors of this process.
fn descriptors() -> io::Result<Vec<i32>> {
    let entries = std::fs::read_dir("/proc/self/fd")?;
    let names = entries.map(|entry| entry.map(|entry| entry.file_name()));
    let numbers = names.map(|name| Ok(name?.to_str().and_then(|name| name.parse().ok())));
    let mut numbers: Vec<i32> = numbers
        .filter_map(Result::transpose)
        .collect::<io::Result<_>>()?;
    // The descriptor with which the list was read is closed by now.
    // SAFETY: the call only queries a flag.
    numbers.retain(|number| unsafe { libc::fcntl(*number, libc::F_GETFD) } != -1);
    Ok(numbers)
}

/// Closes the descriptors that are not in `known`.
fn close_others(known: &[i32]) -> io::Result<()> {
    let mut others = descriptors()?;
    others.retain(|number| !known.contains(number));
    for number in others {
        // SAFETY: the descriptor was created by a call of this process's only
        // thread, and the call did not return it to anyone.
        drop(unsafe { OwnedFd::from_raw_fd(number) });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_is_in_the_life_that_is_for_it() {
        for point in Point::CALLS {
            let steps = with(*point);
            assert!(
                steps.iter().any(|step| step.point == Some(*point)),
                "{point}"
            );
            // The last steps are the next capture.
            let last: Vec<_> = steps[steps.len() - USER.len()..]
                .iter()
                .map(|s| s.name)
                .collect();
            assert_eq!(last.first(), Some(&"open"));
            assert_eq!(last.last(), Some(&"close"));
        }
        assert!(plain().iter().all(|step| step.point != Some(Point::Bind)));
    }

    #[test]
    fn descriptors_are_those_that_are_open() {
        let file = std::fs::File::open("/dev/null").unwrap();
        let before = descriptors().unwrap();
        assert!(before.contains(&file.as_raw_fd()));
    }
}
