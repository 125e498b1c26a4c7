//! After the reply to whatever ends a stream, the card writes nothing more:
//! memory that the guest has taken back is the guest's.
//!
//! Each test stops a card that is busy writing large frames, takes the memory
//! back at once, and looks at all of it again when the card has had time for
//! several more frames.

use std::time::{Duration, Instant};

use vhost::vhost_user::VhostUserFrontend;

use crate::harness::memory::{LOW, LOW_END};
use crate::harness::v4l2::*;
use crate::harness::{Card, Driver, Memory, Options, Stream, guest_memory};

/// Large, so that a frame takes the card some milliseconds.
const LARGE: (u32, u32, u32) = (RGB3, 1920, 1080);
const BUFFERS: u32 = 4;
/// Ends of a stream that each test tries, at different moments of a frame.
const ROUNDS: u32 = 6;

/// Guest memory that has room for the buffers.
fn memory() -> Memory {
    guest_memory(u64::from(BUFFERS) * 0x60_0000)
}

fn driver(card: &mut Card) -> Driver {
    Driver::attach(card, memory(), Options::default())
}

/// Starts the stream and returns when the card is in the middle of writing
/// frames: one has come back, and the others are queued.
fn start_writing(driver: &mut Driver, stream: &Stream, round: u32) {
    stream.start(driver);
    driver.dqbuf(stream.session);
    // A little later into the frame each round.
    let until = Instant::now() + Duration::from_micros(300) * round;
    while Instant::now() < until {
        std::hint::spin_loop();
    }
}

/// Takes the memory back: whatever the card has written up to now is there,
/// and nothing may come after it.
fn take_back(memory: &mut Memory, stream: &Stream) {
    // The end of every buffer at once, within microseconds: a frame that is
    // still being written has its end before it, and will run into this.
    for list in &stream.lists {
        let (address, len) = *list.last().expect("a buffer has memory");
        memory.write_canary(address..address + u64::from(len));
    }
    // Of the rest, what is there now. This takes longer than a frame.
    for list in &stream.lists {
        memory.accept_segments(&list[..list.len() - 1]);
    }
}

/// Fails if anything is written, or any event sent, in the time of several
/// frames.
fn assert_quiet(driver: &mut Driver, queues: bool) {
    let events = driver.events.used_index(&driver.memory);
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(40) {
        if queues {
            // The card goes on answering in the meantime.
            let known_bad = ioctl_command(u32::MAX, G_INPUT.code, &[]);
            assert_eq!(driver.command(&known_bad, 12).status(), Some(EINVAL));
        } else {
            driver.barrier();
        }
    }
    assert_eq!(
        driver.events.used_index(&driver.memory),
        events,
        "an event was sent"
    );
    driver.assert_untouched();
}

#[test]
fn nothing_is_written_after_the_reply_to_streamoff() {
    let card = &mut Card::fast();
    let driver = &mut driver(card);
    let stream = Stream::new(driver, LARGE, BUFFERS);
    for round in 0..ROUNDS {
        start_writing(driver, &stream, round);
        driver.streamoff(stream.session).unwrap();
        take_back(&mut driver.memory, &stream);
        driver.forget_events();
        assert_quiet(driver, true);
    }
    // Nor does a buffer that was queued before it come back later.
    driver.streamon(stream.session).unwrap();
    assert_quiet(driver, true);
}

#[test]
fn nothing_is_written_after_the_reply_to_reqbufs_of_none() {
    let card = &mut Card::fast();
    let driver = &mut driver(card);
    let stream = Stream::new(driver, LARGE, BUFFERS);
    for round in 0..ROUNDS {
        driver.reqbufs(stream.session, BUFFERS).unwrap();
        start_writing(driver, &stream, round);
        // Refused while streaming, as vb2 does, or done: both are an answer;
        // what counts is that after success nothing is written.
        if driver.reqbufs(stream.session, 0).is_err() {
            driver.streamoff(stream.session).unwrap();
            driver.reqbufs(stream.session, 0).unwrap();
        }
        take_back(&mut driver.memory, &stream);
        driver.forget_events();
        assert_quiet(driver, true);
    }
}

#[test]
fn nothing_is_written_after_close_has_been_used() {
    let card = &mut Card::fast();
    let driver = &mut driver(card);
    for round in 0..ROUNDS {
        let stream = Stream::new(driver, LARGE, BUFFERS);
        start_writing(driver, &stream, round);
        driver.close(stream.session);
        take_back(&mut driver.memory, &stream);
        driver.forget_events();
        assert_quiet(driver, true);
    }
}

#[test]
fn nothing_is_written_after_a_reset_and_the_card_starts_anew() {
    let card = &mut Card::fast();
    let driver = &mut driver(card);
    for round in 0..ROUNDS {
        let stream = Stream::new(driver, LARGE, BUFFERS);
        start_writing(driver, &stream, round);
        driver.front.reset_device().expect("RESET_DEVICE");
        driver.barrier();
        take_back(&mut driver.memory, &stream);
        driver.forget_events();
        assert_quiet(driver, false);

        driver.restart();
        let ask = payload(G_FMT).with(0, CAPTURE);
        let old = driver.ioctl(stream.session, G_FMT, &ask);
        assert_eq!(old, Err(EINVAL), "sessions do not outlive a reset");
        let session = driver.open();
        driver.set_picture(session, GREY, 64, 64);
        driver.capture_one(card, session);
        driver.close(session);
    }
}

#[test]
fn nothing_is_written_after_the_rings_are_stopped() {
    let card = &mut Card::fast();
    for round in 0..ROUNDS {
        let driver = &mut driver(card);
        let stream = Stream::new(driver, LARGE, BUFFERS);
        start_writing(driver, &stream, round);
        driver.stop_rings();
        take_back(&mut driver.memory, &stream);
        driver.forget_events();
        assert_quiet(driver, false);
    }
}

#[test]
fn nothing_is_written_for_a_guest_that_has_gone() {
    let card = &mut Card::fast();
    for round in 0..ROUNDS {
        let mut driver = driver(card);
        let stream = Stream::new(&mut driver, LARGE, BUFFERS);
        start_writing(&mut driver, &stream, round);
        let mut memory = driver.detach();
        // The next guest is answered only when the last one is forgotten.
        let mut next = Driver::new(card);
        take_back(&mut memory, &stream);
        // What came before it went: rings, answers, events.
        memory.accept(LOW, (LOW_END - LOW) as usize);
        assert_quiet(&mut next, true);
        crate::harness::memory::assert_untouched(&memory);
        let session = next.open();
        next.set_picture(session, YUYV, 64, 64);
        next.capture_one(card, session);
    }
}
