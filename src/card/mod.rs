//! The capture card: a state machine driven by a command and a tick.
//!
//! [`Card::command`] executes what a driver asks, [`Card::tick`] makes the
//! next frame when it is due, and [`Card::next_event`] is what the driver is
//! to be told. Who drives it tells it the time and where guest memory is; it
//! has no clock, no socket and no thread of its own.
//!
//! No byte of a buffer is written but by `tick`, and then only if it is queued
//! on a stream that is on. STREAMOFF, REQBUFS(0) and CLOSE therefore end all
//! DMA before they return. The one command that writes to guest memory is
//! VIDIOC_G_EXT_CTRLS, which puts a string where it is told to.
//!
//! | file | what is in it |
//! |---|---|
//! | [`session`], [`events`] | who is there, and what they are told |
//! | `ioctl` | where each ioctl goes; formats and rates |
//! | [`buffers`], `queueing` | the queue, and its ioctls |
//! | `stream`, [`clock`] | frames, as they become due |
//! | [`controls`], [`injection`] | controls, and what some of them break |
//! | [`inputs`], `selection` | what is looked at, and which part of it |
//! | [`statistics`], [`witness`] | what the card tells the host |

pub mod buffers;
pub mod clock;
pub mod controls;
pub mod events;
pub mod format;
pub mod injection;
pub mod inputs;
mod ioctl;
mod modes;
mod queueing;
pub mod refused;
mod selection;
pub mod session;
pub mod statistics;
mod stream;
#[cfg(test)]
mod tests;
pub mod witness;

use std::collections::VecDeque;

use zerocopy::IntoBytes;

use crate::dma::{Bus, DIGEST_BLOCK};
use crate::source::settings::Rect;
use crate::source::{Camera, Layout, PixelFormat};
use crate::wire::event::{DqbufEvent, ErrorEvent, SessionEvent};
use crate::wire::protocol::{CAP_EXT_PIX_FORMAT, CAP_STREAMING, Config, OpenReply};
use crate::wire::{Errno, Reply, Request};
use buffers::{Buffers, Completion};
use clock::Interval;
use controls::Controls;
use injection::Injection;
use session::Sessions;
use statistics::Statistics;
use stream::Stream;

pub use clock::{Now, Rate};
pub use controls::{ControlError, ControlInfo, MenuItem, Value};
pub use format::BufferApi;
pub use inputs::{InputError, InputInfo};
pub use modes::{ModeError, Modes};
pub use refused::Refused;
pub use witness::Witness;

/// What a card is made of.
pub struct Spec {
    /// What it sees.
    pub camera: Camera,
    /// Which of V4L2's two APIs it has.
    pub planes: BufferApi,
    /// How fast frames are made.
    pub rate: Rate,
    /// The most frames a second that it offers, 1 to 240; without a list of
    /// rates.
    pub most_fps: u32,
    /// The sizes and rates that it has, if not all.
    pub modes: Modes,
    /// Who is told of what it writes.
    pub witness: Witness,
}

impl Spec {
    /// A single-planar card without a witness.
    pub fn new(camera: Camera, rate: Rate) -> Self {
        Self {
            camera,
            planes: BufferApi::default(),
            rate,
            most_fps: 240,
            modes: Modes::default(),
            witness: Witness::off(),
        }
    }
}

/// What the driver is to be told next.
enum Oldest {
    /// The death of a session.
    Error(u32, Errno),
    /// The buffer that was finished first.
    Buffer,
    /// The event with that stamp.
    Event(u64),
}

/// The capture card.
pub struct Card {
    camera: Camera,
    planes: BufferApi,
    rate: Rate,
    witness: Witness,
    layout: Layout,
    interval: Interval,
    /// The shortest interval that the guest may set.
    shortest: Interval,
    modes: Modes,
    controls: Controls,
    injection: Injection,
    /// The part of the source's picture that is captured, if not all of it.
    crop: Option<Rect>,
    sessions: Sessions,
    buffers: Buffers,
    stream: Option<Stream>,
    /// Streams begun since the card was made.
    streams: u32,
    /// Events and finished buffers so far: each has its place among them.
    stamps: u64,
    /// Dead sessions whose error events wait to be sent.
    errors: VecDeque<(u32, Errno)>,
    statistics: Statistics,
    /// Where the camera draws, a block at a time.
    block: Box<[u8; DIGEST_BLOCK]>,
}

