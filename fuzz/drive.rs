//! Whole lives of a card, made from any bytes: commands and ticks, guest memory
//! that comes and goes, resets, and settings by the host. The fuzz target and
//! the test that replays its corpus both run this.
//!
//! A model of what the card may do runs beside the card. It knows of the card
//! only what a driver knows. These statements are checked against it:
//!
//! - a byte of guest memory changes only where a buffer lies that is queued on
//!   a stream that is on, or where a string was asked for;
//! - nothing changes after STREAMOFF, REQBUFS(0), CLOSE, a reset or the death
//!   of the session;
//! - an answer fits its chain, and is an errno or a whole payload;
//! - a buffer comes back once for each time that it was queued, to the session
//!   that queued it;
//! - no more sessions are open than the card has, and a card that was reset has no event.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::time::Duration;

use pinhole::card::session::MAX_SESSIONS;
use pinhole::card::witness::Lines;
use pinhole::card::{
    BufferApi, BufferType, Card, Direction, Endpoint, Now, Rate, Spec, Value, Witness,
};
use pinhole::dma::Bus;
use pinhole::sink::{Display, Output};
use pinhole::source::{Begun, Camera, FrameInfo, Input, Layout, Native, Pattern, Source};
use pinhole::wire::{Ioctl, Reply};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use crate::script::Script;

/// Size of each region of guest memory in bytes.
const REGION: usize = 0x1_0000;
/// Possible addresses of the regions: two that are adjacent, and one apart.
const PLACES: [u64; 3] = [0, REGION as u64, 0x10_0000];
/// Addresses of the ring, in the first region.
const RING: Range<u64> = 0x400..0x800;

/// A source that acts as its script says.
struct Moody {
    moods: VecDeque<u8>,
    layout: Option<Layout>,
    native: Native,
}

impl Source for Moody {
    fn native(&self) -> Native {
        self.native
    }

    fn prepare(&mut self, layout: &Layout) {
        self.layout = Some(*layout);
    }

    fn begin(&mut self, _frame: &FrameInfo) -> Begun {
        let size = self.layout.map_or(0, |layout| layout.sizeimage);
        match self.moods.pop_front() {
            Some(mood) if mood < 64 => Begun::Late,
            Some(mood) if mood < 70 => Begun::Ended,
            Some(mood) if mood < 100 => Begun::Frame {
                bytes: size / u32::from(mood - 69),
            },
            Some(255) => Begun::Frame { bytes: u32::MAX },
            _ => Begun::Frame { bytes: size },
        }
    }

    fn fill(&mut self, offset: usize, out: &mut [u8]) {
        assert!(!out.is_empty());
        let layout = self.layout.expect("prepared before it is filled");
        assert!(offset + out.len() <= layout.sizeimage as usize);
        out.fill(offset as u8 | 1);
    }
}

fn moody(script: &mut Script<'_>) -> Moody {
    let sizes = [(16, 16), (17, 19), (64, 32), (3841, 5000), (0, 0)];
    Moody {
        moods: (0..script.below(16)).map(|_| script.byte()).collect(),
        layout: None,
        native: Native {
            size: script.one_in(2).then(|| script.pick(&sizes)),
            interval: script.one_in(2).then(|| (script.number(), script.number())),
            follow: script.one_in(3),
        },
    }
}

fn new_card(script: &mut Script<'_>, direction: Direction) -> (Card, BufferType) {
    let api = script.pick(&[BufferApi::Single, BufferApi::Multi]);
    let inputs = vec![
        Input {
            name: "Pattern".into(),
            source: Box::new(Pattern::default()),
        },
        Input {
            name: "Moody".into(),
            source: Box::new(moody(script)),
        },
    ];
    let endpoint = match direction {
        Direction::Capture => Endpoint::Camera(Box::new(Camera::new(inputs))),
        Direction::Output => {
            Endpoint::Display(Display::new(vec![Output::digest(), Output::digest()]))
        }
    };
    let spec = Spec {
        planes: api,
        most_fps: script.pick(&[240, 60, 1]),
        witness: match script.one_in(2) {
            true => Witness::new(Lines::new(std::io::sink())),
            false => Witness::off(),
        },
        error_injection: true,
        ..Spec::with(endpoint, script.pick(&[Rate::Guest, Rate::Max]))
    };
    (Card::new(spec), BufferType { direction, api })
}

