//! The end of a stream.

use super::*;
use crate::wire::Errno;
use crate::wire::buffer::BUF_FLAG_LAST;
use crate::wire::encoder::{ENC_CMD_START, ENC_CMD_STOP, EncoderCmd};
use crate::wire::event::{EVENT_EOS, EventSubscription};

fn encoder(cmd: u32) -> EncoderCmd {
    EncoderCmd {
        cmd: cmd.into(),
        flags: 1.into(),
        ..FromZeros::new_zeroed()
    }
}

/// Subscribes to the end of the stream.
fn subscribe(rig: &mut Rig, session: u32) {
    let eos = EventSubscription {
        type_: EVENT_EOS.into(),
        ..FromZeros::new_zeroed()
    };
    rig.ok(session, Ioctl::SubscribeEvent, &eos);
}

/// Returns for each capture buffer and event of the session what it is: bytes and
/// whether it is the last, or the event's type.
fn told(rig: &mut Rig) -> Vec<Result<(u32, bool), u32>> {
    let sent = rig.sent().into_iter();
    sent.filter_map(|sent| match sent {
        Sent::Buffer(_, buffer) => {
            let last = buffer.flags.get() & BUF_FLAG_LAST != 0;
            let written = buffer.type_.get() == number(Direction::Capture);
            written.then_some(Ok((buffer.bytesused.get(), last)))
        }
        Sent::Event(event) => Some(Err(event.event.type_.get())),
        Sent::Died(session) => panic!("session {session} died"),
    })
    .collect()
}

#[test]
fn the_last_of_the_frames_before_the_stop_says_so() {
    let (mut rig, session) = Rig::streaming();
    subscribe(&mut rig, session);
    for index in 0..2 {
        rig.queue(session, Direction::Output, index, 0x8000);
    }
    let taken = rig.get(session, Ioctl::EncoderCmd, &encoder(ENC_CMD_STOP));
    assert_eq!((taken.cmd.get(), taken.flags.get()), (ENC_CMD_STOP, 0));
    for cmd in [ENC_CMD_STOP, ENC_CMD_START] {
        let busy = rig.ioctl(session, Ioctl::EncoderCmd, encoder(cmd).as_bytes());
        assert_eq!(busy, Err(Errno::EBUSY.0));
    }
    for index in 0..2 {
        rig.queue(session, Direction::Capture, index, 0x2_0000);
    }
    assert_eq!(rig.run(), 2);
    let wanted = [Ok((FRAME, false)), Ok((FRAME, true)), Err(EVENT_EOS)];
    assert_eq!(told(&mut rig), wanted);

    // What is given later waits for the start.
    rig.queue(session, Direction::Output, 0, 0x8000);
    rig.queue(session, Direction::Capture, 0, 0x2_0000);
    assert_eq!(rig.card.next_deadline(), None);
    rig.ok(session, Ioctl::EncoderCmd, &encoder(ENC_CMD_START));
    assert_eq!(rig.run(), 1);
    assert_eq!(told(&mut rig), [Ok((FRAME, false))]);
}

#[test]
fn an_empty_buffer_is_the_last_if_no_frame_is_left() {
    let (mut rig, session) = Rig::streaming();
    subscribe(&mut rig, session);
    rig.ok(session, Ioctl::EncoderCmd, &encoder(ENC_CMD_STOP));
    assert_eq!(
        rig.card.next_deadline(),
        None,
        "there is no buffer to tell it with"
    );
    rig.queue(session, Direction::Capture, 1, 0x2_0000);
    assert_eq!(rig.run(), 0);
    assert_eq!(told(&mut rig), [Ok((0, true)), Err(EVENT_EOS)]);
    // A stop after the end changes nothing.
    rig.ok(session, Ioctl::EncoderCmd, &encoder(ENC_CMD_STOP));
    rig.queue(session, Direction::Capture, 0, 0x2_0000);
    assert_eq!(rig.card.next_deadline(), None);
}

