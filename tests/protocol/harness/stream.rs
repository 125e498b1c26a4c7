//! V4L2 as a driver speaks it: negotiation, buffers, and frames held against
//! the witness.

use pinhole::card::witness::{DIGEST_BLOCK, Digest};

use super::card::{Card, FrameRecord};
use super::driver::Driver;
use super::memory::{PAGE, Segment};
use super::v4l2::*;

/// What the driver gives as m.userptr: nothing that the card could read sense
/// into, and it must come back.
pub const USERPTR: u64 = 0xdead_beef_0bad_cafe;

impl Driver {
    /// G_FMT.
    pub fn picture(&mut self, session: u32) -> Picture {
        let format = payload(G_FMT).with(0, CAPTURE);
        Picture::parse(&self.ioctl(session, G_FMT, &format).expect("G_FMT"))
    }

    /// S_FMT to exactly that.
    pub fn set_picture(
        &mut self,
        session: u32,
        pixelformat: u32,
        width: u32,
        height: u32,
    ) -> Picture {
        let wanted = format(pixelformat, width, height);
        let picture = Picture::parse(&self.ioctl(session, S_FMT, &wanted).expect("S_FMT"));
        assert_eq!(
            (picture.pixelformat, picture.width, picture.height),
            (pixelformat, width, height)
        );
        picture
    }

    /// S_PARM to that many frames a second; what the card made of it.
    pub fn set_rate(&mut self, session: u32, frames: u32) -> (u32, u32) {
        let parm = payload(S_PARM)
            .with(0, CAPTURE)
            .with(12, 1)
            .with(16, frames);
        let parm = self.ioctl(session, S_PARM, &parm).expect("S_PARM");
        (parm.le32(12), parm.le32(16))
    }

    /// REQBUFS of SHARED_PAGES buffers; how many there are.
    pub fn reqbufs(&mut self, session: u32, count: u32) -> Result<u32, u32> {
        let request = request_buffers(count, CAPTURE, MEMORY_USERPTR);
        let answer = self.ioctl(session, REQBUFS, &request)?;
        Ok(answer.le32(0))
    }

    /// QUERYBUF.
    pub fn querybuf(&mut self, session: u32, index: u32) -> Result<Buffer, u32> {
        let query = payload(QUERYBUF).with(0, index).with(4, CAPTURE);
        let answer = self.ioctl(session, QUERYBUF, &query)?;
        Ok(Buffer::parse(&answer))
    }

    /// QBUF of a buffer that those segments make up.
    pub fn qbuf(&mut self, session: u32, index: u32, segments: &[Segment]) -> Result<Buffer, u32> {
        let length = segments.iter().map(|(_, len)| len).sum();
        self.qbuf_as(session, index, length, segments)
    }

    /// QBUF of a buffer of that length, whatever the segments add up to.
    pub fn qbuf_as(
        &mut self,
        session: u32,
        index: u32,
        length: u32,
        segments: &[Segment],
    ) -> Result<Buffer, u32> {
        let mut given = buffer(index, USERPTR, length);
        given.extend(scatter_list(segments));
        let answer = self.ioctl_with(session, QBUF, &given)?;
        Ok(Buffer::parse(&answer))
    }

    /// STREAMON.
    pub fn streamon(&mut self, session: u32) -> Result<(), u32> {
        let kind = payload(STREAMON).with(0, CAPTURE);
        self.ioctl(session, STREAMON, &kind).map(drop)
    }

    /// STREAMOFF.
    pub fn streamoff(&mut self, session: u32) -> Result<(), u32> {
        let kind = payload(STREAMOFF).with(0, CAPTURE);
        self.ioctl(session, STREAMOFF, &kind).map(drop)
    }

    /// Captures one frame into each of those scatter lists, checks them byte
    /// for byte, and leaves the session without buffers.
    pub fn capture(
        &mut self,
        card: &mut Card,
        session: u32,
        lists: &[Vec<Segment>],
    ) -> Vec<FrameRecord> {
        card.wait_streams_ended();
        let count = lists.len() as u32;
        let sizeimage = self.picture(session).sizeimage;
        assert_eq!(self.reqbufs(session, count), Ok(count));
        for (index, list) in (0..).zip(lists) {
            self.qbuf(session, index, list).expect("QBUF");
        }
        self.streamon(session).expect("STREAMON");
        let mut frames = Vec::new();
        for _ in lists {
            let buffer = self.dqbuf(session);
            let list = &lists[buffer.index as usize];
            frames.push(self.check_frame(card, session, &buffer, list, sizeimage));
        }
        self.assert_untouched();
        self.streamoff(session).expect("STREAMOFF");
        assert_eq!(self.reqbufs(session, 0), Ok(0));
        frames
    }

    /// Captures one frame of the session's picture into plain pages: the proof
    /// that the card still works.
    pub fn capture_one(&mut self, card: &mut Card, session: u32) -> FrameRecord {
        let sizeimage = self.picture(session).sizeimage;
        let list = pages(self.memory.high().start, sizeimage);
        self.capture(card, session, &[list]).remove(0)
    }

