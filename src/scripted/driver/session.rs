//! The commands and events of virtio-media.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use vhost::VhostBackend;
use vhost::vhost_user::VhostUserFrontend;

use super::fault::{Anomaly, Fault};
use super::front::{EVENT_IDX, Front, INDIRECT_DESC, PROTOCOL_FEATURES, VERSION_1};
use super::log::{Log, hex};
use super::memory::{LOW, LOW_SPARE, Memory, PAGE};
use super::queue::{Descriptor, Piece, Queue, SIZE, Used};
use super::region::Region;
use super::v4l2::{
    self, Buffer, CAPTURE_MPLANE, CMD_CLOSE, CMD_IOCTL, CMD_MMAP, CMD_MUNMAP, CMD_OPEN, EVENT,
    EVT_DQBUF, EVT_ERROR, EVT_EVENT, Fields, Ioctl, OUTPUT_MPLANE, RESPONSE, V4L2_EVENT,
};

/// Most events, and most anomalies, that are kept: a device could go on.
const MOST: usize = 4096;

/// What a writable buffer holds before the device writes it.
pub const UNWRITTEN: u8 = 0xee;

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
    /// Which of the features that it knows it wants; it accepts those that are
    /// offered.
    pub features: u64,
    /// Whether EVENT_IDX is among them.
    pub event_idx: bool,
    /// How chains are laid out. Indirect tables take their feature.
    pub chains: Chains,
    /// Event buffers posted at first, each posted anew when it was used.
    pub event_buffers: usize,
    /// The front end maps memory into region 0.
    pub region: bool,
    /// How long an answer may take.
    pub limit: Duration,
    /// Whether the driver sleeps until it is notified. If not, it also looks at
    /// the rings now and then, so that a device that forgets to notify is slow,
    /// and no more.
    pub relies_on_calls: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            features: VERSION_1 | PROTOCOL_FEATURES | INDIRECT_DESC | EVENT_IDX,
            event_idx: true,
            chains: Chains::Plain,
            event_buffers: 40,
            region: false,
            limit: Duration::from_secs(5),
            relies_on_calls: false,
        }
    }
}

impl Options {
    fn accepts(&self, offered: u64) -> u64 {
        let unwanted = if self.event_idx { 0 } else { EVENT_IDX };
        offered & self.features & !unwanted
    }
}

/// The device's answer to a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// All that the device says it wrote.
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

/// An event that the device sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The device gave up the session.
    Error {
        /// The session.
        session: u32,
        /// Why.
        errno: u32,
    },
    /// A buffer comes back.
    Dqbuf {
        /// The session.
        session: u32,
        /// The buffer.
        buffer: Buffer,
        /// Room for eight v4l2_planes.
        planes: Vec<u8>,
    },
    /// A v4l2_event.
    V4l2 {
        /// The session.
        session: u32,
        /// The structure.
        event: Vec<u8>,
    },
    /// None that there is.
    Unknown(Vec<u8>),
}

/// A driver, connected to a device.
pub struct Driver {
    /// The connection.
    pub connection: Front,
    /// Guest memory.
    pub memory: Memory,
    /// Shared memory region 0, if there is one.
    pub region: Option<Region>,
    /// The command queue.
    pub commands: Queue,
    /// The event queue.
    pub events: Queue,
    /// What it was made like.
    pub options: Options,
    /// The exchange.
    pub log: Log,
    heap: u64,
    /// Where the device is to go on in each available ring.
    bases: [u32; 2],
    replies: HashMap<u16, Reply>,
    received: VecDeque<Event>,
    /// Chains written by hand that have come back: first descriptor, bytes.
    pub strays: Vec<(u16, u32)>,
    anomalies: Vec<Anomaly>,
}

impl Driver {
    /// Connects to a device, sets it up with that memory, and posts event
    /// buffers.
    ///
    /// # Errors
    /// As [`connect`](Self::connect) and [`start_rings`](Self::start_rings).
    pub fn attach(
        stream: UnixStream,
        memory: Memory,
        options: Options,
        log: Log,
    ) -> Result<Self, Fault> {
        let mut driver = Self::connect(stream, memory, options, log)?;
        driver.start()?;
        Ok(driver)
    }

