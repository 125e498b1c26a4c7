//! The capture card: a state machine driven by a command and a tick.
//!
//! [`Card::command`] executes what a driver asks, [`Card::tick`] makes the
//! next frame when it is due, and [`Card::next_event`] is what the driver is
//! to be told. Who drives it tells it the time and where guest memory is; it
//! has no clock, no socket and no thread of its own.
//!
//! No byte of guest memory is written but by `tick`, and then only into a
//! buffer that is queued on a stream that is on. STREAMOFF, REQBUFS(0) and
//! CLOSE therefore end all DMA before they return.

pub mod buffers;
pub mod clock;
pub mod format;
mod ioctl;
pub mod refused;
pub mod session;
pub mod statistics;
#[cfg(test)]
mod tests;
pub mod witness;

use std::collections::VecDeque;
use std::time::Duration;

use zerocopy::IntoBytes;

use crate::dma::{Bus, DIGEST_BLOCK, DmaError, FrameWriter};
use crate::source::{Begun, Camera, Layout, PixelFormat};
use crate::wire::event::{DqbufEvent, ErrorEvent};
use crate::wire::protocol::{
    CAP_EXT_PIX_FORMAT, CAP_STREAMING, CAP_VIDEO_CAPTURE, Config, OpenReply,
};
use crate::wire::{Errno, Reply, Request};
use buffers::{Buffers, Completion};
use clock::{Clock, Interval};
use session::Sessions;
use statistics::Statistics;
use witness::{FrameWritten, Record};

pub use clock::{Now, Rate};
pub use refused::Refused;
pub use witness::Witness;

/// The format and size the card has before anybody sets one.
fn default_layout() -> Layout {
    Layout::new(PixelFormat::ALL[0], 640, 480)
}

/// A stream that is on.
struct Stream {
    session: u32,
    clock: Clock,
    /// Frames written.
    frames: u64,
    /// Frames that were due while no buffer was queued.
    dropped: u64,
}

/// The capture card.
pub struct Card {
    camera: Camera,
    rate: Rate,
    witness: Witness,
    layout: Layout,
    interval: Interval,
    /// The shortest interval that the guest may set.
    shortest: Interval,
    sessions: Sessions,
    buffers: Buffers,
    stream: Option<Stream>,
    /// Dead sessions whose error events wait to be sent.
    errors: VecDeque<(u32, Errno)>,
    statistics: Statistics,
    /// Where the camera draws, a block at a time.
    block: Box<[u8; DIGEST_BLOCK]>,
}

impl Card {
    /// A card that shows what `camera` does, and testifies to `witness`.
    pub fn new(camera: Camera, rate: Rate, witness: Witness) -> Self {
        Self {
            camera,
            rate,
            witness,
            layout: default_layout(),
            interval: Interval::DEFAULT,
            shortest: Interval::MIN,
            sessions: Sessions::default(),
            buffers: Buffers::default(),
            stream: None,
            errors: VecDeque::new(),
            statistics: Statistics::default(),
            block: Box::new([0; DIGEST_BLOCK]),
        }
    }

    /// The same card, with no more than `fps` frames a second to offer.
    pub fn with_rate_limit(mut self, fps: u32) -> Self {
        self.shortest = Interval::of_rate(fps);
        self.interval = self.interval.at_least(self.shortest);
        self
    }

    /// The configuration space.
    ///
    /// V4L2_CAP_READWRITE is not the card's to give: read() is made by the
    /// driver, and one that passes these capabilities on may not have it.
    pub fn config() -> Config {
        Config {
            device_caps: (CAP_VIDEO_CAPTURE | CAP_STREAMING | CAP_EXT_PIX_FORMAT).into(),
            // VFL_TYPE_VIDEO
            device_type: 0.into(),
            card: format::padded("Pinhole"),
        }
    }

