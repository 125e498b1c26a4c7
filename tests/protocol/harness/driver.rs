//! The guest's driver: a vhost-user front end with its two queues.

use std::collections::{HashMap, VecDeque};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use vhost::VhostBackend;
use vhost::vhost_user::message::{VhostUserHeaderFlag, VhostUserProtocolFeatures};
use vhost::vhost_user::{Frontend, VhostUserFrontend};

use super::card::{Card, LIMIT};
use super::memory::{LOW, LOW_SPARE, Memory, PAGE};
use super::queue::{Descriptor, Piece, Queue, RAW, Used};
use super::region::Region;
use super::v4l2::{
    self, Buffer, CAPTURE_MPLANE, CMD_OPEN, EVENT, EVT_DQBUF, EVT_ERROR, EVT_EVENT, Fields, Ioctl,
    RESPONSE, V4L2_EVENT,
};

const VERSION_1: u64 = 1 << 32;
const PROTOCOL_FEATURES: u64 = 1 << 30;
const EVENT_IDX: u64 = 1 << 29;
const INDIRECT_DESC: u64 = 1 << 28;

/// What a writable buffer holds before the card writes it.
const UNWRITTEN: u8 = 0xee;

/// How the driver lays out its chains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chains {
    /// A descriptor for what is read and one for what is written.
    Plain,
    /// Small pieces that do not respect any structure's borders.
    Split,
    /// As `Split`, in an indirect table.
    Indirect,
}

/// What a driver is made like.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    pub event_idx: bool,
    pub chains: Chains,
    /// Event buffers posted at first, each posted anew when it was used.
    pub event_buffers: usize,
    /// The front end maps memory into region 0.
    pub region: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            event_idx: true,
            chains: Chains::Plain,
            event_buffers: 40,
            region: false,
        }
    }
}

/// The card's answer to a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// All that the card wrote.
    pub bytes: Vec<u8>,
}

impl Reply {
    /// The status of the response, if there is one.
    pub fn status(&self) -> Option<u32> {
        (self.bytes.len() >= RESPONSE).then(|| self.bytes.le32(0))
    }

    /// What follows the response's header.
    pub fn payload(&self) -> &[u8] {
        self.bytes.get(RESPONSE..).unwrap_or_default()
    }
}

/// An event that the card sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    Error {
        session: u32,
        errno: u32,
    },
    Dqbuf {
        session: u32,
        buffer: Buffer,
        /// Room for eight v4l2_planes.
        planes: Vec<u8>,
    },
    /// A v4l2_event.
    V4l2 {
        session: u32,
        event: Vec<u8>,
    },
}

/// A guest's driver, connected to a card.
pub struct Driver {
    pub front: Frontend,
    /// What it speaks over.
    pub stream: UnixStream,
    pub memory: Memory,
    /// Shared memory region 0, if the front end has it.
    pub region: Option<Region>,
    pub commands: Queue,
    pub events: Queue,
    options: Options,
    heap: u64,
    /// Where the card is to go on in each available ring.
    bases: [u32; 2],
    replies: HashMap<u16, Reply>,
    received: VecDeque<Event>,
    /// Chains written by hand that have come back: first descriptor, bytes.
    pub strays: Vec<(u16, u32)>,
}

impl Driver {
    /// A driver with eight MiB of memory for frames.
    pub fn new(card: &mut Card) -> Self {
        Self::attach(card, Memory::new(8 << 20), Options::default())
    }

    /// Connects to the card and sets it up with that memory.
    pub fn attach(card: &mut Card, memory: Memory, options: Options) -> Self {
        let mut driver = Self::connect(card, memory, options);
        driver.start();
        driver
    }

    /// Connects to the card, and tells it of no memory and no ring yet.
    pub fn connect(card: &mut Card, mut memory: Memory, options: Options) -> Self {
        let stream = card.connect();
        let mut front = Frontend::from_stream(stream.try_clone().expect("the socket"), 2);
        let commands = Queue::new(0, options.event_idx, &mut memory);
        let events = Queue::new(1, options.event_idx, &mut memory);
        front.set_owner().expect("SET_OWNER");
        negotiate(&mut front, options.region);
        let region = options.region.then(|| Region::open(&mut front));
        Self {
            front,
            stream,
            memory,
            region,
            commands,
            events,
            options,
            heap: HEAP_START,
            bases: [0; 2],
            replies: HashMap::new(),
            received: VecDeque::new(),
            strays: Vec::new(),
        }
    }

    /// Acks the features, hands over memory and rings, and enables them, as a
    /// VMM does when the guest's driver sets DRIVER_OK or a paused guest goes
    /// on.
    pub fn start_rings(&mut self) {
        self.start_some(usize::MAX).expect("the rings start");
        self.barrier();
    }

