//! The card: a state machine driven by a command and a tick. Its [`Endpoint`] says
//! whether it captures frames from a camera or shows them on a display.
//!
//! [`Card::command`] executes a driver's command, [`Card::tick`] transfers the next
//! frame when it is due, and [`Card::next_event`] returns the next event for
//! the driver. The caller tells the card the time and the location of guest
//! memory; the card has no clock, no socket and no thread of its own.
//!
//! Only `tick` writes to a buffer or reads from it, and only if the buffer is queued on a stream
//! that is on. STREAMOFF, REQBUFS(0) and CLOSE therefore end all DMA before
//! they return. The one command that writes to guest memory is
//! VIDIOC_G_EXT_CTRLS, which writes a string to the address that the driver
//! gives.
//!
//! | file | what is in it |
//! |---|---|
//! | [`session`], [`events`], `subscribing` | open sessions, and the events they get |
//! | `ioctl` | dispatch of the ioctls; formats and rates |
//! | [`buffers`], `queued`, `queueing` | the buffer queue, its memory, and its ioctls |
//! | [`label`] | the times of frames, and what else is said of them |
//! | [`region`] | mappings of the card's own memory |
//! | `stream`, `transfer`, [`clock`] | frames as they become due |
//! | `kind`, `endpoint` | capture or output: the type of the buffers; camera or display |
//! | [`controls`], [`injection`] | controls, and the faults that some of them cause |
//! | [`inputs`], `selection` | inputs and their sources; cropping |
//! | `outputs` | outputs |
//! | [`statistics`], [`witness`] | what the card reports to the host |

pub mod buffers;
pub mod clock;
pub mod controls;
mod endpoint;
pub mod events;
pub mod format;
pub mod injection;
pub mod inputs;
pub(crate) mod ioctl;
mod kind;
pub mod label;
mod modes;
mod outputs;
pub(crate) mod queued;
pub(crate) mod queueing;
pub mod refused;
pub mod region;
pub(crate) mod selection;
pub mod session;
pub mod statistics;
mod stream;
pub(crate) mod subscribing;
#[cfg(test)]
pub(crate) mod tests;
pub(crate) mod transfer;
pub mod witness;

use zerocopy::IntoBytes;

use crate::dma::own::Pool;
use crate::dma::{Bus, Staging};
use crate::source::settings::Rect;
use crate::source::{Camera, Layout, PixelFormat};
use crate::wire::event::DqbufEvent;
use crate::wire::protocol::{CAP_EXT_PIX_FORMAT, CAP_STREAMING, Config, OpenReply};
use crate::wire::{Errno, Reply, Request};
use buffers::{Buffers, Completion};
use clock::Interval;
use controls::Controls;
use injection::Injection;
use label::{Label, LabelSource};
use region::Region;
use session::{Oldest, Sessions};
use statistics::Statistics;
use stream::Stream;

pub use clock::{MAX_FPS, Now, Rate};
pub use controls::{ControlError, ControlInfo, MenuItem, Value};
pub use endpoint::Endpoint;
pub use inputs::{InputError, InputInfo};
pub use kind::{BufferApi, BufferType, CardKind, Direction};
pub use modes::{ModeError, Modes};
pub use refused::Refused;
pub use witness::Witness;

/// The parts and settings of a card.
pub struct Spec {
    /// The camera that makes the pictures, or the display that shows them.
    pub endpoint: Endpoint,
    /// V4L2's single-planar or multi-planar API.
    pub planes: BufferApi,
    /// How fast the card makes frames.
    pub rate: Rate,
    /// Highest rate that the card offers without a list of rates, in frames per
    /// second: 1 to 240.
    pub most_fps: u32,
    /// The sizes and rates that the card offers; all of them if the lists are
    /// empty.
    pub modes: Modes,
    /// Whether there are controls that make errors happen. Programs that try
    /// every control (v4l2-compliance) press them, too.
    pub error_injection: bool,
    /// The witness, which records what the card writes or reads.
    pub witness: Witness,
}

impl Spec {
    /// Returns a single-planar capture card without error injection or a witness.
    pub fn new(camera: Camera, rate: Rate) -> Self {
        Self::with(Endpoint::Camera(Box::new(camera)), rate)
    }

