//! The card driven directly: commands and ticks in, bytes of guest memory out.

mod contexts;
mod drain;
mod faults;
mod formats;
mod jobs;

use std::num::NonZeroU32;
use std::time::Duration;

use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{M2mCard, Makes, Spec};
use crate::card::tests::{Lines as Written, command, words};
use crate::card::witness::{Lines, Record};
use crate::card::{BufferApi, BufferType, Direction, Modes, Now, Refused, Witness};
use crate::dma::Bus;
use crate::wire::buffer::{
    BUF_FLAG_KEYFRAME, BUF_FLAG_TIMECODE, Buffer, MEMORY_USERPTR, RequestBuffers, TimeCode,
};
use crate::wire::event::{DqbufEvent, SessionEvent};
use crate::wire::format::{Format, PixFormat};
use crate::wire::{Ioctl, Reply};

/// Size of guest memory in bytes.
const MEMORY: usize = 0x10_0000;
/// Size of a frame in bytes, once [`Rig::session`] has set the formats: 32x16 GREY.
const FRAME: u32 = 512;

/// A card, the memory of its guest, and a clock that the test sets.
struct Rig {
    card: M2mCard,
    memory: GuestMemoryMmap,
    now: Now,
    witness: Written,
}

/// An event of the card.
#[derive(Debug)]
enum Sent {
    Died(u32),
    Buffer(u32, Box<Buffer>),
    Event(SessionEvent),
}

impl Rig {
    fn new() -> Self {
        Self::making(Makes::All)
    }

    /// Returns a card that has those sizes alone.
    fn of_sizes(sizes: &[(u32, u32)]) -> Self {
        Self::of(
            Makes::All,
            Modes::new(BufferApi::Single, sizes, &[]).unwrap(),
        )
    }

    /// Returns a card that makes those frames.
    fn making(makes: Makes) -> Self {
        Self::of(makes, Modes::default())
    }

    /// Returns a card that makes no more than that many frames a second.
    fn with_most_fps(fps: u32) -> Self {
        Self::with(Makes::All, Modes::default(), NonZeroU32::new(fps))
    }

    fn of(makes: Makes, modes: Modes) -> Self {
        Self::with(makes, modes, None)
    }

    fn with(makes: Makes, modes: Modes, most_fps: Option<NonZeroU32>) -> Self {
        let witness = Written::default();
        Self {
            card: M2mCard::new(Spec {
                planes: BufferApi::Single,
                makes,
                modes,
                most_fps,
                error_injection: true,
                witness: Witness::new(Lines::new(witness.clone())),
            }),
            memory: GuestMemoryMmap::from_ranges(&[(GuestAddress(0), MEMORY)]).unwrap(),
            now: Now {
                monotonic: Duration::from_secs(100),
                wall: Duration::from_secs(1_000_000),
            },
            witness,
        }
    }

    /// Returns a card and a session with 32x16 GREY at both ends, two buffers in
    /// each queue, and both streams on.
    fn streaming() -> (Self, u32) {
        let mut rig = Self::new();
        let session = rig.session();
        (rig, session)
    }

    /// Opens such a session.
    fn session(&mut self) -> u32 {
        let session = self.open();
        for direction in [Direction::Output, Direction::Capture] {
            self.ok(session, Ioctl::SFmt, &format(direction, b"GREY", 32, 16));
            self.ok(session, Ioctl::ReqBufs, &request(direction, 2));
            self.ok(session, Ioctl::StreamOn, &number(direction).to_le_bytes());
        }
        session
    }

    fn give(&mut self, request: &[u8], capacity: usize) -> (Result<(), Refused>, Vec<u8>) {
        let mut reply = Reply::default();
        reply.begin(capacity);
        let bus = Bus {
            memory: &self.memory,
            forbidden: &[],
        };
        let result = self.card.command(self.now, request, bus, &mut reply);
        (result, reply.bytes().to_vec())
    }

    fn open(&mut self) -> u32 {
        let (result, reply) = self.give(&words(&[1, 0]), 16);
        assert_eq!(result, Ok(()));
        u32::from_le_bytes(reply[8..12].try_into().unwrap())
    }

    fn close(&mut self, session: u32) {
        let (result, _) = self.give(&words(&[2, 0, session, 0]), 0);
        assert_eq!(result, Ok(()));
    }

