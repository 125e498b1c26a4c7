//! The control socket: what it tells, and how it comes and goes.

mod hostile;
mod settings;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::card::{LIMIT, abandon_socket, run_to_end};
use crate::harness::v4l2::*;
use crate::harness::{Card, Driver, SetAtEnd, Stream};

const SMALL: (u32, u32, u32) = (NV12, 160, 120);
/// Bytes of a frame of it.
const SIZE: u64 = 160 * 120 * 3 / 2;

/// A card with a control socket, and `args` besides.
fn card(args: &[&str]) -> Card {
    let dir = tempfile::tempdir().expect("a directory for the card");
    let mut command = Card::command();
    command
        .arg("--socket-path")
        .arg(dir.path().join("card.sock"))
        .arg("--control")
        .arg(dir.path().join("control.sock"))
        .args(args);
    Card::spawn(command, dir)
}

fn path(card: &Card) -> PathBuf {
    card.directory().join("control.sock")
}

/// A client of the control socket.
struct Client(BufReader<UnixStream>);

impl Client {
    fn connect(card: &mut Card) -> Self {
        let path = path(card);
        let stream = card.until("control socket", |_| UnixStream::connect(&path).ok());
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.set_write_timeout(Some(LIMIT)).unwrap();
        Self(BufReader::new(stream))
    }

    fn send(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).expect("the card listens");
    }

    fn answer(&mut self) -> Value {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("an answer");
        assert!(line.ends_with('\n'), "half an answer: {line:?}");
        serde_json::from_str(&line).expect("JSON")
    }

    fn ask(&mut self, request: &Value) -> Value {
        self.send(format!("{request}\n").as_bytes());
        self.answer()
    }

    fn statistics(&mut self) -> Value {
        let answer = self.ask(&json!({"request": "statistics"}));
        answer.get("statistics").expect("statistics").clone()
    }

    /// The line is answered with an error, and with nothing else.
    fn assert_refused(&mut self, line: &[u8]) {
        self.send(line);
        self.send(b"\n");
        let answer = self.answer();
        let object = answer.as_object().expect("an object");
        let text = String::from_utf8_lossy(&line[..line.len().min(80)]);
        assert_eq!(object.len(), 1, "{answer} to {text}");
        let error = object["error"].as_str().expect("an error");
        assert!(!error.is_empty() && !error.contains('\n'), "{answer}");
    }
}

fn ctl(card: &Card, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pinhole"));
    command.arg("ctl").arg("--control").arg(path(card));
    command.args(args).env_remove("RUST_LOG");
    command
}

/// What `pinhole ctl` prints.
fn output(card: &Card, args: &[&str]) -> String {
    let output = run_to_end(&mut ctl(card, args));
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaint}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn what_is_told_is_what_happened() {
    let card = &mut card(&["--rate", "max"]);
    let client = &mut Client::connect(card);
    // Nobody has connected yet.
    let before = client.statistics();
    assert_eq!(before["frames"], 0);
    assert_eq!(before["sessions"], 0);
    assert_eq!(before["streaming"], false);

    let driver = &mut Driver::new(card);
    let stream = Stream::new(driver, SMALL, 4);
    for index in 0..3 {
        stream.queue(driver, index);
    }
    let queued = client.statistics();
    assert_eq!(queued["queued"], 3);
    assert_eq!(queued["sessions"], 1);
    assert_eq!(queued["streaming"], false);
    assert_eq!(queued["format"], "NV12");
    assert_eq!(
        (&queued["width"], &queued["height"]),
        (&json!(160), &json!(120))
    );

    driver.streamon(stream.session).unwrap();
    let mut segments = 0;
    for _ in 0..3 {
        segments += stream.next(driver, card).plane.segments.len();
    }
    let now = client.statistics();
    assert_eq!(now["frames"], 3);
    assert_eq!(now["queued"], 0);
    assert_eq!(now["streaming"], true);
    assert_eq!(now["bytes"], 3 * SIZE);
    assert_eq!(now["segments"], segments);
    assert_eq!(now["most_segments"], segments / 3);
    assert_eq!(now["errors"], 0);
    assert_eq!(now["dropped"], 0);
    // Of how many seconds they are is the machine's business.
    assert!(now["fps"].is_number());
    let dma = &now["dma"];
    let buckets = dma["buckets"].as_array().unwrap().iter();
    let counted: u64 = buckets
        .map(|bucket| bucket["count"].as_u64().unwrap())
        .sum();
    assert_eq!(counted + dma["longer"].as_u64().unwrap(), 3);
    assert!(dma["sum_us"].as_u64().unwrap() > 0, "a frame takes time");

    // Totals stay; the rest is as it was.
    driver.streamoff(stream.session).unwrap();
    driver.reqbufs(stream.session, 0).unwrap();
    driver.close(stream.session);
    let after = client.statistics();
    assert_eq!(after["frames"], 3);
    assert_eq!(after["sessions"], 0);
    assert_eq!(after["streaming"], false);
}

