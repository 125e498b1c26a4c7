//! An output card: it reads what the buffers hold, at its time, and nothing else.

use std::os::unix::fs::FileExt;

use super::*;
use crate::card::CardKind;
use crate::card::controls::table::cid;
use crate::card::region::{Change, Remap};
use crate::dma::{DIGEST_BLOCK, Digest};
use crate::wire::Errno;
use crate::wire::buffer::{MEMORY_MMAP, Plane};
use crate::wire::control::Control;
use crate::wire::format::{
    BUF_TYPE_VIDEO_OUTPUT, BUF_TYPE_VIDEO_OUTPUT_MPLANE, FmtDesc, FormatMplane, Fract,
    PixFormatMplane,
};
use crate::wire::output::Output as WireOutput;
use crate::wire::parm::StreamParm;

const EINVAL: u32 = Errno::EINVAL.0;
const EBUSY: u32 = Errno::EBUSY.0;
const ENOTTY: u32 = Errno::ENOTTY.0;
const EIO: u32 = Errno::EIO.0;

/// Slightly more than a frame interval of 1/60 s, in microseconds.
const INTERVAL: u64 = 16_667;

/// Number of bytes of a frame of 64x80 GREY, which is more than a page.
const SIZE: u32 = 64 * 80;

/// Two segments that hold a frame and 40 bytes more.
const PLACE: [(u64, u32); 2] = [(0x8ffe, 3000), (0xb003, SIZE - 3000 + 40)];

fn of_output(mut payload: Vec<u8>, at: usize, buffer_type: u32) -> Vec<u8> {
    payload[at..at + 4].copy_from_slice(&buffer_type.to_le_bytes());
    payload
}

/// A card with an open session that has three buffers of 64x80 GREY.
fn with_buffers(rate: Rate) -> (Rig, u32) {
    let mut rig = Rig::output(rate, BufferApi::Single);
    let session = rig.open();
    let format = of_output(
        format(b"GREY", 64, 80).as_bytes().to_vec(),
        0,
        BUF_TYPE_VIDEO_OUTPUT,
    );
    let set = rig.ioctl(session, Ioctl::SFmt, &format).unwrap();
    let set = Format::read_from_bytes(&set).unwrap();
    assert_eq!(
        (set.type_.get(), set.pix.sizeimage.get()),
        (BUF_TYPE_VIDEO_OUTPUT, SIZE)
    );
    let request = of_output(request(3).as_bytes().to_vec(), 4, BUF_TYPE_VIDEO_OUTPUT);
    rig.ioctl(session, Ioctl::ReqBufs, &request).unwrap();
    (rig, session)
}

/// Queues a buffer with so many bytes of data.
fn queue(rig: &mut Rig, session: u32, index: u32, bytesused: u32) -> Result<Buffer, u32> {
    let length = PLACE.iter().map(|(_, len)| len).sum();
    let payload = of_output(qbuf(index, length, &PLACE), 4, BUF_TYPE_VIDEO_OUTPUT);
    let mut payload = payload;
    payload[8..12].copy_from_slice(&bytesused.to_le_bytes());
    let reply = rig.ioctl(session, Ioctl::QBuf, &payload)?;
    Ok(Buffer::read_from_bytes(&reply).unwrap())
}

fn stream(rig: &mut Rig, session: u32, ioctl: Ioctl) -> Result<Vec<u8>, u32> {
    let type_ = BUF_TYPE_VIDEO_OUTPUT.to_le_bytes();
    rig.ioctl(session, ioctl, &type_)
}

/// Fills the buffer's memory with bytes that depend on `seed`, and returns them.
fn fill(rig: &Rig, seed: u32) -> Vec<u8> {
    let mut all = Vec::new();
    for (start, len) in PLACE {
        let from = all.len();
        let bytes = (from..from + len as usize).map(|at| pixel(seed, at));
        all.extend(bytes);
        rig.memory
            .write_slice(&all[from..], GuestAddress(start))
            .unwrap();
    }
    all
}

fn digests(bytes: &[u8]) -> Vec<Digest> {
    bytes.chunks(DIGEST_BLOCK).map(Digest::of).collect()
}

