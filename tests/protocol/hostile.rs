//! Front ends that break what the card relies on: the worst that becomes of it
//! is the end of their own connection.

use std::io::Read;
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};

use vmm_sys_util::eventfd::EventFd;

use crate::harness::v4l2::*;
use crate::harness::{Card, Driver, Memory, Options};

/// A front end that has told the card of nothing yet.
fn connect(card: &mut Card) -> Driver {
    Driver::connect(card, Memory::new(1 << 20), Options::default())
}

/// The card ends the connection.
fn hung_up(driver: &mut Driver, what: &str) {
    let mut stream = driver.stream.try_clone().expect("the connection");
    let mut answers = Vec::new();
    // Within the time that the socket's timeout gives it.
    let end = stream.read_to_end(&mut answers);
    assert!(end.is_ok(), "the connection is not ended: {what}: {end:?}");
}

/// The card serves the next guest.
fn serves(card: &mut Card) {
    card.assert_alive();
    let driver = &mut Driver::new(card);
    let session = driver.open();
    driver.set_picture(session, GREY, 64, 64);
    driver.capture_one(card, session);
}

/// A file descriptor as the front end's library takes it.
fn as_eventfd(fd: impl Into<OwnedFd>) -> EventFd {
    // SAFETY: it is owned, and given away.
    unsafe { EventFd::from_raw_fd(fd.into().into_raw_fd()) }
}

#[test]
fn a_kick_that_cannot_be_read_ends_the_connection() {
    let card = &mut Card::fast();
    for queue in [0, 1] {
        let mut driver = connect(card);
        let (reader, writer) = std::io::pipe().expect("a pipe");
        // At its end, it is always readable, and there is nothing to read.
        drop(writer);
        let queues = [&mut driver.commands, &mut driver.events];
        queues.into_iter().nth(queue).expect("a queue").kick = as_eventfd(reader);
        // Whether the last messages are still answered is a race.
        let _ = driver.start_some(usize::MAX);
        hung_up(&mut driver, "a kick that ends");
        drop(driver);
        serves(card);
    }
    assert!(card.log().contains("the connection is given up"));
}
