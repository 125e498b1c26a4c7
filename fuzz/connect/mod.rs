//! Front ends made from any bytes: vhost-user messages in any order, rings and
//! descriptor chains of any kind, kicks, and guest memory that is written
//! meanwhile. The fuzz target and the test that replays its corpus both run
//! this.
//!
//! Each life is a daemon with a card, and some connections to it, one after the
//! other. A front end is *wild* and does anything, or it is *honest*: its rings
//! are correct, they lie in memory that none of its chains has the device write
//! to, and its chains hold anything. These statements are checked:
//!
//! - nothing panics, and no connection ends the daemon;
//! - each command's chain of an honest front end comes back exactly once, no
//!   chain comes back with more bytes than it has room for, and bytes change
//!   only in the used rings and where the device may write;
//! - when a connection is over, nothing is written to its memory any more;
//! - the next connection is served.

mod memory;
mod message;
mod server;

use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, eventfd};

use self::memory::{COMMANDS, INDIRECT, Memory, REGION, REGIONS, SIZE, WRITABLE, ring};
use self::message::*;
use self::server::{LIMIT, Server, notice_panics};
use crate::script::Script;

/// Runs one life.
pub fn drive(data: &[u8]) {
    notice_panics();
    let script = &mut Script::new(data);
    let server = Server::open();
    let mut memories = Vec::new();
    while !script.is_empty() {
        let is_honest = script.one_in(2);
        let memory = FrontEnd::connect(&server, is_honest).live(script);
        // The next connection is served once this one is over.
        serves(&server);
        memories.push((memory.contents(), memory));
    }
    serves(&server);
    for (before, memory) in memories {
        assert!(memory.contents() == before, "written after the end");
    }
    server.close();
}

/// Checks that an honest front end's command is answered.
fn serves(server: &Server) {
    let mut front = FrontEnd::connect(server, true);
    front.start(&mut Script::new(&[]));
    front.command(&mut Script::new(&[]), &words(&[1, 0]), 16);
    front.all_is_back();
    assert_eq!(front.memory.word(WRITABLE), 0, "OPEN is refused");
}

fn event() -> OwnedFd {
    eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).expect("an eventfd")
}

/// A queue from the view of its driver.
struct Queue {
    kick: OwnedFd,
    call: OwnedFd,
    /// Number of entries that were put into the available ring, and of those
    /// that were taken from the used ring.
    next_avail: u16,
    next_used: u16,
    /// The next descriptor.
    next_descriptor: u16,
    /// The first descriptor and the room of each chain that the device has.
    pending: Vec<(u16, u64)>,
}

struct FrontEnd<'s> {
    server: &'s Server,
    socket: UnixStream,
    memory: Memory,
    is_honest: bool,
    /// Whether both queues run.
    is_running: bool,
    queues: [Queue; 2],
    /// Address of the next command.
    heap: u64,
}

impl<'s> FrontEnd<'s> {
    fn connect(server: &'s Server, is_honest: bool) -> Self {
        let socket = server.connect();
        // A wild front end may have sent a message that has no answer.
        let patience = if is_honest {
            LIMIT
        } else {
            Duration::from_millis(5)
        };
        socket.set_read_timeout(Some(patience)).expect("a time");
        let queue = || Queue {
            kick: event(),
            call: event(),
            next_avail: 0,
            next_used: 0,
            next_descriptor: 0,
            pending: Vec::new(),
        };
        Self {
            server,
            socket,
            memory: Memory::new(),
            is_honest,
            is_running: false,
            queues: [queue(), queue()],
            heap: COMMANDS,
        }
    }

    /// Acts as the script says, to the connection's end; returns its memory.
    fn live(mut self, script: &mut Script<'_>) -> Memory {
        if self.is_honest || script.one_in(2) {
            self.start(script);
        }
        for _ in 0..script.below(64) {
            if script.is_empty() || !self.step(script) {
                break;
            }
        }
        if self.is_honest {
            self.all_is_back();
        }
        self.memory
    }

