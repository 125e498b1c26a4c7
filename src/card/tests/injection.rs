//! Each injected error: what the application sees of it, and that the stream
//! continues after it.

use super::*;
use crate::card::controls::table::cid;
use crate::wire::Errno;
use crate::wire::input::Input as WireInput;

const EIO: u32 = Errno::EIO.0;
const ENODEV: u32 = Errno::ENODEV.0;
const INTERVAL: u64 = 16_667;

const ERROR: u32 = 0x40;
const LAST: u32 = 0x10_0000;

/// Starts a stream with all four buffers queued, and subscribes to end of
/// stream and source changes.
fn streaming(rate: Rate) -> (Rig, u32) {
    let (mut rig, session) = Rig::with_buffers(rate, 4);
    rig.subscribe(session, 2, 0);
    rig.subscribe(session, 5, 0);
    for index in 0..4 {
        queue(&mut rig, session, index).unwrap();
    }
    rig.stream_on(session);
    (rig, session)
}

fn place(index: u32) -> (u64, u32) {
    (0x8000 + u64::from(index) * 0x1000, FRAME)
}

fn queue(rig: &mut Rig, session: u32, index: u32) -> Result<(), u32> {
    rig.queue(session, index, &[place(index)]).map(drop)
}

/// Lets an interval pass; returns the frames that came, and the number of
/// events.
fn frames(rig: &mut Rig, session: u32) -> (Vec<Buffer>, usize) {
    rig.run(INTERVAL);
    let (mut buffers, mut events) = (Vec::new(), 0);
    for sent in rig.sent() {
        match sent {
            Sent::Buffer(event) => buffers.push(event.buffer),
            Sent::Event(_) => events += 1,
            Sent::Died(_) => panic!("{sent:?}"),
        }
    }
    for buffer in &buffers {
        if buffer.flags.get() & LAST == 0 {
            queue(rig, session, buffer.index.get()).unwrap();
        }
    }
    (buffers, events)
}

/// Returns the one frame that came without an event, and checks that it is
/// whole.
fn whole(rig: &mut Rig, session: u32) -> u32 {
    let (buffers, events) = frames(rig, session);
    let [buffer] = &buffers[..] else {
        panic!("{buffers:?}")
    };
    assert_eq!(
        (buffer.flags.get(), buffer.bytesused.get(), events),
        (0x2004, FRAME, 0)
    );
    assert!(rig.read(&[place(buffer.index.get())]) == frame(buffer.sequence.get()));
    buffer.sequence.get()
}

#[test]
fn dropped_frames_are_a_gap_in_the_sequence() {
    let (mut rig, session) = streaming(Rate::Guest);
    assert_eq!(whole(&mut rig, session), 0);
    rig.set(session, cid::DROP_FRAMES, 3).unwrap();
    for left in [2, 1, 0] {
        assert!(frames(&mut rig, session).0.is_empty());
        let asked = words(&[cid::DROP_FRAMES, 0]);
        let answer = rig.ioctl(session, Ioctl::GCtrl, &asked).unwrap();
        assert_eq!(answer, words(&[cid::DROP_FRAMES, left]));
    }
    assert_eq!(whole(&mut rig, session), 4);
}

#[test]
fn a_frame_in_error_is_half_a_frame_and_says_so() {
    let (mut rig, session) = streaming(Rate::Guest);
    rig.set(session, cid::ERROR_FRAMES, 1).unwrap();
    rig.set(session, cid::SHORT_FRAMES, 2).unwrap();
    for (sequence, flags) in [(0, 0x2004 | ERROR), (1, 0x2004)] {
        rig.memory
            .write_slice(&[0xa5; MEMORY], GuestAddress(0))
            .unwrap();
        let (buffers, _) = frames(&mut rig, session);
        assert_eq!(
            (buffers[0].flags.get(), buffers[0].bytesused.get()),
            (flags, FRAME / 2)
        );
        assert_eq!(buffers[0].sequence, sequence);
        let half = FRAME as usize / 2;
        let bytes = rig.read(&[place(buffers[0].index.get())]);
        assert!(bytes[..half] == frame(sequence)[..half]);
        assert!(
            bytes[half..].iter().all(|byte| *byte == 0xa5),
            "the rest is as it was"
        );
    }
    assert_eq!(whole(&mut rig, session), 2);
    // The witness records the bytes that were written.
    let text = rig.witness_text();
    let bytes: Vec<_> = text
        .lines()
        .filter(|line| line.contains("\"bytes\":256"))
        .collect();
    assert_eq!(bytes.len(), 2);
}

