//! Sessions: opening, closing, and whose the buffers are.

use crate::harness::v4l2::*;
use crate::harness::{Card, Driver, Stream};

#[test]
fn open_sessions_have_different_ids() {
    let card = &mut Card::start(&[]);
    let driver = &mut Driver::new(card);
    let mut ids: Vec<_> = (0..8).map(|_| driver.open()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 8);
}

#[test]
fn a_closed_session_is_gone_and_the_others_are_not() {
    let card = &mut Card::start(&[]);
    let driver = &mut Driver::new(card);
    let (closed, open) = (driver.open(), driver.open());
    driver.close(closed);
    let ask = payload(G_FMT).with(0, CAPTURE);
    assert_eq!(driver.ioctl(closed, G_FMT, &ask), Err(EINVAL));
    assert!(driver.ioctl(open, G_FMT, &ask).is_ok());
    assert_ne!(driver.open(), open);
}

#[test]
fn sessions_can_be_opened_and_closed_without_end() {
    let card = &mut Card::start(&[]);
    let driver = &mut Driver::new(card);
    for _ in 0..1000 {
        let session = driver.open();
        assert_eq!(driver.reqbufs(session, 4), Ok(4));
        driver.close(session);
    }
    let session = driver.open();
    assert_eq!(driver.reqbufs(session, 4), Ok(4));
}

#[test]
fn sessions_that_come_and_go_cost_a_stream_nothing() {
    const AT_ONCE: usize = 64;
    let card = &mut Card::fast();
    let driver = &mut Driver::new(card);
    let stream = Stream::new(driver, (GREY, 64, 64), 4);
    stream.start(driver);
    let mut before = 0;
    let mut expected = 0;
    let mut frames = |driver: &mut Driver, card: &mut Card| {
        for _ in 0..4 {
            let frame = stream.turn(driver, card);
            assert_eq!(frame.sequence, expected, "a frame is lost");
            expected += 1;
        }
    };
    for round in 0..10_000usize.div_ceil(AT_ONCE) {
        let sessions: Vec<_> = (0..AT_ONCE).map(|_| driver.open()).collect();
        for session in &sessions {
            // V4L2_EVENT_CTRL: each gets a queue of its own.
            let hue = subscription(3, HUE, 0);
            let subscribed = driver.ioctl(*session, SUBSCRIBE_EVENT, &hue);
            assert!(subscribed.is_ok());
        }
        for session in sessions {
            driver.close(session);
        }
        frames(driver, card);
        if round == 20 {
            before = card.allocated_kib();
        }
    }
    let after = card.allocated_kib();
    assert!(after < before + 512, "{before} KiB have become {after}");
}

#[test]
fn there_is_an_end_to_open_sessions_and_a_place_after_a_close() {
    let card = &mut Card::start(&[]);
    let driver = &mut Driver::new(card);
    let mut open = Vec::new();
    let refused = loop {
        let reply = driver.command(&command(CMD_OPEN), 16);
        if reply.status() != Some(0) {
            break reply;
        }
        open.push(reply.bytes.le32(8));
        assert!(open.len() <= 10_000);
    };
    assert_eq!(refused.status(), Some(EMFILE));
    driver.close(open[3]);
    let again = driver.open();
    assert!(again == open[3] || !open.contains(&again));
}

#[test]
fn closing_a_session_that_is_not_open_changes_nothing() {
    let card = &mut Card::start(&[]);
    let driver = &mut Driver::new(card);
    let session = driver.open();
    for other in [session + 1, 0xffff_ffff] {
        driver.close(other);
    }
    assert_eq!(driver.reqbufs(session, 2), Ok(2));
}

#[test]
fn a_session_that_is_not_open_has_no_ioctls() {
    let card = &mut Card::start(&[]);
    let driver = &mut Driver::new(card);
    let session = driver.open();
    for wrong in [session + 1, session + 0x100, 0x8000_0000, u32::MAX] {
        for ioctl in ALL {
            let given = vec![0; if ioctl.given { ioctl.size } else { 0 }];
            assert_eq!(driver.ioctl(wrong, ioctl, &given), Err(EINVAL), "{ioctl:?}");
        }
    }
}

#[test]
fn buffers_belong_to_one_session() {
    let card = &mut Card::fast();
    let driver = &mut Driver::new(card);
    let (owner, other) = (driver.open(), driver.open());
    driver.set_picture(owner, GREY, 64, 64);
    assert_eq!(driver.reqbufs(owner, 2), Ok(2));

    assert_eq!(driver.reqbufs(other, 2), Err(EBUSY));
    assert_eq!(driver.reqbufs(other, 0), Err(EBUSY));
    let list = [(driver.memory.high().start, 4096)];
    assert_eq!(driver.qbuf(other, 0, &list), Err(EBUSY));
    assert_eq!(driver.streamon(other), Err(EBUSY));
    assert_eq!(driver.streamoff(other), Err(EBUSY));
    // As for every file handle of a V4L2 device, looking is free.
    assert!(driver.querybuf(other, 0).is_ok());
    // Format and rate belong to the card.
    assert_eq!(driver.picture(other), driver.picture(owner));
    let small = format(GREY, 32, 32);
    assert_eq!(driver.ioctl(other, S_FMT, &small), Err(EBUSY));
    assert_eq!(driver.ioctl(owner, S_FMT, &small), Err(EBUSY));

    assert_eq!(driver.reqbufs(owner, 0), Ok(0));
    assert_eq!(driver.reqbufs(other, 2), Ok(2));
    assert_eq!(driver.reqbufs(owner, 2), Err(EBUSY));
    driver.close(other);
    driver.capture_one(card, owner);
}

#[test]
fn two_sessions_take_turns_at_the_stream() {
    let card = &mut Card::fast();
    let driver = &mut Driver::new(card);
    let sessions = [driver.open(), driver.open()];
    for round in 0..3 {
        for session in sessions {
            driver.set_picture(session, YUYV, 64 + 2 * round, 48);
            let frame = driver.capture_one(card, session);
            assert_eq!(frame.session, session);
        }
    }
}