/// Returns the frames that the witness has recorded: sequence and bytes read.
fn frames(rig: &mut Rig) -> Vec<(u32, u32, Vec<Digest>)> {
    let records = rig.records().into_iter();
    let frames = records.filter_map(|record| match record {
        Record::Frame {
            sequence, planes, ..
        } => Some((sequence, planes[0].bytes, planes[0].digests.clone())),
        _ => None,
    });
    frames.collect()
}

fn set_control(rig: &mut Rig, session: u32, id: u32, value: i32) {
    let control = Control {
        id: id.into(),
        value: value.into(),
    };
    rig.ok(session, Ioctl::SCtrl, &control);
}

#[test]
fn a_frame_is_what_the_buffer_holds_when_it_is_due() {
    let (mut rig, session) = with_buffers(Rate::Guest);
    fill(&rig, 1);
    let queued = queue(&mut rig, session, 0, SIZE).unwrap();
    assert_eq!(queued.bytesused, SIZE);
    rig.run(1_000_000);
    assert!(rig.dequeue().is_empty(), "not streaming yet");
    stream(&mut rig, session, Ioctl::StreamOn).unwrap();
    rig.run(INTERVAL - 2);
    assert!(rig.dequeue().is_empty(), "a frame takes an interval");
    let before = rig.everything();
    let held = fill(&rig, 2);
    let changed = rig.everything();
    assert!(before != changed);
    rig.run(2);
    let [done] = rig.dequeue()[..] else {
        panic!("not one buffer")
    };
    assert_eq!(
        (done.type_.get(), done.bytesused.get(), done.sequence.get()),
        (BUF_TYPE_VIDEO_OUTPUT, SIZE, 0)
    );
    assert_eq!(done.flags, 0x2004);
    assert_eq!(done.timestamp_sec.get() as u64, rig.now.monotonic.as_secs());
    assert!(
        rig.everything() == changed,
        "guest memory is not written to"
    );
    stream(&mut rig, session, Ioctl::StreamOff).unwrap();
    let records = rig.records();
    let [
        Record::StreamOn { card, format, .. },
        Record::Frame { planes, .. },
        Record::StreamOff { frames: 1, .. },
    ] = &records[..]
    else {
        panic!("{records:?}")
    };
    assert_eq!((*card, format.as_str()), (CardKind::Output, "GREY"));
    assert_eq!(planes[0].bytes, SIZE);
    assert_eq!(planes[0].segments, PLACE);
    assert_eq!(planes[0].digests, digests(&held[..SIZE as usize]));
}

#[test]
fn nothing_is_read_after_the_stream_ends() {
    let ends: [fn(&mut Rig, u32); 5] = [
        |rig, session| drop(stream(rig, session, Ioctl::StreamOff).unwrap()),
        |rig, session| {
            let none = of_output(request(0).as_bytes().to_vec(), 4, BUF_TYPE_VIDEO_OUTPUT);
            rig.ioctl(session, Ioctl::ReqBufs, &none).unwrap();
        },
        |rig, session| rig.close(session),
        |rig, _| rig.card.reset(),
        // The guest's memory goes away, and every buffer with it.
        |rig, _| {
            rig.memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x1000)]).unwrap();
            let bus = Bus {
                memory: &rig.memory,
                forbidden: &[],
            };
            rig.card.memory_changed(rig.now, bus);
        },
    ];
    for (number, end) in ends.into_iter().enumerate() {
        let (mut rig, session) = with_buffers(Rate::Guest);
        for index in 0..3 {
            queue(&mut rig, session, index, SIZE).unwrap();
        }
        stream(&mut rig, session, Ioctl::StreamOn).unwrap();
        rig.run(INTERVAL);
        end(&mut rig, session);
        rig.run(10 * INTERVAL);
        assert_eq!(frames(&mut rig).len(), 1, "end {number}");
        assert!(rig.card.next_deadline().is_none(), "end {number}");
    }
}