#[test]
fn a_stall_is_late_once() {
    for rate in [Rate::Guest, Rate::Max] {
        let (mut rig, session) = streaming(rate);
        if rate == Rate::Max {
            rig.run(0);
            assert_eq!(rig.sent().len(), 4);
            rig.set(session, cid::STALL, 100).unwrap();
            queue(&mut rig, session, 0).unwrap();
        } else {
            assert_eq!(whole(&mut rig, session), 0);
            rig.set(session, cid::STALL, 100).unwrap();
        }
        rig.run(INTERVAL);
        rig.run(99_900);
        assert!(rig.sent().is_empty(), "{rate:?}");
        rig.run(100);
        let buffers = rig.dequeue();
        assert_eq!(buffers.len(), 1, "{rate:?}");
        // At the guest's rate six more frames were due meanwhile.
        let expected = if rate == Rate::Max { 4 } else { 7 };
        assert_eq!(buffers[0].sequence, expected, "{rate:?}");
        queue(&mut rig, session, buffers[0].index.get()).unwrap();
        rig.run(INTERVAL);
        assert_eq!(rig.dequeue()[0].sequence, expected + 1);
    }
}

#[test]
fn refused_buffers_can_be_queued_again() {
    let (mut rig, session) = Rig::with_buffers(Rate::Guest, 1);
    rig.set(session, cid::REFUSE_QBUF, 2).unwrap();
    // A command that is invalid anyway does not count.
    assert_eq!(rig.queue(session, 5, &[place(0)]), Err(22));
    for _ in 0..2 {
        assert_eq!(queue(&mut rig, session, 0), Err(EIO));
    }
    assert_eq!(queue(&mut rig, session, 0), Ok(()));
    rig.set(session, cid::FAIL_STREAMON, 1).unwrap();
    let on = words(&[1]);
    assert_eq!(rig.ioctl(session, Ioctl::StreamOn, &on), Err(EIO));
    rig.run(INTERVAL);
    assert!(rig.sent().is_empty());
    rig.stream_on(session);
    rig.run(INTERVAL);
    assert_eq!(rig.dequeue().len(), 1, "it was still queued");
}

#[test]
fn a_lost_signal_brings_no_frames_and_says_so() {
    for rate in [Rate::Guest, Rate::Max] {
        let (mut rig, session) = streaming(rate);
        let status = |rig: &mut Rig, index: u32| {
            let mut asked = WireInput::new_zeroed();
            asked.index = index.into();
            rig.get(session, Ioctl::EnumInput, &asked).status.get()
        };
        rig.set(session, cid::SIGNAL_LOST, 1).unwrap();
        assert_eq!((status(&mut rig, 0), status(&mut rig, 1)), (2, 0));
        let (buffers, events) = frames(&mut rig, session);
        assert!(buffers.is_empty(), "{rate:?}");
        assert_eq!(events, 1, "SOURCE_CHANGE");
        assert_eq!(rig.card.next_deadline(), None, "nothing to wake up for");
        rig.run(3 * INTERVAL);
        rig.set(session, cid::SIGNAL_LOST, 0).unwrap();
        assert_eq!(status(&mut rig, 0), 0);
        let (buffers, events) = frames(&mut rig, session);
        assert_eq!(events, 1);
        let expected = if rate == Rate::Max { 0 } else { 4 };
        assert_eq!(buffers[0].sequence, expected, "{rate:?}");
    }
}

#[test]
fn the_session_that_streams_is_killed_or_else_the_one_that_asks() {
    let (mut rig, session) = streaming(Rate::Guest);
    let other = rig.open();
    rig.set(other, cid::KILL_SESSION, 1).unwrap();
    let sent = rig.sent();
    assert!(
        matches!(sent[..], [Sent::Died(dead)] if dead == session),
        "{sent:?}"
    );
    assert_eq!(queue(&mut rig, session, 0), Err(ENODEV));
    rig.run(10 * INTERVAL);
    assert!(rig.sent().is_empty());
    rig.close(session);
    // If no session streams, the session that presses the button dies.
    rig.set(other, cid::KILL_SESSION, 1).unwrap();
    assert!(matches!(rig.sent()[..], [Sent::Died(dead)] if dead == other));
    let pair = [rig.open(), rig.open()];
    let press = crate::card::Value::Integer(1);
    rig.card
        .set_control(rig.now, "kill_session", &press)
        .unwrap();
    assert_eq!(rig.sent().len(), pair.len(), "the host presses it for all");
}

