//! The real card behind a wrapper that breaks one thing.
//!
//! What it testifies is always what the card without the fault would have
//! done: no oracle may believe it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pinhole::card::region::Remap;
use pinhole::card::{Now, Refused};
use pinhole::dma::Bus;
use pinhole::vhost::Device;
use pinhole::wire::buffer::{Buffer, MEMORY_USERPTR, RequestBuffers};
use pinhole::wire::event::{DqbufEvent, EVT_DQBUF};
use pinhole::wire::format::BUF_TYPE_VIDEO_OUTPUT;
use pinhole::wire::protocol::{CMD_IOCTL, Config, SgEntry};
use pinhole::wire::{Errno, Ioctl, Reply, Request};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};
use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, IntoBytes};

/// V4L2_CID_HFLIP.
const HFLIP: u32 = 0x0098_0914;

/// How long a buffer waits for another that it can be taken for.
const PATIENCE: Duration = Duration::from_millis(500);

/// A fault of a card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutation {
    /// It keeps the memory of a buffer that STREAMOFF has taken back, and
    /// writes there when a control is set that may have held the frame.
    WriteAfterStreamoff,
    /// It says that it has filled another buffer than it has.
    WrongIndex,
    /// It writes each frame one byte further than it should, and so one byte
    /// beyond the buffer's end.
    OneByteOff,
    /// It gives each buffer back twice.
    FrameTwice,
    /// It reads each frame one byte further than it should, and so one byte
    /// beyond the buffer's end.
    ReadOneByteOff,
    /// It writes to a buffer that it is only to read.
    WriteToRead,
    /// It takes the memory of a buffer of another session for that of one that it is
    /// to write to.
    OtherSession,
    /// It mirrors each frame, though nobody has told it to.
    Mirrors,
    /// No fault, but the way of other devices: it takes no buffers in guest
    /// memory, and has its own.
    OwnMemoryOnly,
}

/// A buffer: its session, its V4L2_BUF_TYPE_*, and its index.
type Place = (u32, u32, u32);

/// The fault that a card has at the time, if any.
pub type Fault = Arc<Mutex<Option<Mutation>>>;

/// A card, with a fault or without.
pub struct MutatedCard<D> {
    card: D,
    fault: Fault,
    memory: GuestMemoryMmap,
    /// The scatter lists that the driver queued last, by their buffers.
    lists: BTreeMap<Place, Vec<SgEntry>>,
    /// Where the buffers begin that STREAMOFF has taken back.
    kept: Vec<GuestAddress>,
    /// What was kept is to be written to.
    trespass: bool,
    /// What the driver is to be told.
    outbox: VecDeque<Vec<u8>>,
    /// A buffer that goes back with another whose index it is given, or late
    /// and with that of none.
    held: Option<(DqbufEvent, Duration)>,
    /// The time of the last tick.
    now: Duration,
}

impl<D: Device> MutatedCard<D> {
    pub fn new(card: D, fault: Fault) -> Self {
        Self {
            card,
            fault,
            memory: GuestMemoryMmap::new(),
            lists: BTreeMap::new(),
            kept: Vec::new(),
            trespass: false,
            outbox: VecDeque::new(),
            held: None,
            now: Duration::ZERO,
        }
    }

    fn mutation(&self) -> Option<Mutation> {
        *self.fault.lock().unwrap()
    }

    /// Remembers what the driver has queued, and takes back.
    fn overhear(&mut self, request: &[u8]) {
        let Ok(Request::Ioctl {
            session,
            code,
            payload,
        }) = Request::parse(request)
        else {
            return;
        };
        if code == Ioctl::QBuf as u32 {
            let (buffer, rest) = Buffer::ref_from_prefix(payload).unwrap();
            let count = rest.len() / size_of::<SgEntry>();
            let (list, _) = <[SgEntry]>::ref_from_prefix_with_elems(rest, count).unwrap();
            self.lists.insert(place(session, buffer), list.to_vec());
            // The memory may be anybody's by now: a guest that falls over
            // shows nothing.
            self.kept.clear();
        } else if code == Ioctl::StreamOff as u32 {
            let (type_, _) = U32::ref_from_prefix(payload).unwrap();
            let is_of_it = |place: &Place| (place.0, place.1) == (session, type_.get());
            if self.mutation() == Some(Mutation::WriteAfterStreamoff) {
                let taken = self.lists.iter().filter(|(place, _)| is_of_it(place));
                let begins = taken.map(|(_, list)| GuestAddress(list[0].start.get()));
                self.kept = begins.collect();
            }
            self.lists.retain(|place, _| !is_of_it(place));
            self.forget_events();
        } else if code == Ioctl::SCtrl as u32 || code == Ioctl::SExtCtrls as u32 {
            self.trespass = true;
        }
    }