    /// Does one step; returns whether the connection still exists.
    fn step(&mut self, script: &mut Script<'_>) -> bool {
        match script.below(16) {
            0..=4 => {
                let command = self.any_command(script);
                let room = script.pick(&[1024, 1024, 1024, 8, 0, 16, 100]);
                self.command(script, &command, room);
            }
            5 | 6 => self.chain(1, script, &[], 608),
            7 => self.stream(script),
            8 => {
                self.server.settle();
                self.take_used();
            }
            9 if self.is_honest => self.restart(script),
            10 if self.is_honest => self.all_is_back(),
            // The messages of the start, at any time.
            9 | 10 if script.one_in(8) => self.start(script),
            9..=11 => {
                let message = self.proper(script);
                return self.send_any(script, message);
            }
            12 if !self.is_honest => {
                let message = (script.number(), self.bytes(script), script.below(3));
                return self.send_any(script, message);
            }
            13 if !self.is_honest => {
                let at = u64::from(script.word()) % (2 * REGION);
                let bytes = self.bytes(script);
                self.memory.scribble(at, &bytes);
            }
            // A write to the rings, where a few bytes matter.
            14 if !self.is_honest => {
                let at = u64::from(script.byte()) * 32 + u64::from(script.byte());
                let bytes = [script.byte(), script.byte()];
                self.memory.scribble(at, &bytes);
                self.kick(script.below(2));
            }
            15 if !self.is_honest && script.one_in(4) => {
                let len = u64::from(script.word()) % (2 * REGION);
                self.memory.truncate(len);
                self.memory.truncate(2 * REGION);
            }
            _ => self.kick(script.below(2)),
        }
        true
    }

    fn bytes(&self, script: &mut Script<'_>) -> Vec<u8> {
        (0..script.below(48)).map(|_| script.byte()).collect()
    }

    fn kick(&self, queue: usize) {
        let _ = rustix::io::write(&self.queues[queue].kick, &1u64.to_ne_bytes());
    }

    // Messages.

    /// Returns a message that an honest front end may send at any time, or, for
    /// a wild one, any message that makes sense at some time.
    fn proper(&self, script: &mut Script<'_>) -> (u32, Vec<u8>, usize) {
        let queue = script.below(2) as u32;
        let harmless = [
            (GET_FEATURES, vec![], 0),
            (GET_PROTOCOL_FEATURES, vec![], 0),
            (GET_QUEUE_NUM, vec![], 0),
            (GET_MAX_MEM_SLOTS, vec![], 0),
            (GET_CONFIG, config(script), 0),
        ];
        if self.is_honest {
            return harmless[script.below(harmless.len())].clone();
        }
        let pick = script.below(25);
        let features = FEATURES & !(u64::from(script.byte()) << 24);
        match pick {
            0..5 => harmless[pick].clone(),
            5 => (SET_FEATURES, features.to_le_bytes().into(), 0),
            6 => (SET_OWNER, vec![], 0),
            7 => (RESET_OWNER, vec![], 0),
            8 => table(1 + script.below(2)),
            9 => (SET_VRING_NUM, words(&[queue, script.number()]), 0),
            10 => {
                let place = script.number().into();
                (SET_VRING_ADDR, addresses(queue, place), 0)
            }
            11 => (SET_VRING_ADDR, addresses(queue, 0), 0),
            12 => (SET_VRING_BASE, words(&[queue, script.number()]), 0),
            13 => (GET_VRING_BASE, words(&[queue, 0]), 0),
            14 | 15 => (SET_VRING_KICK, words(&[queue, 0]), 1),
            16 => (SET_VRING_CALL, words(&[queue, 0]), 1),
            17 => (SET_VRING_ERR, words(&[queue | 0x100, 0]), 0),
            18 => {
                let features = PROTOCOL_FEATURES & u64::from(script.word());
                (SET_PROTOCOL_FEATURES, features.to_le_bytes().into(), 0)
            }
            19 | 20 => (SET_VRING_ENABLE, words(&[queue, script.below(3) as u32]), 0),
            21 => (SET_CONFIG, config(script), 0),
            22 => (RESET_DEVICE, vec![], 0),
            23 => (ADD_MEM_REG, region(script.below(2)), 1),
            _ => (REM_MEM_REG, region(script.below(2)), 0),
        }
    }

    /// Sends a message, sometimes with a fault if the front end is wild;
    /// returns whether the connection still exists.
    fn send_any(&mut self, script: &mut Script<'_>, message: (u32, Vec<u8>, usize)) -> bool {
        let (number, mut payload, mut fds) = message;
        if self.is_honest {
            // This waits for each answer, because the next message may be of
            // the same kind.
            self.ask(number, &payload);
            return true;
        }
        let mut flags = 1;
        let mut size = payload.len() as u32;
        if script.one_in(4) {
            match script.below(5) {
                0 => flags = script.number(),
                1 => size = script.number(),
                2 => fds = script.below(4),
                3 if !payload.is_empty() => {
                    let at = script.below(payload.len());
                    payload[at] ^= 1 << script.below(8);
                }
                _ => flags |= 8,
            }
        }
        let number = number & 0xffff;
        let file = match (number, script.below(8)) {
            (SET_MEM_TABLE | ADD_MEM_REG, 1..) => self.memory.as_fd(),
            (SET_VRING_CALL, 1..) => self.queues[0].call.as_fd(),
            (_, 0) => self.memory.as_fd(),
            _ => self.queues[usize::from(payload.first() == Some(&1))]
                .kick
                .as_fd(),
        };
        let is_sent = send(
            &self.socket,
            number,
            flags,
            size,
            &payload,
            &vec![file; fds],
        );
        is_sent && self.drain()
    }