impl Card {
    /// A card as `spec` describes it.
    pub fn new(spec: Spec) -> Self {
        let Spec {
            camera,
            planes,
            rate,
            most_fps,
            modes,
            witness,
        } = spec;
        let shortest = Interval::of_rate(most_fps);
        let mut card = Self {
            camera,
            planes,
            rate,
            witness,
            layout: Layout::new(PixelFormat::ALL[0], 640, 480),
            interval: Interval::DEFAULT,
            shortest,
            modes,
            controls: Controls::default(),
            injection: Injection::default(),
            crop: None,
            sessions: Sessions::default(),
            buffers: Buffers::default(),
            stream: None,
            streams: 0,
            stamps: 0,
            errors: VecDeque::new(),
            statistics: Statistics::default(),
            block: Box::new([0; DIGEST_BLOCK]),
        };
        card.set_first_format();
        card
    }

    /// Takes on the format and the rate that it has before anybody sets one.
    fn set_first_format(&mut self) {
        let size = self.modes.sizes().first();
        let (width, height) = *size.unwrap_or(&(640, 480));
        self.layout = Layout::new(PixelFormat::ALL[0], width, height);
        self.interval = self.first_interval();
        self.obey_source();
    }

    /// The interval that it has before anybody sets one.
    fn first_interval(&self) -> Interval {
        let first = self.modes.intervals().first();
        *first.unwrap_or(&Interval::DEFAULT.at_least(self.shortest))
    }

    /// The configuration space.
    ///
    /// V4L2_CAP_READWRITE is not the card's to give: read() is made by the
    /// driver, and one that passes these capabilities on may not have it.
    pub fn config(&self) -> Config {
        let capabilities = self.planes.capability() | CAP_STREAMING | CAP_EXT_PIX_FORMAT;
        Config {
            device_caps: capabilities.into(),
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
        self.pass_missed(now);
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

    /// Leaves in `event` what the driver is to be told next, and says whether
    /// there is anything. It stays the next until
    /// [`event_sent`](Self::event_sent), or until the card is used otherwise.
    /// Buffers and events come in the order in which they became so.
    pub fn next_event(&self, event: &mut Vec<u8>) -> bool {
        event.clear();
        match self.oldest() {
            Some(Oldest::Error(session, errno)) => {
                event.extend_from_slice(ErrorEvent::new(session, errno).as_bytes());
            }
            Some(Oldest::Buffer) => {
                if let Some((session, finished)) = self.buffers.finished() {
                    let dequeued = DqbufEvent::new(session, finished.buffer, finished.planes());
                    event.extend_from_slice(dequeued.as_bytes());
                }
            }
            Some(Oldest::Event(stamp)) => {
                if let Some((session, happened)) = self.sessions.describe_event(stamp) {
                    event.extend_from_slice(SessionEvent::new(session, happened).as_bytes());
                }
            }
            None => (),
        }
        !event.is_empty()
    }

    /// The event of [`next_event`](Self::next_event) has been sent.
    pub fn event_sent(&mut self) {
        match self.oldest() {
            Some(Oldest::Error(..)) => {
                self.errors.pop_front();
            }
            Some(Oldest::Buffer) => self.buffers.finished_sent(),
            Some(Oldest::Event(stamp)) => {
                if let Some((session, _)) = self.sessions.describe_event(stamp) {
                    self.sessions.event_sent(session, stamp);
                }
            }
            None => (),
        }
    }

    /// What has waited longest to be told; deaths do not wait.
    fn oldest(&self) -> Option<Oldest> {
        if let Some((session, errno)) = self.errors.front() {
            return Some(Oldest::Error(*session, *errno));
        }
        let buffer = match self.injection.hold_events {
            true => None,
            false => self.buffers.oldest_finished(),
        };
        match (buffer, self.sessions.oldest_event()) {
            (Some(buffer), Some(event)) if event < buffer => Some(Oldest::Event(event)),
            (Some(_), _) => Some(Oldest::Buffer),
            (None, event) => event.map(Oldest::Event),
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
        let stamp = self.stamp();
        self.buffers.memory_changed(
            bus,
            Completion {
                bytesused: 0,
                sequence,
                timestamp: now.monotonic,
                error: true,
                last: false,
                stamp,
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

    /// Puts the card back into the state it had before the first command:
    /// whatever can be set is as it was. What is plugged into its inputs
    /// stays.
    pub fn reset(&mut self) {
        self.end_stream();
        self.buffers.free();
        self.sessions.clear();
        self.errors.clear();
        self.controls = Controls::default();
        self.injection = Injection::default();
        self.crop = None;
        self.camera.select(0);
        self.apply_settings();
        self.set_first_format();
    }

    /// Passes on what the witness has collected; to be called when nothing is
    /// due at once.
    pub fn flush_witness(&mut self) {
        self.witness.flush();
    }

    /// Ends the stream and frees the buffers, if they are that session's.
    fn drop_buffers_of(&mut self, session: u32) {
        if self.buffers.owner() == Some(session) {
            self.end_stream();
            self.buffers.free();
        }
    }
}
