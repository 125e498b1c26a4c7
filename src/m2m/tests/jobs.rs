//! Frames: read, made, written, and told of.

use super::*;
use crate::card::controls::table::cid;
use crate::card::witness::PlaneRecord;
use crate::dma::Digest;
use crate::wire::buffer::{
    BUF_FLAG_ERROR, BUF_FLAG_KEYFRAME, BUF_FLAG_TIMECODE, BUF_FLAG_TIMESTAMP_COPY,
};
use crate::wire::control::Control;

#[test]
fn a_frame_is_read_and_another_written_and_both_come_back_in_that_order() {
    let (mut rig, session) = Rig::streaming();
    rig.write(0x8000, &picture(1));
    rig.queue(session, Direction::Output, 1, 0x8000);
    assert_eq!(
        rig.card.next_deadline(),
        None,
        "there is no place to write to"
    );
    rig.queue(session, Direction::Capture, 0, 0x2_0100);
    assert_eq!(rig.run(), 1);
    assert_eq!(rig.read(0x2_0100, FRAME), picture(1));
    assert_eq!(rig.read(0x2_0000, 0x100), [0; 0x100], "before the buffer");
    assert_eq!(rig.read(0x2_0300, 0x100), [0; 0x100], "behind it");
    assert_eq!(rig.read(0x8000, FRAME), picture(1), "what was read");

    let buffers = rig.dequeue();
    let [(of, read), (to, written)] = &buffers[..] else {
        panic!("{buffers:?}");
    };
    assert_eq!((*of, *to), (session, session));
    assert_eq!((read.type_.get(), read.index.get()), (2, 1));
    assert_eq!((written.type_.get(), written.index.get()), (1, 0));
    assert_eq!(
        (read.bytesused.get(), written.bytesused.get()),
        (FRAME, FRAME)
    );
    for buffer in [read, written] {
        // The time is the application's.
        let time = (buffer.timestamp_sec.get(), buffer.timestamp_usec.get());
        assert_eq!(time, (-7, 1001));
        assert_eq!((buffer.timecode.frames, buffer.timecode.hours), (1, 23));
        let flags = buffer.flags.get();
        let copied = BUF_FLAG_TIMECODE | BUF_FLAG_KEYFRAME;
        assert_eq!(flags & copied, copied);
        assert_ne!(flags & BUF_FLAG_TIMESTAMP_COPY, 0);
        assert_eq!(flags & BUF_FLAG_ERROR, 0);
        assert_eq!(buffer.m.get(), 0, "a pointer of the driver's");
        assert_eq!(buffer.sequence.get(), 0);
    }
}

#[test]
fn a_card_with_a_rate_makes_no_more_frames_in_a_second() {
    let mut rig = Rig::with_most_fps(4);
    let sessions = [rig.session(), rig.session()];
    for (session, at) in sessions.into_iter().zip([0x8000, 0x1_8000]) {
        for index in 0..2 {
            rig.queue(session, Direction::Output, index, at);
            rig.queue(session, Direction::Capture, index, at + 0x8000);
        }
    }
    let begun = rig.now.monotonic;
    for number in 0..4 {
        assert_eq!(rig.run(), 1, "frame {number}");
        let next = rig.card.next_deadline();
        if number < 3 {
            rig.now.monotonic += Duration::from_millis(250);
            assert_eq!(next, Some(rig.now.monotonic), "frame {number}");
        }
    }
    assert_eq!(rig.now.monotonic - begun, Duration::from_millis(750));
    let back = rig.dequeue();
    let of_each = sessions.map(|session| back.iter().filter(|(of, _)| *of == session).count());
    assert_eq!(of_each, [4, 4], "two buffers of two queues");
}

#[test]
fn frames_are_counted_in_each_queue_from_its_stream_on() {
    let (mut rig, session) = Rig::streaming();
    let job = |rig: &mut Rig| {
        rig.queue(session, Direction::Output, 0, 0x8000);
        rig.queue(session, Direction::Capture, 0, 0x2_0000);
        assert_eq!(rig.run(), 1);
        let buffers = rig.dequeue().into_iter();
        buffers
            .map(|(_, buffer)| buffer.sequence.get())
            .collect::<Vec<_>>()
    };
    assert_eq!(job(&mut rig), [0, 0]);
    assert_eq!(job(&mut rig), [1, 1]);
    let capture = number(Direction::Capture).to_le_bytes();
    rig.ok(session, Ioctl::StreamOff, &capture);
    rig.ok(session, Ioctl::StreamOn, &capture);
    assert_eq!(job(&mut rig), [2, 0]);
}

