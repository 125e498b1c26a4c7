//! The daemon as a process: its socket, its guests, its end.

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output};

use rustix::process::Signal;

use crate::harness::card::{abandon_socket, run_to_end};
use crate::harness::v4l2::*;
use crate::harness::{Card, Driver, Options, Stream, guest_memory};

const SMALL: (u32, u32, u32) = (NV12, 160, 120);

/// Captures a frame as a guest that has just booted would.
fn use_card(card: &mut Card, driver: &mut Driver) {
    let session = driver.open();
    driver.set_picture(session, YUYV, 128, 96);
    driver.capture_one(card, session);
    driver.close(session);
}

/// It could not run: exit code 2, and one sentence that has those words.
fn assert_cannot_run(output: &Output, words: &[&str]) {
    let text = String::from_utf8(output.stderr.clone()).expect("UTF-8");
    assert_eq!(output.status.code(), Some(2), "{text}");
    let sentence = text.strip_prefix("pinhole: ").expect("pinhole: ...");
    assert_eq!(sentence.trim_end().lines().count(), 1, "{text}");
    for word in words {
        assert!(sentence.contains(word), "no \"{word}\" in {text}");
    }
    assert!(output.stdout.is_empty());
}

fn device(socket: &Path) -> Command {
    let mut command = Card::command();
    command.arg("--socket-path").arg(socket);
    command
}

#[test]
fn a_signal_ends_it_cleanly_before_any_guest_has_come() {
    for signal in [Signal::TERM, Signal::INT] {
        let card = &mut Card::start(&[]);
        let socket = card.socket();
        card.until("socket", |_| socket.exists().then_some(()));
        card.signal(signal);
        assert_eq!(card.wait_exit().code(), Some(0), "{}", card.log());
        assert!(!socket.exists());
    }
}

#[test]
fn a_signal_ends_it_cleanly_while_it_streams() {
    for signal in [Signal::TERM, Signal::INT] {
        let card = &mut Card::fast();
        let driver = &mut Driver::new(card);
        let stream = Stream::new(driver, SMALL, 4);
        stream.start(driver);
        stream.turn(driver, card);
        card.signal(signal);
        assert_eq!(card.wait_exit().code(), Some(0), "{}", card.log());
        assert!(!card.socket().exists());
        // It has left nothing half-written: the witness is whole lines to
        // its end.
        assert!(!card.witness().is_empty());
        let text = fs::read_to_string(card.directory().join("witness")).unwrap();
        assert!(text.ends_with('\n'));
    }
}

#[test]
fn a_signal_ends_it_after_its_guest_has_gone() {
    let card = &mut Card::fast();
    let mut driver = Driver::new(card);
    use_card(card, &mut driver);
    drop(driver);
    card.signal(Signal::TERM);
    assert_eq!(card.wait_exit().code(), Some(0), "{}", card.log());
    assert!(!card.socket().exists());
}

#[test]
fn it_serves_one_guest_after_another() {
    let card = &mut Card::fast();
    for _ in 0..20 {
        let mut driver = Driver::new(card);
        use_card(card, &mut driver);
    }
}

/// Each of them is told of, and all of them are not.
#[test]
fn neither_streams_nor_connections_fill_the_log() {
    let card = &mut Card::start(&[]);
    for _ in 0..100 {
        drop(card.connect());
    }
    let driver = &mut Driver::new(card);
    let session = driver.open();
    driver.set_picture(session, GREY, 16, 16);
    driver.reqbufs(session, 1).unwrap();
    for _ in 0..200 {
        driver.streamon(session).unwrap();
        driver.streamoff(session).unwrap();
    }
    let log = card.log();
    for (what, most) in [("streams", 100), ("front end", 100)] {
        let lines = log.lines().filter(|line| line.contains(what)).count();
        assert!((20..=most).contains(&lines), "{lines} lines of {what}");
    }
}

#[test]
fn a_guest_that_goes_in_the_middle_of_a_stream_finds_it_ready_again() {
    let card = &mut Card::fast();
    for _ in 0..10 {
        let driver = &mut Driver::new(card);
        let stream = Stream::new(driver, SMALL, 4);
        stream.start(driver);
        stream.turn(driver, card);
        stream.turn(driver, card);
    }
    let driver = &mut Driver::new(card);
    // Nothing of the last guest is left.
    let session = driver.open();
    assert_eq!(driver.reqbufs(session, 4), Ok(4));
    use_card_as(card, driver, session);
}

