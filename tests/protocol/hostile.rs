//! Front ends that break what the card relies on: the worst that becomes of it
//! is the end of their own connection.

use std::io::{ErrorKind, Read};
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{OFlags, fcntl_setfl};
use rustix::process::Signal;
use vhost::VhostBackend;
use vm_memory::{GuestMemoryBackend, GuestMemoryRegion};
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EventFd};

use crate::harness::card::LIMIT;
use crate::harness::v4l2::*;
use crate::harness::{Card, Driver, Memory, Options, Stream, guest_memory};

/// Messages that start the rings.
const MESSAGES: usize = 15;

/// The card ends within a second of SIGTERM. A machine that is busy is given
/// one more.
const END: Duration = Duration::from_secs(2);

/// A front end that has told the card of nothing yet.
fn connect(card: &mut Card) -> Driver {
    Driver::connect(card, guest_memory(1 << 20), Options::default())
}

/// The card ends the connection.
fn hung_up(driver: &mut Driver, what: &str) {
    let mut stream = driver
        .connection
        .stream
        .try_clone()
        .expect("the connection");
    let mut answers = Vec::new();
    // Within the time that the socket's timeout gives it; a message that was
    // not read any more makes it a reset.
    match stream.read_to_end(&mut answers) {
        Ok(_) => (),
        Err(error) if error.kind() == ErrorKind::ConnectionReset => (),
        Err(error) => panic!("the connection is not ended: {what}: {error}"),
    }
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
        let scripted = &mut *driver;
        let queues = [&mut scripted.commands, &mut scripted.events];
        queues.into_iter().nth(queue).expect("a queue").kick = as_eventfd(reader);
        // Whether the last messages are still answered is a race.
        let _ = driver.start_some(usize::MAX);
        hung_up(&mut driver, "a kick that ends");
        drop(driver);
        serves(card);
    }
    assert!(card.log().contains("the connection is given up"));
}

/// An eventfd that cannot take one more, and whose writers wait.
fn full() -> EventFd {
    let eventfd = EventFd::new(EFD_CLOEXEC).expect("an eventfd");
    eventfd.write(u64::MAX - 1).expect("room");
    eventfd
}

/// Undoes what the card has set: it and the front end have one file.
fn make_blocking(driver: &Driver) {
    for queue in [&driver.commands, &driver.events] {
        for eventfd in [&queue.kick, &queue.call] {
            // SAFETY: it is open for as long as the driver is.
            let fd = unsafe { std::os::fd::BorrowedFd::borrow_raw(as_raw(eventfd)) };
            fcntl_setfl(fd, OFlags::empty()).expect("F_SETFL");
        }
    }
}

fn as_raw(eventfd: &EventFd) -> i32 {
    use std::os::fd::AsRawFd;
    eventfd.as_raw_fd()
}

/// A front end whose guest takes no interrupts.
fn deaf(card: &mut Card) -> Driver {
    let options = Options {
        event_idx: false,
        ..Options::default()
    };
    let mut driver = Driver::connect(card, guest_memory(1 << 20), options);
    driver.commands.call = full();
    driver.events.call = full();
    driver.start_some(usize::MAX).expect("the rings start");
    make_blocking(&driver);
    driver
}

/// Gives a command, and waits for its answer without being told of it.
fn command_unheard(driver: &mut Driver) {
    let before = driver.commands.used_index(&driver.memory);
    driver.submit(&command(CMD_OPEN), 16);
    let deadline = Instant::now() + LIMIT;
    while driver.commands.used_index(&driver.memory) == before {
        assert!(Instant::now() < deadline, "no answer: the card hangs");
        thread::yield_now();
    }
}

/// SIGTERM ends the card.
fn ends(mut card: Card, what: &str) {
    let told = Instant::now();
    card.signal(Signal::TERM);
    let status = card.wait_exit();
    let took = told.elapsed();
    assert_eq!(status.code(), Some(0), "{what}: {}", card.log());
    assert!(took < END, "{what}: {took:?}");
    assert!(!card.socket().exists(), "{what}");
}

#[test]
fn interrupts_that_nobody_takes_do_not_hold_up_the_card() {
    let mut card = Card::fast();
    let mut driver = deaf(&mut card);
    for _ in 0..20 {
        command_unheard(&mut driver);
    }
    drop(driver);
    serves(&mut card);
    let mut driver = deaf(&mut card);
    command_unheard(&mut driver);
    ends(card, "a full call");
}

