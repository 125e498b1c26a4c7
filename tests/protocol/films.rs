//! Films as sources, from their files and pipes into guest memory.

use std::fs;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::process::Signal;

use crate::harness::card::run_to_end;
use crate::harness::stream::Stream;
use crate::harness::v4l2::*;
use crate::harness::{Card, Driver};

const WIDTH: usize = 64;
const HEIGHT: usize = 48;
const HEADER: &[u8] = b"YUV4MPEG2 W64 H48 F25:1 Ip A1:1 C420mpeg2 XCOLORRANGE=LIMITED\n";

/// A frame of 4:2:0 of that film: its planes.
fn planes(number: usize) -> [Vec<u8>; 3] {
    let chroma = WIDTH * HEIGHT / 4;
    [WIDTH * HEIGHT, chroma, chroma].map(|length| {
        let seed = number * 89 + length / 3;
        (0..length)
            .map(|i| (seed + i * 13 + i / 61) as u8)
            .collect()
    })
}

fn frame(number: usize) -> Vec<u8> {
    [b"FRAME\n".to_vec(), planes(number).concat()].concat()
}

fn film(frames: usize) -> Vec<u8> {
    [HEADER.to_vec(), (0..frames).flat_map(frame).collect()].concat()
}

/// The samples of a frame where that format has them.
fn packed(fourcc: &[u8; 4], number: usize) -> Vec<u8> {
    let [y, u, v] = planes(number);
    let pairs = |a: &[u8], b: &[u8]| {
        let pairs = a.iter().zip(b).flat_map(|(a, b)| [*a, *b]);
        pairs.collect::<Vec<u8>>()
    };
    match fourcc {
        b"YU12" => [y, u, v].concat(),
        b"YV12" => [y, v, u].concat(),
        b"NV12" => [y, pairs(&u, &v)].concat(),
        b"NV21" => [y, pairs(&v, &u)].concat(),
        _ => unreachable!(),
    }
}

/// What the next buffer of the stream holds; it is queued again.
fn next(stream: &Stream, driver: &mut Driver) -> Vec<u8> {
    let buffer = driver.dqbuf(stream.session);
    assert_eq!(buffer.bytesused, stream.picture.sizeimage);
    assert_eq!(buffer.flags & BUF_FLAG_ERROR, 0);
    let list = &stream.lists[buffer.index as usize];
    let bytes = driver.memory.gather(list);
    driver.memory.accept_segments(list);
    stream.queue(driver, buffer.index);
    bytes
}

fn size(fourcc: &[u8; 4]) -> (u32, u32, u32) {
    let code = u32::from_le_bytes(*fourcc);
    (code, WIDTH as u32, HEIGHT as u32)
}

#[test]
fn a_file_arrives_bit_for_bit_in_every_format_of_its_sampling() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("film.y4m");
    fs::write(&path, film(5)).expect("a film");
    let source = format!("y4m:{},rate=frame", path.display());
    let card = &mut Card::start(&["--rate", "max", "--source", &source]);
    let driver = &mut Driver::new(card);
    for fourcc in [b"YU12", b"YV12", b"NV12", b"NV21"] {
        let stream = Stream::new(driver, size(fourcc), 3);
        stream.start(driver);
        // More than there are: it begins again.
        for number in 0..12 {
            let got = next(&stream, driver);
            assert!(got == packed(fourcc, number % 5), "{number}");
        }
        driver.streamoff(stream.session).expect("STREAMOFF");
        driver.close(stream.session);
        driver.forget_events();
        // What was written until then is no concern of this test.
        for list in &stream.lists {
            driver.memory.accept_segments(list);
        }
        driver.assert_untouched();
    }
}

