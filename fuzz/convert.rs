//! Whole lives of a mem-to-mem card, made from any bytes. The fuzz target and the
//! test of random lives both run this.
//!
//! A model of what the card may do runs beside it, and knows only what drivers
//! know. These statements are checked:
//!
//! - a byte of guest memory changes only during a tick, and only where a capture
//!   buffer lies that is queued in a session both of whose queues stream;
//! - a buffer comes back once for each time that it was queued, to the session that
//!   queued it;
//! - there is work only for a session whose capture queue streams;
//! - a card that was reset has no event.

use std::collections::BTreeMap;
use std::time::Duration;

use pinhole::card::witness::Lines;
use pinhole::card::{BufferApi, Modes, Now, Witness};
use pinhole::dma::Bus;
use pinhole::m2m::{M2mCard, Makes, Spec};
use pinhole::source::Layout;
use pinhole::wire::{Ioctl, Reply};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use crate::script::Script;

/// Size of guest memory in bytes.
const MEMORY: usize = 0x2_0000;

/// A session of the model.
#[derive(Default)]
struct Session {
    /// Whether each queue streams: output, capture.
    streams: [bool; 2],
    /// Where the queued buffers of each queue lie, by their numbers.
    queued: [BTreeMap<u32, Vec<(u64, u32)>>; 2],
}

struct Life {
    card: M2mCard,
    api: BufferApi,
    now: Now,
    memory: GuestMemoryMmap,
    shadow: Vec<u8>,
    sessions: BTreeMap<u32, Session>,
}

/// Has a card live as the bytes say.
pub fn drive(data: &[u8]) {
    let script = &mut Script::new(data);
    let api = script.pick(&[BufferApi::Single, BufferApi::Multi]);
    let card = M2mCard::new(Spec {
        planes: api,
        makes: script.pick(&[Makes::All, Makes::Raw, Makes::Jpeg]),
        modes: Modes::default(),
        most_fps: None,
        error_injection: true,
        witness: match script.one_in(2) {
            true => Witness::new(Lines::new(std::io::sink())),
            false => Witness::off(),
        },
    });
    let mut life = Life {
        card,
        api,
        now: Now {
            monotonic: Duration::from_secs(1000),
            wall: Duration::from_secs(1_700_000_000),
        },
        memory: GuestMemoryMmap::from_ranges(&[(GuestAddress(0), MEMORY)]).expect("memory"),
        shadow: vec![0; MEMORY],
        sessions: BTreeMap::new(),
    };
    while !script.is_empty() {
        life.step(script);
    }
    life.card.reset();
    life.sessions.clear();
    life.tick();
    assert!(!life.tell(), "a card that was reset has something to say");
}

impl Life {
    fn step(&mut self, script: &mut Script<'_>) {
        match script.below(24) {
            0 => self.open(),
            1 => {
                let session = self.session(script);
                self.command(&words(&[2, 0, session, 0]), 8);
                self.sessions.remove(&session);
            }
            2 => {
                let bytes: Vec<u8> = (0..script.below(64)).map(|_| script.byte()).collect();
                self.command(&bytes, script.below(256));
                // Whatever that was, the model no longer knows the sessions.
                self.card.reset();
                self.sessions.clear();
            }
            3..=5 => self.start(script),
            6..=9 => self.queue(script),
            10 => self.stream(script),
            11..=14 => self.ioctl(script),
            15..=19 => {
                self.now.monotonic += Duration::from_millis(script.byte().into());
                self.tick();
            }
            20..=22 => {
                for _ in 0..script.below(8) {
                    self.tell();
                }
            }
            _ => {
                let _ = self.card.statistics(self.now);
                self.card.flush_witness();
                let bus = Bus {
                    memory: &self.memory,
                    forbidden: &[],
                };
                self.card.memory_changed(self.now, bus);
            }
        }
        self.unchanged();
        // The end of a stream is told even if what is read has stopped.
        let works = |session: &Session| session.streams[1];
        let due = self.card.next_deadline();
        assert!(due.is_none() || self.sessions.values().any(works));
    }

    /// Has the card do one job, by which it may write where capture buffers of
    /// sessions lie that stream.
    fn tick(&mut self) {
        self.card.tick(self.now);
        let works = self.sessions.values();
        let works = works.filter(|session| session.streams == [true; 2]);
        let places: Vec<_> = works
            .flat_map(|session| session.queued[1].values().flatten().copied())
            .collect();
        for (start, len) in places {
            let place = &mut self.shadow[start as usize..][..len as usize];
            let read = self.memory.read_slice(place, GuestAddress(start));
            read.expect("guest memory");
        }
        self.unchanged();
    }