#[test]
fn the_witness_tells_of_both_ends() {
    let (mut rig, session) = Rig::streaming();
    rig.write(0x8000, &picture(3));
    let hflip = Control {
        id: cid::HFLIP.into(),
        value: 1.into(),
    };
    rig.ok(session, Ioctl::SCtrl, &hflip);
    rig.queue(session, Direction::Output, 0, 0x8000);
    rig.queue(session, Direction::Capture, 1, 0x2_0000);
    rig.run();
    let mirrored: Vec<u8> = picture(3)
        .chunks(32)
        .flat_map(|line| line.iter().rev().copied().collect::<Vec<_>>())
        .collect();
    assert_eq!(rig.read(0x2_0000, FRAME), mirrored);

    let plane = |address, bytes: &[u8]| {
        vec![PlaneRecord {
            bytes: FRAME,
            segments: vec![(address, FRAME)],
            digests: vec![Digest::of(bytes)],
        }]
    };
    let frame = |direction, buffer, planes| Record::Frame {
        sequence: 0,
        session,
        direction: Some(direction),
        buffer,
        time_ns: 0,
        planes,
    };
    let records = rig.records();
    assert_eq!(
        records[2..],
        [
            frame(Direction::Output, 0, plane(0x8000, &picture(3))),
            frame(Direction::Capture, 1, plane(0x2_0000, &mirrored)),
        ]
    );
    for (record, wanted) in records.iter().zip([Direction::Output, Direction::Capture]) {
        let Record::StreamOn { direction, .. } = record else {
            panic!("{record:?}");
        };
        assert_eq!(*direction, Some(wanted));
    }
    rig.close(session);
    let off: Vec<_> = rig.records().split_off(4);
    for (record, wanted) in off.iter().zip([Direction::Output, Direction::Capture]) {
        let told = matches!(record, Record::StreamOff { direction, frames: 1, .. }
            if *direction == Some(wanted));
        assert!(told, "{record:?}");
    }
    assert_eq!(off.len(), 2);
}

#[test]
fn nothing_is_read_or_written_after_a_queue_has_stopped() {
    let ends: [fn(&mut Rig, u32); 7] = [
        |rig, session| drop(rig.ok(session, Ioctl::StreamOff, &2u32.to_le_bytes())),
        |rig, session| drop(rig.ok(session, Ioctl::StreamOff, &1u32.to_le_bytes())),
        |rig, session| drop(rig.ok(session, Ioctl::ReqBufs, &request(Direction::Output, 0))),
        |rig, session| drop(rig.ok(session, Ioctl::ReqBufs, &request(Direction::Capture, 0))),
        |rig, session| rig.close(session),
        |rig, session| rig.card.fail_session(session, crate::wire::Errno::EIO),
        |rig, _| rig.card.reset(),
    ];
    for (number, end) in ends.into_iter().enumerate() {
        let (mut rig, session) = Rig::streaming();
        rig.write(0x8000, &picture(5));
        rig.queue(session, Direction::Output, 0, 0x8000);
        rig.queue(session, Direction::Capture, 0, 0x2_0000);
        end(&mut rig, session);
        assert_eq!(rig.card.next_deadline(), None, "end {number}");
        assert!(!rig.card.tick(rig.now), "end {number}");
        assert_eq!(
            rig.read(0x2_0000, FRAME),
            [0; FRAME as usize],
            "end {number}"
        );
        let frame = |record: &Record| matches!(record, Record::Frame { .. });
        assert!(!rig.records().iter().any(frame), "end {number}");
    }
}

#[test]
fn memory_that_goes_away_gives_its_buffer_back_with_an_error() {
    let (mut rig, session) = Rig::streaming();
    rig.queue(session, Direction::Output, 0, 0x8000);
    rig.queue(session, Direction::Capture, 0, 0x2_0000);
    let smaller = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x1_0000)]).unwrap();
    let bus = Bus {
        memory: &smaller,
        forbidden: &[],
    };
    rig.card.memory_changed(rig.now, bus);
    let buffers = rig.dequeue();
    let [(_, lost)] = &buffers[..] else {
        panic!("{buffers:?}");
    };
    assert_eq!((lost.type_.get(), lost.bytesused.get()), (1, 0));
    assert_ne!(lost.flags.get() & BUF_FLAG_ERROR, 0);
    assert_eq!(rig.card.next_deadline(), None);
}