#[test]
fn an_application_says_how_many_bytes_are_data() {
    let (mut rig, session) = with_buffers(Rate::Max);
    let held = fill(&rig, 3);
    // Zero is a whole frame, and more than a frame is one.
    let lengths = [
        (0, SIZE),
        (SIZE, SIZE),
        (1, 1),
        (4097, 4097),
        (SIZE + 40, SIZE),
    ];
    for (used, read) in lengths {
        let queued = queue(&mut rig, session, 0, used).unwrap();
        assert_eq!(queued.bytesused, read, "{used}");
        stream(&mut rig, session, Ioctl::StreamOn).unwrap();
        rig.run(1);
        let [done] = rig.dequeue()[..] else {
            panic!("not one buffer")
        };
        assert_eq!(done.bytesused, read, "{used}");
        stream(&mut rig, session, Ioctl::StreamOff).unwrap();
        let (_, bytes, seen) = frames(&mut rig).pop().unwrap();
        assert_eq!((bytes, seen), (read, digests(&held[..read as usize])));
    }
    let refused = queue(&mut rig, session, 0, SIZE + 41).unwrap_err();
    assert_eq!(refused, EINVAL);
    queue(&mut rig, session, 0, SIZE).unwrap();
}

#[test]
fn the_data_of_a_plane_may_begin_behind_its_start() {
    let mut rig = Rig::output(Rate::Max, BufferApi::Multi);
    let session = rig.open();
    let asked = FormatMplane::of(
        BUF_TYPE_VIDEO_OUTPUT_MPLANE,
        PixFormatMplane {
            width: 64.into(),
            height: 32.into(),
            pixelformat: u32::from_le_bytes(*b"NM12").into(),
            ..FromZeros::new_zeroed()
        },
    );
    rig.get(session, Ioctl::SFmt, &asked);
    let request = of_output(
        request(1).as_bytes().to_vec(),
        4,
        BUF_TYPE_VIDEO_OUTPUT_MPLANE,
    );
    rig.ioctl(session, Ioctl::ReqBufs, &request).unwrap();
    let bytes: Vec<u8> = (0..0x3000).map(|at| pixel(9, at)).collect();
    rig.memory
        .write_slice(&bytes, GuestAddress(0x8000))
        .unwrap();
    let segments = [(0x8000u64, 3000u32), (0xa000, 1024)];
    let payload = |used: [u32; 2], offset: u32| {
        let mut buffer = buffer(0, 2);
        buffer.type_ = BUF_TYPE_VIDEO_OUTPUT_MPLANE.into();
        let plane = |place: usize| Plane {
            bytesused: used[place].into(),
            length: segments[place].1.into(),
            data_offset: if place == 0 { offset } else { 0 }.into(),
            ..FromZeros::new_zeroed()
        };
        let mut payload = buffer.as_bytes().to_vec();
        payload.extend(
            [plane(0), plane(1)]
                .iter()
                .flat_map(|plane| plane.as_bytes().to_vec()),
        );
        for (start, len) in segments {
            payload.extend_from_slice(&start.to_le_bytes());
            payload.extend_from_slice(&len.to_le_bytes());
            payload.extend_from_slice(&[0; 4]);
        }
        payload
    };
    for (used, offset) in [([100, 0], 100), ([3001, 0], 0), ([0, 1025], 0)] {
        let refused = rig.ioctl(session, Ioctl::QBuf, &payload(used, offset));
        assert_eq!(refused, Err(EINVAL), "{used:?} from {offset}");
    }
    rig.ioctl(session, Ioctl::QBuf, &payload([2500, 0], 452))
        .unwrap();
    let type_ = BUF_TYPE_VIDEO_OUTPUT_MPLANE.to_le_bytes();
    rig.ioctl(session, Ioctl::StreamOn, &type_).unwrap();
    rig.run(1);
    let [Sent::Buffer(done)] = &rig.sent()[..] else {
        panic!("not one buffer")
    };
    let planes: Vec<_> = done.planes[..2]
        .iter()
        .map(|plane| (plane.bytesused.get(), plane.data_offset.get()))
        .collect();
    assert_eq!(planes, [(2500, 452), (1024, 0)]);
    let records = rig.records();
    let Some(Record::Frame { planes, .. }) = records.last() else {
        panic!("{records:?}")
    };
    assert_eq!(planes[0].bytes, 2048);
    assert_eq!(planes[0].digests, digests(&bytes[452..2500]));
    assert_eq!(planes[1].digests, digests(&bytes[0x2000..0x2400]));
}

