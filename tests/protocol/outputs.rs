//! An output card: what it reads out of guest memory, when, and where that goes.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use pinhole::card::witness::{DIGEST_BLOCK, Digest, Record};
use rustix::process::Signal;

use crate::harness::memory::Segment;
use crate::harness::v4l2::*;
use crate::harness::{Card, Driver, Options, guest_memory};

const GREY: u32 = u32::from_le_bytes(*b"GREY");
const WIDTH: u32 = 96;
const HEIGHT: u32 = 64;
const SIZE: u32 = WIDTH * HEIGHT;

/// How long nothing must come for a test to believe that nothing will.
const QUIET: Duration = Duration::from_millis(300);

/// Ids of the controls.
const ERROR_FRAMES: u32 = 0x00f2_f001;
const SHORT_FRAMES: u32 = 0x00f2_f002;

/// Starts an output card with those arguments besides.
fn card(args: &[&str]) -> Card {
    Card::start(&[&["--kind", "output"], args].concat())
}

/// A session with buffers of 96x64 GREY, spread over memory as pages are.
struct Output {
    session: u32,
    lists: Vec<Vec<Segment>>,
}

impl Output {
    fn new(driver: &mut Driver, buffers: u32) -> Self {
        let session = driver.open();
        let wanted = format(GREY, WIDTH, HEIGHT).with(0, OUTPUT);
        let set = driver.ioctl(session, S_FMT, &wanted).expect("S_FMT");
        assert_eq!((set.le32(0), set.le32(28)), (OUTPUT, SIZE));
        let request = request_buffers(buffers, OUTPUT, MEMORY_USERPTR);
        let given = driver.ioctl(session, REQBUFS, &request).expect("REQBUFS");
        assert_eq!(given.le32(0), buffers);
        let high = driver.memory.high().start;
        let lists = (0..u64::from(buffers)).map(|index| {
            let at = high + index * 0x8000;
            vec![
                (at + 0x2fff, 1),
                (at + 0x1000, 4096),
                (at + 0x5000, SIZE - 4097),
            ]
        });
        Self {
            session,
            lists: lists.collect(),
        }
    }

    /// Writes a picture into a buffer's memory; its bytes depend on `seed`.
    fn draw(&self, driver: &mut Driver, index: u32, seed: u32) -> Vec<u8> {
        let byte = |at: u32| (at.wrapping_mul(2_654_435_761) >> 13) as u8 ^ seed as u8;
        let picture: Vec<u8> = (0..SIZE).map(byte).collect();
        let mut rest = &picture[..];
        for &(start, len) in &self.lists[index as usize] {
            let (now, later) = rest.split_at(len as usize);
            driver.memory.write(start, now);
            rest = later;
        }
        picture
    }

    fn queue(&self, driver: &mut Driver, index: u32) {
        let mut given = buffer(index, 0, SIZE).with(4, OUTPUT).with(8, SIZE);
        given.extend(scatter_list(&self.lists[index as usize]));
        driver.ioctl_with(self.session, QBUF, &given).expect("QBUF");
    }

    fn stream(&self, driver: &mut Driver, ioctl: Ioctl) {
        let kind = payload(ioctl).with(0, OUTPUT);
        driver.ioctl(self.session, ioctl, &kind).expect(ioctl.name);
    }

    /// Shows a picture, and returns it once the card has read it.
    fn show(&self, driver: &mut Driver, seed: u32) -> Vec<u8> {
        let picture = self.draw(driver, 0, seed);
        self.queue(driver, 0);
        let done = driver.dqbuf(self.session);
        assert_eq!((done.kind, done.index, done.bytesused), (OUTPUT, 0, SIZE));
        picture
    }
}

fn digests(picture: &[u8]) -> Vec<Digest> {
    picture.chunks(DIGEST_BLOCK).map(Digest::of).collect()
}

/// Waits until a file has that many bytes, and returns them.
fn file_of(card: &mut Card, path: &Path, length: usize) -> Vec<u8> {
    card.until("the frames in the file", |_| {
        let bytes = fs::read(path).expect("the sink's file");
        (bytes.len() >= length).then_some(bytes)
    })
}

