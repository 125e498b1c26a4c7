//! The card behind a wrapper that breaks one clause of virtio-media.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use pinhole::card::region::{Change, Remap};
use pinhole::card::{Card, Now, Refused};
use pinhole::dma::Bus;
use pinhole::scripted::driver::v4l2::{
    CMD_CLOSE, CMD_IOCTL, CMD_MMAP, CMD_OPEN, EVT_DQBUF, EVT_ERROR, EVT_EVENT, Fields, G_EXT_CTRLS,
    G_FMT, G_PARM, MEMORY_USERPTR, QBUF, QUERYBUF, REQBUFS, S_FMT, TRY_EXT_CTRLS, With,
};
use pinhole::vhost::Device;
use pinhole::wire::protocol::Config;
use pinhole::wire::{Errno, Reply};

/// The clause that is broken, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Of more than four open sessions, all have the id of the first.
    SameId,
    /// G_PARM succeeds without its payload.
    NoPayload,
    /// An error of TRY_EXT_CTRLS is a header.
    NoErrorPayload,
    /// The pointer of G_EXT_CTRLS comes back as NULL.
    PointerGone,
    /// DQBUF is invalid instead of unknown.
    DqbufIsInvalid,
    /// MMAP tells the length of the next page.
    LongMapping,
    /// CLOSE unmaps what the session has mapped.
    UnmapsAtClose,
    /// QBUF takes m.userptr away.
    UserptrGone,
    /// EXPBUF returns a descriptor of the device's.
    OwnDescriptor,
    /// OPEN returns the id of a session that was given up.
    DeadIdAgain,
    /// The card's name is no text.
    NameIsNoText,
    /// An error is more than any errno.
    NoErrno,
    /// Only the first segment is read, as if it had all of the buffer.
    OneSegment,
    /// LOG_STATUS succeeds.
    LogsStatus,
    /// CLOSE keeps a session with buffers in guest memory.
    KeepsBuffers,
    /// All mappings can be written.
    AlwaysWritable,
    /// QUERYBUF tells of another type of memory.
    OtherMemory,
    /// Each buffer comes back twice.
    FrameTwice,
    /// Events have pointers.
    PointersInEvents,
    /// No control's event is sent.
    NoEvents,
    /// Events of controls have another one's id.
    OtherControl,
    /// There are events without end, of a type that there is not, and no frames.
    Floods,
    /// More buffers, of more bytes, than there can be.
    Endless,
    /// A session that was given up goes on.
    DeadSessionLives,
}

/// A card with a fault.
pub struct Wrapped {
    card: Card,
    fault: Option<Fault>,
    /// The ids of open sessions.
    open: Vec<u32>,
    /// The session that was given up.
    dead: Option<u32>,
    /// The session with buffers in guest memory.
    holder: Option<u32>,
    /// What is mapped, and how large it is.
    mapped: BTreeMap<u64, u64>,
    /// Changes of the region that the card knows nothing of.
    remaps: VecDeque<Remap>,
    outbox: VecDeque<Vec<u8>>,
    /// The command that waits for the front end.
    awaited: u32,
}

impl Wrapped {
    pub fn new(card: Card, fault: Option<Fault>) -> Self {
        Self {
            card,
            fault,
            open: Vec::new(),
            dead: None,
            holder: None,
            mapped: BTreeMap::new(),
            remaps: VecDeque::new(),
            outbox: VecDeque::new(),
            awaited: 0,
        }
    }

    fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    /// A list of segments that is the first one alone, as long as the buffer.
    fn one_segment(&self, request: &[u8]) -> Option<Vec<u8>> {
        const BUFFER: usize = 16 + 88;
        let is_listed = self.has(Fault::OneSegment)
            && is_ioctl(request, QBUF.code)
            && request.le32(16 + 60) == MEMORY_USERPTR
            && request.len() > BUFFER + 16;
        is_listed.then(|| {
            let length = request.le32(16 + 72);
            request[..BUFFER + 16].to_vec().with(BUFFER + 8, length)
        })
    }