/// A queued buffer in the model.
struct Queued {
    session: u32,
    segments: Vec<(u64, u32)>,
}

/// A card, and its model.
struct Life {
    card: Card,
    type_: BufferType,
    now: Now,
    memory: GuestMemoryMmap,
    /// The regions, with their expected contents.
    shadow: Vec<(u64, Vec<u8>)>,
    sessions: Vec<u32>,
    queued: BTreeMap<u32, Queued>,
    /// The session that streams, if one does.
    streaming: Option<u32>,
}

/// Runs one life of a capture card, and the same one of an output card.
pub fn drive(data: &[u8]) {
    live(data, Direction::Capture);
    live(data, Direction::Output);
}

fn live(data: &[u8], direction: Direction) {
    let script = &mut Script::new(data);
    let (card, type_) = new_card(script, direction);
    let mut life = Life {
        card,
        type_,
        now: Now {
            monotonic: Duration::from_secs(1000),
            wall: Duration::from_secs(1_700_000_000),
        },
        memory: GuestMemoryMmap::new(),
        shadow: Vec::new(),
        sessions: Vec::new(),
        queued: BTreeMap::new(),
        streaming: None,
    };
    life.change_memory(7);
    while !script.is_empty() {
        life.step(script);
    }
    life.card.reset();
    life.forget();
    life.tick();
    assert!(!life.tell(), "a card that was reset has something to say");
}

impl Life {
    fn step(&mut self, script: &mut Script<'_>) {
        match script.below(32) {
            0 => self.open(),
            1 => self.close(script),
            2 => {
                let bytes: Vec<u8> = (0..script.below(64)).map(|_| script.byte()).collect();
                self.command(&bytes, script.below(256));
            }
            3..=5 => self.queue(script),
            6 => self.start(script),
            7 | 8 => self.control(script),
            9 => self.stream(script),
            10..=15 => self.ioctl(script),
            16..=21 => {
                self.pass(Duration::from_micros(u64::from(script.byte()) * 200));
                self.tick();
            }
            22..=25 => {
                for _ in 0..script.below(8) {
                    self.tell();
                }
            }
            26 => {
                let regions = script.byte();
                self.change_memory(regions);
            }
            27 => {
                self.card.reset();
                self.forget();
            }
            28 => self.host(script),
            29 => {
                let input = script.below(3) as u32;
                let _ = self.card.set_input(self.now, input);
            }
            30 => {
                let input = Input {
                    name: "Another".into(),
                    source: Box::new(moody(script)),
                };
                let plugged = self.card.replace_source(self.now, input);
                assert_eq!(
                    plugged.is_ok(),
                    (self.type_.direction == Direction::Capture)
                );
            }
            _ => {
                let _ = self.card.statistics(self.now);
                self.card.flush_witness();
                self.pass(Duration::from_secs(u64::from(script.byte())));
            }
        }
        self.unchanged();
        let due = self.card.next_deadline();
        assert!(due.is_none() || self.streaming.is_some() && !self.queued.is_empty());
    }

    fn pass(&mut self, time: Duration) {
        self.now.monotonic += time;
        self.now.wall += time;
    }

    /// Calls the card's tick, by which a capture card may write where buffers are
    /// queued on a stream, and an output card nowhere.
    fn tick(&mut self) {
        self.card.tick(self.now);
        if self.streaming.is_some() && (self.type_.direction == Direction::Capture) {
            let queued = self.queued.values().flat_map(|queued| &queued.segments);
            let places: Vec<_> = queued.copied().collect();
            self.accept(&places);
        }
        self.unchanged();
    }