    /// Discards the answers; returns whether the connection still exists.
    fn drain(&mut self) -> bool {
        self.socket.set_nonblocking(true).expect("a socket");
        let mut answers = [0; 4096];
        let is_there = loop {
            match self.socket.read(&mut answers) {
                Ok(0) => break false,
                Ok(_) => (),
                Err(error) => break error.kind() == std::io::ErrorKind::WouldBlock,
            }
        };
        self.socket.set_nonblocking(false).expect("a socket");
        is_there
    }

    /// Sends a correct message.
    fn say(&self, number: u32, payload: &[u8], fds: &[BorrowedFd<'_>]) {
        let size = payload.len() as u32;
        let is_sent = send(&self.socket, number, 1, size, payload, fds);
        assert!(is_sent || !self.is_honest, "message {number} is not taken");
    }

    /// Sends a correct message, and returns its answer; eight zero bytes if the
    /// connection of a wild front end is gone or does not answer.
    fn ask(&mut self, number: u32, payload: &[u8]) -> Vec<u8> {
        let is_there = self.drain();
        self.say(number, payload, &[]);
        let mut header = [0; 12];
        while is_there && self.socket.read_exact(&mut header).is_ok() {
            let word = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("four"));
            let mut answer = vec![0; word(8) as usize];
            if self.socket.read_exact(&mut answer).is_ok() && word(0) == number {
                return answer;
            }
        }
        assert!(!self.is_honest, "message {number} is not answered");
        vec![0; 8]
    }

    /// Starts the device, in one of the permitted orders.
    fn start(&mut self, script: &mut Script<'_>) {
        self.say(SET_OWNER, &[], &[]);
        self.set_up(script);
    }

    /// As [`start`](Self::start), for a connection that has its owner.
    fn set_up(&mut self, script: &mut Script<'_>) {
        let features = match script.one_in(4) {
            true => FEATURES & !EVENT_IDX,
            false => FEATURES,
        };
        self.ask(GET_FEATURES, &[]);
        self.ask(GET_PROTOCOL_FEATURES, &[]);
        self.say(SET_PROTOCOL_FEATURES, &PROTOCOL_FEATURES.to_le_bytes(), &[]);
        self.say(SET_FEATURES, &features.to_le_bytes(), &[]);
        let (_, payload, _) = table(2);
        let files = [self.memory.as_fd(); 2];
        self.say(SET_MEM_TABLE, &payload, &files);
        self.start_rings(script);
    }

    fn start_rings(&mut self, script: &mut Script<'_>) {
        let first = script.below(2);
        let early = script.one_in(2);
        let enable = |front: &Self, queue: usize| {
            front.say(SET_VRING_ENABLE, &words(&[queue as u32, 1]), &[]);
        };
        for queue in [first, 1 - first] {
            let number = queue as u32;
            let state = |value: u32| words(&[number, value]);
            let Queue { kick, call, .. } = &self.queues[queue];
            self.say(SET_VRING_NUM, &state(SIZE.into()), &[]);
            if script.one_in(2) {
                self.say(SET_VRING_CALL, &state(0), &[call.as_fd()]);
            }
            let base = self.queues[queue].next_used;
            self.say(SET_VRING_BASE, &state(base.into()), &[]);
            self.say(SET_VRING_ADDR, &addresses(number, 0), &[]);
            if early {
                enable(self, queue);
            }
            self.say(SET_VRING_KICK, &state(0), &[kick.as_fd()]);
            self.say(SET_VRING_CALL, &state(0), &[call.as_fd()]);
        }
        if !early {
            enable(self, first);
            enable(self, 1 - first);
        }
        // The daemon has processed both once it answers this.
        self.ask(GET_FEATURES, &[]);
        self.is_running = true;
        self.kick(0);
        self.kick(1);
    }