    fn unchanged(&self) {
        let mut found = vec![0; MEMORY];
        let read = self.memory.read_slice(&mut found, GuestAddress(0));
        read.expect("guest memory");
        assert!(found == self.shadow, "a byte was written astray");
    }

    fn command(&mut self, request: &[u8], room: usize) -> Option<(u32, Vec<u8>)> {
        let mut reply = Reply::default();
        reply.begin(room);
        let bus = Bus {
            memory: &self.memory,
            forbidden: &[],
        };
        let result = self.card.command(self.now, request, bus, &mut reply);
        let bytes = reply.bytes();
        assert!(bytes.len() <= room, "{} bytes in {room}", bytes.len());
        let status = u32::from_le_bytes(*bytes.first_chunk()?);
        assert_eq!(status == 0, result.is_ok());
        Some((status, bytes[8..].to_vec()))
    }

    fn open(&mut self) {
        if let Some((0, answer)) = self.command(&words(&[1, 0]), 16) {
            let session = u32::from_le_bytes(answer[..4].try_into().expect("four bytes"));
            let twice = self.sessions.insert(session, Session::default());
            assert!(twice.is_none(), "an id twice");
        }
    }

    fn session(&self, script: &mut Script<'_>) -> u32 {
        let open: Vec<u32> = self.sessions.keys().copied().collect();
        match open.len() {
            0 => script.number(),
            len => open[script.below(len)],
        }
    }

    /// Returns V4L2_BUF_TYPE_* of a queue: output (0) or capture (1).
    fn kind(&self, queue: usize) -> u32 {
        match self.api {
            BufferApi::Single => [2, 1][queue],
            BufferApi::Multi => [10, 9][queue],
        }
    }

    /// Executes an ioctl, and updates the model with its effects.
    fn execute(&mut self, session: u32, ioctl: Ioctl, payload: &[u8]) -> Option<u32> {
        let mut request = words(&[3, 0, session, ioctl as u32]);
        request.extend_from_slice(payload);
        let (status, answer) = self.command(&request, 4096)?;
        if status != 0 {
            return Some(status);
        }
        assert!(answer.len() >= ioctl.bytes_out(), "the whole payload");
        let word = |place: usize| {
            let bytes = payload.get(place..place + 4);
            bytes.map_or(0, |bytes| {
                u32::from_le_bytes(bytes.try_into().expect("four"))
            })
        };
        let queue = |number: u32| (0..2).find(|queue| self.kind(*queue) == number);
        let change = match ioctl {
            Ioctl::StreamOn => queue(word(0)).map(|queue| (queue, true)),
            Ioctl::StreamOff => queue(word(0)).map(|queue| (queue, false)),
            Ioctl::ReqBufs => queue(word(4)).map(|queue| (queue, false)),
            _ => None,
        };
        if let (Some((queue, on)), Some(model)) = (change, self.sessions.get_mut(&session)) {
            model.streams[queue] = on;
            if !on {
                model.queued[queue].clear();
            }
        }
        Some(status)
    }

    fn stream(&mut self, script: &mut Script<'_>) {
        let session = self.session(script);
        let ioctl = script.pick(&[Ioctl::StreamOn, Ioctl::StreamOn, Ioctl::StreamOff]);
        let kind = self.kind(script.below(2));
        self.execute(session, ioctl, &words(&[kind]));
    }

    /// Sets a session up for work, as an application does.
    fn start(&mut self, script: &mut Script<'_>) {
        if self.sessions.is_empty() || script.one_in(3) {
            self.open();
        }
        let session = self.session(script);
        for queue in 0..2 {
            let kind = self.kind(queue);
            let formats: Vec<_> = self.api.formats().collect();
            let format = script.pick(&formats);
            let size = (16 + script.below(32) as u32, 16 + script.below(16) as u32);
            let mut payload = words(&[kind, 0, size.0, size.1, format.fourcc()]);
            payload.resize(208, 0);
            self.execute(session, Ioctl::SFmt, &payload);
            let buffers = 1 + script.below(4) as u32;
            let request = words(&[buffers, kind, 2, 0, 0]);
            self.execute(session, Ioctl::ReqBufs, &request);
            self.execute(session, Ioctl::StreamOn, &words(&[kind]));
        }
    }