    /// Returns a single-planar card with that endpoint, without error injection or a
    /// witness.
    pub fn with(endpoint: Endpoint, rate: Rate) -> Self {
        Self {
            endpoint,
            planes: BufferApi::default(),
            rate,
            most_fps: MAX_FPS,
            modes: Modes::default(),
            error_injection: false,
            witness: Witness::off(),
        }
    }
}

/// The card.
pub struct Card {
    endpoint: Endpoint,
    planes: BufferApi,
    rate: Rate,
    witness: Witness,
    layout: Layout,
    interval: Interval,
    /// The shortest interval that the guest may set.
    shortest: Interval,
    modes: Modes,
    /// Whether there are controls that make errors happen.
    error_injection: bool,
    controls: Controls,
    injection: Injection,
    /// The part of the source's picture that is captured; `None` for all of it.
    crop: Option<Rect>,
    sessions: Sessions,
    buffers: Buffers,
    /// The memory of buffers that the guest does not provide.
    pool: Pool,
    region: Region,
    stream: Option<Stream>,
    /// Number of streams begun since the card was created.
    streams: u32,
    /// Number of events and finished buffers so far; each takes the count as
    /// its stamp.
    stamps: u64,
    statistics: Statistics,
    /// The memory in which the camera draws, or into which frames are read.
    staging: Staging,
}

impl Card {
    /// Creates a card as `spec` describes it.
    pub fn new(spec: Spec) -> Self {
        let Spec {
            endpoint,
            planes,
            rate,
            most_fps,
            modes,
            error_injection,
            witness,
        } = spec;
        let shortest = Interval::of_rate(most_fps);
        let mut card = Self {
            controls: Controls::new(endpoint.kind(), error_injection),
            buffers: Buffers::new(
                BufferType {
                    direction: endpoint.direction(),
                    api: planes,
                },
                LabelSource::Card,
            ),
            endpoint,
            planes,
            rate,
            witness,
            layout: Layout::new(PixelFormat::ALL[0], 640, 480),
            interval: Interval::DEFAULT,
            shortest,
            modes,
            error_injection,
            injection: Injection::default(),
            crop: None,
            sessions: Sessions::default(),
            pool: Pool::new(region::REGION_SIZE),
            region: Region::default(),
            stream: None,
            streams: 0,
            stamps: 0,
            statistics: Statistics::default(),
            staging: Staging::default(),
        };
        card.set_first_format();
        card
    }

    /// Sets the format and the rate that the card has before a guest sets one.
    fn set_first_format(&mut self) {
        let size = self.modes.sizes().first();
        let (width, height) = *size.unwrap_or(&(640, 480));
        self.layout = Layout::new(self.first_format(), width, height);
        self.interval = self.first_interval();
        self.obey_source();
    }

    /// Returns the interval that the card has before a guest sets one.
    fn first_interval(&self) -> Interval {
        let first = self.modes.intervals().first();
        *first.unwrap_or(&Interval::DEFAULT.at_least(self.shortest))
    }

    /// Returns the configuration space.
    ///
    /// The card does not announce V4L2_CAP_READWRITE: the driver implements
    /// read() and write(), and a driver that passes these capabilities on may not.
    pub fn config(&self) -> Config {
        let capabilities = self.buffer_type().capability() | CAP_STREAMING | CAP_EXT_PIX_FORMAT;
        Config {
            device_caps: capabilities.into(),
            // VFL_TYPE_VIDEO
            device_type: 0.into(),
            card: format::padded("Pinhole"),
        }
    }

    /// Returns the type of the card's buffers.
    fn buffer_type(&self) -> BufferType {
        self.buffers.type_()
    }

