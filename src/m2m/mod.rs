//! The mem-to-mem card: it reads a frame out of one buffer and writes what it
//! makes of it into another.
//!
//! Like the [`card`](crate::card) that captures or shows frames it is a state
//! machine, driven by commands and ticks, and shares with it all that a queue of
//! buffers, a session and a control are. What sets it apart is that every session
//! is a [`Context`] of its own, as V4L2 demands of such devices ("Video
//! Memory-To-Memory Interface"): formats, controls, buffers and streams of one are
//! nothing to another. The card works for one after the other.
//!
//! Only [`M2mCard::tick`] reads or writes a buffer, and only while both queues of
//! its session stream. STREAMOFF, REQBUFS(0) and CLOSE therefore end all DMA before
//! they return.
//!
//! | file | what is in it |
//! |---|---|
//! | `context`, `queue` | what belongs to a session |
//! | `ioctl`, `formats`, `selection`, `buffering` | its ioctls |
//! | `drain` | how a session's stream ends |
//! | `job`, `workshop` | the work: a frame out of memory, another into memory |

mod buffering;
mod context;
mod drain;
mod formats;
mod ioctl;
mod job;
mod queue;
mod selection;
#[cfg(test)]
mod tests;
mod workshop;

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::ops::Bound;
use std::time::Duration;

use zerocopy::IntoBytes;

use crate::card::buffers::Completion;
use crate::card::controls::Controls;
use crate::card::events::{Payload, QueuedEvent, Topic};
use crate::card::ioctl::NO_IOCTL;
use crate::card::session::{Oldest, Sessions};
use crate::card::statistics::{Snapshot, Statistics};
use crate::card::{BufferApi, CardKind, Direction, Modes, Now, Refused, Witness, format};
use crate::dma::Bus;
use crate::wire::event::DqbufEvent;
use crate::wire::protocol::{
    CAP_EXT_PIX_FORMAT, CAP_STREAMING, CAP_VIDEO_M2M, CAP_VIDEO_M2M_MPLANE, Config, OpenReply,
};
use crate::wire::{Errno, Reply, Request};
use context::{Abilities, Context};
use queue::Queue;
use workshop::Workshop;

pub use queue::Makes;

/// Largest number of sessions open at once. Every one may have buffers, and a
/// format and values of its own.
const MAX_SESSIONS: usize = 256;

/// Largest number of buffers of all sessions together. Each has a scatter list of
/// up to 8192 segments for every plane, which it keeps until it is freed: 100 MiB
/// in all if there is one plane, and three times that if there are three.
const MAX_BUFFERS: usize = 1024;

/// The parts and settings of a mem-to-mem card.
pub struct Spec {
    /// V4L2's single-planar or multi-planar API.
    pub planes: BufferApi,
    /// Which frames the card makes.
    pub makes: Makes,
    /// The sizes of the frames, of both queues; it has no rates.
    pub modes: Modes,
    /// Most frames that the card makes in a second, for all sessions together; `None` as
    /// many as it can.
    pub most_fps: Option<NonZeroU32>,
    /// Whether there are controls that make errors happen.
    pub error_injection: bool,
    /// The witness, which records what the card reads and writes.
    pub witness: Witness,
}

/// The mem-to-mem card.
pub struct M2mCard {
    abilities: Abilities,
    witness: Witness,
    /// The controls of a session that has set none.
    controls: Controls,
    sessions: Sessions,
    /// One for each session that is alive.
    contexts: BTreeMap<u32, Context>,
    /// The session that was worked for last.
    served: u32,
    /// Least time from one frame to the next.
    pace: Duration,
    /// When the next frame may be made, on CLOCK_MONOTONIC.
    next_frame: Duration,
    workshop: Workshop,
    /// Number of events and finished buffers so far; each takes the count as its
    /// stamp.
    stamps: u64,
    statistics: Statistics,
}

impl M2mCard {
    /// Creates a card as `spec` describes it.
    pub fn new(spec: Spec) -> Self {
        Self {
            abilities: Abilities {
                planes: spec.planes,
                makes: spec.makes,
                modes: spec.modes,
            },
            witness: spec.witness,
            controls: Controls::new(CardKind::M2m, spec.error_injection),
            sessions: Sessions::default(),
            contexts: BTreeMap::new(),
            served: 0,
            pace: spec
                .most_fps
                .map_or(Duration::ZERO, |fps| Duration::from_secs(1) / fps.get()),
            next_frame: Duration::ZERO,
            workshop: Workshop::default(),
            stamps: 0,
            statistics: Statistics::default(),
        }
    }