    /// Answers in place of the card, if the fault does that.
    fn instead(&mut self, request: &[u8], reply: &mut Reply) -> bool {
        let session = request.le32(8);
        match self.fault {
            Some(Fault::DqbufIsInvalid) if is_ioctl(request, 17) => reply.fail(Errno::EINVAL),
            Some(Fault::LogsStatus) if is_ioctl(request, 70) => answer(reply, 0, &[]),
            Some(Fault::OwnDescriptor) if is_ioctl(request, 16) => {
                let payload = request[16..].to_vec().with(16, 3);
                answer(reply, 0, &payload);
            }
            Some(Fault::DeadSessionLives)
                if is_ioctl(request, G_FMT.code) && Some(session) == self.dead =>
            {
                answer(reply, 0, &[0; 208]);
            }
            Some(Fault::KeepsBuffers)
                if request.le32(0) == CMD_CLOSE && Some(session) == self.holder => {}
            _ => return false,
        }
        true
    }

    /// Notes what came of a command, and spoils its answer.
    fn spoil(&mut self, request: &[u8], reply: &mut Reply) {
        let bytes = reply.bytes().to_vec();
        let status = (bytes.len() >= 8).then(|| bytes.le32(0));
        let payload = bytes.get(8..).unwrap_or_default().to_vec();
        let session = request.le32(8);
        match request.le32(0) {
            CMD_OPEN if status == Some(0) => {
                let id = payload.le32(0);
                let given = match self.fault {
                    Some(Fault::SameId) if self.open.len() >= 4 => self.open[0],
                    Some(Fault::DeadIdAgain) => self.dead.take().unwrap_or(id),
                    _ => id,
                };
                self.open.push(id);
                answer(reply, 0, &payload.with(0, given));
            }
            CMD_CLOSE => {
                self.open.retain(|id| *id != session);
                if self.has(Fault::UnmapsAtClose) {
                    for (at, size) in std::mem::take(&mut self.mapped) {
                        let change = Change::Unmap { at, size };
                        self.remaps.push_back(Remap {
                            change,
                            awaited: false,
                        });
                    }
                }
            }
            CMD_IOCTL => {
                if is_ioctl(request, REQBUFS.code) && status == Some(0) {
                    let is_held = request.le32(16 + 8) == MEMORY_USERPTR && payload.le32(0) > 0;
                    self.holder = is_held.then_some(session);
                }
                self.spoil_ioctl(request, status, payload, reply);
            }
            _ => {}
        }
    }

    fn spoil_ioctl(
        &self,
        request: &[u8],
        status: Option<u32>,
        payload: Vec<u8>,
        reply: &mut Reply,
    ) {
        let is = |code: u32| is_ioctl(request, code);
        let succeeded = status == Some(0);
        match self.fault {
            Some(Fault::NoPayload) if is(G_PARM.code) && succeeded => answer(reply, 0, &[]),
            Some(Fault::NoErrorPayload) if is(TRY_EXT_CTRLS.code) && !succeeded => {
                answer(reply, status.unwrap_or_default(), &[]);
            }
            Some(Fault::PointerGone) if is(G_EXT_CTRLS.code) && succeeded => {
                answer(reply, 0, &payload.with64(24, 0));
            }
            Some(Fault::UserptrGone)
                if is(QBUF.code) && succeeded && payload.le32(60) == MEMORY_USERPTR =>
            {
                answer(reply, 0, &payload.with64(64, 0));
            }
            Some(Fault::OtherMemory) if is(QUERYBUF.code) && succeeded => {
                answer(reply, 0, &payload.with(60, 4));
            }
            Some(Fault::Endless) if is(REQBUFS.code) && succeeded && payload.le32(0) > 0 => {
                answer(reply, 0, &payload.with(0, u32::MAX));
            }
            Some(Fault::Endless) if (is(G_FMT.code) || is(S_FMT.code)) && succeeded => {
                answer(reply, 0, &payload.with(28, u32::MAX));
            }
            Some(Fault::Endless) if is(QUERYBUF.code) && succeeded => {
                answer(reply, 0, &payload.with(72, 0xffff_f000));
            }
            Some(Fault::NoErrno) if is(G_FMT.code) && request.le32(16) == 77 => {
                answer(reply, 0xffff_ffea, &[]);
            }
            _ => {}
        }
    }