fn use_card_as(card: &mut Card, driver: &mut Driver, session: u32) {
    driver.reqbufs(session, 0).unwrap();
    driver.set_picture(session, GREY, 64, 64);
    driver.capture_one(card, session);
}

#[test]
fn a_front_end_that_hangs_up_at_once_or_talks_nonsense_is_forgotten() {
    use std::io::Write;
    let card = &mut Card::fast();
    drop(card.connect());
    let mut stream = card.connect();
    stream.write_all(&[0xff; 300]).unwrap();
    drop(stream);
    let mut stream = card.connect();
    // The first half of a header.
    stream.write_all(&[1, 0, 0, 0, 1, 0]).unwrap();
    drop(stream);
    let driver = &mut Driver::new(card);
    use_card(card, driver);
}

#[test]
fn the_memory_of_a_guest_that_has_gone_is_let_go() {
    let card = &mut Card::fast();
    let mut driver = Driver::attach(card, guest_memory(24 << 20), Options::default());
    let session = driver.open();
    driver.set_picture(session, RGB3, 1920, 1080);
    driver.capture_one(card, session);
    let maps = format!("/proc/{}/maps", card.id());
    let mapped = || fs::read_to_string(&maps).unwrap().contains("memfd:guest");
    assert!(mapped());
    drop(driver);
    card.until("an end of the mapping", |_| (!mapped()).then_some(()));
}

#[test]
fn a_second_card_on_a_socket_in_use_refuses_and_says_why() {
    let card = &mut Card::start(&[]);
    let driver = &mut Driver::new(card);
    let output = run_to_end(&mut device(&card.socket()));
    let path = card.socket();
    assert_cannot_run(&output, &[path.to_str().unwrap()]);
    // The first one did not notice.
    use_card(card, driver);
    assert!(path.exists());
}

#[test]
fn a_socket_that_a_dead_card_left_behind_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("card.sock");
    abandon_socket(&socket);
    assert!(fs::metadata(&socket).unwrap().file_type().is_socket());
    let mut command = device(&socket);
    command.args(["--rate", "max"]);
    let card = &mut Card::spawn(command, dir);
    let driver = &mut Driver::new(card);
    use_card(card, driver);
}

#[test]
fn a_file_that_is_no_socket_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("precious");
    fs::write(&path, "data").unwrap();
    let output = run_to_end(&mut device(&path));
    assert_cannot_run(&output, &[path.to_str().unwrap()]);
    assert_eq!(fs::read_to_string(&path).unwrap(), "data");
}

#[test]
fn a_directory_that_does_not_exist_is_one_sentence() {
    let output = run_to_end(&mut device(Path::new("/nowhere/at/all/card.sock")));
    assert_cannot_run(&output, &["/nowhere/at/all/card.sock"]);
}

#[test]
fn a_listening_socket_is_taken_over_by_its_descriptor() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("card.sock");
    let listener = OwnedFd::from(UnixListener::bind(&socket).unwrap());
    // Inherited under the number that it has here.
    rustix::io::fcntl_setfd(&listener, rustix::io::FdFlags::empty()).unwrap();
    let mut command = Card::command();
    command
        .arg("--fd")
        .arg(listener.as_raw_fd().to_string())
        .args(["--rate", "max"]);
    let card = &mut Card::spawn(command, dir);
    drop(listener);
    let driver = &mut Driver::new(card);
    use_card(card, driver);
    card.signal(Signal::TERM);
    assert_eq!(card.wait_exit().code(), Some(0), "{}", card.log());
}

#[test]
fn a_descriptor_that_is_no_listening_socket_is_one_sentence() {
    for fd in ["0", "999"] {
        let output = run_to_end(Card::command().args(["--fd", fd]));
        assert_cannot_run(&output, &[fd]);
    }
}

#[test]
fn a_source_that_does_not_exist_is_one_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("card.sock");
    for source in ["nonsense", "pattern:nonsense"] {
        let output = run_to_end(device(&socket).args(["--source", source]));
        assert_cannot_run(&output, &["nonsense"]);
    }
    assert!(!socket.exists());
}

#[test]
fn a_witness_that_cannot_be_written_is_one_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("card.sock");
    let output = run_to_end(device(&socket).args(["--witness", "/nowhere/at/all"]));
    assert_cannot_run(&output, &["/nowhere/at/all"]);
    assert!(!socket.exists());
}