    /// Takes the contents of those places over as expected.
    fn accept(&mut self, places: &[(u64, u32)]) {
        for &(start, len) in places {
            for (base, bytes) in &mut self.shadow {
                let from = start.max(*base);
                let to = start
                    .saturating_add(len.into())
                    .min(*base + bytes.len() as u64);
                if from < to {
                    let place = &mut bytes[(from - *base) as usize..(to - *base) as usize];
                    self.memory
                        .read_slice(place, GuestAddress(from))
                        .expect("guest memory");
                }
            }
        }
    }

    /// Checks that only accepted places have changed.
    fn unchanged(&self) {
        let mut found = [0; REGION];
        for (base, bytes) in &self.shadow {
            self.memory
                .read_slice(&mut found, GuestAddress(*base))
                .expect("guest memory");
            assert!(found[..] == bytes[..], "a byte was written astray");
        }
    }

    /// Makes guest memory anew from the regions of this bit mask, filled with
    /// zeros.
    fn change_memory(&mut self, regions: u8) {
        let places = PLACES.iter().enumerate();
        let places = places.filter(|(i, _)| regions & 1 << i != 0);
        let ranges: Vec<_> = places.map(|(_, at)| (GuestAddress(*at), REGION)).collect();
        self.memory = match ranges.is_empty() {
            true => GuestMemoryMmap::new(),
            false => GuestMemoryMmap::from_ranges(&ranges).expect("guest memory"),
        };
        self.shadow = ranges
            .iter()
            .map(|(at, len)| (at.0, vec![0; *len]))
            .collect();
        let bus = Bus {
            memory: &self.memory,
            forbidden: &[RING],
        };
        self.card.memory_changed(self.now, bus);
    }

    /// Gives the card a command, and checks that its answer fits; returns the
    /// status and the payload.
    fn command(&mut self, request: &[u8], room: usize) -> Option<(u32, Vec<u8>)> {
        let mut reply = Reply::default();
        reply.begin(room);
        let bus = Bus {
            memory: &self.memory,
            forbidden: &[RING],
        };
        let result = self.card.command(self.now, request, bus, &mut reply);
        let bytes = reply.bytes();
        assert!(bytes.len() <= room, "{} bytes in {room}", bytes.len());
        if let Err(refused) = result {
            assert_ne!(refused.errno().0, 0);
        }
        let status = u32::from_le_bytes(*bytes.first_chunk()?);
        assert_eq!(status == 0, result.is_ok());
        assert!(status < 4096);
        Some((status, bytes[8..].to_vec()))
    }

    fn open(&mut self) {
        if let Some((0, answer)) = self.command(&words(&[1, 0]), 16) {
            let session = u32::from_le_bytes(answer[..4].try_into().expect("four bytes"));
            assert!(!self.sessions.contains(&session), "an id twice");
            self.sessions.push(session);
        }
        assert!(self.sessions.len() <= MAX_SESSIONS);
    }

    fn session(&self, script: &mut Script<'_>) -> u32 {
        match self.sessions.len() {
            0 => script.number(),
            len => self.sessions[script.below(len)],
        }
    }

    fn close(&mut self, script: &mut Script<'_>) {
        let session = self.session(script);
        self.command(&words(&[2, 0, session, 0]), 8);
        self.sessions.retain(|open| *open != session);
        self.end(session);
    }

    /// Removes the session's stream and buffers from the model.
    fn end(&mut self, session: u32) {
        self.queued.retain(|_, queued| queued.session != session);
        if self.streaming == Some(session) {
            self.streaming = None;
        }
    }

    fn forget(&mut self) {
        self.sessions.clear();
        self.queued.clear();
        self.streaming = None;
    }