    /// Sends the first `most` of the messages that start the rings, and says
    /// which one failed.
    pub fn start_some(&self, most: usize) -> Result<(), String> {
        let mut sent = 0;
        let mut send = |what: &str, message: &dyn Fn() -> vhost::Result<()>| {
            sent += 1;
            match sent > most {
                true => Ok(()),
                false => message().map_err(|error| format!("{what}: {error}")),
            }
        };
        let front = &self.front;
        let mut wanted = VERSION_1 | PROTOCOL_FEATURES | INDIRECT_DESC | EVENT_IDX;
        send("GET_FEATURES", &|| {
            let offered = front.get_features()?;
            assert_eq!(offered & wanted, wanted, "the card offers {offered:#x}");
            Ok(())
        })?;
        if !self.options.event_idx {
            wanted &= !EVENT_IDX;
        }
        send("SET_FEATURES", &|| front.set_features(wanted))?;
        let regions = self.memory.regions(|_| true);
        send("SET_MEM_TABLE", &|| front.set_mem_table(&regions).map(drop))?;
        for queue in [&self.commands, &self.events] {
            let number = queue.number;
            let config = queue.config(&self.memory);
            let base = self.bases[number] as u16;
            send("SET_VRING_NUM", &|| {
                front.set_vring_num(number, super::queue::SIZE)
            })?;
            send("SET_VRING_ADDR", &|| front.set_vring_addr(number, &config))?;
            send("SET_VRING_BASE", &|| front.set_vring_base(number, base))?;
            send("SET_VRING_CALL", &|| {
                front.set_vring_call(number, &queue.call)
            })?;
            send("SET_VRING_KICK", &|| {
                front.set_vring_kick(number, &queue.kick)
            })?;
        }
        for number in [0, 1] {
            send("SET_VRING_ENABLE", &|| {
                front.clone().set_vring_enable(number, true)
            })?;
        }
        Ok(())
    }

    /// Stops both rings, as a VMM does for a guest that is paused; it gives
    /// back what the card would look at next.
    pub fn stop_rings(&mut self) -> [u32; 2] {
        let front = &self.front;
        self.bases = [0, 1].map(|queue| front.get_vring_base(queue).expect("GET_VRING_BASE"));
        self.bases
    }

    fn start(&mut self) {
        self.start_rings();
        for _ in 0..self.options.event_buffers {
            self.post_event_buffer();
        }
    }

    /// Starts with fresh rings, as another driver would.
    pub fn restart(&mut self) {
        self.begin_anew();
        self.start();
    }

    /// Makes fresh rings, which the card is not told of.
    pub fn begin_anew(&mut self) {
        self.commands = Queue::new(0, self.options.event_idx, &mut self.memory);
        self.events = Queue::new(1, self.options.event_idx, &mut self.memory);
        self.bases = [0; 2];
        self.replies.clear();
        self.received.clear();
    }

    /// Returns when the card has handled every vhost-user message so far:
    /// they are handled in order, and this one has a reply.
    pub fn barrier(&self) {
        self.front.get_features().expect("GET_FEATURES");
    }

    /// Disconnects; the memory stays.
    pub fn detach(self) -> Memory {
        self.memory
    }

    /// A piece of the heap. Addresses are as odd as can be: a device may not
    /// expect any alignment of buffers.
    pub fn allocate(&mut self, len: usize) -> u64 {
        let len = len as u64;
        assert!(len < HEAP_END - HEAP_START);
        if self.heap + len + 2 > HEAP_END {
            self.heap = HEAP_START;
        }
        let address = self.heap | 1;
        self.heap = address + len + 1;
        address
    }

    /// Gives the card a command; [`Self::wait`] has the answer.
    pub fn submit(&mut self, readable: &[u8], writable: usize) -> u16 {
        let mut pieces = Vec::new();
        for part in self.cut(readable.len()) {
            let address = self.allocate(part.len());
            pieces.push(Piece {
                address,
                len: part.len() as u32,
                writable: false,
            });
            self.memory.write(address, &readable[part]);
        }
        for part in self.cut(writable) {
            let address = self.allocate(part.len());
            pieces.push(Piece {
                address,
                len: part.len() as u32,
                writable: true,
            });
            self.memory.write(address, &vec![UNWRITTEN; part.len()]);
        }
        let table = (self.options.chains == Chains::Indirect).then(|| {
            let len = pieces.len() * Descriptor::BYTES as usize;
            // Tables are aligned to their entries (VIRTIO 1.4, 2.7.5.3).
            self.allocate(len + 16).next_multiple_of(16)
        });
        self.commands.submit(&mut self.memory, &pieces, table)
    }