    /// Connects to a device, and tells it of no memory and no ring yet.
    ///
    /// # Errors
    /// A message fails, or this system has no room.
    pub fn connect(
        stream: UnixStream,
        mut memory: Memory,
        options: Options,
        log: Log,
    ) -> Result<Self, Fault> {
        let connection = Front::new(stream, options.region, options.limit, log.clone())?;
        let event_idx = options.accepts(connection.features) & EVENT_IDX != 0;
        let commands = Queue::new(0, event_idx, &mut memory)?;
        let events = Queue::new(1, event_idx, &mut memory)?;
        let region = match connection.has_region() {
            true => {
                let open = |front: &mut _| Ok(Region::open(front, log.clone()));
                connection.message("GET_SHMEM_CONFIG", open)??
            }
            false => None,
        };
        Ok(Self {
            connection,
            memory,
            region,
            commands,
            events,
            options,
            log,
            heap: HEAP_START,
            bases: [0; 2],
            replies: HashMap::new(),
            received: VecDeque::new(),
            strays: Vec::new(),
            anomalies: Vec::new(),
        })
    }

    /// Returns the features that the driver accepts.
    pub fn features(&self) -> u64 {
        self.options.accepts(self.connection.features)
    }

    /// Accepts the features, hands over memory and rings, and enables them, as a
    /// VMM does when the guest's driver sets DRIVER_OK or a paused guest goes
    /// on.
    ///
    /// # Errors
    /// A message fails.
    pub fn start_rings(&mut self) -> Result<(), Fault> {
        self.start_some(usize::MAX)?;
        self.barrier()
    }

    /// Sends the first `most` of the messages that start the rings.
    ///
    /// # Errors
    /// A message fails.
    pub fn start_some(&self, most: usize) -> Result<(), Fault> {
        let mut left = most;
        let mut next = || {
            let go = left > 0;
            left = left.saturating_sub(1);
            go
        };
        let connection = &self.connection;
        if next() {
            connection.message("GET_FEATURES", |front| front.get_features())?;
        }
        if next() {
            let features = self.features();
            connection.message("SET_FEATURES", |front| front.set_features(features))?;
        }
        if next() {
            let regions = self.memory.regions(|_| true);
            connection.message("SET_MEM_TABLE", |front| {
                front.set_mem_table(&regions).map(drop)
            })?;
        }
        for queue in [&self.commands, &self.events] {
            let number = queue.number;
            let config = queue.config(&self.memory);
            let base = self.bases[number] as u16;
            if next() {
                connection.message("SET_VRING_NUM", |front| front.set_vring_num(number, SIZE))?;
            }
            if next() {
                connection.message("SET_VRING_ADDR", |front| {
                    front.set_vring_addr(number, &config)
                })?;
            }
            if next() {
                connection.message("SET_VRING_BASE", |front| front.set_vring_base(number, base))?;
            }
            if next() {
                connection.message("SET_VRING_CALL", |front| {
                    front.set_vring_call(number, &queue.call)
                })?;
            }
            if next() {
                connection.message("SET_VRING_KICK", |front| {
                    front.set_vring_kick(number, &queue.kick)
                })?;
            }
        }
        // Without the protocol features, rings are enabled from the beginning.
        if self.features() & PROTOCOL_FEATURES == 0 {
            return Ok(());
        }
        for number in [0, 1] {
            if next() {
                connection.message("SET_VRING_ENABLE", |front| {
                    front.set_vring_enable(number, true)
                })?;
            }
        }
        Ok(())
    }

    /// Stops both rings, as a VMM does for a guest that is paused, and returns
    /// what the device would look at next.
    ///
    /// # Errors
    /// A message fails.
    pub fn stop_rings(&mut self) -> Result<[u32; 2], Fault> {
        let base = |queue| {
            self.connection
                .message("GET_VRING_BASE", |front| front.get_vring_base(queue))
        };
        self.bases = [base(0)?, base(1)?];
        Ok(self.bases)
    }

    /// Starts the rings, and posts event buffers.
    ///
    /// # Errors
    /// As [`start_rings`](Self::start_rings).
    pub fn start(&mut self) -> Result<(), Fault> {
        self.start_rings()?;
        for _ in 0..self.options.event_buffers {
            self.post_event_buffer()?;
        }
        Ok(())
    }