    /// Executes an ioctl, and updates the model with its effects.
    fn execute(&mut self, session: u32, code: u32, payload: &[u8], room: usize) -> Option<u32> {
        let mut request = words(&[3, 0, session, code]);
        request.extend_from_slice(payload);
        let (status, answer) = self.command(&request, room)?;
        let ioctl = Ioctl::from_code(code);
        if let (0, Some(ioctl)) = (status, ioctl) {
            assert!(answer.len() >= ioctl.bytes_out(), "the whole payload");
            let count = payload.first_chunk().copied().map(u32::from_le_bytes);
            match ioctl {
                Ioctl::StreamOn => self.streaming = Some(session),
                Ioctl::StreamOff => self.end(session),
                Ioctl::ReqBufs if count == Some(0) => self.end(session),
                Ioctl::ReqBufs => self.queued.clear(),
                _ => (),
            }
        }
        Some(status)
    }

    fn stream(&mut self, script: &mut Script<'_>) {
        let session = self.session(script);
        let code = script.pick(&[Ioctl::StreamOn, Ioctl::StreamOn, Ioctl::StreamOff]);
        let kind = self.type_.number();
        self.execute(session, code as u32, &words(&[kind]), 8);
    }

    /// Starts a stream with queued buffers, as an application does. Later steps
    /// may break it.
    fn start(&mut self, script: &mut Script<'_>) {
        if self.sessions.is_empty() {
            self.open();
        }
        let session = self.session(script);
        let kind = self.type_.number();
        let formats: Vec<_> = self.type_.api.formats().collect();
        let format = script.pick(&formats);
        let (width, height) = (16 + script.below(48) as u32, 16 + script.below(16) as u32);
        let mut payload = words(&[kind, 0, width, height, format.fourcc()]);
        payload.resize(208, 0);
        self.execute(session, Ioctl::SFmt as u32, &payload, 1024);
        let buffers = 1 + script.below(4) as u32;
        let request = words(&[buffers, kind, 2, 0, 0]);
        self.execute(session, Ioctl::ReqBufs as u32, &request, 1024);
        let layout = Layout::new(format, width, height);
        let sizes: Vec<u32> = layout
            .memory_planes()
            .map(|plane| plane.sizeimage)
            .collect();
        for index in 0..buffers {
            let pieces: Vec<_> = sizes
                .iter()
                .map(|size| (0x2000 + u64::from(script.byte()) * 128, *size))
                .collect();
            self.queue_buffer(session, index, &sizes, pieces);
        }
        self.execute(session, Ioctl::StreamOn as u32, &words(&[kind]), 8);
    }

    /// Executes any ioctl, with a payload that is more or less correct.
    fn ioctl(&mut self, script: &mut Script<'_>) {
        let session = self.session(script);
        let ioctl = script.pick(&Ioctl::ALL);
        // Other steps execute these two, because they update the model.
        if ioctl == Ioctl::GExtCtrls || ioctl == Ioctl::QBuf {
            return;
        }
        let kind = self.type_.number();
        let size = ioctl.payload_size();
        let mut payload = vec![0; size];
        let mut put = |at: usize, value: u32| {
            if let Some(place) = payload.get_mut(at..at + 4) {
                place.copy_from_slice(&value.to_le_bytes());
            }
        };
        match ioctl {
            Ioctl::GFmt | Ioctl::TryFmt | Ioctl::SFmt => {
                let formats: Vec<_> = BufferApi::Multi.formats().collect();
                put(0, kind);
                put(8, u32::from(script.byte()) + 10);
                put(12, u32::from(script.byte()) / 4 + 10);
                put(16, script.pick(&formats).fourcc());
            }
            Ioctl::ReqBufs => {
                put(0, script.below(5) as u32);
                put(4, kind);
                put(8, 2);
            }
            Ioctl::QueryBuf | Ioctl::EnumFmt => {
                put(0, script.below(34) as u32);
                put(4, kind);
                put(72, script.below(10) as u32);
                payload.resize(88 + 8 * 64, 0);
            }
            Ioctl::GParm | Ioctl::SParm => {
                put(0, kind);
                put(12, script.number());
                put(16, script.number());
            }
            Ioctl::GSelection | Ioctl::SSelection => {
                put(0, script.pick(&[1, kind]));
                put(4, script.pick(&[0, 1, 2, 0x100, 0x101, 0x102, 0x103]));
                put(8, script.below(4) as u32);
                (12..28).step_by(4).for_each(|at| put(at, script.number()));
            }
            Ioctl::SubscribeEvent | Ioctl::UnsubscribeEvent => {
                put(0, script.below(7) as u32);
                let ids = self.card.controls();
                let control = ids[script.below(ids.len())].id;
                put(4, script.pick(&[0, 1, control, control]));
                put(8, script.below(4) as u32);
            }
            Ioctl::QueryCtrl | Ioctl::QueryExtCtrl | Ioctl::QueryMenu => {
                let ids = self.card.controls();
                let control = ids[script.below(ids.len())].id;
                put(
                    0,
                    control | script.pick(&[0, 0x8000_0000, 0x4000_0000, 0xc000_0000]),
                );
                put(4, script.below(12) as u32);
            }
            _ => (0..size)
                .step_by(4)
                .take(8)
                .for_each(|at| put(at, script.number())),
        }
        // Sometimes a bit is wrong, or the end is missing.
        if script.one_in(8) && !payload.is_empty() {
            let at = usize::from(script.byte()) % payload.len();
            payload[at] ^= 1 << script.below(8);
        }
        if script.one_in(16) {
            payload.truncate(script.below(payload.len().max(1)));
        }
        let room = match script.one_in(16) {
            true => script.below(256),
            false => 1024,
        };
        self.execute(session, ioctl as u32, &payload, room);
    }