    /// Executes the command in `request`, the readable part of a chain, and
    /// leaves the answer in `reply`.
    ///
    /// # Errors
    /// A command that was refused has changed nothing; the answer says so as
    /// far as it fits.
    pub fn command(
        &mut self,
        now: Now,
        request: &[u8],
        bus: Bus<'_>,
        reply: &mut Reply,
    ) -> Result<(), Refused> {
        // What was due before this command found no buffer.
        self.count_missed(now);
        let result = self.execute(now, request, bus, reply);
        if let Err(refused) = &result {
            reply.fail(refused.errno());
        }
        result
    }

    fn execute(
        &mut self,
        now: Now,
        request: &[u8],
        bus: Bus<'_>,
        reply: &mut Reply,
    ) -> Result<(), Refused> {
        match Request::parse(request)? {
            Request::Open => {
                if !reply.has_room_for(size_of::<OpenReply>()) {
                    return Err(Refused::NoRoom);
                }
                let session_id = self.sessions.open()?.into();
                reply.succeed(&OpenReply {
                    session_id,
                    reserved: 0.into(),
                });
                Ok(())
            }
            Request::Close { session } => {
                self.sessions.close(session)?;
                self.drop_buffers_of(session);
                self.errors.retain(|(dead, _)| *dead != session);
                reply.succeed(&[0u8; 0]);
                Ok(())
            }
            Request::Ioctl {
                session,
                code,
                payload,
            } => {
                // An ioctl that cannot be answered at all is not executed.
                if !reply.has_room_for(0) {
                    return Err(Refused::NoRoom);
                }
                self.sessions.check(session)?;
                self.ioctl(now, session, code, payload, bus, reply)
            }
            Request::Unknown { .. } => Err(Refused::Because(
                Errno::ENOTTY,
                "the card has no such command",
            )),
        }
    }

    /// Makes the next frame if it is due and a buffer is queued, or drops the
    /// frames that are due if none is. At most one frame is made, so that
    /// commands are never kept waiting for several. Says whether one was; who
    /// has a clock then tells [`frame_took`](Self::frame_took).
    pub fn tick(&mut self, now: Now) -> bool {
        self.count_missed(now);
        let Some(stream) = &mut self.stream else {
            return false;
        };
        let Some((buffer, list)) = self.buffers.next() else {
            return false;
        };
        let Some(frame) = stream.clock.take(now) else {
            return false;
        };
        let size = self.layout.sizeimage;
        let mut writer = FrameWriter::new(list, self.witness.digests());
        let Begun::Frame { .. } = self.camera.begin(&frame) else {
            return false;
        };
        let mut copy = || -> Result<(), DmaError> {
            let mut offset = 0;
            while offset < size as usize {
                let length = DIGEST_BLOCK.min(size as usize - offset);
                let block = &mut self.block[..length];
                self.camera.fill(offset, block);
                writer.write(block)?;
                offset += length;
            }
            Ok(())
        };
        let result = copy();
        match result {
            Ok(()) => {
                stream.frames += 1;
                let written = FrameWritten {
                    sequence: frame.sequence,
                    session: stream.session,
                    buffer,
                    time_ns: stream.clock.elapsed(now).as_nanos() as u64,
                };
                self.witness.frame(written, list.segments(), size);
                let segments = list.segments().len();
                self.statistics.frame(now, size.into(), segments);
            }
            Err(error) => {
                log::error!("buffer {buffer} comes back without a frame: {error}");
                self.statistics.errors(1);
            }
        }
        self.buffers.complete_next(Completion {
            bytesused: if result.is_ok() { size } else { 0 },
            sequence: frame.sequence,
            timestamp: now.monotonic,
            error: result.is_err(),
        });
        result.is_ok()
    }

    /// When [`tick`](Self::tick) is to be called, on CLOCK_MONOTONIC; may be
    /// in the past. `None` while nothing can become due: no stream, or no
    /// buffer, in which case dropped frames are counted later.
    pub fn next_deadline(&self) -> Option<Duration> {
        let stream = self.stream.as_ref()?;
        self.buffers.next()?;
        Some(stream.clock.due())
    }