    /// Notes an event of the card's, and passes on what the fault leaves of it.
    fn pass_on(&mut self, mut event: Vec<u8>) {
        match (event.le32(0), self.fault) {
            (EVT_ERROR, _) => self.dead = Some(event.le32(4)),
            (EVT_EVENT, Some(Fault::NoEvents)) | (EVT_DQBUF, Some(Fault::Floods)) => return,
            (EVT_EVENT, Some(Fault::OtherControl)) => event = event.with(8 + 96, 1),
            (EVT_DQBUF, Some(Fault::FrameTwice)) => self.outbox.push_back(event.clone()),
            (EVT_DQBUF, Some(Fault::PointersInEvents)) => event = event.with64(8 + 64, 0x1000),
            _ => {}
        }
        self.outbox.push_back(event);
    }
}

fn is_ioctl(request: &[u8], code: u32) -> bool {
    request.le32(0) == CMD_IOCTL && request.le32(12) == code && request.len() >= 16
}

/// Puts another answer in the place of the card's.
fn answer(reply: &mut Reply, status: u32, payload: &[u8]) {
    reply.begin(8 + payload.len());
    reply.succeed(payload);
    if status != 0 {
        reply.fail(Errno(status));
    }
}

impl Device for Wrapped {
    fn config(&self) -> Config {
        let mut config = self.card.config();
        if self.has(Fault::NameIsNoText) {
            config.card[0] = 0xff;
        }
        config
    }

    fn command(
        &mut self,
        now: Now,
        request: &[u8],
        bus: Bus<'_>,
        reply: &mut Reply,
    ) -> Result<(), Refused> {
        if self.instead(request, reply) {
            return Ok(());
        }
        self.awaited = request.le32(0);
        let other = self.one_segment(request);
        let result = self
            .card
            .command(now, other.as_deref().unwrap_or(request), bus, reply);
        self.spoil(request, reply);
        result
    }

    fn has_region(&self) -> bool {
        true
    }

    fn open_region(&mut self, open: bool) {
        self.card.open_region(open);
    }

    fn next_remap(&mut self) -> Option<Remap> {
        let mut next = self.card.next_remap().or_else(|| self.remaps.pop_front())?;
        if let Change::Map {
            at,
            memory,
            writable,
        } = &mut next.change
        {
            self.mapped.insert(*at, memory.size());
            *writable |= self.fault == Some(Fault::AlwaysWritable);
        }
        Some(next)
    }

    fn remapped(&mut self, done: bool, reply: &mut Reply) -> Result<(), Refused> {
        let result = self.card.remapped(done, reply);
        if self.has(Fault::LongMapping) && self.awaited == CMD_MMAP && done {
            let payload = reply.bytes()[8..].to_vec();
            let len = payload.le64(8) + 4096;
            answer(reply, 0, &payload.with64(8, len));
        }
        result
    }

    fn tick(&mut self, now: Now) -> bool {
        self.card.tick(now)
    }

    fn next_deadline(&self) -> Option<Duration> {
        self.card.next_deadline()
    }

    fn next_event(&mut self, event: &mut Vec<u8>) -> bool {
        while self.card.next_event(event) {
            self.card.event_sent();
            self.pass_on(event.clone());
        }
        if self.has(Fault::Floods) && !self.open.is_empty() && self.outbox.is_empty() {
            let flood = vec![0; 8 + 136];
            let flood = flood.with(0, EVT_EVENT).with(4, self.open[0]);
            self.outbox.push_back(flood);
        }
        event.clear();
        if let Some(next) = self.outbox.front() {
            event.extend_from_slice(next);
        }
        !event.is_empty()
    }

    fn event_sent(&mut self) {
        self.outbox.pop_front();
    }

    fn memory_changed(&mut self, now: Now, bus: Bus<'_>) {
        self.card.memory_changed(now, bus);
    }

    fn reset(&mut self) {
        self.open.clear();
        self.dead = None;
        self.holder = None;
        self.mapped.clear();
        self.remaps.clear();
        self.outbox.clear();
        self.card.reset();
    }
}
