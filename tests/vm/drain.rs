//! A mem-to-mem stream that was drained goes on in each of the three ways that V4L2
//! has for an encoder: ENCODER_CMD START, or either queue stopped and started (the
//! kernel's Documentation/userspace-api/media/v4l/dev-encoder.rst).

use pinhole::agent::ioctls::{IoctlCall, Ioctls, Pointer};
use pinhole::card::{BufferApi, BufferType, CardKind, Direction};
use pinhole::rig::testbed::TestbedSpec;
use pinhole::wire::Ioctl;
use pinhole::wire::buffer::{BUF_FLAG_LAST, Buffer, MEMORY_USERPTR, RequestBuffers};
use pinhole::wire::encoder::{ENC_CMD_START, ENC_CMD_STOP, EncoderCmd};
use pinhole::wire::format::{FIELD_NONE, Format, PixFormat};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

use crate::test_guest::{LIMIT, PARANOID, TestGuest};

/// VIDIOC_DQBUF, which is no command of a virtio-media device.
const DQBUF: u32 = 0xc058_5611;

/// Width and height of a GREY frame, and its length: a page.
const SIDE: u32 = 64;
const FRAME: usize = 4096;

/// Ioctls on one open file, each with a payload of its own, and the frames.
struct Script {
    /// The frames that are read and written, a page each, then the payloads.
    memory: Vec<u8>,
    pointers: Vec<Pointer>,
    calls: Vec<IoctlCall>,
}

fn number(direction: Direction) -> u32 {
    let type_ = BufferType {
        direction,
        api: BufferApi::Single,
    };
    type_.number()
}

impl Script {
    fn new() -> Self {
        Self {
            memory: vec![0x5a; 2 * FRAME],
            pointers: Vec::new(),
            calls: Vec::new(),
        }
    }

    /// Adds an ioctl; returns its place.
    fn call(&mut self, request: u32, payload: &(impl IntoBytes + Immutable)) -> usize {
        let at = self.memory.len() as u32;
        self.memory.extend_from_slice(payload.as_bytes());
        self.memory.resize(self.memory.len().next_multiple_of(8), 0);
        self.calls.push(IoctlCall {
            request,
            at,
            narrow: false,
        });
        self.calls.len() - 1
    }

    fn stream(&mut self, ioctl: Ioctl, direction: Direction) {
        self.call(ioctl.request(), &number(direction));
    }

    fn encoder(&mut self, cmd: u32) {
        let command = EncoderCmd {
            cmd: cmd.into(),
            ..FromZeros::new_zeroed()
        };
        self.call(Ioctl::EncoderCmd.request(), &command);
    }

    fn set_up(&mut self, direction: Direction) {
        let pixels = PixFormat {
            width: SIDE.into(),
            height: SIDE.into(),
            pixelformat: u32::from_le_bytes(*b"GREY").into(),
            field: FIELD_NONE.into(),
            ..FromZeros::new_zeroed()
        };
        self.call(
            Ioctl::SFmt.request(),
            &Format::of(number(direction), pixels),
        );
        let request = RequestBuffers {
            count: 1.into(),
            type_: number(direction).into(),
            memory: MEMORY_USERPTR.into(),
            ..FromZeros::new_zeroed()
        };
        self.call(Ioctl::ReqBufs.request(), &request);
    }

    fn queue(&mut self, direction: Direction) {
        let buffer = Buffer {
            type_: number(direction).into(),
            memory: MEMORY_USERPTR.into(),
            bytesused: (FRAME as u32).into(),
            length: (FRAME as u32).into(),
            ..FromZeros::new_zeroed()
        };
        let place = self.call(Ioctl::QBuf.request(), &buffer);
        self.pointers.push(Pointer {
            at: self.calls[place].at + std::mem::offset_of!(Buffer, m) as u32,
            to: match direction {
                Direction::Output => 0,
                Direction::Capture => FRAME as u32,
            },
            narrow: false,
        });
    }

    /// Adds a DQBUF, which waits; returns its place.
    fn dequeue(&mut self, direction: Direction) -> usize {
        let buffer = Buffer {
            type_: number(direction).into(),
            memory: MEMORY_USERPTR.into(),
            ..FromZeros::new_zeroed()
        };
        self.call(DQBUF, &buffer)
    }

    /// Adds all that a job takes; returns the places of its two DQBUFs.
    fn job(&mut self) -> [usize; 2] {
        let ends = [Direction::Output, Direction::Capture];
        for direction in ends {
            self.queue(direction);
        }
        ends.map(|direction| self.dequeue(direction))
    }
}

/// Drains a stream after a job, goes on as `resume` says, and does another job.
fn drained_and_resumed(guest: &TestGuest, how: &str, resume: impl FnOnce(&mut Script)) {
    let mut script = Script::new();
    for direction in [Direction::Output, Direction::Capture] {
        script.set_up(direction);
    }
    for direction in [Direction::Output, Direction::Capture] {
        script.stream(Ioctl::StreamOn, direction);
    }
    let [_, first] = script.job();
    script.encoder(ENC_CMD_STOP);
    script.queue(Direction::Capture);
    let last = script.dequeue(Direction::Capture);
    let beyond = script.dequeue(Direction::Capture);
    resume(&mut script);
    let [_, again] = script.job();
    let request = Ioctls {
        device: "/dev/video0".into(),
        memory: script.memory.into(),
        pointers: script.pointers,
        calls: script.calls,
        limit_ms: LIMIT.as_millis() as u64,
    };
    let agent = guest.testbed.machine.agent();
    let answer = agent.call(request, 2 * LIMIT).unwrap();
    assert_eq!(answer.open_errno, None);
    for (place, call) in answer.calls.iter().enumerate() {
        let expected = (place == beyond).then_some(libc::EPIPE);
        assert_eq!(call.errno, expected, "{how}: call {place}");
    }
    let buffer = |place: usize| Buffer::read_from_bytes(&answer.calls[place].payload.0).unwrap();
    let is_last = |place| buffer(place).flags.get() & BUF_FLAG_LAST != 0;
    assert_eq!(
        (is_last(first), is_last(last), is_last(again)),
        (false, true, false),
        "{how}"
    );
    assert_eq!(buffer(last).bytesused.get(), 0, "{how}");
    assert_eq!(buffer(again).bytesused.get(), FRAME as u32, "{how}");
}

#[test]
#[ignore = "boots a guest"]
fn a_drained_stream_goes_on_in_three_ways() {
    let guest = TestGuest::start(TestbedSpec {
        append: PARANOID.into(),
        kind: CardKind::M2m,
        ..TestbedSpec::default()
    });
    drained_and_resumed(&guest, "START", |script| script.encoder(ENC_CMD_START));
    for direction in [Direction::Output, Direction::Capture] {
        drained_and_resumed(&guest, &format!("{direction:?}"), |script| {
            script.stream(Ioctl::StreamOff, direction);
            script.stream(Ioctl::StreamOn, direction);
        });
    }
    guest.no_splats();
    guest.testbed.finish().unwrap();
}