    /// The driver has all its buffers back.
    fn forget_events(&mut self) {
        self.outbox.clear();
        self.held = None;
    }

    /// Does to a buffer that goes back what the fault does.
    fn give_back(&mut self, mut event: DqbufEvent) {
        let place = place(event.header.session_id.get(), &event.buffer);
        match self.mutation() {
            Some(Mutation::WrongIndex) => {
                // Two buffers that the driver does not have: it cannot know.
                let Some((mut before, _)) = self.held.take() else {
                    self.held = Some((event, self.now + PATIENCE));
                    return;
                };
                std::mem::swap(&mut before.buffer.index, &mut event.buffer.index);
                self.outbox.push_back(before.as_bytes().to_vec());
            }
            Some(Mutation::OneByteOff) => self.move_frame(place),
            Some(Mutation::WriteToRead) if is_read(&event.buffer) => {
                let begin = GuestAddress(self.lists[&place][0].start.get());
                self.invert(begin);
            }
            Some(Mutation::FrameTwice) => self.outbox.push_back(event.as_bytes().to_vec()),
            Some(
                Mutation::WriteAfterStreamoff
                | Mutation::WriteToRead
                | Mutation::ReadOneByteOff
                | Mutation::OtherSession
                | Mutation::Mirrors
                | Mutation::OwnMemoryOnly,
            )
            | None => (),
        }
        self.outbox.push_back(event.as_bytes().to_vec());
    }

    /// The command, with the scatter list of another session's buffer in a QBUF if the
    /// card is to write to it.
    fn mixed_up(&self, request: &[u8]) -> Vec<u8> {
        let mut mixed = request.to_vec();
        if let Some((session, buffer, at)) = queued(request)
            && !is_read(buffer)
        {
            let mut lists = self.lists.iter();
            let type_ = buffer.type_.get();
            let other = lists.find(|(place, _)| place.0 != session && place.1 == type_);
            if let Some((_, list)) = other {
                mixed.truncate(at);
                mixed.extend_from_slice(list.as_bytes());
            }
        }
        mixed
    }

    /// Writes to memory that was taken back: the first bytes are others then.
    fn write_where_it_must_not(&mut self) {
        for start in std::mem::take(&mut self.kept) {
            self.invert(start);
        }
    }

    /// Writes other bytes to memory.
    fn invert(&self, start: GuestAddress) {
        let mut bytes = [0; 16];
        self.memory.read_slice(&mut bytes, start).unwrap();
        let others = bytes.map(|byte| !byte);
        self.memory.write_slice(&others, start).unwrap();
    }

    /// Moves the frame in a buffer by one byte, over its end.
    fn move_frame(&self, place: Place) {
        let list = &self.lists[&place];
        let mut bytes = Vec::new();
        for entry in list {
            let at = bytes.len();
            bytes.resize(at + entry.len.get() as usize, 0);
            let start = GuestAddress(entry.start.get());
            self.memory.read_slice(&mut bytes[at..], start).unwrap();
        }
        let mut rest = &bytes[..];
        for (number, entry) in list.iter().enumerate() {
            let (first, last) = (number == 0, number + 1 == list.len());
            // Each piece begins with the last byte of the one before.
            let start = entry.start.get() + u64::from(first);
            let length = entry.len.get() as usize - usize::from(first) + usize::from(last);
            let (piece, later) = rest.split_at(length);
            self.memory.write_slice(piece, GuestAddress(start)).unwrap();
            rest = later;
        }
    }
}

fn place(session: u32, buffer: &Buffer) -> Place {
    (session, buffer.type_.get(), buffer.index.get())
}

/// Whether a buffer is one that the card is to read.
fn is_read(buffer: &Buffer) -> bool {
    buffer.type_.get() == BUF_TYPE_VIDEO_OUTPUT
}

/// The buffer of a QBUF, and where in the command its scatter list is.
fn queued(request: &[u8]) -> Option<(u32, &Buffer, usize)> {
    match Request::parse(request) {
        Ok(Request::Ioctl {
            session,
            code,
            payload,
        }) if code == Ioctl::QBuf as u32 => {
            let (buffer, list) = Buffer::ref_from_prefix(payload).unwrap();
            Some((session, buffer, request.len() - list.len()))
        }
        _ => None,
    }
}