    /// Returns the configuration space.
    pub fn config(&self) -> Config {
        let capability = match self.abilities.planes {
            BufferApi::Single => CAP_VIDEO_M2M,
            BufferApi::Multi => CAP_VIDEO_M2M_MPLANE,
        };
        Config {
            device_caps: (capability | CAP_STREAMING | CAP_EXT_PIX_FORMAT).into(),
            // VFL_TYPE_VIDEO
            device_type: 0.into(),
            card: format::padded("Pinhole"),
        }
    }

    /// Executes the command in `request`, the readable part of a chain, and puts
    /// the response into `reply`.
    ///
    /// # Errors
    /// A refused command has changed nothing. The response carries the error, as
    /// far as it fits.
    pub fn command(
        &mut self,
        now: Now,
        request: &[u8],
        bus: Bus<'_>,
        reply: &mut Reply,
    ) -> Result<(), Refused> {
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
                if self.sessions.count() >= MAX_SESSIONS {
                    return Err(Refused::Because(
                        Errno::EMFILE,
                        "too many sessions are open",
                    ));
                }
                let id = self.sessions.open()?;
                let context = Context::new(id, &self.abilities, self.controls.clone());
                self.contexts.insert(id, context);
                reply.succeed(&OpenReply {
                    session_id: id.into(),
                    reserved: 0.into(),
                });
                Ok(())
            }
            Request::Close { session } => {
                self.sessions.close(session)?;
                self.end(session);
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
            // The card has no memory of its own.
            Request::Mmap { .. } | Request::Munmap { .. } => Err(NO_IOCTL),
            Request::Unknown { .. } => Err(Refused::Because(
                Errno::ENOTTY,
                "the card has no such command",
            )),
        }
    }

    /// Does one job, if one can be done, or ends a stream that is drained. The
    /// sessions take turns. Returns whether a frame was made.
    pub fn tick(&mut self, now: Now) -> bool {
        let Some(session) = self.next_session(now) else {
            return false;
        };
        self.served = session;
        let made = self.work(now, session);
        if made {
            self.next_frame = now.monotonic + self.pace;
        }
        made
    }

    /// Returns the session whose turn it is, of those for which there is work.
    fn next_session(&self, now: Now) -> Option<u32> {
        let after = (Bound::Excluded(self.served), Bound::Unbounded);
        let before = self.contexts.range(..=self.served);
        let mut turns = self.contexts.range(after).chain(before);
        let is_due =
            |due: Option<Duration>| due.is_some_and(|due| self.earliest(due) <= now.monotonic);
        turns.find_map(|(id, context)| is_due(context.due()).then_some(*id))
    }

    /// Returns when [`tick`](Self::tick) must be called, on CLOCK_MONOTONIC; that
    /// time may be in the past.
    pub fn next_deadline(&self) -> Option<Duration> {
        let due = self.contexts.values().filter_map(Context::due).min();
        due.map(|due| self.earliest(due))
    }

    /// Returns when that is done which is due then.
    fn earliest(&self, due: Duration) -> Duration {
        due.max(self.next_frame)
    }

    /// Records how long the [`tick`](Self::tick) that made a frame took.
    pub fn frame_took(&mut self, duration: Duration) {
        self.statistics.took(duration);
    }

    /// Puts the next event for the driver into `event`, and returns whether there
    /// is one. It stays the next event until [`event_sent`](Self::event_sent) is
    /// called, or until the card changes otherwise. Finished buffers and V4L2
    /// events come in the order in which they occurred.
    pub fn next_event(&self, event: &mut Vec<u8>) -> bool {
        event.clear();
        match self.oldest() {
            Some(Oldest::Buffer((session, direction))) => {
                let context = self.contexts.get(&session);
                let buffers = context.map(|context| &context.queue(direction).buffers);
                if let Some((_, finished)) = buffers.and_then(|buffers| buffers.finished()) {
                    let dequeued = DqbufEvent::new(session, finished.buffer, finished.planes());
                    event.extend_from_slice(dequeued.as_bytes());
                }
            }
            Some(other) => self.sessions.put(&other, event),
            None => (),
        }
        !event.is_empty()
    }

    /// Removes the event that [`next_event`](Self::next_event) returned and that
    /// has been sent.
    pub fn event_sent(&mut self) {
        match self.oldest() {
            Some(Oldest::Buffer((session, direction))) => {
                if let Some(context) = self.contexts.get_mut(&session) {
                    context.queue_mut(direction).buffers.finished_sent();
                }
            }
            Some(other) => self.sessions.told(&other),
            None => (),
        }
    }

    /// Returns what has waited longest to be reported; of a buffer, its session and
    /// its queue.
    fn oldest(&self) -> Option<Oldest<(u32, Direction)>> {
        let finished = self.contexts.iter().filter_map(|(id, context)| {
            let (stamp, direction) = context.oldest_finished()?;
            Some((stamp, (*id, direction)))
        });
        self.sessions
            .oldest(finished.min_by_key(|(stamp, _)| *stamp))
    }

    /// Resolves the queued buffers again after a change of guest memory or of the
    /// forbidden ranges in it. A buffer that has lost its memory is returned with
    /// an error. When this returns, nothing refers to the old memory.
    pub fn memory_changed(&mut self, _now: Now, bus: Bus<'_>) {
        let mut lost = 0;
        for context in self.contexts.values_mut() {
            let drained = context.drain.left();
            let mut gone = 0;
            for queue in context.queues_mut() {
                let direction = queue.direction();
                let Queue {
                    buffers, sequence, ..
                } = queue;
                buffers.memory_changed(bus, |place| {
                    lost += 1;
                    self.stamps += 1;
                    let number = *sequence;
                    *sequence = number.wrapping_add(1);
                    gone += usize::from(direction == Direction::Output && place < drained);
                    Completion {
                        error: true,
                        sequence: number,
                        stamp: self.stamps,
                        ..Completion::default()
                    }
                });
            }
            context.drain.lose(gone);
        }
        self.statistics.errors(lost);
    }

    /// Declares a session dead: its streams end, and the driver gets an error
    /// event.
    pub fn fail_session(&mut self, session: u32, errno: Errno) {
        if self.sessions.kill(session, errno) {
            self.end(session);
        }
    }

    /// Resets the card to its state before the first command.
    pub fn reset(&mut self) {
        let open: Vec<u32> = self.contexts.keys().copied().collect();
        for session in open {
            self.end(session);
        }
        self.sessions.clear();
        self.workshop = Workshop::default();
    }

    /// Passes on the records that the witness has collected. The caller does this
    /// while nothing is to be done.
    pub fn flush_witness(&mut self) {
        self.witness.flush();
    }

    /// Returns the counters, and the current state of the card. A frame is one that
    /// was written, and its bytes are those that were read for it, too.
    pub fn statistics(&self, now: Now) -> Snapshot {
        let mut queues = self.contexts.values().flat_map(Context::queues);
        let (mut queued, mut done) = (0, 0);
        for queue in queues.clone() {
            queued += queue.buffers.queued() as u64;
            done += queue.buffers.done() as u64;
        }
        Snapshot {
            queued,
            events_pending: done + self.sessions.waiting_events(),
            sessions: self.sessions.count() as u64,
            streaming: queues.any(|queue| queue.stream.is_some()),
            ..self.statistics.snapshot(now)
        }
    }

    /// Ends the streams of a session, and forgets all that was its.
    fn end(&mut self, session: u32) {
        for direction in [Direction::Output, Direction::Capture] {
            self.end_stream(session, direction);
        }
        self.contexts.remove(&session);
        if self
            .contexts
            .values()
            .all(|context| !context.is_streaming())
        {
            self.workshop.free();
        }
    }

    /// Queues an event for a session that has subscribed to it; its `own` doing
    /// only if it subscribed with feedback.
    fn raise(&mut self, now: Now, session: u32, topic: Topic, payload: Payload, own: bool) {
        let event = QueuedEvent {
            topic,
            payload,
            time: now.monotonic,
            stamp: self.stamp(),
        };
        self.sessions.raise_for(session, event, own);
    }

    /// Returns the position of the next event among all events of the card.
    fn stamp(&mut self) -> u64 {
        self.stamps += 1;
        self.stamps
    }
}