    /// Executes the command in `request`, the readable part of a chain, and
    /// puts the response into `reply`.
    ///
    /// MMAP and MUNMAP are not answered yet: see
    /// [`next_remap`](Self::next_remap).
    ///
    /// # Errors
    /// A refused command has changed nothing. The response carries the error,
    /// as far as it fits.
    pub fn command(
        &mut self,
        now: Now,
        request: &[u8],
        bus: Bus<'_>,
        reply: &mut Reply,
    ) -> Result<(), Refused> {
        // Frames that were due before this command found no buffer.
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
                reply.succeed(&[0u8; 0]);
                Ok(())
            }
            Request::Ioctl {
                session,
                code,
                payload,
            } => {
                // An ioctl whose response does not fit is not executed.
                if !reply.has_room_for(0) {
                    return Err(Refused::NoRoom);
                }
                self.sessions.check(session)?;
                self.ioctl(now, session, code, payload, bus, reply)
            }
            Request::Mmap { body } => self.map_buffer(body, reply),
            Request::Munmap { body } => self.unmap_buffer(body, reply),
            Request::Unknown { .. } => Err(Refused::Because(
                Errno::ENOTTY,
                "the card has no such command",
            )),
        }
    }

    /// Puts the next event for the driver into `event`, and returns whether
    /// there is one. It stays the next event until
    /// [`event_sent`](Self::event_sent) is called, or until the card changes
    /// otherwise. Finished buffers and V4L2 events come in the order in which
    /// they occurred.
    pub fn next_event(&self, event: &mut Vec<u8>) -> bool {
        event.clear();
        match self.oldest() {
            Some(Oldest::Buffer(())) => {
                if let Some((session, finished)) = self.buffers.finished() {
                    let dequeued = DqbufEvent::new(session, finished.buffer, finished.planes());
                    event.extend_from_slice(dequeued.as_bytes());
                }
            }
            Some(other) => self.sessions.put(&other, event),
            None => (),
        }
        !event.is_empty()
    }

    /// Removes the event that [`next_event`](Self::next_event) returned and
    /// that has been sent.
    pub fn event_sent(&mut self) {
        match self.oldest() {
            Some(Oldest::Buffer(())) => {
                self.buffers.finished_sent();
                self.injection.event_sent();
            }
            Some(other) => self.sessions.told(&other),
            None => (),
        }
    }

    /// Returns what has waited longest to be reported.
    fn oldest(&self) -> Option<Oldest<()>> {
        let finished = match self.injection.holds_events() {
            true => None,
            false => self.buffers.oldest_finished(),
        };
        self.sessions.oldest(finished.map(|stamp| (stamp, ())))
    }

    /// Resolves the queued buffers again after a change of guest memory or of
    /// the forbidden ranges in it. A buffer that has lost its memory is
    /// returned with an error. When this returns, nothing refers to the old
    /// memory.
    pub fn memory_changed(&mut self, now: Now, bus: Bus<'_>) {
        let sequence = self
            .stream
            .as_ref()
            .map_or(0, |stream| stream.clock.sequence());
        let before = self.buffers.queued();
        let stamp = self.stamp();
        let completion = Completion {
            bytesused: 0,
            sequence,
            label: Label::at(now.monotonic),
            error: true,
            last: false,
            stamp,
        };
        self.buffers.memory_changed(bus, |_| completion);
        self.statistics.errors(before - self.buffers.queued());
    }

    /// Declares a session dead: its stream ends, and the driver gets an error
    /// event.
    pub fn fail_session(&mut self, session: u32, errno: Errno) {
        if self.sessions.kill(session, errno) {
            self.drop_buffers_of(session);
        }
    }

    /// Resets the card to its state before the first command: everything that a
    /// guest can set has its first value again. The sources plugged into the
    /// inputs stay.
    pub fn reset(&mut self) {
        self.end_stream();
        self.buffers.free();
        self.region.clear();
        self.sessions.clear();
        self.controls = Controls::new(self.endpoint.kind(), self.error_injection);
        self.injection = Injection::default();
        self.crop = None;
        self.endpoint.select(0);
        self.apply_settings();
        self.set_first_format();
    }

    /// Passes on the records that the witness has collected. The caller does
    /// this while no frame is due.
    pub fn flush_witness(&mut self) {
        self.witness.flush();
    }

    /// Ends the stream and frees the buffers, if `session` owns them.
    fn drop_buffers_of(&mut self, session: u32) {
        if self.buffers.owner() == Some(session) {
            self.end_stream();
            self.buffers.free();
        }
    }
}
