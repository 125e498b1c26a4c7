//! Streams: frames as they become due, and what prevents them.

use std::time::Duration;

use super::buffers::Completion;
use super::clock::{Clock, Interval, Now, Rate};
use super::events::{Payload, Topic};
use super::injection::Fault;
use super::label::Label;
use super::queued::MemoryKind;
use super::witness::{Record, StreamMemory};
use super::{Card, Endpoint};
use crate::source::Begun;

/// Time after which the card asks a source again that had no picture, or a
/// display that had no room for one.
const RETRY: Duration = Duration::from_millis(4);

/// A stream that is on.
pub(super) struct Stream {
    pub(super) session: u32,
    pub(super) clock: Clock,
    /// Frames transferred.
    pub(super) frames: u64,
    /// Frames that were due and not transferred.
    dropped: u64,
    /// Time on CLOCK_MONOTONIC until which no frame is made; frames due before
    /// it are late.
    held: Option<Duration>,
    /// The next frame is the last of the stream.
    pub(super) ending: bool,
    /// The last frame has been transferred.
    ended: bool,
    /// The source has been replaced by one of a size that this stream does not
    /// have.
    pub(super) halted: bool,
}

/// The result of a frame that was begun.
pub(super) struct FrameResult {
    pub sequence: u32,
    pub bytes: u32,
    pub error: bool,
    pub last: bool,
}

impl Card {
    /// Makes the next frame if it is due and a buffer is queued. Drops the
    /// frames that are due if no buffer is queued; and if the card has fallen
    /// behind by more than [`GRACE`](super::clock::GRACE) frames, drops all but
    /// the last of them. A tick makes at most one frame, so that commands never
    /// wait for several. Returns whether a frame was made; the caller, which
    /// has a clock, then calls [`frame_took`](Self::frame_took).
    pub fn tick(&mut self, now: Now) -> bool {
        self.pass_missed(now);
        if !self.may_make_frames() {
            return false;
        }
        let (Some(stream), Some(buffer)) = (&mut self.stream, self.buffers.next()) else {
            return false;
        };
        let late = match stream.held {
            Some(until) if now.monotonic < until => return false,
            Some(_) => {
                stream.held = None;
                stream.clock.skip_to_last(now)
            }
            None => stream.clock.skip_late(now),
        };
        stream.dropped += late;
        self.statistics.dropped += late;
        let Some(frame) = stream.clock.peek(now) else {
            return false;
        };
        if let Some(stall) = self.injection.begin_stall() {
            stream.held = Some(now.monotonic + stall);
            return false;
        }
        if self.injection.happens(Fault::Drop) {
            stream.clock.advance();
            stream.dropped += 1;
            self.statistics.dropped += 1;
            return false;
        }
        let begun = match &mut self.endpoint {
            Endpoint::Camera(camera) => camera.begin(&frame),
            Endpoint::Display(display) if display.is_ready() => Begun::Frame {
                bytes: self.buffers.extent(buffer),
            },
            Endpoint::Display(_) => Begun::Late,
        };
        match begun {
            Begun::Frame { bytes } => self.make_frame(now, &frame, buffer, bytes),
            Begun::Late => {
                stream.held = Some(now.monotonic + RETRY);
                false
            }
            Begun::Ended => {
                // V4L2 ends a stream with an empty last buffer.
                self.complete(
                    now,
                    FrameResult {
                        sequence: frame.sequence,
                        bytes: 0,
                        error: false,
                        last: true,
                    },
                );
                false
            }
        }
    }

    /// Returns the buffer of the next frame to the driver.
    pub(super) fn complete(&mut self, now: Now, result: FrameResult) {
        let stamp = self.stamp();
        self.buffers.complete_next(Completion {
            bytesused: result.bytes,
            sequence: result.sequence,
            label: Label::at(now.monotonic),
            error: result.error,
            last: result.last,
            stamp,
        });
        self.injection.frame_made();
        if result.last {
            if let Some(stream) = &mut self.stream {
                stream.ended = true;
            }
            self.raise(now, Topic::Eos, Payload::Nothing, None);
        }
    }

    /// Returns when [`tick`](Self::tick) must be called, on CLOCK_MONOTONIC;
    /// that time may be in the past. Returns `None` while no frame can become
    /// due: without a stream, a signal or a buffer. Dropped frames are then
    /// counted later.
    pub fn next_deadline(&self) -> Option<Duration> {
        let stream = self.stream.as_ref()?;
        self.buffers.next()?;
        let due = stream.clock.due();
        let due = stream.held.map_or(due, |held| held.max(due));
        self.may_make_frames().then_some(due)
    }

    /// Returns whether frames are made when buffers are queued.
    fn may_make_frames(&self) -> bool {
        let on = |stream: &Stream| !stream.ended && !stream.halted;
        let kept = self.injection.signal_lost || self.injection.holds_frames();
        self.stream.as_ref().is_some_and(on) && !kept
    }

    /// Drops the frames that are due and cannot be made, or have no buffer.
    pub(super) fn pass_missed(&mut self, now: Now) {
        let missed = self.buffers.next().is_none() || !self.may_make_frames();
        if let Some(stream) = &mut self.stream
            && missed
            && !stream.ended
        {
            let dropped = stream.clock.skip(now);
            stream.dropped += dropped;
            self.statistics.dropped += dropped;
        }
    }

    pub(super) fn begin_stream(&mut self, now: Now, session: u32) {
        self.streams = self.streams.wrapping_add(1);
        let clock = Clock::new(self.rate, self.interval, now, self.streams);
        match &mut self.endpoint {
            Endpoint::Camera(camera) => {
                camera.prepare(&self.layout);
                camera.expect(clock.pace(), clock.expected());
            }
            Endpoint::Display(display) => {
                let Interval {
                    numerator,
                    denominator,
                } = self.interval;
                display.prepare(&self.layout, (numerator, denominator));
            }
        }
        self.stream = Some(Stream {
            session,
            clock,
            frames: 0,
            dropped: 0,
            held: None,
            ending: false,
            ended: false,
            halted: false,
        });
        let layout = &self.layout;
        log::info!(
            "session {session} streams {} {}x{}, {}",
            layout.format,
            layout.width,
            layout.height,
            match self.rate {
                Rate::Guest => format!(
                    "a frame every {}/{} s",
                    self.interval.numerator, self.interval.denominator
                ),
                Rate::Max => "as fast as there are buffers".into(),
            }
        );
        let planes = self.buffers.planes();
        self.witness.begin(planes.len());
        self.witness.record(Record::StreamOn {
            session,
            wall_ns: now.wall.as_nanos() as u64,
            format: layout.format.to_string(),
            width: layout.width,
            height: layout.height,
            memory: match self.buffers.memory_kind() {
                MemoryKind::SharedPages => StreamMemory::Guest,
                MemoryKind::Mmap => StreamMemory::Card,
            },
            card: self.endpoint.kind(),
            direction: None,
            bytesperline: planes.iter().map(|plane| plane.bytesperline).collect(),
            sizeimage: planes.iter().map(|plane| plane.sizeimage).collect(),
        });
    }

    pub(super) fn end_stream(&mut self) {
        let Some(stream) = self.stream.take() else {
            return;
        };
        self.endpoint.stop();
        let Stream {
            session,
            frames,
            dropped,
            ..
        } = stream;
        log::info!("session {session} streams no more: {frames} frames, {dropped} dropped");
        self.witness.record(Record::StreamOff {
            session,
            direction: None,
            frames,
            dropped,
        });
        self.witness.finish();
    }
}
