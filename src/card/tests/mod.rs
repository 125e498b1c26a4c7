//! The card driven directly: commands and ticks in, bytes of guest memory out.

mod controls;
mod dma;
mod events;
mod injection;
mod inputs;
mod ioctls;
mod modes;
mod outputs;
mod planes;
mod region;
mod streams;

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::witness::Record;
use super::{BufferApi, Card, Endpoint, Now, Rate, Refused, Spec, Witness};
use crate::dma::Bus;
use crate::sink::{Display, Output};
use crate::source::{Begun, Camera, FrameInfo, Input, Layout, Native, Settings, Source};
use crate::wire::buffer::{Buffer, MEMORY_USERPTR, RequestBuffers};
use crate::wire::event::{DqbufEvent, SessionEvent};
use crate::wire::format::{Format, PixFormat};
use crate::wire::{Ioctl, Reply};

/// Size of guest memory in bytes.
const MEMORY: usize = 0x10_0000;
/// Address range of the forbidden ring.
const RING: std::ops::Range<u64> = 0x1000..0x1400;
/// Size of a frame in bytes, once [`Rig::streaming`] has set the format: 32x16
/// GREY.
const FRAME: u32 = 512;

/// What a test tells its source, and the source its test.
#[derive(Default)]
struct Stage {
    /// Results of the next frames; after those, frames begin normally.
    begun: VecDeque<Begun>,
    native: Native,
    settings: Settings,
    /// The frame that was begun last.
    frame: FrameInfo,
}

/// A source whose every byte depends on the frame and on its position.
#[derive(Default)]
struct Numbers {
    stage: Arc<Mutex<Stage>>,
    bytes: u32,
}

fn pixel(sequence: u32, offset: usize) -> u8 {
    (sequence as usize * 31 + offset * 7 + offset / 256) as u8
}

impl Source for Numbers {
    fn native(&self) -> Native {
        self.stage.lock().unwrap().native
    }

    fn set(&mut self, settings: &Settings) {
        self.stage.lock().unwrap().settings = settings.clone();
    }

    fn prepare(&mut self, layout: &Layout) {
        self.bytes = layout.sizeimage;
    }

    fn begin(&mut self, frame: &FrameInfo) -> Begun {
        let mut stage = self.stage.lock().unwrap();
        stage.frame = *frame;
        let begun = stage.begun.pop_front();
        begun.unwrap_or(Begun::Frame { bytes: self.bytes })
    }

    fn fill(&mut self, offset: usize, out: &mut [u8]) {
        let sequence = self.stage.lock().unwrap().frame.sequence;
        for (i, byte) in out.iter_mut().enumerate() {
            *byte = pixel(sequence, offset + i);
        }
    }
}