    /// Returns segments, most of which are valid.
    fn segments(&self, script: &mut Script<'_>, count: usize) -> Vec<(u64, u32)> {
        (0..count)
            .map(|_| {
                let base = script.pick(&PLACES);
                let start = base + u64::from(script.byte()) * 256 + u64::from(script.byte());
                match script.below(16) {
                    0 => (start, script.number()),
                    1 => (u64::MAX - start, script.byte().into()),
                    2 => (RING.end - 1, 2),
                    _ => (start, 1 + u32::from(script.byte()) * 16),
                }
            })
            .collect()
    }

    fn queue(&mut self, script: &mut Script<'_>) {
        let session = self.session(script);
        let index = script.below(5) as u32;
        let count = script.below(12);
        let segments = self.segments(script, count);
        let total: u32 = segments
            .iter()
            .fold(0, |sum, (_, len)| sum.wrapping_add(*len));
        let planes = match self.type_.api {
            BufferApi::Single => {
                vec![total.wrapping_sub(u32::from(script.pick(&[0u8, 0, 0, 1, 255])))]
            }
            BufferApi::Multi => {
                let planes = script.pick(&[1usize, 2, 3, 3, 8, 0, 9]);
                let mut rest = segments.iter().map(|(_, len)| *len);
                let mut plane = || {
                    let taken = rest.by_ref().take(1 + script.below(4));
                    taken.fold(0, u32::wrapping_add)
                };
                (0..planes).map(|_| plane()).collect()
            }
        };
        self.queue_buffer(session, index, &planes, segments);
    }