    /// Stops both queues, and continues where they were, or as another driver.
    fn restart(&mut self, script: &mut Script<'_>) {
        let first = script.below(2);
        for queue in [first, 1 - first] {
            let answer = self.ask(GET_VRING_BASE, &words(&[queue as u32, 0]));
            self.take_used();
            let base = u16::from_le_bytes([answer[4], answer[5]]);
            assert_eq!(base, self.queues[queue].next_used, "where it goes on");
        }
        self.is_running = false;
        let is_reset = script.one_in(2);
        if is_reset {
            self.say(RESET_DEVICE, &[], &[]);
        }
        if is_reset || script.one_in(2) {
            for queue in 0..2 {
                self.memory.put(ring(queue), &[0; 0x1000]);
                let queue = &mut self.queues[queue];
                (queue.next_avail, queue.next_used) = (0, 0);
                queue.pending.clear();
            }
            self.heap = COMMANDS;
        }
        match is_reset {
            // A reset discards everything that was negotiated.
            true => self.set_up(script),
            false => self.start_rings(script),
        }
    }

    // Rings.

    /// Offers a command, in pieces that the script chooses.
    fn command(&mut self, script: &mut Script<'_>, command: &[u8], room: u32) {
        self.chain(0, script, command, room);
    }

    /// Makes a chain available: `readable` to be read, and `room` bytes to be
    /// written.
    fn chain(&mut self, queue: usize, script: &mut Script<'_>, readable: &[u8], room: u32) {
        if self.is_honest && !self.is_running {
            return;
        }
        // An honest front end reuses descriptors only when they are free: it
        // waits for the chains first.
        if self.is_honest && self.queues[queue].next_descriptor > SIZE - 6 {
            if queue == 1 && !self.queues[1].pending.is_empty() {
                return;
            }
            self.all_is_back();
            self.queues[queue].next_descriptor = 0;
        }
        if self.heap as usize + readable.len() > WRITABLE as usize {
            self.all_is_back();
            self.heap = COMMANDS;
        }
        let mut pieces: Vec<(u64, u32, u16)> = Vec::new();
        let (mut at, mut left) = (self.heap, readable);
        while !left.is_empty() && pieces.len() < 2 {
            let len = match script.one_in(3) {
                true => 1 + script.below(left.len()),
                false => left.len(),
            };
            let len = if pieces.len() == 1 { left.len() } else { len };
            self.memory.put(at, &left[..len]);
            pieces.push((at, len as u32, 0));
            (at, left) = (at + len as u64, &left[len..]);
        }
        self.heap = at;
        let place = WRITABLE + u64::from(script.byte()) * 16;
        match script.below(16) {
            // Chains that an honest driver may give, although they make no
            // sense.
            1 => pieces.push((place, u32::MAX - room, 2)),
            2 => pieces.push((u64::MAX - place, room, 2)),
            3 => pieces.insert(0, (place, room, 2)),
            4 => pieces.push((REGIONS[1].0 + place, 0, 2)),
            5 => pieces.push((REGIONS[0].0 + REGION - 4, 8, 2)),
            6 => pieces.push((place, room, 0)),
            7 => {
                let first = room / 2;
                pieces.push((place, first, 2));
                pieces.push((REGIONS[1].0 + place, room - first, 2));
            }
            _ => pieces.push((place, room, 2)),
        }
        let flaw = match script.below(24) {
            flaw @ 1..=2 => flaw,
            _ => 0,
        };
        let writable = pieces.iter().filter(|(.., flags)| *flags == 2);
        let capacity = match flaw {
            0 => writable.map(|(_, len, _)| u64::from(*len)).sum(),
            // The chain may continue in other chains' descriptors.
            _ => u64::MAX,
        };
        let head = self.queues[queue].next_descriptor % SIZE;
        if script.one_in(4) {
            let table = INDIRECT + u64::from(head) * 128 + queue as u64 * 0x800;
            let last = pieces.len() - 1;
            for (number, piece) in pieces.iter().enumerate() {
                let next = if number < last { number as u16 + 1 } else { 0 };
                let next = if flaw == 1 && number == last {
                    0xffff
                } else {
                    next
                };
                self.describe(table + 16 * number as u64, *piece, next);
            }
            let bytes = 16 * pieces.len() as u32 - u32::from(flaw == 2);
            self.describe(ring(queue) + 16 * u64::from(head), (table, bytes, 4), 0);
            self.queues[queue].next_descriptor = head + 1;
        } else {
            let last = pieces.len() as u16 - 1;
            for (number, piece) in (0..).zip(&pieces) {
                let next = match flaw {
                    // A loop, and a chain that leads out of the table.
                    1 if number == last => head.max(1),
                    2 if number == last => SIZE + 7,
                    _ if number < last => (head + number + 1) % SIZE,
                    _ => 0,
                };
                let place = u64::from((head + number) % SIZE) * 16;
                self.describe(ring(queue) + place, *piece, next);
            }
            self.queues[queue].next_descriptor = head + pieces.len() as u16;
        }
        let number = self.queues[queue].next_avail;
        let avail = ring(queue) + 0x400;
        self.memory.put(
            avail + 4 + 2 * u64::from(number % SIZE),
            &head.to_le_bytes(),
        );
        self.memory
            .put(avail + 2, &number.wrapping_add(1).to_le_bytes());
        let queue_of = &mut self.queues[queue];
        queue_of.next_avail = number.wrapping_add(1);
        queue_of.pending.push((head, capacity));
        self.kick(queue);
    }

