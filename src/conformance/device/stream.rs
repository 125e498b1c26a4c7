//! Buffers of either API and either memory, for the tests.

use std::time::Instant;

use crate::scripted::driver::memory::{HIGH, PAGE, Segment};
use crate::scripted::driver::v4l2::{
    self, Buffer, Fields, G_FMT, MEMORY_USERPTR, OUTPUT, OUTPUT_MPLANE, QBUF, QUERYBUF, REQBUFS,
    RESPONSE, S_FMT, STREAMOFF, STREAMON, With, payload,
};
use crate::scripted::driver::{Driver, Event, Fault, Reply};

use super::lab::Lab;
use super::layout::Layout;
use super::stop::Stop;
use super::survey::SPARE;

/// What a driver gives as pointer: nothing that a device could read sense into.
pub const POINTER: u64 = 0xdead_beef_0bad_cafe;

/// Most buffers that are made use of.
const MOST: u32 = 8;

/// Bytes of a v4l2_buffer.
pub const BUFFER: usize = 88;
/// Bytes of a v4l2_plane.
pub const PLANE: usize = 64;

/// A session with buffers.
pub struct Stream {
    /// The session.
    pub session: u32,
    /// The buffers' type.
    pub layout: Layout,
    /// V4L2_MEMORY_*.
    pub memory: u32,
    /// Length of each plane in bytes.
    pub sizes: Vec<u32>,
    /// How many there are.
    pub count: u32,
}

impl Stream {
    /// Opens a session, chooses a small format, and asks for buffers.
    ///
    /// # Errors
    /// The device does not have such buffers, or no session.
    pub fn open(lab: &Lab, driver: &mut Driver, memory: u32, count: u32) -> Result<Self, Stop> {
        let session = driver.open()?;
        Self::on(lab, driver, session, memory, count)
    }

    /// As [`open`](Self::open), on a session that is open.
    ///
    /// # Errors
    /// The device does not have such buffers.
    pub fn on(
        lab: &Lab,
        driver: &mut Driver,
        session: u32,
        memory: u32,
        count: u32,
    ) -> Result<Self, Stop> {
        let layout = lab.layout()?;
        let refused = |what: &str, errno: u32| {
            Stop::NotReached(format!("{what} is refused with errno {errno}"))
        };
        let asked = layout.format();
        let mut format = driver
            .ioctl(session, G_FMT, &asked)?
            .map_err(|errno| refused("G_FMT", errno))?;
        let wanted = format.clone().with(8, 64).with(12, 64);
        if let Ok(set) = driver.ioctl(session, S_FMT, &wanted)? {
            format = set;
        }
        let sizes = layout.sizes(&format);
        let asked = v4l2::request_buffers(count, layout.kind, memory);
        let answer = driver
            .ioctl(session, REQBUFS, &asked)?
            .map_err(|errno| refused("REQBUFS", errno))?;
        let given = answer.le32(0);
        if given == 0 {
            return Err(Stop::NotReached("REQBUFS gives no buffers".into()));
        }
        let mut stream = Self {
            session,
            layout,
            memory,
            sizes,
            // It may give more than were asked for, which it may need.
            count: given.min(MOST),
        };
        // Where the device has the memory, it takes none of the guest's.
        if memory == MEMORY_USERPTR {
            let room = lab.survey.memory();
            let fit = (room / stream.step()).saturating_sub(SPARE);
            stream.count = stream.count.min(fit.try_into().unwrap_or(MOST));
            if stream.count < given.min(count) {
                return Err(Stop::NotReached(format!(
                    "{count} buffers of {:?} bytes are more than the {room} of guest memory",
                    stream.sizes
                )));
            }
        }
        Ok(stream)
    }

    /// Address behind all buffers in guest memory, with room for [`SPARE`] more.
    pub fn spare(&self) -> u64 {
        HIGH + u64::from(self.count) * self.step()
    }