    /// How a part of a chain is cut into descriptors.
    fn cut(&self, len: usize) -> Vec<std::ops::Range<usize>> {
        let ends: &[usize] = match self.options.chains {
            Chains::Plain => &[],
            Chains::Split | Chains::Indirect => &[1, 7, 9, 21, 100, 101],
        };
        let mut start = 0;
        let mut parts = Vec::new();
        for end in ends.iter().copied().filter(|&end| end < len).chain([len]) {
            if start < end {
                parts.push(start..end);
            }
            start = end;
        }
        parts
    }

    /// Waits for the answer to a command.
    pub fn wait(&mut self, ticket: u16) -> Reply {
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Some(reply) = self.replies.remove(&ticket) {
                return reply;
            }
            let used = self
                .commands
                .wait_used(&mut self.memory, deadline)
                .expect("an answer to the command");
            self.take_answer(used);
        }
    }

    fn take_answer(&mut self, used: Used) {
        if used.head >= RAW {
            self.strays.push((used.head, used.len));
        } else {
            let head = used.head;
            let reply = self.reply(used);
            self.replies.insert(head, reply);
        }
    }

    /// Gives the card a command and waits for its answer.
    pub fn command(&mut self, readable: &[u8], writable: usize) -> Reply {
        let ticket = self.submit(readable, writable);
        self.wait(ticket)
    }

    /// What the card wrote into a chain; fails if it wrote more than it says.
    fn reply(&mut self, used: Used) -> Reply {
        let mut bytes = self.memory.gather(&used.writable);
        self.memory.accept_segments(&used.writable);
        let written = used.len as usize;
        assert!(
            written <= bytes.len(),
            "{written} bytes written into {}",
            bytes.len()
        );
        assert!(
            bytes[written..].iter().all(|&byte| byte == UNWRITTEN),
            "the card wrote beyond the {written} bytes that it told of: {bytes:02x?}"
        );
        bytes.truncate(written);
        Reply { bytes }
    }

    /// Runs an ioctl with that payload and whatever comes after it.
    pub fn ioctl_with(
        &mut self,
        session: u32,
        ioctl: Ioctl,
        payload: &[u8],
    ) -> Result<Vec<u8>, u32> {
        let answer = if ioctl.answered { ioctl.size } else { 0 };
        let reply = self.command(
            &v4l2::ioctl_command(session, ioctl.code, payload),
            RESPONSE + answer,
        );
        let status = reply.status().expect("a response");
        assert_eq!(reply.bytes.le32(4), 0, "reserved");
        if status == 0 {
            assert_eq!(
                reply.payload().len(),
                answer,
                "{ioctl:?}: the whole payload"
            );
            Ok(reply.payload().to_vec())
        } else {
            assert!(status < 4096, "{ioctl:?}: {status} is no errno");
            Err(status)
        }
    }

    /// Runs an ioctl.
    pub fn ioctl(&mut self, session: u32, ioctl: Ioctl, payload: &[u8]) -> Result<Vec<u8>, u32> {
        let given = if ioctl.given { ioctl.size } else { 0 };
        assert_eq!(payload.len(), given, "{ioctl:?}");
        self.ioctl_with(session, ioctl, payload)
    }

    /// Opens a session.
    pub fn open(&mut self) -> u32 {
        let reply = self.command(&v4l2::command(CMD_OPEN), 16);
        assert_eq!(reply.status(), Some(0));
        assert_eq!(reply.bytes.len(), 16);
        assert_eq!(reply.bytes.le32(12), 0, "reserved");
        reply.bytes.le32(8)
    }

    /// Closes a session; there is no response to read.
    pub fn close(&mut self, session: u32) {
        let reply = self.command(&v4l2::close_command(session), 0);
        assert!(reply.bytes.is_empty(), "{reply:?}");
    }

    /// Posts a buffer for one event.
    pub fn post_event_buffer(&mut self) {
        self.post_event_bytes(EVENT);
    }

    /// Posts a buffer of that size for an event.
    pub fn post_event_bytes(&mut self, len: usize) {
        // Not from the heap, which goes round: these stay for long.
        let slot = EVENT_START + self.event_slot() * EVENT_SLOT;
        self.memory.write(slot, &vec![UNWRITTEN; len]);
        let piece = Piece {
            address: slot,
            len: len as u32,
            writable: true,
        };
        self.events.submit(&mut self.memory, &[piece], None);
    }

    /// A slot that no buffer in flight lies in: there are more of them than
    /// descriptors, and they are taken in turn.
    fn event_slot(&mut self) -> u64 {
        u64::from(self.events.next_avail()) % EVENT_SLOTS
    }

    /// Takes in whatever the card has given back so far.
    pub fn reap(&mut self) {
        while let Some(used) = self.commands.take_used(&mut self.memory) {
            self.take_answer(used);
        }
        while let Some(used) = self.events.take_used(&mut self.memory) {
            self.receive(used);
        }
        for queue in [&self.commands, &self.events] {
            let used = queue.used();
            self.memory.accept(used, Queue::USED_BYTES as usize);
        }
    }

    fn receive(&mut self, used: Used) {
        if used.head >= RAW {
            self.strays.push((used.head, used.len));
            return;
        }
        let bytes = self.reply(used).bytes;
        if self.options.event_buffers > 0 {
            self.post_event_buffer();
        }
        let event = match bytes.le32(0) {
            EVT_ERROR => {
                assert_eq!(bytes.len(), 16);
                Event::Error {
                    session: bytes.le32(4),
                    errno: bytes.le32(8),
                }
            }
            EVT_DQBUF => {
                assert_eq!(bytes.len(), EVENT, "the whole event");
                let buffer = Buffer::parse(&bytes[8..]);
                let planes = match buffer.kind {
                    CAPTURE_MPLANE => buffer.length as usize,
                    _ => 0,
                };
                assert!(
                    bytes[96 + 64 * planes..].iter().all(|&byte| byte == 0),
                    "planes that the buffer does not have"
                );
                Event::Dqbuf {
                    session: bytes.le32(4),
                    buffer,
                    planes: bytes[96..].to_vec(),
                }
            }
            EVT_EVENT => {
                assert_eq!(bytes.len(), V4L2_EVENT, "the whole event");
                Event::V4l2 {
                    session: bytes.le32(4),
                    event: bytes[8..].to_vec(),
                }
            }
            other => panic!("event {other}"),
        };
        self.received.push_back(event);
    }

    /// The next event, or none if there is none for so long.
    pub fn event_within(&mut self, limit: Duration) -> Option<Event> {
        let deadline = Instant::now() + limit;
        while self.received.is_empty() {
            let used = self.events.wait_used(&mut self.memory, deadline)?;
            self.receive(used);
        }
        self.received.pop_front()
    }

    /// The next event.
    pub fn event(&mut self) -> Event {
        self.event_within(LIMIT).expect("an event")
    }

    /// The next buffer that comes back, of that session.
    pub fn dqbuf(&mut self, session: u32) -> Buffer {
        match self.event() {
            Event::Dqbuf {
                session: of,
                buffer,
                ..
            } => {
                assert_eq!(of, session);
                buffer
            }
            other => panic!("{other:?} instead of a buffer"),
        }
    }

    /// Fails if the card wrote anything that it was not asked to write.
    pub fn assert_untouched(&mut self) {
        self.reap();
        self.memory.assert_untouched();
    }

    /// Events that have come and were not taken yet.
    pub fn pending_events(&mut self) -> usize {
        self.reap();
        self.received.len()
    }

    /// Forgets the events that have come so far.
    pub fn forget_events(&mut self) {
        self.reap();
        self.received.clear();
    }
}