/// A witness whose lines a test can read.
#[derive(Clone, Default)]
pub(crate) struct Lines(pub(crate) Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A card, the memory of its guest, and a clock that the test sets.
struct Rig {
    card: Card,
    memory: GuestMemoryMmap,
    now: Now,
    witness: Lines,
    /// The stage of the first input.
    stage: Arc<Mutex<Stage>>,
}

impl Rig {
    fn new(rate: Rate) -> Self {
        Self::with(rate, BufferApi::Single, Native::default())
    }

    /// Returns a card with two inputs, the first of which has the size and rate
    /// `native`.
    fn with(rate: Rate, planes: BufferApi, native: Native) -> Self {
        let stage = Arc::new(Mutex::new(Stage {
            native,
            ..Stage::default()
        }));
        let numbers = Numbers {
            stage: stage.clone(),
            bytes: 0,
        };
        let camera = Camera::new(vec![
            input("Numbers", numbers),
            input("Others", Numbers::default()),
        ]);
        Self {
            stage,
            ..Self::of(Endpoint::Camera(Box::new(camera)), rate, planes)
        }
    }

    /// Returns an output card with two outputs.
    fn output(rate: Rate, planes: BufferApi) -> Self {
        let display = Display::new(vec![Output::digest(), Output::digest()]);
        Self::of(Endpoint::Display(display), rate, planes)
    }

    /// Returns a card with that endpoint.
    fn of(endpoint: Endpoint, rate: Rate, planes: BufferApi) -> Self {
        let witness = Lines::default();
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), MEMORY)]).unwrap();
        Self {
            card: Card::new(Spec {
                planes,
                error_injection: true,
                witness: Witness::new(super::witness::Lines::new(witness.clone())),
                ..Spec::with(endpoint, rate)
            }),
            memory,
            now: Now {
                monotonic: Duration::from_secs(100),
                wall: Duration::from_secs(1_000_000),
            },
            witness,
            stage: Arc::default(),
        }
    }

    /// Returns a card with one session, which has set 32x16 GREY at 60 frames
    /// per second and has `buffers` buffers.
    fn with_buffers(rate: Rate, buffers: u32) -> (Self, u32) {
        let mut rig = Self::new(rate);
        let session = rig.open();
        rig.ok(session, Ioctl::SFmt, &format(b"GREY", 32, 16));
        rig.ok(session, Ioctl::ReqBufs, &request(buffers));
        (rig, session)
    }

    /// Gives the card the readable part of a chain with room for `capacity`
    /// bytes, and returns the response.
    fn give(&mut self, request: &[u8], capacity: usize) -> (Result<(), Refused>, Vec<u8>) {
        let mut reply = Reply::default();
        reply.begin(capacity);
        let bus = Bus {
            memory: &self.memory,
            forbidden: &[RING],
        };
        let result = self.card.command(self.now, request, bus, &mut reply);
        assert!(reply.bytes().len() <= capacity);
        (result, reply.bytes().to_vec())
    }

    fn open(&mut self) -> u32 {
        let (result, reply) = self.give(&words(&[1, 0]), 16);
        assert_eq!(result, Ok(()));
        u32::from_le_bytes(reply[8..12].try_into().unwrap())
    }

    fn close(&mut self, session: u32) {
        let (result, reply) = self.give(&words(&[2, 0, session, 0]), 0);
        assert_eq!((result, reply), (Ok(()), vec![]));
    }

    /// Executes an ioctl; returns the payload of the response, or the errno.
    fn ioctl(&mut self, session: u32, ioctl: Ioctl, payload: &[u8]) -> Result<Vec<u8>, u32> {
        let request = command(session, ioctl as u32, payload);
        let (result, reply) = self.give(&request, 4096);
        let status = u32::from_le_bytes(reply[..4].try_into().unwrap());
        assert_eq!(result.is_ok(), status == 0);
        if status == 0 {
            assert!(reply.len() >= 8 + ioctl.bytes_out());
            Ok(reply[8..].to_vec())
        } else {
            let says_more = [Ioctl::GExtCtrls, Ioctl::TryExtCtrls, Ioctl::SExtCtrls];
            let more = says_more.contains(&ioctl);
            assert!(more || reply.len() == 8, "an error is the header alone");
            Err(status)
        }
    }

    /// Executes an ioctl that must succeed.
    fn ok(
        &mut self,
        session: u32,
        ioctl: Ioctl,
        payload: &(impl IntoBytes + Immutable),
    ) -> Vec<u8> {
        self.ioctl(session, ioctl, payload.as_bytes())
            .unwrap_or_else(|errno| panic!("{ioctl:?}: errno {errno}"))
    }

    /// Executes an ioctl that must succeed, and returns the response as a
    /// structure.
    fn get<T>(&mut self, session: u32, ioctl: Ioctl, payload: &T) -> T
    where
        T: FromBytes + IntoBytes + Immutable + KnownLayout + Unaligned,
    {
        T::read_from_bytes(&self.ok(session, ioctl, payload)).unwrap()
    }

    /// Queues a buffer of `segments`, which hold exactly one frame.
    fn queue(&mut self, session: u32, index: u32, segments: &[(u64, u32)]) -> Result<Vec<u8>, u32> {
        let length = segments.iter().map(|(_, len)| len).sum();
        self.ioctl(session, Ioctl::QBuf, &qbuf(index, length, segments))
    }

    fn stream_on(&mut self, session: u32) {
        self.ok(session, Ioctl::StreamOn, &1u32.to_le_bytes());
    }

    fn stream_off(&mut self, session: u32) {
        self.ok(session, Ioctl::StreamOff, &1u32.to_le_bytes());
    }

    /// Lets time pass, and then ticks until no frame is due.
    fn run(&mut self, microseconds: u64) {
        let passed = Duration::from_micros(microseconds);
        self.now.monotonic += passed;
        self.now.wall += passed;
        while self
            .card
            .next_deadline()
            .is_some_and(|due| due <= self.now.monotonic)
        {
            self.card.tick(self.now);
        }
    }

    /// Takes all events that wait for the driver.
    fn sent(&mut self) -> Vec<Sent> {
        let mut event = Vec::new();
        let mut sent = Vec::new();
        while self.card.next_event(&mut event) {
            sent.push(match event[0] {
                0 => Sent::Died(u32::from_le_bytes(event[4..8].try_into().unwrap())),
                1 => Sent::Buffer(Box::new(DqbufEvent::read_from_bytes(&event).unwrap())),
                2 => Sent::Event(SessionEvent::read_from_bytes(&event).unwrap()),
                other => panic!("event {other}"),
            });
            self.card.event_sent();
        }
        sent
    }

    /// Takes all waiting events, which must be buffers.
    fn dequeue(&mut self) -> Vec<Buffer> {
        let sent = self.sent().into_iter();
        sent.map(|sent| match sent {
            Sent::Buffer(event) => event.buffer,
            other => panic!("{other:?}"),
        })
        .collect()
    }

    fn read(&self, segments: &[(u64, u32)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for &(start, len) in segments {
            let at = bytes.len();
            bytes.resize(at + len as usize, 0);
            self.memory
                .read_slice(&mut bytes[at..], GuestAddress(start))
                .unwrap();
        }
        bytes
    }

    fn everything(&self) -> Vec<u8> {
        self.read(&[(0, MEMORY as u32)])
    }

    /// Returns all lines that the witness has written.
    fn witness_text(&mut self) -> String {
        self.card.flush_witness();
        String::from_utf8(self.witness.0.lock().unwrap().clone()).unwrap()
    }

    /// Returns all records that the witness has written.
    fn records(&mut self) -> Vec<Record> {
        let text = self.witness_text();
        let records = text.lines().map(serde_json::from_str);
        records.collect::<Result<_, _>>().unwrap()
    }

    /// Returns all of the card's state that a driver can see.
    fn state(&mut self, session: u32) -> Vec<Result<Vec<u8>, u32>> {
        let mut format = Format::new_zeroed();
        format.type_ = 1.into();
        let mut state = vec![
            self.ioctl(session, Ioctl::GFmt, format.as_bytes()),
            self.ioctl(
                session,
                Ioctl::GParm,
                &[&[1, 0, 0, 0][..], &[0; 200]].concat(),
            ),
        ];
        for index in 0..3 {
            state.push(self.ioctl(session, Ioctl::QueryBuf, &qbuf(index, 0, &[])));
        }
        let deadline = self.card.next_deadline().map(|due| due.as_nanos() as u32);
        state.push(Err(deadline.unwrap_or_default()));
        state
    }
}