    /// Executes QBUF for a buffer whose planes have those lengths.
    fn queue_buffer(
        &mut self,
        session: u32,
        index: u32,
        planes: &[u32],
        segments: Vec<(u64, u32)>,
    ) {
        let mut payload = vec![0; 88];
        payload[..4].copy_from_slice(&index.to_le_bytes());
        payload[4..8].copy_from_slice(&self.type_.number().to_le_bytes());
        payload[60] = 2;
        // Only an output card looks at where the data of a plane begin and end.
        let used = |length: u32| length.wrapping_sub(index * 7);
        let first = planes.first().copied().unwrap_or(0);
        payload[8..12].copy_from_slice(&used(first).to_le_bytes());
        let length = match self.type_.api {
            BufferApi::Single => planes[0],
            BufferApi::Multi => planes.len() as u32,
        };
        payload[72..76].copy_from_slice(&length.to_le_bytes());
        if self.type_.api == BufferApi::Multi {
            for length in planes {
                let mut plane = [0; 64];
                plane[..4].copy_from_slice(&used(*length).to_le_bytes());
                plane[4..8].copy_from_slice(&length.to_le_bytes());
                plane[16..20].copy_from_slice(&(index * 3).to_le_bytes());
                payload.extend_from_slice(&plane);
            }
        }
        for (start, len) in &segments {
            payload.extend_from_slice(&start.to_le_bytes());
            payload.extend_from_slice(&words(&[*len, 0]));
        }
        if self.execute(session, Ioctl::QBuf as u32, &payload, 1024) == Some(0) {
            let in_ring = |&(start, len): &(u64, u32)| {
                start < RING.end && RING.start < start.saturating_add(len.into())
            };
            // Segments behind the last one that is needed may lie anywhere, so
            // those in the ring are not accepted.
            let written: Vec<_> = segments.into_iter().filter(|s| !in_ring(s)).collect();
            let queued = Queued {
                session,
                segments: written,
            };
            // All queued buffers belong to one session. Another session with
            // buffers is dead, even if the event of its death has not been
            // taken yet.
            self.queued.retain(|_, other| other.session == session);
            assert!(self.queued.insert(index, queued).is_none(), "queued twice");
        }
    }

    /// Gets, sets or tries several controls, among them text in guest memory.
    fn control(&mut self, script: &mut Script<'_>) {
        let session = self.session(script);
        let ids = self.card.controls();
        let count = script.below(5);
        let text = |id: u32| ids.iter().any(|c| c.id == id && c.kind == "string");
        let mut list = Vec::new();
        let mut places = Vec::new();
        for _ in 0..count {
            let id = ids[script.below(ids.len())].id;
            let size = if text(id) {
                script.below(100) as u32
            } else {
                0
            };
            list.extend(words(&[id, size, 0, script.number(), script.number()]));
            if size > 0 {
                let place = 0x2000 + u64::from(script.byte()) * 16;
                places.push((place, size));
            }
        }
        let which = script.pick(&[0, 0, 0, 0x0f00_0000, 0x0098_0000, 0x00f1_0000]);
        let mut payload = words(&[which, count as u32, 0, 0, 0, 0, 0, 0]);
        payload.extend(list);
        for (start, len) in &places {
            payload.extend(words(&[*start as u32, 0, *len, 0]));
        }
        let ioctl = script.pick(&[Ioctl::GExtCtrls, Ioctl::SExtCtrls, Ioctl::TryExtCtrls]);
        let status = self.execute(session, ioctl as u32, &payload, 1024);
        if ioctl == Ioctl::GExtCtrls && status == Some(0) {
            self.accept(&places);
        }
    }

    fn host(&mut self, script: &mut Script<'_>) {
        let ids = self.card.controls();
        let control = &ids[script.below(ids.len())];
        let value = match control.kind.as_str() {
            "string" => Value::Text("x".repeat(script.below(80))),
            _ => Value::Integer(script.number() as i32 as i64),
        };
        let _ = self.card.set_control(self.now, &control.name, &value);
    }

    /// Takes one event; returns whether there was one.
    fn tell(&mut self) -> bool {
        let mut event = Vec::new();
        if !self.card.next_event(&mut event) {
            return false;
        }
        let word = |at: usize| u32::from_le_bytes(event[at..at + 4].try_into().expect("a word"));
        let session = word(4);
        assert!(self.sessions.contains(&session), "an event of nobody");
        match word(0) {
            0 => {
                assert_eq!(event.len(), 16);
                self.end(session);
            }
            1 => {
                assert_eq!(event.len(), 608);
                let buffer = self.queued.remove(&word(8));
                let buffer = buffer.expect("a buffer that was queued");
                assert_eq!(buffer.session, session, "another's buffer");
            }
            2 => assert_eq!(event.len(), 144),
            other => panic!("event {other}"),
        }
        self.card.event_sent();
        true
    }
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}