    /// Starts with fresh rings, as another driver would.
    ///
    /// # Errors
    /// As [`start_rings`](Self::start_rings).
    pub fn restart(&mut self) -> Result<(), Fault> {
        self.begin_anew()?;
        self.start()
    }

    /// Makes fresh rings, which the device is not told of.
    ///
    /// # Errors
    /// This system has no eventfd.
    pub fn begin_anew(&mut self) -> Result<(), Fault> {
        let event_idx = self.features() & EVENT_IDX != 0;
        self.commands = Queue::new(0, event_idx, &mut self.memory)?;
        self.events = Queue::new(1, event_idx, &mut self.memory)?;
        self.bases = [0; 2];
        self.replies.clear();
        self.received.clear();
        Ok(())
    }

    /// Returns when the device has handled every vhost-user message so far:
    /// they are handled in order, and this one has a reply.
    ///
    /// # Errors
    /// There is none.
    pub fn barrier(&self) -> Result<(), Fault> {
        let features = self
            .connection
            .message("GET_FEATURES", |front| front.get_features());
        features.map(drop)
    }

    /// Disconnects; the memory stays.
    pub fn detach(self) -> Memory {
        self.memory
    }

    /// Takes what was not as it should be.
    pub fn take_anomalies(&mut self) -> Vec<Anomaly> {
        let mut anomalies = std::mem::take(&mut self.anomalies);
        anomalies.extend(self.region.iter().flat_map(Region::take_anomalies));
        anomalies
    }

    fn note_anomaly(&mut self, anomaly: Anomaly) {
        if self.anomalies.len() < MOST {
            self.anomalies.push(anomaly);
        }
    }

    /// A piece of the heap. Addresses are as odd as can be: a device may not
    /// expect any alignment of buffers.
    ///
    /// # Panics
    /// It is longer than the heap.
    pub fn allocate(&mut self, len: usize) -> u64 {
        let len = len as u64;
        assert!(len < HEAP_END - HEAP_START, "{len} bytes of a small heap");
        if self.heap + len + 2 > HEAP_END {
            self.heap = HEAP_START;
        }
        let address = self.heap | 1;
        self.heap = address + len + 1;
        address
    }

    /// Returns a piece of the heap that holds `bytes`, for the device to read.
    pub fn readable(&mut self, bytes: &[u8]) -> Piece {
        let address = self.allocate(bytes.len());
        self.memory.write(address, bytes);
        Piece {
            address,
            len: bytes.len() as u32,
            writable: false,
        }
    }

    /// Returns a piece of the heap that holds `bytes`, for the device to write.
    pub fn writable(&mut self, bytes: &[u8]) -> Piece {
        Piece {
            writable: true,
            ..self.readable(bytes)
        }
    }

    /// Gives the device a command; [`wait`](Self::wait) has the answer.
    ///
    /// # Errors
    /// No descriptor is free.
    pub fn submit(&mut self, readable: &[u8], writable: usize) -> Result<u16, Fault> {
        let mut pieces = Vec::new();
        for part in self.cut(readable.len()) {
            pieces.push(self.readable(&readable[part]));
        }
        for part in self.cut(writable) {
            pieces.push(self.writable(&vec![UNWRITTEN; part.len()]));
        }
        self.note_command(readable, writable);
        let table = (self.options.chains == Chains::Indirect).then(|| self.table(pieces.len()));
        self.commands.submit(&mut self.memory, &pieces, table)
    }

    /// Notes a command in the log.
    pub fn note_command(&self, readable: &[u8], writable: usize) {
        let name = || name(readable);
        self.log
            .note(|| format!("> {} (room for {writable}): {}", name(), hex(readable)));
    }

    /// Returns a place for an indirect table of that many descriptors.
    pub fn table(&mut self, descriptors: usize) -> u64 {
        let len = descriptors * Descriptor::BYTES as usize;
        // Tables are aligned to their entries (VIRTIO 1.4, 2.7.5.3).
        self.allocate(len + 16).next_multiple_of(16)
    }

