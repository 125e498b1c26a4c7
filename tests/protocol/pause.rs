//! Rings that are stopped and started again: a guest that was paused, and a
//! driver that begins anew.

use vhost::vhost_user::VhostUserFrontend;
use vhost::vhost_user::message::VhostUserConfigFlags;

use crate::harness::v4l2::*;
use crate::harness::{Card, Driver, Options, Stream, guest_memory};

const SMALL: (u32, u32, u32) = (YUYV, 160, 120);

/// Messages that set the rings up, before those that enable them.
const ENABLE: usize = 13;

#[test]
fn a_guest_that_was_paused_goes_on_where_it_was() {
    let card = &mut Card::start(&["--rate", "max"]);
    let driver = &mut Driver::new(card);
    let stream = Stream::new(driver, SMALL, 4);
    stream.start(driver);
    let mut sequence = stream.turn(driver, card).sequence;
    for _ in 0..10 {
        driver.stop_rings();
        driver.start_rings();
        for _ in 0..6 {
            let next = stream.turn(driver, card).sequence;
            assert_eq!(next, sequence + 1, "no frame and no event is lost");
            sequence = next;
        }
    }
    driver.streamoff(stream.session).unwrap();
}

#[test]
fn a_paused_ring_gives_back_its_place() {
    let card = &mut Card::start(&[]);
    let driver = &mut Driver::new(card);
    let session = driver.open();
    for _ in 0..100 {
        driver.picture(session);
    }
    let [commands, events] = driver.stop_rings();
    assert_eq!(commands, u32::from(driver.commands.next_avail()));
    assert_eq!(events, 0, "no event buffer was needed yet");
}

#[test]
fn commands_that_come_while_paused_are_served_afterwards() {
    let card = &mut Card::start(&[]);
    let driver = &mut Driver::new(card);
    let session = driver.open();
    driver.stop_rings();
    let ask = payload(G_FMT).with(0, CAPTURE);
    let command = ioctl_command(session, G_FMT.code, &ask);
    let tickets: Vec<_> = (0..5)
        .map(|_| driver.submit(&command, RESPONSE + G_FMT.size))
        .collect();
    driver.barrier();
    driver.reap();
    driver.start_rings();
    for ticket in tickets {
        assert_eq!(driver.wait(ticket).status(), Some(0));
    }
}

#[test]
fn a_driver_that_begins_its_ring_anew_finds_a_card_like_new() {
    let card = &mut Card::fast();
    let driver = &mut Driver::new(card);
    let stream = Stream::new(driver, SMALL, 4);
    stream.start(driver);
    stream.turn(driver, card);
    // As a guest's reboot looks where the front end knows no RESET_DEVICE.
    driver.stop_rings();
    for list in &stream.lists {
        driver.memory.accept_segments(list);
    }
    driver.restart();
    let session = driver.open();
    assert_eq!(driver.reqbufs(session, 2), Ok(2), "nobody has the buffers");
    driver.reqbufs(session, 0).unwrap();
    driver.set_picture(session, GREY, 64, 64);
    driver.capture_one(card, session);
}

/// The front end starts the new driver's event queue first.
#[test]
fn a_new_driver_hears_nothing_of_the_one_before() {
    let card = &mut Card::fast();
    let options = Options {
        event_buffers: 0,
        ..Options::default()
    };
    let driver = &mut Driver::attach(card, guest_memory(1 << 20), options);
    let stream = Stream::new(driver, SMALL, 4);
    stream.start(driver);
    // Buffers have come back, and nobody has been told.
    card.wait_frame(3);
    driver.stop_rings();
    for queue in [0, 1] {
        let front = &mut driver.front;
        front.set_vring_enable(queue, false).expect("disabled");
    }
    for list in &stream.lists {
        driver.memory.accept_segments(list);
    }
    driver.begin_anew();
    for _ in 0..4 {
        driver.post_event_buffer();
    }
    driver.start_some(ENABLE).expect("the rings are set up");
    driver
        .front
        .set_vring_enable(1, true)
        .expect("SET_VRING_ENABLE");
    driver.events.kick.write(1).expect("kick");
    Driver::wait_kick_taken(&driver.events);
    // Waits until the card has done what there was to do.
    let flags = VhostUserConfigFlags::WRITABLE;
    let config = driver.front.get_config(0, 40, flags, &[0; 40]);
    config.expect("GET_CONFIG");
    assert_eq!(driver.events.used_index(&driver.memory), 0);
    driver
        .front
        .set_vring_enable(0, true)
        .expect("SET_VRING_ENABLE");
    let session = driver.open();
    driver.set_picture(session, GREY, 64, 64);
    driver.capture_one(card, session);
    assert_eq!(driver.pending_events(), 0);
}