/// The command, with the scatter list of a QBUF moved by one byte if the card is to
/// read the buffer.
fn moved(request: &[u8]) -> Vec<u8> {
    let mut moved = request.to_vec();
    if let Some((_, buffer, list)) = queued(request)
        && is_read(buffer)
    {
        for entry in moved[list..].chunks_exact_mut(size_of::<SgEntry>()) {
            let (entry, _) = SgEntry::mut_from_prefix(entry).unwrap();
            entry.start = (entry.start.get() + 1).into();
        }
    }
    moved
}

/// The command that has a session's frames mirrored.
fn mirror(session: u32) -> Vec<u8> {
    let ioctl = [CMD_IOCTL, 0, session, Ioctl::SCtrl as u32];
    let words = ioctl.into_iter().chain([HFLIP, 1]);
    words.flat_map(u32::to_le_bytes).collect()
}

/// Whether a command is a REQBUFS of SHARED_PAGES buffers.
fn asks_for_guest_memory(request: &[u8]) -> bool {
    let Ok(Request::Ioctl { code, payload, .. }) = Request::parse(request) else {
        return false;
    };
    code == Ioctl::ReqBufs as u32
        && RequestBuffers::ref_from_prefix(payload)
            .is_ok_and(|(asked, _)| asked.memory.get() == MEMORY_USERPTR)
}

impl<D: Device> Device for MutatedCard<D> {
    fn config(&self) -> Config {
        self.card.config()
    }

    fn command(
        &mut self,
        now: Now,
        request: &[u8],
        bus: Bus<'_>,
        reply: &mut Reply,
    ) -> Result<(), Refused> {
        if self.mutation() == Some(Mutation::OwnMemoryOnly) && asks_for_guest_memory(request) {
            reply.fail(Errno::EINVAL);
            return Err(Refused::Because(Errno::EINVAL, "it has its own memory"));
        }
        self.memory = bus.memory.clone();
        self.overhear(request);
        match self.mutation() {
            Some(Mutation::ReadOneByteOff) => self.card.command(now, &moved(request), bus, reply),
            Some(Mutation::OtherSession) => {
                self.card.command(now, &self.mixed_up(request), bus, reply)
            }
            Some(Mutation::Mirrors) => {
                if let Some((session, ..)) = queued(request) {
                    let mut said = Reply::default();
                    said.begin(1 << 10);
                    let mirror = mirror(session);
                    self.card.command(now, &mirror, bus, &mut said).unwrap();
                }
                self.card.command(now, request, bus, reply)
            }
            _ => self.card.command(now, request, bus, reply),
        }
    }

    fn has_region(&self) -> bool {
        true
    }

    fn open_region(&mut self, open: bool) {
        self.card.open_region(open);
    }

    fn next_remap(&mut self) -> Option<Remap> {
        self.card.next_remap()
    }

    fn remapped(&mut self, done: bool, reply: &mut Reply) -> Result<(), Refused> {
        self.card.remapped(done, reply)
    }

    fn tick(&mut self, now: Now) -> bool {
        self.now = now.monotonic;
        // Commands have been answered by now.
        if std::mem::take(&mut self.trespass) {
            self.write_where_it_must_not();
        }
        if let Some((mut event, _)) = self.held.take_if(|(_, due)| *due <= now.monotonic) {
            event.buffer.index = (event.buffer.index.get() + 1).into();
            self.outbox.push_back(event.as_bytes().to_vec());
        }
        self.card.tick(now)
    }

    fn next_deadline(&self) -> Option<Duration> {
        let held = self.held.map(|(_, due)| due);
        held.into_iter().chain(self.card.next_deadline()).min()
    }

    fn next_event(&mut self, event: &mut Vec<u8>) -> bool {
        while self.card.next_event(event) {
            self.card.event_sent();
            match DqbufEvent::read_from_bytes(event) {
                Ok(returned) if returned.header.event.get() == EVT_DQBUF => {
                    self.give_back(returned);
                }
                _ => self.outbox.push_back(event.clone()),
            }
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
        self.memory = bus.memory.clone();
        self.card.memory_changed(now, bus);
    }

    fn reset(&mut self) {
        self.lists.clear();
        self.kept.clear();
        self.forget_events();
        self.memory = GuestMemoryMmap::new();
        self.card.reset();
    }

    fn flush_witness(&mut self) {
        self.card.flush_witness();
    }
}