    /// Bytes from one buffer in guest memory to the next: whole pages, with one
    /// to spare behind each plane.
    fn step(&self) -> u64 {
        let pages = |size: &u32| u64::from(*size).next_multiple_of(PAGE) + PAGE;
        self.sizes.iter().map(pages).sum()
    }

    /// Where the planes of a buffer lie in guest memory, each in a piece.
    pub fn places(&self, index: u32) -> Vec<Segment> {
        let mut at = HIGH + u64::from(index % self.count) * self.step();
        let place = |size: &u32| {
            let place = (at, *size);
            at += u64::from(*size).next_multiple_of(PAGE) + PAGE;
            place
        };
        self.sizes.iter().map(place).collect()
    }

    /// The v4l2_buffer with its planes; `pointers` stand for those of guest
    /// memory.
    pub fn structure(&self, index: u32, pointer: u64) -> Vec<u8> {
        let own = self.memory != MEMORY_USERPTR;
        let mut bytes = vec![0; BUFFER]
            .with(0, index)
            .with(4, self.layout.kind)
            .with(60, self.memory);
        // What the device is to read of a buffer is all of it.
        let used = |size: u32| match [OUTPUT, OUTPUT_MPLANE].contains(&self.layout.kind) {
            true => size,
            false => 0,
        };
        let pointer = |bytes: Vec<u8>, at: usize| match own {
            true => bytes,
            false => bytes.with64(at, pointer),
        };
        if !self.layout.is_planar() {
            let bytes = bytes.with(8, used(self.sizes[0]));
            return pointer(bytes, 64).with(72, self.sizes[0]);
        }
        bytes = bytes.with64(64, POINTER).with(72, self.sizes.len() as u32);
        for size in &self.sizes {
            let plane = vec![0; PLANE].with(0, used(*size)).with(4, *size);
            bytes.extend(pointer(plane, 8));
        }
        bytes
    }

    /// Runs QUERYBUF or QBUF with that structure and what follows it.
    ///
    /// # Errors
    /// There is no answer.
    pub fn ioctl(
        &self,
        driver: &mut Driver,
        code: u32,
        structure: &[u8],
        rest: &[u8],
    ) -> Result<Reply, Fault> {
        let mut command = v4l2::ioctl_command(self.session, code, structure);
        command.extend_from_slice(rest);
        driver.command(&command, RESPONSE + structure.len())
    }

    /// QUERYBUF: the structure, with its planes.
    ///
    /// # Errors
    /// It is refused.
    pub fn query(&self, driver: &mut Driver, index: u32) -> Result<Vec<u8>, Stop> {
        let asked = self.structure(index, 0);
        let reply = self.ioctl(driver, QUERYBUF.code, &asked, &[])?;
        accepted("QUERYBUF", &reply, asked.len())
    }

    /// QBUF of a buffer that lies in those segments, a list for each plane.
    ///
    /// # Errors
    /// There is no answer.
    pub fn queue_at(
        &self,
        driver: &mut Driver,
        index: u32,
        lists: &[Vec<Segment>],
    ) -> Result<Reply, Fault> {
        let structure = self.structure(index, POINTER);
        let rest: Vec<u8> = match self.memory {
            MEMORY_USERPTR => lists
                .iter()
                .flat_map(|list| v4l2::scatter_list(list))
                .collect(),
            _ => Vec::new(),
        };
        self.ioctl(driver, QBUF.code, &structure, &rest)
    }

    /// QBUF of a buffer at its place; the structure as it comes back.
    ///
    /// # Errors
    /// It is refused.
    pub fn queue(&self, driver: &mut Driver, index: u32) -> Result<Vec<u8>, Stop> {
        let places = self.places(index);
        let lists: Vec<_> = places.into_iter().map(|place| vec![place]).collect();
        let reply = self.queue_at(driver, index, &lists)?;
        accepted("QBUF", &reply, self.structure(index, 0).len())
    }