#[test]
fn what_is_read_is_what_was_there_and_the_file_holds_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("frames.raw");
    let sink = format!("raw:{}", path.display());
    let mut card = card(&["--rate", "max", "--sink", &sink]);
    let driver = &mut Driver::new(&mut card);
    let output = Output::new(driver, 3);
    let pictures: Vec<_> = (0..3)
        .map(|index| output.draw(driver, index, 7 * index))
        .collect();
    for index in 0..3 {
        output.queue(driver, index);
    }
    assert!(fs::read(&path).unwrap().is_empty(), "no stream is on");
    output.stream(driver, STREAMON);
    for (sequence, picture) in (0..).zip(&pictures) {
        let done = driver.dqbuf(output.session);
        assert_eq!((done.sequence, done.index), (sequence, sequence));
        let record = card.frame(output.session, sequence);
        assert_eq!(record.plane.bytes, SIZE);
        assert_eq!(record.plane.segments, output.lists[sequence as usize]);
        assert_eq!(record.plane.digests, digests(picture));
    }
    let read = file_of(&mut card, &path, 3 * SIZE as usize);
    assert!(read == pictures.concat());
    // The card writes nothing to guest memory.
    driver.assert_untouched();
    output.stream(driver, STREAMOFF);
    card.wait_record("the end of the stream", |record| {
        matches!(record, Record::StreamOff { frames: 3, .. }).then_some(())
    });
}

#[test]
fn nothing_is_read_once_streamoff_is_answered() {
    let mut card = card(&["--rate", "max"]);
    let driver = &mut Driver::new(&mut card);
    let output = Output::new(driver, 2);
    for index in 0..2 {
        output.draw(driver, index, 1);
        output.queue(driver, index);
    }
    output.stream(driver, STREAMON);
    output.stream(driver, STREAMOFF);
    driver.forget_events();
    // What is queued from here on is not read before the next STREAMON, though
    // the card was fast enough for thousands.
    for index in 0..2 {
        output.draw(driver, index, 2);
        output.queue(driver, index);
    }
    for _ in 0..20 {
        driver
            .ioctl(output.session, G_FMT, &payload(G_FMT).with(0, OUTPUT))
            .expect("G_FMT");
    }
    let second = digests(&output.draw(driver, 0, 2));
    card.wait_streams_ended();
    let read_late = card.witness().iter().any(
        |record| matches!(record, Record::Frame { planes, .. } if planes[0].digests == second),
    );
    assert!(!read_late);
}

#[test]
fn a_broken_frame_is_not_shown_and_a_short_one_ends_in_zeros() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("frames.raw");
    let sink = format!("raw:{}", path.display());
    let mut card = card(&["--rate", "max", "--sink", &sink]);
    let driver = &mut Driver::new(&mut card);
    let output = Output::new(driver, 1);
    output.stream(driver, STREAMON);
    let half = SIZE as usize / 2;
    let mut shown = Vec::new();
    for (fault, seed) in [
        (None, 1),
        (Some(ERROR_FRAMES), 2),
        (Some(SHORT_FRAMES), 3),
        (None, 4),
    ] {
        if let Some(id) = fault {
            let once = payload(S_CTRL).with(0, id).with(4, 1);
            driver.ioctl(output.session, S_CTRL, &once).expect("S_CTRL");
        }
        let picture = output.draw(driver, 0, seed);
        output.queue(driver, 0);
        let done = driver.dqbuf(output.session);
        let broken = done.flags & BUF_FLAG_ERROR != 0;
        assert_eq!(broken, fault == Some(ERROR_FRAMES), "{fault:?}");
        let whole = if fault.is_none() { SIZE as usize } else { half };
        let record = card.frame(output.session, seed - 1);
        assert_eq!(
            record.plane.digests,
            digests(&picture[..whole]),
            "{fault:?}"
        );
        if !broken {
            shown.extend_from_slice(&picture[..whole]);
            shown.resize(shown.len().next_multiple_of(SIZE as usize), 0);
        }
    }
    let held = file_of(&mut card, &path, shown.len());
    assert!(held == shown);
}

#[test]
fn a_film_comes_out_at_standard_output_and_ends_with_the_card() {
    let (mut card, film) =
        Card::start_shown(&["--kind", "output", "--rate", "max", "--sink", "y4m:-"]);
    let driver = &mut Driver::new(&mut card);
    let output = Output::new(driver, 1);
    output.stream(driver, STREAMON);
    let pictures: Vec<_> = (1..4).map(|seed| output.show(driver, seed)).collect();
    let mut film = BufReader::new(film);
    let mut header = String::new();
    film.read_line(&mut header).unwrap();
    let begin = format!("YUV4MPEG2 W{WIDTH} H{HEIGHT} F60:1 Ip ");
    assert!(
        header.starts_with(&begin) && header.contains(" Cmono"),
        "{header}"
    );
    card.signal(Signal::TERM);
    let mut rest = Vec::new();
    film.read_to_end(&mut rest).unwrap();
    let frame = |picture: &Vec<u8>| [&b"FRAME\n"[..], picture].concat();
    let frames: Vec<u8> = pictures.iter().flat_map(frame).collect();
    assert!(rest == frames, "{} bytes", rest.len());
    assert!(card.wait_exit().success());
}