#[test]
fn standard_input_arrives_bit_for_bit_and_holds_up_who_writes() {
    let (card, mut pipe) = Card::start_fed(&["--rate", "max", "--source", "y4m:-"]);
    let card = &mut { card };
    let written = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&written);
    let writer = std::thread::spawn(move || {
        pipe.write_all(HEADER).expect("the card reads");
        for number in 0..300 {
            pipe.write_all(&frame(number)).expect("the card reads");
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    // Frames on their way: in the pipe's 64 KiB and what is read at a time, in
    // the card's four, in those that are made ahead (by four threads at most,
    // and two more), and in four buffers.
    let ahead = (72 << 10) / frame(0).len() + 4 + 6 + 4;
    let driver = &mut Driver::new(card);
    let stream = Stream::new(driver, size(b"NV12"), 4);
    stream.start(driver);
    for number in 0..296 {
        let written = written.load(Ordering::Relaxed);
        assert!(written <= number + ahead, "{written} at {number}");
        assert!(next(&stream, driver) == packed(b"NV12", number), "{number}");
    }
    writer.join().expect("the writer");
}

/// What a shell makes of `<film`, `3<film`, `... |` and `<(...)`: the names are of
/// the card's own descriptors, which no sandbox lets it open.
#[test]
fn a_source_may_be_a_descriptor_that_a_shell_passes_on() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("film.y4m");
    fs::write(&path, film(3)).expect("a film");
    let path = path.to_str().expect("a path");
    for (line, then) in [
        (
            "exec \"$@\" --source y4m:/dev/stdin,rate=frame <\"$FILM\"",
            Some(0),
        ),
        (
            "exec \"$@\" --source y4m:/dev/fd/7,rate=frame 7<\"$FILM\"",
            Some(0),
        ),
        (
            "exec \"$@\" --source y4m:/proc/self/fd/0,rate=frame <\"$FILM\"",
            Some(0),
        ),
        (
            "exec \"$@\" --source y4m:/dev/stdin < <(cat \"$FILM\")",
            None,
        ),
        ("exec \"$@\" --source y4m:- < <(cat \"$FILM\")", None),
        ("exec \"$@\" --source y4m:<(cat \"$FILM\")", None),
        (
            "exec \"$@\" --source pattern --source y4m:<(cat \"$FILM\") \
             --source y4m:<(cat \"$FILM\")",
            None,
        ),
    ] {
        let folder = tempfile::tempdir().expect("a directory for the card");
        let socket = folder.path().join("card.sock");
        let mut command = std::process::Command::new("bash");
        command
            .args(["-c", line, "bash", env!("CARGO_BIN_EXE_pinhole"), "device"])
            .args(["--rate", "max", "--socket-path"])
            .arg(&socket)
            .env("FILM", path)
            .env_remove("RUST_LOG");
        let card = &mut Card::spawn(command, folder);
        let driver = &mut Driver::new(card);
        let stream = Stream::new(driver, size(b"YU12"), 2);
        if line.contains("--source pattern") {
            let select = payload(S_INPUT).with(0, 2);
            driver
                .ioctl(stream.session, S_INPUT, &select)
                .expect("an input");
        }
        stream.start(driver);
        for number in 0..3 {
            assert!(next(&stream, driver) == packed(b"YU12", number), "{line}");
        }
        match then {
            Some(number) => assert!(next(&stream, driver) == packed(b"YU12", number), "{line}"),
            None => {
                let last = driver.dqbuf(stream.session);
                assert_eq!(last.flags & BUF_FLAG_LAST, BUF_FLAG_LAST, "{line}");
            }
        }
        assert!(card.log().contains("sandbox: seccomp"), "{}", card.log());
    }
}

/// A named pipe may be written into again and again, in the sandbox too.
#[test]
fn a_fifo_whose_writer_comes_back_goes_on() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("fifo");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mkfifoat(rustix::fs::CWD, &path, mode).expect("a FIFO");
    let write = |film: Vec<u8>| {
        let path = path.clone();
        std::thread::spawn(move || fs::write(path, film).expect("the card reads"))
    };
    let source = format!("y4m:{}", path.display());
    let first = write(film(3));
    let card = &mut Card::start(&["--rate", "max", "--source", &source]);
    let driver = &mut Driver::new(card);
    let stream = Stream::new(driver, size(b"YU12"), 2);
    first.join().expect("a writer");
    for round in 0..3 {
        stream.start(driver);
        for number in 0..3 {
            assert!(next(&stream, driver) == packed(b"YU12", number), "{round}");
        }
        let last = driver.dqbuf(stream.session);
        assert_eq!(last.flags & BUF_FLAG_LAST, BUF_FLAG_LAST);
        driver.streamoff(stream.session).expect("STREAMOFF");
        write(film(3)).join().expect("a writer");
    }
}

#[test]
fn a_pipe_that_stalls_makes_frames_late_and_keeps_the_card_awake() {
    let (card, mut pipe) = Card::start_fed(&["--source", "y4m:-"]);
    let card = &mut { card };
    pipe.write_all(&film(1)).expect("the card reads");
    let driver = &mut Driver::new(card);
    let stream = Stream::new(driver, size(b"YU12"), 2);
    stream.start(driver);
    assert!(next(&stream, driver) == packed(b"YU12", 0));
    for number in 1..4 {
        assert_eq!(driver.event_within(Duration::from_millis(100)), None);
        // Nothing is stuck meanwhile.
        driver.picture(stream.session);
        pipe.write_all(&frame(number)).expect("the card reads");
        assert!(next(&stream, driver) == packed(b"YU12", number), "{number}");
    }
    driver.streamoff(stream.session).expect("STREAMOFF");
}