    /// QBUF of each buffer that is not `but`.
    ///
    /// # Errors
    /// One is refused.
    pub fn queue_others(&self, driver: &mut Driver, but: Option<u32>) -> Result<(), Stop> {
        for index in (0..self.count).filter(|index| Some(*index) != but) {
            self.queue(driver, index)?;
        }
        Ok(())
    }

    /// STREAMON.
    ///
    /// # Errors
    /// It is refused.
    pub fn start(&self, driver: &mut Driver) -> Result<(), Stop> {
        let kind = payload(STREAMON).with(0, self.layout.kind);
        match driver.ioctl(self.session, STREAMON, &kind)? {
            Ok(_) => Ok(()),
            Err(errno) => Err(Stop::NotReached(format!(
                "STREAMON is refused with errno {errno}"
            ))),
        }
    }

    /// STREAMOFF.
    ///
    /// # Errors
    /// It is refused.
    pub fn stop(&self, driver: &mut Driver) -> Result<(), Stop> {
        let kind = payload(STREAMOFF).with(0, self.layout.kind);
        match driver.ioctl(self.session, STREAMOFF, &kind)? {
            Ok(_) => Ok(()),
            Err(errno) => Err(Stop::NotReached(format!(
                "STREAMOFF is refused with errno {errno}"
            ))),
        }
    }

    /// Releases the buffers, as far as the device does that.
    ///
    /// # Errors
    /// There is no answer.
    pub fn release(&self, driver: &mut Driver) -> Result<bool, Stop> {
        let asked = v4l2::request_buffers(0, self.layout.kind, self.memory);
        Ok(driver.ioctl(self.session, REQBUFS, &asked)?.is_ok())
    }

    /// Waits for the next buffer that comes back: the session, the buffer and
    /// its planes.
    ///
    /// # Errors
    /// None comes.
    pub fn next(&self, driver: &mut Driver) -> Result<(u32, Buffer, Vec<u8>), Stop> {
        self.next_by(driver, Instant::now() + driver.options.limit)
    }

    /// As [`next`](Self::next), with a moment up to which events that are
    /// something else are waited through.
    fn next_by(&self, driver: &mut Driver, by: Instant) -> Result<(u32, Buffer, Vec<u8>), Stop> {
        loop {
            match driver.event_by(by)? {
                Some(Event::Dqbuf {
                    session,
                    buffer,
                    planes,
                }) => return Ok((session, buffer, planes)),
                Some(Event::Error { errno, .. }) => {
                    let what = format!("the device gave up the session with errno {errno}");
                    return Err(Stop::NotReached(what));
                }
                Some(_) if Instant::now() < by => {}
                _ => {
                    return Err(Fault::NoAnswer {
                        what: "buffer in an event".into(),
                        limit: driver.options.limit,
                    }
                    .into());
                }
            }
        }
    }

    /// Waits until that buffer comes back, and gives the device the others again
    /// that do: the buffer and its planes.
    ///
    /// # Errors
    /// It does not come.
    pub fn next_of(&self, driver: &mut Driver, index: u32) -> Result<(Buffer, Vec<u8>), Stop> {
        let by = Instant::now() + driver.options.limit;
        loop {
            let (_, buffer, planes) = self.next_by(driver, by)?;
            if buffer.index == index {
                return Ok((buffer, planes));
            }
            if buffer.index >= self.count || Instant::now() > by {
                let why = format!("buffer {} comes back instead of {index}", buffer.index);
                return Err(Stop::NotReached(why));
            }
            self.queue(driver, buffer.index)?;
        }
    }
}

/// Returns the payload of an answer that has to be a success.
pub fn accepted(command: &str, reply: &Reply, len: usize) -> Result<Vec<u8>, Stop> {
    match reply.status() {
        Some(0) => {
            let mut payload = reply.payload().to_vec();
            payload.resize(len, 0);
            Ok(payload)
        }
        status => Err(Stop::NotReached(match status {
            Some(errno) => format!("{command} is refused with errno {errno}"),
            None => format!("{command} has no response"),
        })),
    }
}