const HEAP_START: u64 = LOW + 0x8000;
const HEAP_END: u64 = EVENT_START;
const EVENT_START: u64 = LOW_SPARE.start - EVENT_SLOTS * EVENT_SLOT;
const EVENT_SLOT: u64 = PAGE;
const EVENT_SLOTS: u64 = 128;

/// Acks the protocol features that the tests use.
fn negotiate(front: &mut Frontend, region: bool) {
    front.get_features().expect("GET_FEATURES");
    let offered = front
        .get_protocol_features()
        .expect("GET_PROTOCOL_FEATURES");
    let mut needed = VhostUserProtocolFeatures::MQ
        | VhostUserProtocolFeatures::CONFIG
        | VhostUserProtocolFeatures::RESET_DEVICE
        | VhostUserProtocolFeatures::CONFIGURE_MEM_SLOTS
        | VhostUserProtocolFeatures::REPLY_ACK;
    if region {
        needed |= VhostUserProtocolFeatures::BACKEND_REQ | VhostUserProtocolFeatures::SHMEM;
    }
    assert!(offered.contains(needed), "the card offers {offered:?}");
    front
        .set_protocol_features(needed)
        .expect("SET_PROTOCOL_FEATURES");
    front.set_hdr_flags(VhostUserHeaderFlag::NEED_REPLY);
    assert_eq!(front.get_queue_num().expect("GET_QUEUE_NUM"), 2);
}