    /// Executes an ioctl; returns the payload of the response, or the errno.
    fn ioctl(&mut self, session: u32, ioctl: Ioctl, payload: &[u8]) -> Result<Vec<u8>, u32> {
        let (_, reply) = self.give(&command(session, ioctl as u32, payload), 4096);
        match u32::from_le_bytes(reply[..4].try_into().unwrap()) {
            0 => Ok(reply[8..].to_vec()),
            errno => Err(errno),
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

    /// Queues a buffer of a frame at that address.
    fn queue(&mut self, session: u32, direction: Direction, index: u32, address: u64) {
        let queued = self.try_queue(session, direction, index, address, FRAME);
        queued.unwrap_or_else(|errno| panic!("QBUF: errno {errno}"));
    }

    fn try_queue(
        &mut self,
        session: u32,
        direction: Direction,
        index: u32,
        address: u64,
        length: u32,
    ) -> Result<Vec<u8>, u32> {
        let mut payload = buffer(direction, index, length).as_bytes().to_vec();
        payload.extend_from_slice(&address.to_le_bytes());
        payload.extend_from_slice(&length.to_le_bytes());
        payload.extend_from_slice(&[0; 4]);
        self.ioctl(session, Ioctl::QBuf, &payload)
    }

    /// Ticks until nothing is due; returns how many frames were made.
    fn run(&mut self) -> usize {
        let due = |rig: &Self| {
            let due = rig.card.next_deadline();
            due.is_some_and(|due| due <= rig.now.monotonic)
        };
        let mut made = 0;
        while due(self) {
            made += usize::from(self.card.tick(self.now));
        }
        made
    }

    /// Takes all events that wait for the driver.
    fn sent(&mut self) -> Vec<Sent> {
        let mut event = Vec::new();
        let mut sent = Vec::new();
        while self.card.next_event(&mut event) {
            let session = u32::from_le_bytes(event[4..8].try_into().unwrap());
            sent.push(match event[0] {
                0 => Sent::Died(session),
                1 => {
                    let event = DqbufEvent::read_from_bytes(&event).unwrap();
                    Sent::Buffer(session, Box::new(event.buffer))
                }
                2 => Sent::Event(SessionEvent::read_from_bytes(&event).unwrap()),
                other => panic!("event {other}"),
            });
            self.card.event_sent();
        }
        sent
    }

    /// Takes all waiting events, which must be buffers.
    fn dequeue(&mut self) -> Vec<(u32, Buffer)> {
        let sent = self.sent().into_iter();
        sent.map(|sent| match sent {
            Sent::Buffer(session, buffer) => (session, *buffer),
            other => panic!("{other:?}"),
        })
        .collect()
    }

    fn write(&self, address: u64, bytes: &[u8]) {
        self.memory
            .write_slice(bytes, GuestAddress(address))
            .unwrap();
    }

    fn read(&self, address: u64, length: u32) -> Vec<u8> {
        let mut bytes = vec![0; length as usize];
        self.memory
            .read_slice(&mut bytes, GuestAddress(address))
            .unwrap();
        bytes
    }

    /// Returns all records that the witness has written.
    fn records(&mut self) -> Vec<Record> {
        self.card.flush_witness();
        let bytes = self.witness.0.lock().unwrap().clone();
        let text = String::from_utf8(bytes).unwrap();
        let records = text.lines().map(serde_json::from_str);
        records.collect::<Result<_, _>>().unwrap()
    }
}

/// Returns V4L2_BUF_TYPE_* of a queue.
fn number(direction: Direction) -> u32 {
    let api = BufferApi::Single;
    BufferType { direction, api }.number()
}

fn format(direction: Direction, fourcc: &[u8; 4], width: u32, height: u32) -> Format {
    Format::of(
        number(direction),
        PixFormat {
            width: width.into(),
            height: height.into(),
            pixelformat: u32::from_le_bytes(*fourcc).into(),
            ..FromZeros::new_zeroed()
        },
    )
}

fn request(direction: Direction, count: u32) -> RequestBuffers {
    RequestBuffers {
        count: count.into(),
        type_: number(direction).into(),
        memory: MEMORY_USERPTR.into(),
        ..FromZeros::new_zeroed()
    }
}

fn buffer(direction: Direction, index: u32, length: u32) -> Buffer {
    Buffer {
        index: index.into(),
        type_: number(direction).into(),
        memory: MEMORY_USERPTR.into(),
        m: 0x7fff_dead_b000.into(),
        length: length.into(),
        timestamp_sec: (-7).into(),
        timestamp_usec: i64::from(1000 + index).into(),
        flags: (BUF_FLAG_TIMECODE | BUF_FLAG_KEYFRAME).into(),
        timecode: TimeCode {
            frames: index as u8,
            hours: 23,
            ..TimeCode::default()
        },
        ..FromZeros::new_zeroed()
    }
}

/// Returns a frame whose every byte depends on `seed` and its position.
fn picture(seed: u8) -> Vec<u8> {
    let byte = |position: u32| (position.wrapping_mul(37) >> 2) as u8 ^ seed;
    (0..FRAME).map(byte).collect()
}
