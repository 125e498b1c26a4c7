//! What goes wrong: by order, or because of what the driver gives.

use super::*;
use crate::card::controls::table::cid;
use crate::wire::Errno;
use crate::wire::buffer::BUF_FLAG_ERROR;
use crate::wire::control::Control;

fn set(rig: &mut Rig, session: u32, id: u32, value: i32) {
    let control = Control {
        id: id.into(),
        value: value.into(),
    };
    rig.ok(session, Ioctl::SCtrl, &control);
}

/// Does a job; returns the bytes and the errors of both buffers.
fn job(rig: &mut Rig, session: u32) -> Vec<(u32, bool)> {
    rig.queue(session, Direction::Output, 0, 0x8000);
    rig.queue(session, Direction::Capture, 0, 0x2_0000);
    rig.run();
    let buffers = rig.dequeue().into_iter();
    buffers
        .map(|(_, buffer)| {
            let error = buffer.flags.get() & BUF_FLAG_ERROR != 0;
            (buffer.bytesused.get(), error)
        })
        .collect()
}

#[test]
fn a_frame_that_is_shorter_than_its_format_is_read_and_written_by_nobody() {
    let (mut rig, session) = Rig::streaming();
    rig.write(0x8000, &picture(9));
    let mut payload = Buffer {
        bytesused: (FRAME - 1).into(),
        ..buffer(Direction::Output, 0, FRAME)
    }
    .as_bytes()
    .to_vec();
    payload.extend_from_slice(&0x8000u64.to_le_bytes());
    payload.extend_from_slice(&FRAME.to_le_bytes());
    payload.extend_from_slice(&[0; 4]);
    rig.ioctl(session, Ioctl::QBuf, &payload).unwrap();
    rig.queue(session, Direction::Capture, 0, 0x2_0000);
    assert_eq!(rig.run(), 0);
    let buffers = rig.dequeue();
    assert_eq!(buffers.len(), 2);
    for (_, buffer) in &buffers {
        assert_ne!(buffer.flags.get() & BUF_FLAG_ERROR, 0);
    }
    assert_eq!(buffers[1].1.bytesused.get(), 0);
    assert_eq!(rig.read(0x2_0000, FRAME), [0; FRAME as usize]);
    assert_eq!(job(&mut rig, session), [(FRAME, false), (FRAME, false)]);
}

#[test]
fn faults_happen_as_often_as_their_session_asks_and_in_no_other() {
    let (mut rig, session) = Rig::streaming();
    let other = rig.session();
    rig.write(0x8000, &picture(2));
    set(&mut rig, session, cid::ERROR_FRAMES, 1);
    assert_eq!(job(&mut rig, other), [(FRAME, false), (FRAME, false)]);
    assert_eq!(job(&mut rig, session), [(FRAME, false), (FRAME / 2, true)]);
    set(&mut rig, session, cid::SHORT_FRAMES, 1);
    assert_eq!(job(&mut rig, session), [(FRAME, false), (FRAME / 2, false)]);
    assert_eq!(job(&mut rig, session), [(FRAME, false), (FRAME, false)]);

    set(&mut rig, session, cid::REFUSE_QBUF, 1);
    let refused = rig.try_queue(session, Direction::Output, 0, 0x8000, FRAME);
    assert_eq!(refused, Err(Errno::EIO.0));
    assert_eq!(job(&mut rig, session), [(FRAME, false), (FRAME, false)]);

    let output = number(Direction::Output).to_le_bytes();
    rig.ok(session, Ioctl::StreamOff, &output);
    set(&mut rig, session, cid::FAIL_STREAMON, 1);
    assert_eq!(
        rig.ioctl(session, Ioctl::StreamOn, &output),
        Err(Errno::EIO.0)
    );
    rig.ok(session, Ioctl::StreamOn, &output);
}

#[test]
fn a_stall_and_holds_keep_their_session_alone() {
    let (mut rig, session) = Rig::streaming();
    let other = rig.session();
    set(&mut rig, session, cid::STALL, 500);
    assert_eq!(job(&mut rig, session), []);
    assert_eq!(job(&mut rig, other).len(), 2);
    rig.now.monotonic += Duration::from_millis(499);
    assert_eq!(rig.run(), 0);
    rig.now.monotonic += Duration::from_millis(1);
    assert_eq!(rig.run(), 1);
    assert_eq!(rig.dequeue().len(), 2);

    set(&mut rig, session, cid::HOLD_FRAMES, 1);
    assert_eq!(job(&mut rig, session), []);
    assert_eq!(job(&mut rig, other).len(), 2);
    set(&mut rig, session, cid::HOLD_FRAMES, 0);
    set(&mut rig, session, cid::HOLD_EVENTS, 1);
    assert_eq!(rig.run(), 1);
    assert_eq!(rig.dequeue().len(), 0);
    set(&mut rig, session, cid::HOLD_EVENTS, 0);
    assert_eq!(rig.dequeue().len(), 2);

    set(&mut rig, session, cid::KILL_SESSION, 1);
    let sent = rig.sent();
    assert!(
        matches!(sent[..], [Sent::Died(dead)] if dead == session),
        "{sent:?}"
    );
    assert_eq!(job(&mut rig, other).len(), 2);
}