#[test]
fn a_due_frame_without_a_buffer_is_dropped() {
    let (mut rig, session) = with_buffers(Rate::Guest);
    queue(&mut rig, session, 0, SIZE).unwrap();
    stream(&mut rig, session, Ioctl::StreamOn).unwrap();
    rig.run(INTERVAL);
    rig.run(2 * INTERVAL);
    queue(&mut rig, session, 1, SIZE).unwrap();
    rig.run(INTERVAL);
    let sequences: Vec<_> = rig
        .dequeue()
        .iter()
        .map(|done| done.sequence.get())
        .collect();
    assert_eq!(sequences, [0, 3]);
    assert_eq!(rig.card.statistics(rig.now).dropped, 2);
}

#[test]
fn faults_are_injected_into_the_reading() {
    let (mut rig, session) = with_buffers(Rate::Max);
    let held = fill(&rig, 4);
    set_control(&mut rig, session, cid::REFUSE_QBUF, 1);
    assert_eq!(queue(&mut rig, session, 0, SIZE).unwrap_err(), EIO);
    set_control(&mut rig, session, cid::SHORT_FRAMES, 1);
    set_control(&mut rig, session, cid::HOLD_FRAMES, 1);
    queue(&mut rig, session, 0, SIZE).unwrap();
    stream(&mut rig, session, Ioctl::StreamOn).unwrap();
    rig.run(INTERVAL);
    assert!(rig.dequeue().is_empty());
    set_control(&mut rig, session, cid::HOLD_FRAMES, 0);
    rig.run(1);
    let half = SIZE / 2;
    let seen = frames(&mut rig).pop().unwrap();
    assert_eq!(seen, (0, half, digests(&held[..half as usize])));
    assert_eq!(
        rig.dequeue()[0].bytesused,
        SIZE,
        "the buffer says what it held"
    );
    // Half is half of what the buffer holds.
    set_control(&mut rig, session, cid::SHORT_FRAMES, 1);
    queue(&mut rig, session, 0, 600).unwrap();
    rig.run(1);
    let seen = frames(&mut rig).pop().unwrap();
    assert_eq!(seen, (1, 300, digests(&held[..300])));
    rig.dequeue();
    set_control(&mut rig, session, cid::ERROR_FRAMES, 1);
    queue(&mut rig, session, 0, SIZE).unwrap();
    rig.run(1);
    assert_eq!(rig.dequeue()[0].flags, 0x2044);
}

#[test]
fn it_has_outputs_and_no_inputs() {
    let mut rig = Rig::output(Rate::Guest, BufferApi::Single);
    let session = rig.open();
    let asked = |index: u32| {
        let mut asked = WireOutput::new_zeroed();
        asked.index = index.into();
        asked
    };
    let first = rig.get(session, Ioctl::EnumOutput, &asked(1));
    assert_eq!((first.index.get(), first.type_.get()), (1, 2));
    assert_eq!(&first.name[..7], b"digest\0");
    let none = rig.ioctl(session, Ioctl::EnumOutput, asked(2).as_bytes());
    assert_eq!(none, Err(EINVAL));
    assert_eq!(
        rig.ioctl(session, Ioctl::SOutput, &words(&[2])),
        Err(EINVAL)
    );
    rig.ioctl(session, Ioctl::SOutput, &words(&[1])).unwrap();
    assert_eq!(rig.ioctl(session, Ioctl::GOutput, &[]), Ok(words(&[1])));
    for (ioctl, payload) in [
        (Ioctl::EnumInput, vec![0; 80]),
        (Ioctl::GInput, vec![]),
        (Ioctl::SInput, words(&[0])),
        (Ioctl::GSelection, vec![0; 64]),
        (Ioctl::SSelection, vec![0; 64]),
    ] {
        assert_eq!(
            rig.ioctl(session, ioctl, &payload),
            Err(ENOTTY),
            "{ioctl:?}"
        );
    }
    // A capture card has no outputs.
    let mut rig = Rig::new(Rate::Guest);
    let session = rig.open();
    assert_eq!(rig.ioctl(session, Ioctl::GOutput, &[]), Err(ENOTTY));
}

#[test]
fn the_output_is_fixed_while_streaming() {
    let (mut rig, session) = with_buffers(Rate::Guest);
    stream(&mut rig, session, Ioctl::StreamOn).unwrap();
    rig.ioctl(session, Ioctl::SOutput, &words(&[0])).unwrap();
    assert_eq!(rig.ioctl(session, Ioctl::SOutput, &words(&[1])), Err(EBUSY));
}

