//! Controls, events and injected errors, as a driver has them.

use crate::harness::v4l2::*;
use crate::harness::{Card, Driver, Event, Stream};

const SMALL: (u32, u32, u32) = (GREY, 64, 64);

impl Driver {
    /// S_CTRL.
    pub fn set_control(&mut self, session: u32, id: u32, value: u32) -> Result<u32, u32> {
        let given = payload(S_CTRL).with(0, id).with(4, value);
        Ok(self.ioctl(session, S_CTRL, &given)?.le32(4))
    }

    /// SUBSCRIBE_EVENT.
    fn subscribe(&mut self, session: u32, kind: u32, id: u32) {
        let given = subscription(kind, id, 0);
        self.ioctl(session, SUBSCRIBE_EVENT, &given)
            .expect("SUBSCRIBE_EVENT");
    }

    /// The next event, which is a v4l2_event.
    fn v4l2_event(&mut self, session: u32) -> Vec<u8> {
        match self.event() {
            Event::V4l2 { session: of, event } => {
                assert_eq!(of, session);
                event
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn every_control_is_found_and_has_a_class() {
    let card = &mut Card::start(&[]);
    let driver = &mut Driver::new(card);
    let session = driver.open();
    let (mut id, mut kinds, mut classes) = (0, Vec::new(), Vec::new());
    loop {
        let ask = payload(QUERY_EXT_CTRL).with(0, id | 0x8000_0000);
        let Ok(found) = driver.ioctl(session, QUERY_EXT_CTRL, &ask) else {
            break;
        };
        assert!(found.le32(0) > id, "in the order of their ids");
        id = found.le32(0);
        assert!(!found.text(8, 32).is_empty());
        let kind = found.le32(4);
        match kind {
            6 => classes.push(id),
            _ => assert_eq!(classes.last(), Some(&(id & 0x0fff_0000 | 1))),
        }
        kinds.push(kind);
    }
    // Each kind that V4L2 has but those that are compound.
    for kind in 1..=9 {
        assert!(kinds.contains(&kind), "no control of type {kind}");
    }
    assert_eq!(classes.len(), 5);
}

#[test]
fn text_goes_into_guest_memory_and_comes_from_it() {
    let card = &mut Card::start(&[]);
    let driver = &mut Driver::new(card);
    let session = driver.open();
    let start = driver.memory.high().start;
    driver.memory.write(start, b"a pin");
    driver.memory.write(start + 0x2001, b"hole\0");
    let mut given = ext_controls(0, &[(TEXT, 10, 0x1234), (HUE, 0, 5)]);
    given.extend(scatter_list(&[(start, 5), (start + 0x2001, 5)]));
    let command = ioctl_command(session, S_EXT_CTRLS.code, &given);
    let reply = driver.command(&command, RESPONSE + ext_answer(2));
    assert_eq!(reply.status(), Some(0));
    assert_eq!(reply.payload().to_vec().le64(44), 0x1234, "the pointer");

    let mut given = ext_controls(0, &[(HUE, 0, 0), (TEXT, 12, 0x1234)]);
    given.extend(scatter_list(&[(start + 0x5000, 3), (start + 0x4000, 9)]));
    let command = ioctl_command(session, G_EXT_CTRLS.code, &given);
    let reply = driver.command(&command, RESPONSE + ext_answer(2));
    assert_eq!(reply.status(), Some(0));
    assert_eq!(reply.payload().to_vec().le32(44), 5);
    // Ten bytes and no more.
    let written = [(start + 0x5000, 3), (start + 0x4000, 7)];
    assert_eq!(driver.memory.gather(&written), b"a pinhole\0");
    driver.memory.accept_segments(&written);
    driver.assert_untouched();
}

#[test]
fn a_failed_ioctl_says_which_control_it_was() {
    let card = &mut Card::start(&[]);
    let driver = &mut Driver::new(card);
    let session = driver.open();
    for (ioctl, bad, status, error_idx) in [
        (TRY_EXT_CTRLS, (MOTION, 0, 99), ERANGE, 1),
        (S_EXT_CTRLS, (MOTION, 0, 99), ERANGE, 2),
        (S_EXT_CTRLS, (0x0098_0001, 0, 0), EACCES, 2),
        (G_EXT_CTRLS, (KILL_SESSION, 0, 0), EACCES, 2),
        (G_EXT_CTRLS, (TEXT, 0, 0), ENOSPC, 1),
    ] {
        let given = ext_controls(0, &[(HUE, 0, 7), bad]);
        let command = ioctl_command(session, ioctl.code, &given);
        let reply = driver.command(&command, RESPONSE + ext_answer(2));
        assert_eq!(reply.status(), Some(status), "{ioctl:?}");
        assert_eq!(reply.payload().to_vec().le32(8), error_idx, "{ioctl:?}");
    }
}

#[test]
fn changes_are_told_to_those_who_want_to_know() {
    let card = &mut Card::start(&[]);
    let driver = &mut Driver::new(card);
    let (one, other) = (driver.open(), driver.open());
    driver.subscribe(one, 3, HUE);
    assert_eq!(driver.set_control(other, HUE, 7), Ok(7));
    let event = driver.v4l2_event(one);
    assert_eq!((event.le32(0), event.le32(96)), (3, HUE));
    assert_eq!(
        (event.le32(8), event.le32(16)),
        (1, 7),
        "the value has changed, to 7"
    );
    assert_eq!(
        (event.le32(72), event.le32(76)),
        (0, 1),
        "none waits; the first"
    );
    assert_eq!(driver.set_control(one, HUE, 8), Ok(8));
    let given = subscription(0, 0, 0);
    driver.ioctl(one, UNSUBSCRIBE_EVENT, &given).unwrap();
    assert_eq!(driver.set_control(other, HUE, 9), Ok(9));
    driver.picture(one);
    assert_eq!(driver.pending_events(), 0);
}

#[test]
fn injected_errors_are_seen_and_the_stream_goes_on() {
    let card = &mut Card::fast();
    let driver = &mut Driver::new(card);
    let stream = Stream::new(driver, SMALL, 3);
    let session = stream.session;
    driver.subscribe(session, 2, 0);
    driver.set_control(session, DROP_FRAMES, 2).unwrap();
    driver.set_control(session, ERROR_FRAMES, 1).unwrap();
    driver.set_control(session, REFUSE_QBUF, 1).unwrap();
    assert_eq!(driver.qbuf(session, 0, &stream.lists[0]), Err(EIO));
    stream.start(driver);
    let broken = driver.dqbuf(session);
    assert_eq!((broken.sequence, broken.bytesused), (2, 2048));
    assert_eq!(broken.flags & BUF_FLAG_ERROR, BUF_FLAG_ERROR);
    driver
        .memory
        .accept_segments(&stream.lists[broken.index as usize]);
    card.frame(session, 2);
    assert_eq!(stream.next(driver, card).sequence, 3);
    assert_eq!(stream.turn(driver, card).sequence, 4);
    assert_eq!(stream.turn(driver, card).sequence, 5);
    driver.dqbuf(session);
    driver.memory.accept_segments(&stream.lists.concat());

    driver.set_control(session, END_OF_STREAM, 1).unwrap();
    stream.queue(driver, broken.index);
    let last = driver.dqbuf(session);
    assert_eq!(last.flags & 0x10_0000, 0x10_0000, "V4L2_BUF_FLAG_LAST");
    assert_eq!(driver.v4l2_event(session).le32(0), 2, "V4L2_EVENT_EOS");
    driver.streamoff(session).unwrap();
    driver.memory.accept_segments(&stream.lists.concat());

    driver.set_control(session, KILL_SESSION, 1).unwrap();
    let died = driver.event();
    assert_eq!(
        died,
        Event::Error {
            session,
            errno: EIO
        }
    );
    let format = payload(G_FMT).with(0, CAPTURE);
    assert_eq!(driver.ioctl(session, G_FMT, &format), Err(19), "ENODEV");
    driver.close(session);
    let session = driver.open();
    driver.set_picture(session, GREY, 64, 64);
    driver.capture_one(card, session);
}

#[test]
fn a_card_breaks_nothing_unless_it_was_asked_to() {
    let dir = tempfile::tempdir().expect("a directory for the card");
    let mut command = Card::plain_command();
    command
        .arg("--socket-path")
        .arg(dir.path().join("card.sock"));
    let card = &mut Card::spawn(command, dir);
    let driver = &mut Driver::new(card);
    let session = driver.open();
    // V4L2_CTRL_FLAG_NEXT_CTRL walks through every control.
    let mut id = 0;
    let mut seen = Vec::new();
    while let Ok(control) = driver.ioctl(
        session,
        QUERYCTRL,
        &payload(QUERYCTRL).with(0, 0x8000_0000 | id),
    ) {
        id = control.le32(0);
        seen.push(id);
    }
    assert!(seen.contains(&HUE) && seen.contains(&TEXT), "{seen:x?}");
    assert!(seen.iter().all(|id| *id < 0x00f2_0000), "{seen:x?}");
    for id in [DROP_FRAMES, KILL_SESSION, HOLD_FRAMES] {
        let set = payload(S_CTRL).with(0, id).with(4, 1);
        assert_eq!(driver.ioctl(session, S_CTRL, &set), Err(EINVAL));
    }
    driver.capture_one(card, session);
}