#[test]
fn what_is_no_eventfd_ends_the_connection() {
    let card = &mut Card::fast();
    let file = tempfile::tempfile().expect("a file");
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let (socket, _other) = std::os::unix::net::UnixStream::pair().expect("a socket");
    let descriptors: [OwnedFd; 4] = [file.into(), reader.into(), writer.into(), socket.into()];
    for fd in &descriptors {
        for is_kick in [true, false] {
            let mut driver = connect(card);
            let given = as_eventfd(fd.try_clone().expect("dup"));
            match is_kick {
                true => driver.commands.kick = given,
                false => driver.commands.call = given,
            }
            let _ = driver.start_some(usize::MAX);
            hung_up(&mut driver, "what is no eventfd");
            drop(driver);
            serves(card);
        }
    }
}

#[test]
fn a_region_longer_than_its_file_is_refused() {
    let card = &mut Card::fast();
    for number in 0..3 {
        let mut driver = connect(card);
        let mut regions = driver.memory.regions(|_| true);
        match number {
            0 => regions[2].memory_size += 1 << 20,
            1 => regions[2].mmap_offset += 0x1000,
            _ => regions[0].mmap_offset = 1 << 40,
        }
        let answer = driver.front.set_mem_table(&regions);
        assert!(answer.is_err(), "{number}: it is taken");
        hung_up(&mut driver, "a region beyond its file");
        drop(driver);
        serves(card);
    }
    assert!(
        card.log().contains("ends beyond its file"),
        "{}",
        card.log()
    );
}

#[test]
fn memory_whose_file_shrinks_costs_the_connection() {
    let card = &mut Card::fast();
    for keeps_rings in [true, false, true, false] {
        let memory = Memory::unsealed(8 << 20).expect("guest memory");
        let mut driver = Driver::attach(card, memory, Options::default());
        let stream = Stream::new(&mut driver, (NV12, 160, 120), 4);
        let memory = driver.memory.shared();
        let region = memory.iter().next().expect("a region");
        let file = region.file_offset().expect("a file").file();
        let kept = if keeps_rings { region.len() } else { 0 };
        // Nothing of what is gone is touched in here from then on.
        if keeps_rings {
            for index in 0..4 {
                stream.queue(&mut driver, index);
            }
            file.set_len(kept).expect("a shorter file");
            driver.streamon(stream.session).expect("STREAMON");
        } else {
            file.set_len(kept).expect("a shorter file");
            driver.commands.kick.write(1).expect("kick");
        }
        hung_up(&mut driver, "memory that is gone");
        drop(driver);
        serves(card);
    }
    assert!(
        card.log().contains("guest memory has gone away"),
        "{}",
        card.log()
    );
}

/// How often each is tried: as often as `PINHOLE_TIMES` says.
fn times(usual: usize) -> usize {
    let said = std::env::var("PINHOLE_TIMES").ok();
    said.map_or(usual, |said| {
        said.parse().expect("PINHOLE_TIMES is a number")
    })
}

#[test]
fn a_front_end_may_die_at_any_message() {
    let mut card = Card::fast();
    for messages in 0..=MESSAGES {
        for _ in 0..times(8) {
            let driver = connect(&mut card);
            driver.start_some(messages).expect("the messages");
            if messages == MESSAGES {
                driver.commands.kick.write(1).expect("kick");
            }
            drop(driver);
            serves(&mut card);
        }
    }
    ends(card, "many dead front ends");
}

#[test]
fn a_signal_ends_the_card_at_any_message() {
    for messages in 0..=MESSAGES {
        for _ in 0..times(1) {
            let mut card = Card::fast();
            let driver = connect(&mut card);
            driver.start_some(messages).expect("the messages");
            ends(card, &format!("after {messages} messages"));
            drop(driver);
        }
    }
}

/// What the log is written to is read by nobody any more.
#[test]
fn a_signal_ends_a_card_whose_log_is_stuck() {
    let dir = tempfile::tempdir().expect("a directory for the card");
    let socket = dir.path().join("card.sock");
    let (reader, writer) = std::io::pipe().expect("a pipe");
    rustix::pipe::fcntl_setpipe_size(&writer, 4096).expect("F_SETPIPE_SZ");
    let mut program = Card::command();
    program.arg("--socket-path").arg(&socket);
    program.env("RUST_LOG", "debug");
    let mut card = Card::spawn_with_log(program, dir, OwnedFd::from(writer).into());
    let mut driver = connect(&mut card);
    driver.start_some(usize::MAX).expect("the rings start");
    // Each command is a line.
    let stuck = (0..1000).any(|_| {
        driver.submit(&command(CMD_OPEN), 16);
        let deadline = Instant::now() + Duration::from_secs(1);
        loop {
            if driver
                .on_commands(|queue, memory| queue.take_used(memory))
                .expect("the used ring")
                .is_some()
            {
                break false;
            }
            if Instant::now() > deadline {
                break true;
            }
            thread::yield_now();
        }
    });
    assert!(stuck, "the log takes all");
    ends(card, "a log that nobody reads");
    drop(reader);
}