#[test]
fn a_reader_that_leaves_costs_a_line_and_not_the_card() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &path,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    let reader = std::thread::spawn({
        let path = path.clone();
        move || File::open(path).unwrap()
    });
    let sink = format!("raw:{}", path.display());
    let mut card = card(&["--rate", "max", "--sink", &sink]);
    let mut reader = reader.join().unwrap();
    let driver = &mut Driver::new(&mut card);
    let output = Output::new(driver, 1);
    output.stream(driver, STREAMON);
    let first = output.show(driver, 1);
    let mut read = vec![0; SIZE as usize];
    reader.read_exact(&mut read).unwrap();
    assert!(read == first);
    drop(reader);
    for seed in 2..40 {
        let picture = output.show(driver, seed);
        let record = card.frame(output.session, seed - 1);
        assert_eq!(record.plane.digests, digests(&picture), "frame {seed}");
    }
    card.assert_alive();
    let log = card.log();
    let lines = log.lines().filter(|line| line.contains("raw:pipe"));
    assert_eq!(lines.count(), 1, "{log}");
}

#[test]
fn a_reader_that_is_slow_holds_frames_back_and_loses_none() {
    let (mut card, mut frames) =
        Card::start_shown(&["--kind", "output", "--rate", "max", "--sink", "raw:-"]);
    // More buffers than the pipe, of 64 KiB, and the card have room for.
    let memory = guest_memory(8 << 20);
    let driver = &mut Driver::attach(&mut card, memory, Options::default());
    let output = Output::new(driver, 24);
    let pictures: Vec<_> = (0..24).map(|n| output.draw(driver, n, 3 * n)).collect();
    for index in 0..24 {
        output.queue(driver, index);
    }
    output.stream(driver, STREAMON);
    for _ in 0..10 {
        driver.dqbuf(output.session);
    }
    // The card answers while it waits for the reader, and takes no more frames than
    // it and the pipe have room for.
    driver.open();
    let more = (0..14).take_while(|_| driver.event_within(QUIET).is_some());
    let taken = 10 + more.count();
    assert!(taken < 20, "{taken} frames of 24 are taken");
    for picture in &pictures {
        let mut read = vec![0; SIZE as usize];
        frames.read_exact(&mut read).unwrap();
        assert!(&read == picture);
    }
    for _ in taken..24 {
        driver.dqbuf(output.session);
    }
    output.stream(driver, STREAMOFF);
}

/// Runs the card with those arguments, which it must refuse; what it says.
fn refused(args: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pinhole"));
    command.arg("device").args(args).stdin(Stdio::null());
    let ended = command.output().unwrap();
    assert_eq!(ended.status.code(), Some(2), "{args:?}");
    String::from_utf8(ended.stderr).unwrap()
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("frames.raw");
    fs::write(&path, "old").unwrap();
    let sink = format!("raw:{}", path.display());
    let socket = dir.path().join("card.sock");
    let socket = socket.to_str().unwrap();
    for (args, said) in [
        (&["--sink", &sink][..], "a capture card has no --sink"),
        (
            &["--kind", "output", "--source", "pattern"],
            "an output card has no --source",
        ),
        (
            &["--kind", "output", "--sink", "y5m:x"],
            "there is no kind of sink \"y5m\"",
        ),
        (
            &["--kind", "output", "--sink", &sink, "--sink", &sink],
            "are both",
        ),
        // Another card may be writing that file.
        (
            &[
                "--kind",
                "output",
                "--sink",
                &sink,
                "--control",
                "/nowhere/x",
            ],
            "/nowhere/x",
        ),
    ] {
        let args = [args, &["--socket-path", socket]].concat();
        let error = refused(&args);
        assert!(error.contains(said), "{args:?}: {error}");
        assert_eq!(fs::read(&path).unwrap(), b"old", "{args:?}");
    }
}