    /// Queues a buffer whose planes are as long as the session's format wants, or
    /// not.
    fn queue(&mut self, script: &mut Script<'_>) {
        let session = self.session(script);
        let queue = script.below(2);
        let kind = self.kind(queue);
        let mut asked = words(&[kind]);
        asked.resize(208, 0);
        let mut request = words(&[3, 0, session, Ioctl::GFmt as u32]);
        request.extend_from_slice(&asked);
        let Some((0, format)) = self.command(&request, 4096) else {
            return;
        };
        let word = |at: usize| u32::from_le_bytes(format[at..at + 4].try_into().expect("four"));
        let (width, height, fourcc) = (word(8), word(12), word(16));
        let mut formats = self.api.formats();
        let Some(format) = formats.find(|format| format.fourcc() == fourcc) else {
            return;
        };
        let planes = Layout::new(format, width, height).memory_planes();
        let mut sizes: Vec<u32> = planes.map(|plane| plane.sizeimage).collect();
        if script.one_in(8) {
            sizes[0] = script.number() % 5000;
        }
        let index = script.below(5) as u32;
        let planes = match self.api {
            BufferApi::Single => 0,
            BufferApi::Multi => sizes.len(),
        };
        let mut payload = vec![0; 88 + 64 * planes];
        let mut put = |at: usize, value: u32| {
            payload[at..at + 4].copy_from_slice(&value.to_le_bytes());
        };
        put(0, index);
        put(4, kind);
        put(60, 2);
        match planes {
            0 => put(72, sizes[0]),
            count => put(72, count as u32),
        }
        let short = script.one_in(8);
        for (plane, size) in sizes.iter().enumerate().take(planes) {
            put(88 + 64 * plane, if short { size / 2 } else { 0 });
            put(88 + 64 * plane + 4, *size);
        }
        if planes == 0 {
            put(8, if short { sizes[0] / 2 } else { 0 });
        }
        let mut places = Vec::new();
        for size in sizes {
            let at = u64::from(script.byte()) * 256;
            for word in [at as u32, 0, size, 0] {
                payload.extend_from_slice(&word.to_le_bytes());
            }
            places.push((at, size));
        }
        if self.execute(session, Ioctl::QBuf, &payload) == Some(0) {
            let model = self.sessions.get_mut(&session).expect("it has buffers");
            let twice = model.queued[queue].insert(index, places);
            assert!(twice.is_none(), "buffer {index} was queued already");
        }
    }

    /// Executes an ioctl with a payload that is more or less correct.
    fn ioctl(&mut self, script: &mut Script<'_>) {
        let session = self.session(script);
        let mut ids = vec![0x0098_0914, 0x0098_0915, 0x0098_0922, 0x009d_0903];
        // Kill Session is left to who knows of it: it is the last but two.
        ids.extend((0..12).filter(|it| *it != 7).map(|it| 0x00f2_f000 + it));
        let ioctl = script.pick(&Ioctl::ALL);
        if matches!(ioctl, Ioctl::QBuf | Ioctl::GExtCtrls) {
            return;
        }
        let mut payload = vec![0; ioctl.payload_size()];
        let mut put = |at: usize, value: u32| {
            if let Some(place) = payload.get_mut(at..at + 4) {
                place.copy_from_slice(&value.to_le_bytes());
            }
        };
        let kind = self.kind(script.below(2));
        match ioctl {
            Ioctl::GCtrl | Ioctl::SCtrl | Ioctl::QueryCtrl => {
                put(0, script.pick(&ids));
                put(4, u32::from(script.byte()));
            }
            Ioctl::EncoderCmd | Ioctl::TryEncoderCmd => put(0, script.below(3) as u32),
            Ioctl::ReqBufs => {
                put(0, script.below(5) as u32);
                put(4, kind);
                put(8, 2);
            }
            Ioctl::GSelection | Ioctl::SSelection => {
                put(0, kind);
                put(4, script.pick(&[0, 1, 2, 0x100, 0x101]));
                (12..28).step_by(4).for_each(|at| put(at, script.number()));
            }
            Ioctl::SubscribeEvent | Ioctl::UnsubscribeEvent => {
                put(0, script.below(7) as u32);
                put(4, script.pick(&ids));
                put(8, script.below(4) as u32);
            }
            _ => (0..payload.len().min(32)).step_by(4).for_each(|at| {
                let value = script.pick(&[0, 1, 2, kind, 16]);
                if let Some(place) = payload.get_mut(at..at + 4) {
                    place.copy_from_slice(&u32::to_le_bytes(value));
                }
            }),
        }
        self.execute(session, ioctl, &payload);
    }

    /// Takes the next event, and checks that the model knows of its subject.
    fn tell(&mut self) -> bool {
        let mut event = Vec::new();
        if !self.card.next_event(&mut event) {
            return false;
        }
        let word = |at: usize| u32::from_le_bytes(event[at..at + 4].try_into().expect("four"));
        let session = word(4);
        if word(0) == 1 {
            let (index, kind) = (word(8), word(12));
            let queue = (0..2)
                .find(|queue| self.kind(*queue) == kind)
                .expect("a queue");
            let model = self.sessions.get_mut(&session).expect("a session");
            let was = model.queued[queue].remove(&index);
            assert!(
                was.is_some(),
                "buffer {index} comes back and was not queued"
            );
        }
        self.card.event_sent();
        true
    }
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}