    fn describe(&mut self, at: u64, (address, len, flags): (u64, u32, u16), next: u16) {
        let mut bytes = address.to_le_bytes().to_vec();
        bytes.extend(len.to_le_bytes());
        let flags = flags | u16::from(next != 0);
        bytes.extend(flags.to_le_bytes());
        bytes.extend(next.to_le_bytes());
        self.memory.put(at, &bytes);
    }

    /// Takes the chains that have come back, if the front end is honest, and
    /// checks them against those that it gave.
    fn take_used(&mut self) {
        if !self.is_honest {
            return;
        }
        for queue in 0..2 {
            let used = ring(queue) + 0x800;
            while self.queues[queue].next_used != self.memory.half(used + 2) {
                let number = self.queues[queue].next_used;
                let at = used + 4 + 8 * u64::from(number % SIZE);
                let (head, len) = (self.memory.word(at), self.memory.word(at + 4));
                let of = &mut self.queues[queue];
                let mut pending = of.pending.iter();
                let place = pending.position(|(one, _)| u32::from(*one) == head);
                let place = place.unwrap_or_else(|| panic!("chain {head} is not the device's"));
                let (_, room) = of.pending.remove(place);
                assert!(u64::from(len) <= room, "{len} bytes in {room}");
                of.next_used = number.wrapping_add(1);
                // The used event makes the device interrupt next time, too.
                let event = ring(queue) + 0x400 + 4 + 2 * u64::from(SIZE);
                let seen = of.next_used.to_le_bytes();
                self.memory.put(event, &seen);
            }
        }
        self.memory.is_intact();
    }

    /// Checks that every command of an honest front end comes back.
    fn all_is_back(&mut self) {
        if !self.is_honest || !self.is_running {
            return;
        }
        let begun = Instant::now();
        loop {
            self.take_used();
            if self.queues[0].pending.is_empty() {
                return;
            }
            assert!(begun.elapsed() < LIMIT, "a command does not come back");
            self.server.settle();
        }
    }

    // Commands.

    fn any_command(&self, script: &mut Script<'_>) -> Vec<u8> {
        let session = script.below(4) as u32;
        match script.below(6) {
            0 => words(&[1, 0]),
            1 => words(&[2, 0, session, 0]),
            2 => self.bytes(script),
            _ => {
                let mut command = words(&[3, 0, session, script.below(105) as u32]);
                command.extend(self.bytes(script));
                command.resize(command.len() + script.below(250), 0);
                command
            }
        }
    }

    /// Starts a stream into memory that the device may write to.
    fn stream(&mut self, script: &mut Script<'_>) {
        let plain = &mut Script::new(&[]);
        self.command(plain, &words(&[1, 0]), 16);
        self.all_is_back();
        let session = match self.is_honest {
            true => self.memory.word(WRITABLE + 8),
            false => 1 + script.below(3) as u32,
        };
        let ioctl = |code: u32, payload: &[u8]| {
            let mut command = words(&[3, 0, session, code]);
            command.extend(payload);
            command
        };
        // V4L2_BUF_TYPE_VIDEO_CAPTURE; GREY of 16x16.
        let mut format = words(&[1, 0, 16, 16, 0x5945_5247]);
        format.resize(208, 0);
        let mut buffer = vec![0; 88];
        buffer[4] = 1;
        buffer[60] = 2;
        buffer[72..76].copy_from_slice(&256u32.to_le_bytes());
        for _ in 0..2 {
            let start = REGIONS[script.below(2)].0 + WRITABLE + u64::from(script.byte()) * 8;
            buffer.extend(start.to_le_bytes());
            buffer.extend(words(&[128, 0]));
        }
        let commands = [
            ioctl(5, &format),
            ioctl(8, &words(&[2, 1, 2, 0, 0])),
            ioctl(15, &buffer),
            ioctl(18, &words(&[1])),
        ];
        for command in commands {
            match script.one_in(8) {
                true => self.command(script, &command, 1024),
                false => self.command(plain, &command, 1024),
            }
        }
        self.chain(1, plain, &[], 608);
    }
}