    /// Leaves in `event` what the driver is to be told next, and says whether
    /// there is anything. It stays the next until
    /// [`event_sent`](Self::event_sent).
    pub fn next_event(&self, event: &mut Vec<u8>) -> bool {
        event.clear();
        if let Some((session, errno)) = self.errors.front() {
            event.extend_from_slice(ErrorEvent::new(*session, *errno).as_bytes());
        } else if let Some((session, buffer)) = self.buffers.finished() {
            event.extend_from_slice(DqbufEvent::new(session, buffer).as_bytes());
        }
        !event.is_empty()
    }

    /// The event of [`next_event`](Self::next_event) has been sent.
    pub fn event_sent(&mut self) {
        if self.errors.pop_front().is_none() {
            self.buffers.finished_sent();
        }
    }

    /// Guest memory, or what of it is forbidden, has changed. Buffers that
    /// have lost their memory are given back in error. When this returns,
    /// nothing refers to the old memory.
    pub fn memory_changed(&mut self, now: Now, bus: Bus<'_>) {
        let sequence = self
            .stream
            .as_ref()
            .map_or(0, |stream| stream.clock.sequence());
        let before = self.buffers.queued();
        self.buffers.memory_changed(
            bus,
            Completion {
                bytesused: 0,
                sequence,
                timestamp: now.monotonic,
                error: true,
            },
        );
        self.statistics.errors(before - self.buffers.queued());
    }

    /// Declares a session dead: its stream ends, and the driver is told why.
    pub fn fail_session(&mut self, session: u32, errno: Errno) {
        if self.sessions.kill(session) {
            self.drop_buffers_of(session);
            self.errors.push_back((session, errno));
        }
    }

    /// Puts the card back into the state it had before the first command.
    pub fn reset(&mut self) {
        self.end_stream();
        self.buffers.free();
        self.sessions.clear();
        self.errors.clear();
        self.layout = default_layout();
        self.interval = Interval::DEFAULT.at_least(self.shortest);
    }

    /// Passes on what the witness has collected; to be called when nothing is
    /// due at once.
    pub fn flush_witness(&mut self) {
        self.witness.flush();
    }

    fn begin_stream(&mut self, now: Now, session: u32) {
        let Layout {
            format,
            width,
            height,
            bytesperline,
            sizeimage,
        } = self.layout;
        self.camera.prepare(&self.layout);
        self.stream = Some(Stream {
            session,
            clock: Clock::new(self.rate, self.interval, now),
            frames: 0,
            dropped: 0,
        });
        log::info!(
            "session {session} streams {format} {width}x{height}, {}",
            match self.rate {
                Rate::Guest => format!(
                    "a frame every {}/{} s",
                    self.interval.numerator, self.interval.denominator
                ),
                Rate::Max => "as fast as there are buffers".into(),
            }
        );
        self.witness.record(&Record::StreamOn {
            session,
            wall_ns: now.wall.as_nanos() as u64,
            format: format.to_string(),
            width,
            height,
            bytesperline: vec![bytesperline],
            sizeimage: vec![sizeimage],
        });
    }

    fn end_stream(&mut self) {
        let Some(stream) = self.stream.take() else {
            return;
        };
        let Stream {
            session,
            frames,
            dropped,
            ..
        } = stream;
        log::info!("session {session} streams no more: {frames} frames, {dropped} dropped");
        self.witness.record(&Record::StreamOff {
            session,
            frames,
            dropped,
        });
        self.witness.flush();
    }

    /// Ends the stream and frees the buffers, if they are that session's.
    fn drop_buffers_of(&mut self, session: u32) {
        if self.buffers.owner() == Some(session) {
            self.end_stream();
            self.buffers.free();
        }
    }

    /// Drops the frames that are due and have no buffer.
    fn count_missed(&mut self, now: Now) {
        if let Some(stream) = &mut self.stream
            && self.buffers.next().is_none()
        {
            let dropped = stream.clock.skip(now);
            stream.dropped += dropped;
            self.statistics.dropped += dropped;
        }
    }
}