#[test]
fn the_frames_that_are_taken_back_are_not_waited_for() {
    let (mut rig, session) = Rig::streaming();
    rig.queue(session, Direction::Output, 0, 0x8000);
    rig.ok(session, Ioctl::EncoderCmd, &encoder(ENC_CMD_STOP));
    let output = number(Direction::Output).to_le_bytes();
    rig.ok(session, Ioctl::StreamOff, &output);
    rig.queue(session, Direction::Capture, 0, 0x2_0000);
    rig.run();
    assert_eq!(told(&mut rig), [Ok((0, true))]);
}

#[test]
fn a_stop_is_forgotten_when_what_is_read_begins_anew() {
    let (mut rig, session) = Rig::streaming();
    rig.queue(session, Direction::Output, 0, 0x8000);
    rig.ok(session, Ioctl::EncoderCmd, &encoder(ENC_CMD_STOP));
    let output = number(Direction::Output).to_le_bytes();
    rig.ok(session, Ioctl::StreamOff, &output);
    rig.ok(session, Ioctl::StreamOn, &output);
    rig.queue(session, Direction::Output, 0, 0x8000);
    rig.queue(session, Direction::Capture, 0, 0x2_0000);
    assert_eq!(rig.run(), 1);
    assert_eq!(told(&mut rig), [Ok((FRAME, false))]);
}

#[test]
fn frames_whose_memory_goes_away_are_not_waited_for() {
    let all: [&[u64]; 3] = [
        &[0x8000, 0x4_0000],
        &[0x4_0000, 0x8000],
        &[0x4_0000, 0x4_1000],
    ];
    for places in all {
        let (mut rig, session) = Rig::streaming();
        for (index, place) in (0..).zip(places) {
            rig.queue(session, Direction::Output, index, *place);
        }
        rig.ok(session, Ioctl::EncoderCmd, &encoder(ENC_CMD_STOP));
        rig.memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x3_0000)]).unwrap();
        let bus = Bus {
            memory: &rig.memory,
            forbidden: &[],
        };
        rig.card.memory_changed(rig.now, bus);
        rig.queue(session, Direction::Capture, 0, 0x2_0000);
        let kept = places.contains(&0x8000);
        assert_eq!(rig.run(), usize::from(kept), "{places:x?}");
        let bytes = if kept { FRAME } else { 0 };
        assert_eq!(told(&mut rig), [Ok((bytes, true))], "{places:x?}");
    }
}

#[test]
fn a_queue_that_is_streamed_anew_goes_on() {
    for direction in [Direction::Output, Direction::Capture] {
        let (mut rig, session) = Rig::streaming();
        rig.ok(session, Ioctl::EncoderCmd, &encoder(ENC_CMD_STOP));
        rig.queue(session, Direction::Capture, 0, 0x2_0000);
        rig.run();
        assert_eq!(told(&mut rig), [Ok((0, true))]);
        let queue = number(direction).to_le_bytes();
        rig.ok(session, Ioctl::StreamOff, &queue);
        rig.ok(session, Ioctl::StreamOn, &queue);
        rig.queue(session, Direction::Output, 0, 0x8000);
        rig.queue(session, Direction::Capture, 0, 0x2_0000);
        assert_eq!(rig.run(), 1, "{direction:?}");
    }
}

#[test]
fn there_is_nothing_to_drain_before_both_streams() {
    let (mut rig, session) = Rig::streaming();
    let capture = number(Direction::Capture).to_le_bytes();
    rig.ok(session, Ioctl::StreamOff, &capture);
    rig.ok(session, Ioctl::EncoderCmd, &encoder(ENC_CMD_STOP));
    rig.ok(session, Ioctl::StreamOn, &capture);
    rig.queue(session, Direction::Output, 0, 0x8000);
    rig.queue(session, Direction::Capture, 0, 0x2_0000);
    assert_eq!(rig.run(), 1);
    assert_eq!(told(&mut rig), [Ok((FRAME, false))]);
    for ioctl in [Ioctl::EncoderCmd, Ioctl::TryEncoderCmd] {
        let unknown = rig.ioctl(session, ioctl, encoder(2).as_bytes());
        assert_eq!(unknown, Err(Errno::EINVAL.0));
    }
}
