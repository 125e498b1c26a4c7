//! Sessions: what one does is nothing to another.

use super::*;
use crate::card::controls::table::cid;
use crate::m2m::{MAX_BUFFERS, MAX_SESSIONS};
use crate::wire::Errno;
use crate::wire::control::Control;

#[test]
fn formats_controls_and_buffers_are_a_sessions_own() {
    let mut rig = Rig::new();
    let (one, other) = (rig.open(), rig.open());
    let before = rig.get(
        other,
        Ioctl::GFmt,
        &format(Direction::Capture, b"GREY", 0, 0),
    );
    rig.ok(
        one,
        Ioctl::SFmt,
        &format(Direction::Output, b"NV12", 64, 32),
    );
    rig.ok(one, Ioctl::ReqBufs, &request(Direction::Capture, 2));
    let rotate = Control {
        id: cid::ROTATE.into(),
        value: 90.into(),
    };
    rig.ok(one, Ioctl::SCtrl, &rotate);
    let after = rig.get(
        other,
        Ioctl::GFmt,
        &format(Direction::Capture, b"GREY", 0, 0),
    );
    assert_eq!(before.as_bytes(), after.as_bytes());
    let value = |rig: &mut Rig, session| rig.get(session, Ioctl::GCtrl, &rotate).value.get();
    assert_eq!((value(&mut rig, one), value(&mut rig, other)), (90, 0));
    let query = buffer(Direction::Capture, 0, 0);
    assert!(rig.ioctl(one, Ioctl::QueryBuf, query.as_bytes()).is_ok());
    assert!(rig.ioctl(other, Ioctl::QueryBuf, query.as_bytes()).is_err());
}

#[test]
fn each_frame_is_made_of_its_own_sessions_and_they_take_turns() {
    let mut rig = Rig::new();
    let sessions = [rig.session(), rig.session(), rig.session()];
    let place = |base: u64, number: usize, index: u32| {
        base + number as u64 * 0x2000 + u64::from(index) * 0x1000
    };
    for index in 0..2 {
        for (number, session) in sessions.into_iter().enumerate() {
            let seed = (number as u32 * 2 + index) as u8;
            rig.write(place(0x1_0000, number, index), &picture(seed));
            let (from, to) = (
                place(0x1_0000, number, index),
                place(0x4_0000, number, index),
            );
            rig.queue(session, Direction::Output, index, from);
            rig.queue(session, Direction::Capture, index, to);
        }
    }
    assert_eq!(rig.run(), 6);
    for index in 0..2 {
        for number in 0..3 {
            let seed = (number as u32 * 2 + index) as u8;
            let made = rig.read(place(0x4_0000, number, index), FRAME);
            assert!(made == picture(seed), "session {number}, buffer {index}");
        }
    }
    let of: Vec<u32> = rig
        .dequeue()
        .into_iter()
        .map(|(session, _)| session)
        .collect();
    let [a, b, c] = sessions;
    assert_eq!(of, [a, a, b, b, c, c, a, a, b, b, c, c]);
}

#[test]
fn the_end_of_one_is_nothing_to_the_others() {
    let mut rig = Rig::new();
    let (one, other) = (rig.session(), rig.session());
    for session in [one, other] {
        rig.queue(session, Direction::Output, 0, 0x8000);
        rig.queue(session, Direction::Capture, 0, 0x2_0000);
    }
    rig.card.fail_session(one, Errno::EIO);
    assert_eq!(rig.run(), 1);
    let sent = rig.sent();
    assert!(
        matches!(sent[0], Sent::Died(session) if session == one),
        "{sent:?}"
    );
    let buffers = |sent: &&Sent| matches!(sent, Sent::Buffer(session, _) if *session == other);
    assert_eq!(sent.iter().filter(buffers).count(), 2);
    assert_eq!(
        rig.ioctl(
            one,
            Ioctl::GFmt,
            format(Direction::Output, b"GREY", 0, 0).as_bytes()
        ),
        Err(Errno::ENODEV.0)
    );
    rig.close(one);
}

#[test]
fn sessions_and_buffers_are_bounded() {
    let mut rig = Rig::new();
    let sessions: Vec<u32> = (0..MAX_SESSIONS).map(|_| rig.open()).collect();
    let (result, _) = rig.give(&words(&[1, 0]), 16);
    assert_eq!(result.unwrap_err().errno(), Errno::EMFILE);

    let mut left = MAX_BUFFERS as u32;
    let mut given = sessions.iter();
    while left > 0 {
        let session = *given.next().unwrap();
        // 32 and then 30 of 62, so that the last request is cut.
        for direction in [Direction::Output, Direction::Capture] {
            let asked = if direction == Direction::Output {
                32
            } else {
                30
            };
            if left == 0 {
                break;
            }
            let taken = rig.get(session, Ioctl::ReqBufs, &request(direction, asked));
            assert_eq!(taken.count.get(), asked.min(left));
            left -= taken.count.get();
        }
    }
    let last = *given.next().unwrap();
    let refused = rig.ioctl(
        last,
        Ioctl::ReqBufs,
        request(Direction::Output, 1).as_bytes(),
    );
    assert_eq!(refused, Err(Errno::ENOMEM.0));
    rig.close(sessions[0]);
    assert_eq!(
        rig.get(last, Ioctl::ReqBufs, &request(Direction::Output, 1))
            .count
            .get(),
        1
    );
}