#[test]
fn a_film_that_is_shown_once_ends_the_stream() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("film.y4m");
    fs::write(&path, film(3)).expect("a film");
    let source = format!("y4m:{},once,rate=frame", path.display());
    let card = &mut Card::start(&["--rate", "max", "--source", &source]);
    let driver = &mut Driver::new(card);
    let stream = Stream::new(driver, size(b"YV12"), 2);
    // It is whole in every stream.
    for _ in 0..3 {
        stream.start(driver);
        for number in 0..3 {
            assert!(next(&stream, driver) == packed(b"YV12", number), "{number}");
        }
        let last = driver.dqbuf(stream.session);
        assert_eq!(last.flags & BUF_FLAG_LAST, BUF_FLAG_LAST);
        assert_eq!(last.bytesused, 0);
        driver.assert_untouched();
        driver.streamoff(stream.session).expect("STREAMOFF");
    }
}

#[test]
fn a_card_that_waits_for_the_beginning_of_a_film_can_be_ended() {
    let (mut card, _pipe) = Card::start_fed(&["--source", "y4m:-"]);
    let socket = card.socket();
    // Its name is there by then, and its signals are caught.
    card.until("the card's socket", |_| socket.exists().then_some(()));
    card.signal(Signal::TERM);
    assert!(card.wait_exit().success(), "{}", card.log());
    assert!(!socket.exists());
}

#[test]
fn a_film_that_cannot_be_shown_is_one_error_at_the_start() {
    let dir = tempfile::tempdir().expect("a directory");
    let write = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        fs::write(&path, bytes).expect("a file");
        path.display().to_string()
    };
    let cut = write("cut.y4m", &film(1)[..1000]);
    let odd = write("odd.raw", &[0; 100]);
    let text = write("text.png", b"not a picture");
    for (source, message) in [
        (
            format!("y4m:{cut}"),
            format!("{cut} cannot be shown: it is cut off within frame 0"),
        ),
        (
            format!("raw:{odd},format=GREY,size=16x16"),
            format!(
                "{odd} cannot be shown: its 100 bytes are no whole number of frames of 256 bytes"
            ),
        ),
        (format!("image:{text}"), format!("{text} cannot be shown: ")),
        (
            "y4m:/nowhere".into(),
            "cannot open /nowhere: No such file or directory".into(),
        ),
        (
            "y4m:/dev/fd/77".into(),
            "cannot open /dev/fd/77: Bad file descriptor".into(),
        ),
        // Whose standard input is nothing.
        (
            "y4m:-".into(),
            "standard input cannot be shown: it has no frames".into(),
        ),
    ] {
        let socket = dir.path().join("never.sock");
        let mut command = Card::command();
        command
            .args(["--source", &source, "--socket-path"])
            .arg(&socket);
        let output = run_to_end(&mut command);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.contains(&message), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
        assert!(!socket.exists());
    }
}

#[test]
fn a_film_that_breaks_ends_there_and_says_so_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("film.y4m");
    let whole = film(3);
    fs::write(&path, &whole[..whole.len() - 10]).expect("a film");
    let source = format!("y4m:{},rate=frame", path.display());
    let card = &mut Card::start(&["--rate", "max", "--source", &source]);
    let driver = &mut Driver::new(card);
    let stream = Stream::new(driver, size(b"NV12"), 2);
    stream.start(driver);
    for number in [0, 1, 0, 1, 0, 1, 0, 1] {
        assert!(next(&stream, driver) == packed(b"NV12", number), "{number}");
    }
    let log = card.log();
    let said = log.matches("it is cut off within frame 2; the film ends there");
    assert_eq!(said.count(), 1, "{log}");
}

/// Frames that are made ahead are those that the guest is told of, whichever of
/// them it has a buffer for.
#[test]
fn a_jpeg_tells_the_number_of_its_frame() {
    for options in [&[][..], &["--rate", "max"]] {
        let card = &mut Card::start(options);
        let driver = &mut Driver::new(card);
        let code = u32::from_le_bytes(*b"MJPG");
        let stream = Stream::new(driver, (code, 320, 240), 3);
        for round in 0..2 {
            stream.start(driver);
            let mut last = None;
            for number in 0..40 {
                let buffer = driver.dqbuf(stream.session);
                assert!(last.is_none_or(|last| buffer.sequence > last));
                last = Some(buffer.sequence);
                let list = &stream.lists[buffer.index as usize];
                let bytes = driver.memory.gather(list);
                let head = String::from_utf8_lossy(&bytes[..100]).into_owned();
                let said = format!("stream {:010} frame {:010}", round + 1, buffer.sequence);
                assert!(head.contains(&said), "{said}: {head}");
                assert_eq!(&bytes[buffer.bytesused as usize - 2..][..2], [0xff, 0xd9]);
                driver.memory.accept_segments(list);
                // The guest is away for a while, now and then.
                if number % 8 == 7 {
                    std::thread::sleep(Duration::from_millis(70));
                }
                stream.queue(driver, buffer.index);
            }
            driver.streamoff(stream.session).expect("STREAMOFF");
            driver.forget_events();
            for list in &stream.lists {
                driver.memory.accept_segments(list);
            }
        }
    }
}