    /// Holds a frame in guest memory against what the card says of it.
    pub fn check_frame(
        &mut self,
        card: &mut Card,
        session: u32,
        buffer: &Buffer,
        segments: &[Segment],
        sizeimage: u32,
    ) -> FrameRecord {
        let record = card.frame(session, buffer.sequence);
        check_buffer(buffer, segments, sizeimage);
        assert_eq!(record.buffer, buffer.index);
        assert_eq!(record.plane.segments, segments);
        assert_eq!(record.plane.bytes, sizeimage);

        let written = prefix(segments, sizeimage);
        let bytes = self.memory.gather(&written);
        let digests: Vec<_> = bytes.chunks(DIGEST_BLOCK).map(Digest::of).collect();
        assert_eq!(record.plane.digests, digests, "frame {}", buffer.sequence);
        check_watermarks(&bytes, buffer.sequence);
        self.memory.accept_segments(&written);
        record
    }
}

/// The fields of a buffer that has come back with a frame.
fn check_buffer(buffer: &Buffer, segments: &[Segment], sizeimage: u32) {
    assert_eq!(buffer.kind, CAPTURE);
    assert_eq!(buffer.bytesused, sizeimage);
    assert_eq!(buffer.flags & BUF_FLAG_ERROR, 0);
    assert_eq!(buffer.flags & BUF_FLAG_QUEUED, 0);
    assert_eq!(buffer.field, FIELD_NONE);
    assert_eq!(buffer.memory, MEMORY_USERPTR);
    assert_eq!(
        buffer.length,
        segments.iter().map(|(_, len)| len).sum::<u32>()
    );
}

/// Every page of a frame carries the frame's sequence number.
pub fn check_watermarks(frame: &[u8], sequence: u32) {
    use pinhole::source::pattern::watermark;
    for (number, page) in frame.chunks(PAGE as usize).enumerate() {
        let bits = watermark::sequence_bits(page.len());
        let mask = u32::MAX >> (32 - bits);
        assert_eq!(
            watermark::watermark(page),
            sequence & mask,
            "page {number} of frame {sequence} is of another frame"
        );
    }
}

/// What the first `len` bytes of a scatter list are.
pub fn prefix(segments: &[Segment], len: u32) -> Vec<Segment> {
    let mut left = len;
    let mut prefix = Vec::new();
    for &(address, len) in segments {
        let here = len.min(left);
        if here > 0 {
            prefix.push((address, here));
        }
        left -= here;
    }
    prefix
}

/// A scatter list of whole pages in order, the last one cut to `len`.
pub fn pages(start: u64, len: u32) -> Vec<Segment> {
    pieces(start, len, PAGE as u32)
}

/// A scatter list of pieces of that size in order, the last one cut to `len`.
pub fn pieces(start: u64, len: u32, piece: u32) -> Vec<Segment> {
    (0..len.div_ceil(piece))
        .map(|i| {
            let offset = i * piece;
            (start + u64::from(offset), piece.min(len - offset))
        })
        .collect()
}

/// A session with `count` buffers of that picture, none queued.
pub struct Stream {
    pub session: u32,
    pub picture: Picture,
    /// The scatter list of each buffer.
    pub lists: Vec<Vec<Segment>>,
}

impl Stream {
    /// Opens a session and gives it buffers, one behind the other in the
    /// memory above the hole.
    pub fn new(
        driver: &mut Driver,
        (pixelformat, width, height): (u32, u32, u32),
        count: u32,
    ) -> Self {
        let session = driver.open();
        let picture = driver.set_picture(session, pixelformat, width, height);
        let start = driver.memory.high().start;
        let step = u64::from(picture.sizeimage).next_multiple_of(PAGE);
        let lists: Vec<_> = (0..u64::from(count))
            .map(|i| pages(start + i * step, picture.sizeimage))
            .collect();
        assert!(start + step * u64::from(count) <= driver.memory.high().end);
        assert_eq!(driver.reqbufs(session, count), Ok(count));
        Self {
            session,
            picture,
            lists,
        }
    }

    /// Queues that buffer.
    pub fn queue(&self, driver: &mut Driver, index: u32) {
        let list = &self.lists[index as usize];
        driver.qbuf(self.session, index, list).expect("QBUF");
    }

    /// Queues every buffer and starts.
    pub fn start(&self, driver: &mut Driver) {
        for index in 0..self.lists.len() as u32 {
            self.queue(driver, index);
        }
        driver.streamon(self.session).expect("STREAMON");
    }

    /// The next frame, checked; its buffer is the driver's again.
    pub fn next(&self, driver: &mut Driver, card: &mut Card) -> FrameRecord {
        let buffer = driver.dqbuf(self.session);
        let list = &self.lists[buffer.index as usize];
        driver.check_frame(card, self.session, &buffer, list, self.picture.sizeimage)
    }

    /// The next frame, checked, and its buffer queued again.
    pub fn turn(&self, driver: &mut Driver, card: &mut Card) -> FrameRecord {
        let frame = self.next(driver, card);
        self.queue(driver, frame.buffer);
        frame
    }
}