#[test]
fn a_stream_that_is_ended_has_a_last_frame_and_begins_again() {
    let (mut rig, session) = streaming(Rate::Guest);
    assert_eq!(whole(&mut rig, session), 0);
    rig.set(session, cid::END_OF_STREAM, 1).unwrap();
    let (buffers, events) = frames(&mut rig, session);
    assert_eq!((buffers.len(), events), (1, 1), "EOS");
    assert_eq!(
        (buffers[0].flags.get(), buffers[0].bytesused.get()),
        (0x2004 | LAST, FRAME)
    );
    assert_eq!(rig.card.next_deadline(), None);
    assert!(matches!(frames(&mut rig, session), (none, 0) if none.is_empty()));
    rig.stream_off(session);
    // Between streams the button has no effect.
    rig.set(session, cid::END_OF_STREAM, 1).unwrap();
    queue(&mut rig, session, 0).unwrap();
    rig.stream_on(session);
    assert_eq!(whole(&mut rig, session), 0);
}

#[test]
fn a_source_change_is_an_event_and_no_more() {
    let (mut rig, session) = streaming(Rate::Guest);
    rig.set(session, cid::SOURCE_CHANGE, 1).unwrap();
    let sent = rig.sent();
    let [Sent::Event(event)] = &sent[..] else {
        panic!("{sent:?}")
    };
    assert_eq!((event.event.type_.get(), event.event.id.get()), (5, 0));
    assert_eq!(event.event.u[..4], [1, 0, 0, 0], "the resolution");
    assert_eq!(whole(&mut rig, session), 0);
}

#[test]
fn a_source_without_a_frame_is_late_and_not_stuck() {
    let (mut rig, session) = streaming(Rate::Guest);
    rig.stage.lock().unwrap().begun = [Begun::Late; 10].into();
    rig.run(INTERVAL);
    for _ in 0..9 {
        assert!(rig.sent().is_empty());
        let due = rig.card.next_deadline().unwrap();
        assert!(due > rig.now.monotonic, "no busy waiting");
        rig.run(4_000);
    }
    // After 36 ms more two other frames are due; the card makes the last of
    // them.
    rig.run(4_000);
    let buffers = rig.dequeue();
    assert_eq!(buffers.len(), 1);
    assert_eq!(buffers[0].sequence, 2);
    queue(&mut rig, session, buffers[0].index.get()).unwrap();
    assert_eq!(whole(&mut rig, session), 3);
}

#[test]
fn a_source_that_ends_gives_an_empty_last_buffer() {
    let (mut rig, session) = streaming(Rate::Guest);
    rig.stage.lock().unwrap().begun = [Begun::Frame { bytes: FRAME }, Begun::Ended].into();
    assert_eq!(whole(&mut rig, session), 0);
    let (buffers, events) = frames(&mut rig, session);
    assert_eq!((buffers.len(), events), (1, 1), "EOS");
    assert_eq!(
        (buffers[0].flags.get(), buffers[0].bytesused.get()),
        (0x2004 | LAST, 0)
    );
    assert_eq!(buffers[0].sequence, 1);
    assert_eq!(rig.card.next_deadline(), None);
    assert!(matches!(frames(&mut rig, session), (none, 0) if none.is_empty()));
}

#[test]
fn a_compressed_frame_has_its_own_length() {
    let (mut rig, session) = streaming(Rate::Guest);
    rig.stage.lock().unwrap().begun = [
        Begun::Frame { bytes: 100 },
        Begun::Frame { bytes: u32::MAX },
    ]
    .into();
    for bytes in [100, FRAME] {
        let (buffers, _) = frames(&mut rig, session);
        assert_eq!(
            (buffers[0].bytesused.get(), buffers[0].flags.get()),
            (bytes, 0x2004)
        );
    }
}