    /// How a part of a chain is cut into descriptors.
    fn cut(&self, len: usize) -> Vec<Range<usize>> {
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
    ///
    /// # Errors
    /// [`Fault::NoAnswer`] if there is none, [`Fault::UsedHead`] if the used ring
    /// is nonsense.
    pub fn wait(&mut self, ticket: u16) -> Result<Reply, Fault> {
        let deadline = Instant::now() + self.options.limit;
        loop {
            if let Some(reply) = self.replies.remove(&ticket) {
                return Ok(reply);
            }
            let relies = self.options.relies_on_calls;
            let used = self
                .commands
                .wait_used(&mut self.memory, deadline, relies)?;
            let used = used.ok_or_else(|| Fault::NoAnswer {
                what: "answer to the command".into(),
                limit: self.options.limit,
            })?;
            self.take_answer(used);
        }
    }

    fn take_answer(&mut self, used: Used) {
        if used.by_hand {
            self.strays.push((used.head, used.len));
        } else {
            let head = used.head;
            let reply = self.reply(used);
            self.log.note(|| match reply.status() {
                Some(status) => format!("< status {status}: {}", hex(&reply.bytes)),
                None => format!("< {} bytes: {}", reply.bytes.len(), hex(&reply.bytes)),
            });
            self.replies.insert(head, reply);
        }
    }

    /// Gives the device a command and waits for its answer.
    ///
    /// # Errors
    /// As [`submit`](Self::submit) and [`wait`](Self::wait).
    pub fn command(&mut self, readable: &[u8], writable: usize) -> Result<Reply, Fault> {
        let ticket = self.submit(readable, writable)?;
        self.wait(ticket)
    }

    /// Gives the device a chain of those pieces, with an indirect table if there
    /// is one, and waits for its answer.
    ///
    /// # Errors
    /// As [`command`](Self::command).
    pub fn chain(&mut self, pieces: &[Piece], table: Option<u64>) -> Result<Reply, Fault> {
        let ticket = self.commands.submit(&mut self.memory, pieces, table)?;
        self.wait(ticket)
    }

    /// What the device wrote into a chain.
    fn reply(&mut self, used: Used) -> Reply {
        let mut bytes = self.memory.gather(&used.writable);
        self.memory.accept_segments(&used.writable);
        let written = used.len as usize;
        if written > bytes.len() {
            self.note_anomaly(Anomaly::Overlong {
                used: used.len,
                room: bytes.len(),
            });
        } else if bytes[written..].iter().any(|&byte| byte != UNWRITTEN) {
            self.note_anomaly(Anomaly::Beyond {
                used: used.len,
                bytes: bytes.clone(),
            });
        }
        bytes.truncate(written);
        Reply { bytes }
    }

    /// Runs an ioctl with that payload and whatever comes after it; the inner
    /// error is its errno.
    ///
    /// # Errors
    /// As [`command`](Self::command), and [`Fault::NoResponse`].
    pub fn ioctl_with(
        &mut self,
        session: u32,
        ioctl: Ioctl,
        payload: &[u8],
    ) -> Result<Result<Vec<u8>, u32>, Fault> {
        let answer = if ioctl.answered { ioctl.size } else { 0 };
        let reply = self.command(
            &v4l2::ioctl_command(session, ioctl.code, payload),
            RESPONSE + answer,
        )?;
        let status = reply.status().ok_or_else(|| Fault::NoResponse {
            command: ioctl.name.into(),
            bytes: reply.bytes.len(),
        })?;
        let command = || ioctl.name.to_owned();
        let reserved = reply.bytes.le32(4);
        if reserved != 0 {
            self.note_anomaly(Anomaly::Reserved {
                command: command(),
                value: reserved,
            });
        }
        if status == 0 {
            let mut payload = reply.payload().to_vec();
            if payload.len() != answer {
                self.note_anomaly(Anomaly::Short {
                    what: format!("the payload of {}", ioctl.name),
                    bytes: payload.len(),
                    whole: answer,
                });
                payload.resize(answer, 0);
            }
            return Ok(Ok(payload));
        }
        if !is_errno(status) {
            self.note_anomaly(Anomaly::NoErrno {
                command: command(),
                status,
            });
        }
        Ok(Err(status))
    }

    /// Runs an ioctl whose payload is that.
    ///
    /// # Errors
    /// As [`ioctl_with`](Self::ioctl_with).
    ///
    /// # Panics
    /// The payload is not of the ioctl's size.
    pub fn ioctl(
        &mut self,
        session: u32,
        ioctl: Ioctl,
        payload: &[u8],
    ) -> Result<Result<Vec<u8>, u32>, Fault> {
        let given = if ioctl.given { ioctl.size } else { 0 };
        assert_eq!(payload.len(), given, "{ioctl:?}");
        self.ioctl_with(session, ioctl, payload)
    }

    /// Opens a session.
    ///
    /// # Errors
    /// As [`command`](Self::command), and [`Fault::Refused`].
    pub fn open(&mut self) -> Result<u32, Fault> {
        let reply = self.command(&v4l2::command(CMD_OPEN), 16)?;
        let command = || "OPEN".to_owned();
        match reply.status() {
            Some(0) => {}
            Some(errno) => {
                return Err(Fault::Refused {
                    command: command(),
                    errno,
                });
            }
            None => {
                return Err(Fault::NoResponse {
                    command: command(),
                    bytes: reply.bytes.len(),
                });
            }
        }
        if reply.bytes.len() != 16 {
            self.note_anomaly(Anomaly::Short {
                what: "the answer to OPEN".into(),
                bytes: reply.bytes.len(),
                whole: 16,
            });
        }
        if reply.bytes.le32(12) != 0 {
            self.note_anomaly(Anomaly::Reserved {
                command: command(),
                value: reply.bytes.le32(12),
            });
        }
        Ok(reply.bytes.le32(8))
    }

    /// Closes a session, and returns how much the device wrote: there is no
    /// response to write.
    ///
    /// # Errors
    /// As [`command`](Self::command).
    pub fn close(&mut self, session: u32) -> Result<Reply, Fault> {
        self.command(&v4l2::close_command(session), 0)
    }

    /// Posts a buffer for one event.
    ///
    /// # Errors
    /// No descriptor is free.
    pub fn post_event_buffer(&mut self) -> Result<(), Fault> {
        self.post_event_bytes(EVENT)
    }

    /// Posts a buffer of that size for an event.
    ///
    /// # Errors
    /// No descriptor is free.
    pub fn post_event_bytes(&mut self, len: usize) -> Result<(), Fault> {
        // Not from the heap, which goes round: these stay for long, each at the
        // slot of its descriptor.
        let slot = self.events.next_descriptor().map_or(0, u64::from);
        let slot = EVENT_START + slot * EVENT_SLOT;
        if self.events.next_descriptor().is_some() {
            self.memory.write(slot, &vec![UNWRITTEN; len]);
        }
        let piece = Piece {
            address: slot,
            len: len as u32,
            writable: true,
        };
        self.events
            .submit(&mut self.memory, &[piece], None)
            .map(drop)
    }

    /// Takes in whatever the device has given back so far.
    ///
    /// # Errors
    /// A used ring is nonsense.
    pub fn reap(&mut self) -> Result<(), Fault> {
        // No more than there can be: a device could go on for ever.
        for _ in 0..SIZE {
            let Some(used) = self.commands.take_used(&mut self.memory)? else {
                break;
            };
            self.take_answer(used);
        }
        for _ in 0..SIZE {
            let Some(used) = self.events.take_used(&mut self.memory)? else {
                break;
            };
            self.receive(used)?;
        }
        for queue in [&self.commands, &self.events] {
            let used = queue.used();
            self.memory.accept(used, Queue::USED_BYTES as usize);
        }
        Ok(())
    }

    fn receive(&mut self, used: Used) -> Result<(), Fault> {
        if used.by_hand {
            self.strays.push((used.head, used.len));
            return Ok(());
        }
        let bytes = self.reply(used).bytes;
        if self.options.event_buffers > 0 {
            self.post_event_buffer()?;
        }
        if self.received.len() >= MOST {
            return Err(Fault::Flood(self.received.len()));
        }
        let event = self.parse(bytes);
        self.log.note(|| format!("<* {event:?}"));
        self.received.push_back(event);
        Ok(())
    }

    fn parse(&mut self, bytes: Vec<u8>) -> Event {
        let (kind, session) = (bytes.le32(0), bytes.le32(4));
        match kind {
            EVT_ERROR => Event::Error {
                session,
                errno: self.whole("an error event", bytes, 16).le32(8),
            },
            EVT_DQBUF => {
                let bytes = self.whole("a DQBUF event", bytes, EVENT);
                let buffer = Buffer::parse(&bytes[8..]);
                let planes = match buffer.kind {
                    CAPTURE_MPLANE | OUTPUT_MPLANE => buffer.length as usize,
                    _ => 0,
                };
                let beyond = bytes.get(96 + 64 * planes.min(8)..).unwrap_or_default();
                if planes > 8 || beyond.iter().any(|&byte| byte != 0) {
                    let what = "a DQBUF event has planes that its buffer does not have";
                    self.note_anomaly(Anomaly::Event(what.into()));
                }
                Event::Dqbuf {
                    session,
                    buffer,
                    planes: bytes[96..].to_vec(),
                }
            }
            EVT_EVENT => Event::V4l2 {
                session,
                event: self.whole("a V4L2 event", bytes, V4L2_EVENT)[8..].to_vec(),
            },
            _ => {
                let what = format!("event {kind} is none that there is: {}", hex(&bytes));
                self.note_anomaly(Anomaly::Event(what));
                Event::Unknown(bytes)
            }
        }
    }

    /// Returns an event at its right length.
    fn whole(&mut self, what: &str, mut bytes: Vec<u8>, len: usize) -> Vec<u8> {
        if bytes.len() != len {
            self.note_anomaly(Anomaly::Short {
                what: what.into(),
                bytes: bytes.len(),
                whole: len,
            });
            bytes.resize(len, 0);
        }
        bytes
    }

    /// The next event, or none if there is none for so long.
    ///
    /// # Errors
    /// A used ring is nonsense.
    pub fn event_within(&mut self, limit: Duration) -> Result<Option<Event>, Fault> {
        self.event_by(Instant::now() + limit)
    }

    /// The next event, or none if there is none until then. An event that is
    /// there already is returned also after that: whoever waits for one among
    /// others has to look at the time.
    ///
    /// # Errors
    /// A used ring is nonsense.
    pub fn event_by(&mut self, deadline: Instant) -> Result<Option<Event>, Fault> {
        while self.received.is_empty() {
            let relies = self.options.relies_on_calls;
            let used = self.events.wait_used(&mut self.memory, deadline, relies)?;
            match used {
                Some(used) => self.receive(used)?,
                None => return Ok(None),
            }
        }
        Ok(self.received.pop_front())
    }

    /// Events that have come and were not taken yet.
    ///
    /// # Errors
    /// A used ring is nonsense.
    pub fn pending_events(&mut self) -> Result<usize, Fault> {
        self.reap()?;
        Ok(self.received.len())
    }

    /// Forgets the events that have come so far.
    ///
    /// # Errors
    /// A used ring is nonsense.
    pub fn forget_events(&mut self) -> Result<(), Fault> {
        self.reap()?;
        self.received.clear();
        Ok(())
    }
}

/// Returns whether a status is an errno of Linux (MAX_ERRNO in
/// include/linux/err.h).
pub fn is_errno(status: u32) -> bool {
    (1..=4095).contains(&status)
}

/// Returns the name of a command, for the log.
fn name(command: &[u8]) -> String {
    match command.le32(0) {
        CMD_OPEN => "OPEN".into(),
        CMD_CLOSE => format!("CLOSE {}", command.le32(8)),
        CMD_IOCTL => {
            let (session, code) = (command.le32(8), command.le32(12));
            match v4l2::NAMES.iter().find(|ioctl| ioctl.code == code) {
                Some(ioctl) => format!("{} of session {session}", ioctl.name),
                None => format!("ioctl {code:#x} of session {session}"),
            }
        }
        CMD_MMAP => "MMAP".into(),
        CMD_MUNMAP => "MUNMAP".into(),
        cmd => format!("command {cmd:#x}"),
    }
}

const HEAP_START: u64 = LOW + 0x1_0000;
const HEAP_END: u64 = EVENT_START;
const EVENT_START: u64 = LOW_SPARE.start - EVENT_SLOTS * EVENT_SLOT;
const EVENT_SLOT: u64 = PAGE;
const EVENT_SLOTS: u64 = 128;