#[test]
fn its_buffers_have_a_type_of_their_own() {
    for (planes, type_, capability) in [
        (BufferApi::Single, BUF_TYPE_VIDEO_OUTPUT, 2),
        (BufferApi::Multi, BUF_TYPE_VIDEO_OUTPUT_MPLANE, 0x2000),
    ] {
        let mut rig = Rig::output(Rate::Guest, planes);
        let capabilities = rig.card.config().device_caps.get();
        assert_eq!(capabilities & 0x3003, capability);
        let session = rig.open();
        for other in [1, 9, 2, 10] {
            let mut asked = FmtDesc::new_zeroed();
            asked.type_ = other.into();
            let answer = rig.ioctl(session, Ioctl::EnumFmt, asked.as_bytes());
            assert_eq!(answer.is_ok(), other == type_, "{other}");
            let parm = StreamParm::of(other, Fract::new(1, 25));
            let set = rig.ioctl(session, Ioctl::SParm, parm.as_bytes());
            assert_eq!(set.is_ok(), other == type_, "{other}");
        }
    }
}

#[test]
fn it_has_no_controls_but_the_faults_that_make_sense() {
    let mut rig = Rig::output(Rate::Guest, BufferApi::Single);
    let session = rig.open();
    let names: Vec<_> = rig.card.controls().into_iter().map(|it| it.name).collect();
    assert!(names.contains(&"hold_frames".to_owned()), "{names:?}");
    for absent in [
        "brightness",
        "signal_lost",
        "end_of_stream",
        "source_change",
    ] {
        assert!(!names.contains(&absent.to_owned()), "{absent}");
    }
    // Neither has it the events of a source.
    for (event, known) in [(2, false), (5, false), (4, true), (3, true)] {
        let id = if event == 3 { cid::HOLD_FRAMES } else { 0 };
        let asked = words(&[event, id, 0, 0, 0, 0, 0, 0]);
        let subscribed = rig.ioctl(session, Ioctl::SubscribeEvent, &asked);
        assert_eq!(subscribed.is_ok(), known, "event {event}");
    }
}

#[test]
fn what_a_program_writes_into_the_cards_own_memory_is_read_there() {
    let mut rig = Rig::output(Rate::Max, BufferApi::Single);
    rig.card.open_region(true);
    let session = rig.open();
    let grey = of_output(
        format(b"GREY", 64, 80).as_bytes().to_vec(),
        0,
        BUF_TYPE_VIDEO_OUTPUT,
    );
    rig.ioctl(session, Ioctl::SFmt, &grey).unwrap();
    let asked = RequestBuffers {
        memory: MEMORY_MMAP.into(),
        type_: BUF_TYPE_VIDEO_OUTPUT.into(),
        ..request(1)
    };
    rig.ok(session, Ioctl::ReqBufs, &asked);
    let (result, _) = rig.give(&words(&[4, 0, session, 1, 0]), 24);
    assert_eq!(result, Ok(()));
    let Some(Remap {
        change: Change::Map {
            memory, writable, ..
        },
        ..
    }) = rig.card.next_remap()
    else {
        panic!("nothing is mapped")
    };
    assert!(writable);
    let mut reply = Reply::default();
    reply.begin(24);
    rig.card.remapped(true, &mut reply).unwrap();
    let bytes: Vec<u8> = (0..SIZE as usize).map(|at| pixel(5, at)).collect();
    memory.file().write_all_at(&bytes, 0).unwrap();
    let mut queued = Buffer::new_zeroed();
    queued.type_ = BUF_TYPE_VIDEO_OUTPUT.into();
    queued.memory = MEMORY_MMAP.into();
    for (used, read) in [(SIZE, SIZE), (0, SIZE), (700, 700)] {
        queued.bytesused = used.into();
        rig.ioctl(session, Ioctl::QBuf, queued.as_bytes()).unwrap();
        stream(&mut rig, session, Ioctl::StreamOn).unwrap();
        rig.run(1);
        stream(&mut rig, session, Ioctl::StreamOff).unwrap();
        let (_, bytes_read, seen) = frames(&mut rig).pop().unwrap();
        assert_eq!(
            (bytes_read, seen),
            (read, digests(&bytes[..read as usize])),
            "{used}"
        );
    }
    queued.bytesused = (SIZE + 1).into();
    let refused = rig.ioctl(session, Ioctl::QBuf, queued.as_bytes());
    assert_eq!(refused, Err(EINVAL));
}
