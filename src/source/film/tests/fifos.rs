//! Tests of FIFOs, whose writers come and go.

use std::thread::{self, JoinHandle};

use rustix::fs::{CWD, Mode, mkfifoat};

use super::*;

pub(super) fn fifo(files: &Files) -> String {
    let path = files.dir.path().join("fifo");
    mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Starts a writer that opens the FIFO, writes and ends.
pub(super) fn writer(path: &str, bytes: Vec<u8>) -> JoinHandle<()> {
    let path = path.to_owned();
    thread::spawn(move || {
        let mut file = fs::OpenOptions::new().write(true).open(path).unwrap();
        // Writers that are no longer read are not part of this test.
        let _ = file.write_all(&bytes);
    })
}

/// Returns a film of one frame, with that number.
pub(super) fn one(number: usize) -> Vec<u8> {
    [HEADER.as_bytes(), &frame_of(number)].concat()
}

#[test]
fn the_next_stream_is_the_next_writers() {
    let files = Files::new();
    let path = fifo(&files);
    let first = writer(&path, film(2));
    let mut show = Show::of(&format!("y4m:{path}"), PixelFormat::Yu12);
    for round in 0..3 {
        assert!(show.next() == Some(picture(round, BYTES)));
        assert!(show.next() == Some(picture(round + 1, BYTES)));
        assert_eq!(show.next(), None);
        assert_eq!(show.next(), None);
        show.prepare();
        for _ in 0..100 {
            assert_eq!(show.begin_at(Duration::ZERO), Begun::Late);
        }
        // The next writer brings a film of two frames.
        let both = [one(round + 1), frame_of(round + 2)].concat();
        writer(&path, both).join().unwrap();
    }
    first.join().unwrap();
}

#[test]
fn a_writer_that_came_while_nobody_looked_is_not_lost() {
    let files = Files::new();
    let path = fifo(&files);
    let first = writer(&path, one(0));
    let mut show = Show::of(&format!("y4m:{path}"), PixelFormat::Yu12);
    first.join().unwrap();
    assert!(show.next() == Some(picture(0, BYTES)));
    assert_eq!(show.next(), None);
    // The stream is over, but the FIFO is still open.
    writer(&path, one(1)).join().unwrap();
    assert_eq!(show.next(), None);
    show.prepare();
    assert!(show.next() == Some(picture(1, BYTES)));
    // The end of the writer is not lost either.
    assert_eq!(show.next(), None);
}

#[test]
fn with_loop_the_stream_goes_on() {
    let files = Files::new();
    let path = fifo(&files);
    let first = writer(&path, film(2));
    let mut show = Show::of(&format!("y4m:{path},loop"), PixelFormat::Yu12);
    first.join().unwrap();
    assert!(show.next() == Some(picture(0, BYTES)));
    assert!(show.next() == Some(picture(1, BYTES)));
    for number in 2..5 {
        for _ in 0..100 {
            assert_eq!(show.begin_at(Duration::ZERO), Begun::Late);
        }
        writer(&path, one(number)).join().unwrap();
        assert!(show.next() == Some(picture(number, BYTES)), "{number}");
    }
    // Raw frames have no header. This FIFO's reader may not have left yet.
    drop(show);
    let files = Files::new();
    let path = fifo(&files);
    let first = writer(&path, vec![1; 288]);
    let spec = format!("raw:{path},format=GREY,size=16x18,loop");
    let mut show = Show::of(&spec, PixelFormat::Grey);
    first.join().unwrap();
    assert!(show.next() == Some(vec![1; 288]));
    writer(&path, vec![2; 288]).join().unwrap();
    assert!(show.next() == Some(vec![2; 288]));
}

#[test]
fn who_writes_nothing_is_not_waited_for_longer_than_allowed() {
    let files = Files::new();
    let path = fifo(&files);
    let access = || Access {
        patience: Some(Duration::from_millis(200)),
        ..Access::default()
    };
    for kind in ["y4m", "image"] {
        let opened = source::open_input(&format!("{kind}:{path}"), &access());
        let error = opened.err().unwrap().to_string();
        assert!(error.contains("nobody has written"), "{error}");
    }
    // Once the film has begun, the time limit no longer holds.
    let mut held = None;
    let begin = thread::spawn({
        let path = path.clone();
        move || {
            let mut file = fs::OpenOptions::new().write(true).open(path).unwrap();
            file.write_all(HEADER.as_bytes()).unwrap();
            file
        }
    });
    let patient = Access {
        patience: Some(LIMIT),
        ..Access::default()
    };
    let input = source::open_input(&format!("y4m:{path}"), &patient).unwrap();
    held.replace(begin.join().unwrap());
    drop(input);
}

/// A reader that waits for its pipe ends with the film, because it holds as
/// much memory as four frames take.
#[test]
fn a_film_that_waits_for_its_pipe_can_be_dropped() {
    let (_reader, mut writer, path) = pipe();
    writer.write_all(HEADER.as_bytes()).unwrap();
    let mut show = Show::of(&format!("y4m:{path}"), PixelFormat::Yu12);
    assert_eq!(show.begin_at(Duration::ZERO), Begun::Late);
    drop(_reader);
    drop(show);
    // Nobody reads any more.
    let deadline = Instant::now() + LIMIT;
    while writer.write_all(b"x").is_ok() {
        assert!(Instant::now() < deadline, "it still reads");
        thread::sleep(Duration::from_millis(5));
    }
}