/// An event of the card.
#[derive(Debug)]
enum Sent {
    Died(u32),
    Buffer(Box<DqbufEvent>),
    Event(SessionEvent),
}

fn input(name: &str, source: Numbers) -> Input {
    Input {
        name: name.into(),
        source: Box::new(source),
    }
}

/// Returns the bytes of frame `sequence`.
fn frame(sequence: u32) -> Vec<u8> {
    (0..FRAME as usize).map(|i| pixel(sequence, i)).collect()
}

pub(crate) fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// Returns an ioctl command.
pub(crate) fn command(session: u32, code: u32, payload: &[u8]) -> Vec<u8> {
    let mut request = words(&[3, 0, session, code]);
    request.extend_from_slice(payload);
    request
}

fn format(fourcc: &[u8; 4], width: u32, height: u32) -> Format {
    Format::capture(PixFormat {
        width: width.into(),
        height: height.into(),
        pixelformat: u32::from_le_bytes(*fourcc).into(),
        ..FromZeros::new_zeroed()
    })
}

fn request(count: u32) -> RequestBuffers {
    RequestBuffers {
        count: count.into(),
        type_: 1.into(),
        memory: MEMORY_USERPTR.into(),
        ..FromZeros::new_zeroed()
    }
}

fn buffer(index: u32, length: u32) -> Buffer {
    Buffer {
        index: index.into(),
        type_: 1.into(),
        memory: MEMORY_USERPTR.into(),
        m: 0x7fff_dead_b000.into(),
        length: length.into(),
        ..FromZeros::new_zeroed()
    }
}

/// Returns a buffer and its scatter list.
fn qbuf(index: u32, length: u32, segments: &[(u64, u32)]) -> Vec<u8> {
    let mut payload = buffer(index, length).as_bytes().to_vec();
    for (start, len) in segments {
        payload.extend_from_slice(&start.to_le_bytes());
        payload.extend_from_slice(&len.to_le_bytes());
        payload.extend_from_slice(&[0; 4]);
    }
    payload
}