#[test]
fn frames_that_found_no_buffer_are_counted() {
    let card = &mut card(&[]);
    let client = &mut Client::connect(card);
    let driver = &mut Driver::new(card);
    let stream = Stream::new(driver, SMALL, 2);
    stream.start(driver);
    // Both buffers come back, and then frames are due and find none.
    for _ in 0..2 {
        stream.next(driver, card);
    }
    card.until("dropped frame", |_| {
        // A command is what makes the card look at the clock.
        driver.picture(stream.session);
        (client.statistics()["dropped"].as_u64() > Some(0)).then_some(())
    });
}

#[test]
fn the_card_answers_while_it_is_busy_and_while_guests_come_and_go() {
    let card = &mut card(&["--rate", "max"]);
    let mut client = Client::connect(card);
    let (done, answers) = (AtomicBool::new(false), AtomicU32::new(0));
    thread::scope(|scope| {
        let _end = SetAtEnd(&done);
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                client.statistics();
                answers.fetch_add(1, Ordering::Relaxed);
            }
        });
        let mut guests = 0;
        card.until("answer to each of ten guests' time", |card| {
            let driver = &mut Driver::new(card);
            let stream = Stream::new(driver, (RGB3, 640, 480), 4);
            stream.start(driver);
            for _ in 0..5 {
                stream.turn(driver, card);
            }
            guests += 1;
            (guests >= 10 && answers.load(Ordering::Relaxed) > 10).then_some(())
        });
    });
}

#[test]
fn the_socket_is_this_users_and_goes_with_the_card() {
    for signal in [Signal::TERM, Signal::INT] {
        let card = &mut card(&[]);
        let idle = Client::connect(card);
        let mode = fs::metadata(path(card)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        card.signal(signal);
        assert_eq!(card.wait_exit().code(), Some(0), "{}", card.log());
        assert!(!path(card).exists() && !card.socket().exists());
        drop(idle);
    }
}

#[test]
fn a_control_socket_in_use_is_refused_and_a_dead_one_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let (socket, control) = (
        dir.path().join("card.sock"),
        dir.path().join("control.sock"),
    );
    abandon_socket(&control);
    let mut command = Card::command();
    command.arg("--socket-path").arg(&socket);
    command.arg("--control").arg(&control);
    let card = &mut Card::spawn(command, dir);
    Client::connect(card).statistics();

    let other = card.directory().join("other.sock");
    let mut second = Card::command();
    second.arg("--socket-path").arg(&other);
    let output = run_to_end(second.arg("--control").arg(&control));
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains(control.to_str().unwrap()), "{text}");
    assert!(!other.exists());

    // A card that cannot listen for front ends leaves no control socket.
    let control = card.directory().join("other-control.sock");
    let mut third = Card::command();
    third.arg("--socket-path").arg(&socket);
    let output = run_to_end(third.arg("--control").arg(&control));
    assert_eq!(output.status.code(), Some(2));
    assert!(!control.exists());
    Client::connect(card).statistics();
}

#[test]
fn ctl_shows_the_statistics_in_three_forms() {
    let card = &mut card(&["--rate", "max"]);
    let driver = &mut Driver::new(card);
    let stream = Stream::new(driver, SMALL, 4);
    stream.start(driver);
    for _ in 0..4 {
        stream.next(driver, card);
    }
    let frames = "4, 0 dropped, 0 in error";
    assert!(output(card, &["stats"]).contains(frames));
    let object: Value = serde_json::from_str(&output(card, &["stats", "--json"])).unwrap();
    assert_eq!(object["statistics"]["frames"], 4);
    let metrics = output(card, &["metrics"]);
    for line in [
        "# TYPE pinhole_frames_total counter",
        "pinhole_frames_total 4",
        "# TYPE pinhole_dma_duration_seconds histogram",
        "pinhole_dma_duration_seconds_bucket{le=\"+Inf\"} 4",
        "pinhole_dma_duration_seconds_count 4",
        "pinhole_format_info{format=\"NV12\",width=\"160\",height=\"120\"} 1",
    ] {
        assert!(
            metrics.lines().any(|found| found == line),
            "{line} in {metrics}"
        );
    }
}

#[test]
fn ctl_without_a_card_is_one_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("nobody.sock");
    let mut command = Command::new(env!("CARGO_BIN_EXE_pinhole"));
    command.args(["ctl", "--control"]).arg(&path).arg("stats");
    let output = run_to_end(&mut command);
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(
        text.starts_with("pinhole: cannot reach a card at "),
        "{text}"
    );
    assert!(text.contains(path.to_str().unwrap()), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
}