#[test]
fn a_stream_has_its_number_among_all() {
    let (mut rig, session) = streaming(Rate::Guest);
    for stream in 1..4 {
        rig.run(INTERVAL);
        assert_eq!(rig.stage.lock().unwrap().frame.stream, stream);
        rig.stream_off(session);
        queue(&mut rig, session, 0).unwrap();
        rig.stream_on(session);
    }
}

#[test]
fn held_frames_are_not_made_until_they_are_let_go() {
    let (mut rig, session) = streaming(Rate::Guest);
    assert_eq!(whole(&mut rig, session), 0);
    rig.set(session, cid::HOLD_FRAMES, 1).unwrap();
    let untouched = rig.read(&[place(1)]);
    for _ in 0..3 {
        assert!(frames(&mut rig, session).0.is_empty());
    }
    assert!(rig.read(&[place(1)]) == untouched);
    rig.set(session, cid::HOLD_FRAMES, 0).unwrap();
    assert_eq!(whole(&mut rig, session), 4);
}

#[test]
fn held_events_come_after_their_frames_were_written() {
    let (mut rig, session) = streaming(Rate::Guest);
    assert_eq!(whole(&mut rig, session), 0);
    rig.set(session, cid::HOLD_EVENTS, 1).unwrap();
    assert!(frames(&mut rig, session).0.is_empty());
    assert!(rig.read(&[place(1)]) == frame(1));
    rig.set(session, cid::HOLD_EVENTS, 0).unwrap();
    let (buffers, _) = frames(&mut rig, session);
    let sequences: Vec<_> = buffers.iter().map(|b| b.sequence.get()).collect();
    assert_eq!(sequences, [1, 2]);
}

#[test]
fn held_events_die_with_their_stream() {
    let (mut rig, session) = streaming(Rate::Guest);
    rig.set(session, cid::HOLD_EVENTS, 1).unwrap();
    assert!(frames(&mut rig, session).0.is_empty());
    rig.stream_off(session);
    rig.set(session, cid::HOLD_EVENTS, 0).unwrap();
    assert!(frames(&mut rig, session).0.is_empty());
}

/// Returns how many of what a control counts are left.
fn left(rig: &mut Rig, session: u32, id: u32) -> i32 {
    let asked = words(&[id, 0]);
    let answer = rig.ioctl(session, Ioctl::GCtrl, &asked).unwrap();
    i32::from_le_bytes(answer[4..8].try_into().unwrap())
}

#[test]
fn as_many_held_frames_pass_as_are_to() {
    let (mut rig, session) = streaming(Rate::Max);
    rig.set(session, cid::HOLD_FRAMES, 1).unwrap();
    // Four buffers are queued.
    for (pass, made) in [(1, 1), (2, 2), (5, 4)] {
        rig.set(session, cid::FRAMES_TO_PASS, pass).unwrap();
        assert_eq!(left(&mut rig, session, cid::FRAMES_TO_PASS), pass);
        assert_eq!(frames(&mut rig, session).0.len(), made);
        let rest = pass - made as i32;
        assert_eq!(left(&mut rig, session, cid::FRAMES_TO_PASS), rest);
    }
    // What was to pass has nothing to do with the next hold.
    for held in [0, 1] {
        rig.set(session, cid::HOLD_FRAMES, held).unwrap();
        assert_eq!(left(&mut rig, session, cid::FRAMES_TO_PASS), 0);
    }
}

#[test]
fn as_many_held_events_pass_as_are_to() {
    let (mut rig, session) = streaming(Rate::Guest);
    rig.set(session, cid::HOLD_EVENTS, 1).unwrap();
    assert!(frames(&mut rig, session).0.is_empty());
    for sequence in 0..2 {
        rig.set(session, cid::EVENTS_TO_PASS, 1).unwrap();
        let (buffers, _) = frames(&mut rig, session);
        let sequences: Vec<_> = buffers.iter().map(|b| b.sequence.get()).collect();
        assert_eq!(sequences, [sequence]);
        assert_eq!(left(&mut rig, session, cid::EVENTS_TO_PASS), 0);
    }
    rig.set(session, cid::EVENTS_TO_PASS, 1).unwrap();
    rig.set(session, cid::HOLD_EVENTS, 0).unwrap();
    assert_eq!(left(&mut rig, session, cid::EVENTS_TO_PASS), 0);
}
