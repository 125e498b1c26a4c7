use std::fs;
use std::io::{self, PipeReader, PipeWriter, Write};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::ioctl_fionbio;
use tempfile::TempDir;

use super::*;
use crate::source::settings::{Rect, Settings};
use crate::source::{self, Camera, PixelFormat, SourceError};

mod ahead;
mod ends;
mod fifos;

/// Time limit of a test for an event that must come.
const LIMIT: Duration = Duration::from_secs(30);

const WIDTH: u32 = 16;
const HEIGHT: u32 = 18;
/// Size of a 4:2:0 frame in bytes.
const BYTES: usize = 16 * 18 * 3 / 2;
const HEADER: &str = "YUV4MPEG2 W16 H18 F30:1 Ip A1:1 C420jpeg\n";

/// Returns the bytes of a frame that differs from all others.
fn picture(number: usize, bytes: usize) -> Vec<u8> {
    (0..bytes)
        .map(|i| (i * 7 + i / 97 + number * 53) as u8)
        .collect()
}

/// Returns a film of that many frames.
fn film(frames: usize) -> Vec<u8> {
    let mut film = HEADER.as_bytes().to_vec();
    for number in 0..frames {
        film.extend_from_slice(if number % 2 == 0 {
            b"FRAME\n"
        } else {
            b"FRAME Ip\n"
        });
        film.extend_from_slice(&picture(number, BYTES));
    }
    film
}

struct Files {
    dir: TempDir,
}

impl Files {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    /// Makes a file of those bytes; returns its path.
    fn file(&self, name: &str, bytes: &[u8]) -> String {
        let path: PathBuf = self.dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

/// Opens a source as a card that was started with it does.
fn open(spec: &str) -> Result<Box<dyn Source>, SourceError> {
    // SAFETY: the descriptors that other tests open have other numbers.
    let descriptors = unsafe { source::descriptors_of(&[spec.to_owned()])? };
    let access = Access {
        descriptors,
        patience: None,
    };
    Ok(source::open_input(spec, &access)?.source)
}

/// A film that is shown as the card shows it.
struct Show {
    camera: Camera,
    layout: Layout,
    frames: u32,
}

impl Show {
    fn of(spec: &str, format: PixelFormat) -> Self {
        let source = open(spec).unwrap_or_else(|e| panic!("{spec}: {e}"));
        let mut show = Self {
            camera: Camera::with("film", source),
            layout: Layout::new(format, WIDTH, HEIGHT),
            frames: 0,
        };
        show.prepare();
        show
    }

    /// Begins another stream.
    fn prepare(&mut self) {
        self.camera.prepare(&self.layout);
    }

    fn begin_at(&mut self, elapsed: Duration) -> Begun {
        let info = FrameInfo {
            sequence: self.frames,
            elapsed,
            ..FrameInfo::default()
        };
        self.camera.begin(&info)
    }

    /// Waits for the frame of that time and returns it; `None` at the end.
    fn at(&mut self, elapsed: Duration) -> Option<Vec<u8>> {
        let deadline = Instant::now() + LIMIT;
        let begun = loop {
            match self.begin_at(elapsed) {
                Begun::Late => assert!(Instant::now() < deadline, "no frame"),
                begun => break begun,
            }
            std::thread::yield_now();
        };
        self.frames += 1;
        if begun == Begun::Ended {
            return None;
        }
        let bytes = self.layout.sizeimage;
        assert_eq!(begun, Begun::Frame { bytes });
        Some(self.bytes())
    }

    /// Returns the bytes of the frame that has begun, read in pieces as the
    /// card does.
    fn bytes(&mut self) -> Vec<u8> {
        let mut frame = vec![0xee; self.layout.sizeimage as usize];
        for (number, piece) in frame.chunks_mut(100).enumerate() {
            self.camera.fill(number * 100, piece);
        }
        frame
    }

    fn next(&mut self) -> Option<Vec<u8>> {
        self.at(Duration::ZERO)
    }

    /// Returns the number of the frame of [`film`] that is shown at that time.
    fn number_at(&mut self, elapsed: Duration) -> Option<usize> {
        let frame = self.at(elapsed)?;
        Some(number_of(&frame))
    }
}

fn number_of(frame: &[u8]) -> usize {
    let number = (0..256).find(|number| frame == picture(*number, BYTES));
    number.expect("a frame of the film")
}

/// Returns a pipe with the path of its reading end.
fn pipe() -> (PipeReader, PipeWriter, String) {
    let (reader, writer) = io::pipe().unwrap();
    let path = format!("/proc/self/fd/{}", reader.as_raw_fd());
    (reader, writer, path)
}

fn frame_of(number: usize) -> Vec<u8> {
    [b"FRAME\n".to_vec(), picture(number, BYTES)].concat()
}

#[test]
fn a_film_tells_its_size_and_rate() {
    let files = Files::new();
    let path = files.file("a,b.y4m", &film(1)).replace(',', ",,");
    let native = |spec: &str| source::open(spec).unwrap().native();
    let expected = Native {
        size: Some((16, 18)),
        interval: Some((1, 30)),
        follow: false,
    };
    assert_eq!(native(&format!("y4m:{path}")), expected);
    assert_eq!(native(&format!("y4m:{path},fit=scale")), expected);
    let follow = Native {
        follow: true,
        ..expected
    };
    assert_eq!(native(&format!("y4m:{path},once,fit=source")), follow);
}

#[test]
fn frames_come_in_their_turn_and_begin_again() {
    let files = Files::new();
    let path = files.file("film", &film(3));
    let mut show = Show::of(&format!("y4m:{path},rate=frame"), PixelFormat::Yu12);
    for number in [0, 1, 2, 0, 1, 2, 0, 1] {
        assert!(show.next() == Some(picture(number, BYTES)), "{number}");
    }
    // Another stream shows the film from its beginning.
    for _ in 0..20 {
        show.prepare();
        for number in [0, 1] {
            assert!(show.next() == Some(picture(number, BYTES)), "{number}");
        }
    }
}

#[test]
fn a_film_that_is_shown_once_ends() {
    let files = Files::new();
    let path = files.file("film", &film(3));
    let mut show = Show::of(&format!("y4m:{path},once,rate=frame"), PixelFormat::Yu12);
    for _ in 0..3 {
        for number in 0..3 {
            assert!(show.next() == Some(picture(number, BYTES)), "{number}");
        }
        assert_eq!(show.next(), None);
        assert_eq!(show.next(), None);
        show.prepare();
    }
    // With rate=time, the last frame is also shown for its whole time.
    let mut show = Show::of(&format!("y4m:{path},once"), PixelFormat::Yu12);
    let tick = Duration::from_millis(10);
    let seen: Vec<_> = (1..12).map(|n| show.number_at(n * tick)).collect();
    let expected = [0, 0, 0, 0, 1, 1, 1, 2, 2, 2].map(Some);
    assert_eq!(seen[..10], expected);
    assert_eq!(seen[10], None);
}

#[test]
fn by_time_frames_are_repeated_or_left_out() {
    let files = Files::new();
    let path = files.file("film", &film(70));
    for (frames, seconds) in [
        (30, 1),
        (60, 1),
        (15, 1),
        (1, 1),
        (24, 1),
        (240, 1),
        (60000, 1001),
    ] {
        let mut show = Show::of(&format!("y4m:{path}"), PixelFormat::Yu12);
        // The card's clock counts whole nanoseconds.
        let due = |n: u64| Duration::from_nanos((n + 1) * 1_000_000_000 * seconds / frames);
        for n in 0..100 {
            let expected = (n * 30 * seconds / frames) as usize % 70;
            let got = show.number_at(due(n)).unwrap();
            assert_eq!(got, expected, "frame {n} of {frames}/{seconds}");
        }
    }
}

#[test]
fn a_guest_that_was_away_finds_the_frame_of_the_time() {
    let files = Files::new();
    let path = files.file("film", &film(70));
    let mut show = Show::of(&format!("y4m:{path}"), PixelFormat::Yu12);
    let day = 86400;
    for (seconds, number) in [(0, 0), (1, 30), (2, 60), (3, 20), (day, (day * 30) % 70)] {
        let got = show.number_at(Duration::from_secs(seconds));
        assert_eq!(got, Some(number as usize), "after {seconds} s");
        let then = Duration::from_secs(seconds) + Duration::from_millis(34);
        let got = show.number_at(then);
        assert_eq!(got, Some((number as usize + 1) % 70), "after {seconds} s");
    }
}

#[test]
fn a_pipe_that_stalls_is_late_and_one_that_ends_is_over() {
    let (reader, mut writer, path) = pipe();
    writer.write_all(HEADER.as_bytes()).unwrap();
    let mut show = Show::of(&format!("y4m:{path}"), PixelFormat::Yu12);
    drop(reader);
    for _ in 0..100 {
        assert_eq!(show.begin_at(Duration::ZERO), Begun::Late);
    }
    for number in 0..10 {
        writer.write_all(&frame_of(number)).unwrap();
        assert!(show.next() == Some(picture(number, BYTES)), "{number}");
        assert_eq!(show.begin_at(Duration::ZERO), Begun::Late);
        assert!(show.bytes() == picture(number, BYTES), "it stays");
    }
    // Half a frame is not shown.
    writer.write_all(&frame_of(10)[..200]).unwrap();
    assert_eq!(show.begin_at(Duration::ZERO), Begun::Late);
    writer.write_all(&frame_of(10)[200..]).unwrap();
    assert!(show.next() == Some(picture(10, BYTES)));
    // The film continues in the next stream where it was.
    show.prepare();
    assert_eq!(show.begin_at(Duration::ZERO), Begun::Late);
    writer.write_all(&frame_of(11)).unwrap();
    assert!(show.next() == Some(picture(11, BYTES)));
    drop(writer);
    assert_eq!(show.next(), None);
    show.prepare();
    assert_eq!(show.next(), None);
}

#[test]
fn a_pipe_by_time_leaves_out_what_is_past() {
    let (_reader, mut writer, path) = pipe();
    writer.write_all(&film(20)).unwrap();
    let mut show = Show::of(&format!("y4m:{path},rate=time"), PixelFormat::Yu12);
    assert_eq!(show.number_at(Duration::from_millis(100)), Some(0));
    assert_eq!(show.number_at(Duration::from_millis(140)), Some(1));
    assert_eq!(show.number_at(Duration::from_millis(440)), Some(10));
    // From now on every frame of the writer is behind its time. The film knows
    // this when a frame is late for the second time. Then no more frames are
    // left out, except the one that the reader may have begun to skip before.
    assert_eq!(show.begin_at(Duration::from_secs(2)), Begun::Late);
    let mut last = match show.begin_at(Duration::from_secs(3)) {
        Begun::Late => 10,
        _ => number_of(&show.bytes()),
    };
    writer.write_all(&frame_of(20)).unwrap();
    let mut second = 4;
    for number in 21..40 {
        writer.write_all(&frame_of(number)).unwrap();
        let deadline = Instant::now() + LIMIT;
        while last != number {
            if show.begin_at(Duration::from_secs(second)) != Begun::Late {
                let frame = show.bytes();
                let number = number_of(&frame);
                assert!(number > last, "{number} after {last}");
                last = number;
            }
            assert!(Instant::now() < deadline, "{last}, not {number}");
            second += 1;
            std::thread::yield_now();
        }
        assert_eq!(show.begin_at(Duration::from_secs(second)), Begun::Late);
    }
}

#[test]
fn a_pipe_is_held_up_when_nobody_looks() {
    let (_reader, mut writer, path) = pipe();
    writer.write_all(HEADER.as_bytes()).unwrap();
    let mut show = Show::of(&format!("y4m:{path}"), PixelFormat::Yu12);
    ioctl_fionbio(&writer, true).unwrap();
    let bytes = film(100_000);
    let mut rest = &bytes[HEADER.len()..];
    loop {
        let limit = Timespec {
            tv_sec: 0,
            tv_nsec: 300_000_000,
        };
        let mut fds = [PollFd::new(&writer, PollFlags::OUT)];
        if poll(&mut fds, Some(&limit)).unwrap() == 0 {
            break;
        }
        match writer.write(rest) {
            Ok(written) => rest = &rest[written..],
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        }
    }
    // The limit is the pipe's 64 KiB, the frames, and the size of a read.
    let written = bytes.len() - HEADER.len() - rest.len();
    assert!(
        written <= (64 << 10) + 4 * (BYTES + 9) + (8 << 10),
        "{written}"
    );
    assert!(show.next() == Some(picture(0, BYTES)));
}

#[test]
fn a_film_may_be_cut_anywhere() {
    let files = Files::new();
    let whole = film(3);
    let ends: Vec<usize> = (0..=3).map(|frames| film(frames).len()).collect();
    for cut in 0..whole.len() {
        let path = files.file("film", &whole[..cut]);
        let spec = format!("y4m:{path},once,rate=frame");
        let frames = ends.iter().filter(|end| **end <= cut).count();
        if frames < 2 {
            let error = source::open(&spec).err().expect("an error").to_string();
            let expected = match cut {
                0 => "it has no frames",
                1..9 => "it does not begin with YUV4MPEG2",
                _ if frames == 0 => "its header is cut off",
                _ if cut == ends[0] => "it has no frames",
                _ => "it is cut off within frame 0",
            };
            assert!(error.contains(expected), "cut at {cut}: {error}");
            assert!(error.contains("film cannot be shown: "), "{error}");
            continue;
        }
        let mut show = Show::of(&spec, PixelFormat::Yu12);
        for number in 0..frames - 1 {
            assert!(show.next() == Some(picture(number, BYTES)), "cut at {cut}");
        }
        assert!(show.next().is_none(), "cut at {cut}");
    }
}

#[test]
fn no_byte_of_a_film_makes_it_fail_otherwise_than_cleanly() {
    let files = Files::new();
    let whole = film(2);
    let header = HEADER.len() + 6;
    let second = whole.len() - BYTES - 9..whole.len() - BYTES;
    for place in (0..header).chain(second) {
        for value in [0, b'\n', b' ', b'0', b'9', b'F', 0x80, 0xff] {
            let mut bytes = whole.clone();
            bytes[place] = value;
            let path = files.file("film", &bytes);
            let Ok(source) = source::open(&format!("y4m:{path},once,rate=frame")) else {
                continue;
            };
            let layout = Layout::new(PixelFormat::Rgbp, 34, 18);
            let mut camera = Camera::with("film", source);
            camera.prepare(&layout);
            let deadline = Instant::now() + LIMIT;
            for _ in 0..4 {
                while camera.begin(&FrameInfo::default()) == Begun::Late {
                    assert!(Instant::now() < deadline);
                    std::thread::yield_now();
                }
                camera.fill(0, &mut [0; 1000]);
            }
        }
    }
}

#[test]
fn a_large_header_allocates_nothing_large() {
    let files = Files::new();
    for size in [
        "W8193 H16",
        "W4294967295 H4294967295",
        "W99999999999999999999 H1",
    ] {
        let path = files.file("film", format!("YUV4MPEG2 {size}\nFRAME\n").as_bytes());
        assert!(source::open(&format!("y4m:{path}")).is_err());
    }
    let long = [b"YUV4MPEG2 W16 H16 X".to_vec(), vec![b'x'; 1 << 20]].concat();
    let path = files.file("film", &long);
    let error = source::open(&format!("y4m:{path}"))
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("longer than 4096 bytes"), "{error}");
}

#[test]
fn raw_frames_are_those_of_the_card() {
    let files = Files::new();
    for format in PixelFormat::ALL.into_iter().filter(|f| !f.is_compressed()) {
        let layout = Layout::new(format, WIDTH, HEIGHT);
        let frame = |number| picture(number, layout.sizeimage as usize);
        let path = files.file("film", &[frame(0), frame(1)].concat());
        let spec = format!("raw:{path},format={format},size=16x18,rate=frame");
        let mut show = Show::of(&spec, format);
        for number in [0, 1, 0] {
            assert!(show.next() == Some(frame(number)), "{format}");
        }
        // A pipe is also read to its end.
        let (_reader, mut writer, path) = pipe();
        writer.write_all(&[frame(0), frame(1)].concat()).unwrap();
        drop(writer);
        let spec = format!("raw:{path},format={format},size=16x18");
        let mut show = Show::of(&spec, format);
        for number in [Some(0), Some(1), None] {
            assert!(show.next() == number.map(frame), "{format}");
        }
    }
}

#[test]
fn a_raw_file_of_another_length_is_refused() {
    let files = Files::new();
    for length in 0..1000 {
        let path = files.file("film", &vec![7; length]);
        let opened = source::open(&format!("raw:{path},format=GREY,size=16x18,fps=30"));
        match (length, opened) {
            (288 | 576 | 864, Ok(_)) => {}
            (0, Err(error)) => assert!(error.to_string().ends_with("it has no frames")),
            (_, Err(error)) => assert!(
                error.to_string().ends_with(&format!(
                    "its {length} bytes are no whole number of frames of 288 bytes"
                )),
                "{error}"
            ),
            (length, Ok(_)) => panic!("{length} bytes"),
        }
    }
    // A pipe has no length, so its film ends where it breaks.
    let (_reader, mut writer, path) = pipe();
    writer.write_all(&[7; 288 + 1]).unwrap();
    drop(writer);
    let mut show = Show::of(
        &format!("raw:{path},format=GREY,size=16x18"),
        PixelFormat::Grey,
    );
    assert!(show.next() == Some(vec![7; 288]));
    assert!(show.next().is_none());
}

#[test]
fn a_raw_film_is_left_out_by_time_to_its_end() {
    let files = Files::new();
    let bytes: Vec<u8> = (0..10).flat_map(|number| [number; 288]).collect();
    let path = files.file("film", &bytes);
    for (ending, after) in [("once", None), ("loop", Some(2))] {
        let spec = format!("raw:{path},format=GREY,size=16x18,fps=10,{ending}");
        let mut show = Show::of(&spec, PixelFormat::Grey);
        for (second, number) in [(0, Some(0)), (700, Some(7)), (1200, after)] {
            let frame = show.at(Duration::from_millis(second));
            assert!(frame == number.map(|n| vec![n; 288]), "{ending} {second}");
        }
    }
}

#[test]
fn a_picture_stands_still() {
    let files = Files::new();
    let picture = image::RgbImage::from_fn(16, 18, |x, y| {
        image::Rgb([(x * 16) as u8, (y * 14) as u8, (x * y) as u8])
    });
    let path = files.dir.path().join("p.png");
    picture.save(&path).unwrap();
    let path = path.to_str().unwrap();
    let mut show = Show::of(&format!("image:{path}"), PixelFormat::Rgb3);
    for second in 0..3 {
        let frame = show.at(Duration::from_secs(second));
        assert!(frame.as_ref() == Some(picture.as_raw()));
    }
    let mut show = Show::of(&format!("image:{path},once"), PixelFormat::Rgb3);
    for _ in 0..2 {
        assert!(show.next().as_ref() == Some(picture.as_raw()));
        assert_eq!(show.next(), None);
        show.prepare();
    }
    let native = source::open(&format!("image:{path}")).unwrap().native();
    assert_eq!((native.size, native.interval), (Some((16, 18)), None));

    // The name of the file of a JPEG does not matter, and grey works as well.
    let grey = image::GrayImage::from_pixel(40, 30, image::Luma([200]));
    let path = files.dir.path().join("p");
    grey.save_with_format(&path, image::ImageFormat::Jpeg)
        .unwrap();
    let mut show = Show::of(&format!("image:{}", path.display()), PixelFormat::Grey);
    assert!(
        show.next()
            .unwrap()
            .iter()
            .all(|level| level.abs_diff(200) <= 2)
    );
}

#[test]
fn a_picture_that_is_broken_is_an_error() {
    let files = Files::new();
    let mut png = Vec::new();
    let picture = image::RgbImage::from_fn(16, 18, |x, y| image::Rgb([x as u8, y as u8, 9]));
    picture
        .write_to(&mut io::Cursor::new(&mut png), image::ImageFormat::Png)
        .unwrap();
    // A PNG without its last chunk, which only marks its end, is whole.
    for cut in 0..png.len() - 12 {
        let path = files.file("p.png", &png[..cut]);
        let error = source::open(&format!("image:{path}")).err();
        let error = error.unwrap_or_else(|| panic!("cut at {cut}")).to_string();
        assert!(error.contains("p.png cannot be shown: "), "{error}");
    }
    for place in 0..png.len() {
        let mut bytes = png.clone();
        bytes[place] ^= 0x55;
        let path = files.file("p.png", &bytes);
        let _ = source::open(&format!("image:{path}"));
    }
    // The PNG has a size that its file cannot hold.
    let mut bytes = png.clone();
    bytes[16..20].copy_from_slice(&u32::MAX.to_be_bytes());
    let path = files.file("p.png", &bytes);
    assert!(source::open(&format!("image:{path}")).is_err());
}

#[test]
fn what_cannot_be_opened_is_said() {
    let files = Files::new();
    let dir = files.dir.path().display().to_string();
    let (_reader, mut writer, path) = pipe();
    writer.write_all(HEADER.as_bytes()).unwrap();
    let silent = files.file("silent", HEADER.replace(" F30:1", "").as_bytes());
    for (spec, message) in [
        (
            "y4m:/nowhere/film".to_owned(),
            "cannot open /nowhere/film: No such file or directory (os error 2)".to_owned(),
        ),
        (
            format!("y4m:{dir}"),
            format!("{dir} cannot be shown: Is a directory (os error 21)"),
        ),
        (
            "y4m:".to_owned(),
            "the source \"y4m:\" makes no sense: it names no file".to_owned(),
        ),
        (
            format!("y4m:{path},loop"),
            format!("the source \"y4m:{path},loop\" makes no sense: a pipe cannot begin again"),
        ),
        (
            format!("y4m:{silent},rate=time"),
            format!(
                "the source \"y4m:{silent},rate=time\" makes no sense: \
                 the film does not say its rate"
            ),
        ),
    ] {
        assert_eq!(open(&spec).err().unwrap().to_string(), message);
    }
}

#[test]
fn a_film_of_odd_size_is_stretched_to_what_the_card_has() {
    let files = Files::new();
    let bytes = 17 * 19 + 2 * 9 * 10;
    let mut film = b"YUV4MPEG2 W17 H19 F30:1\nFRAME\n".to_vec();
    film.extend(vec![90; bytes]);
    let path = files.file("film", &film);
    for format in PixelFormat::ALL.into_iter().filter(|f| !f.is_compressed()) {
        let large = format == PixelFormat::Nv12;
        for (width, height) in [(17, 19), (16, 16), (3840, 2160)] {
            // Large sizes take long, and are the same in every format.
            if width > 100 && !large {
                continue;
            }
            let mut show = Show::of(&format!("y4m:{path}"), format);
            show.layout = Layout::new(format, width, height);
            show.prepare();
            let frame = show.next().unwrap();
            if format.has_component(source::format::Component::Y) {
                assert!(frame.iter().all(|sample| *sample == 90), "{format}");
            }
        }
    }
}

/// A small file may hold a large picture, which the card holds for long.
#[test]
fn a_picture_larger_than_any_frame_is_reduced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.png");
    let path = path.display();
    for ((width, height), reduced) in [
        ((8192, 64), (3840, 30)),
        ((64, 4320), (32, 2160)),
        ((3840, 2160), (3840, 2160)),
    ] {
        let picture = image::GrayImage::from_pixel(width, height, image::Luma([200]));
        picture.save(path.to_string()).unwrap();
        let native = source::open(&format!("image:{path}")).unwrap().native();
        assert_eq!(native.size, Some(reduced));
    }
}

#[test]
fn the_crop_changes_a_picture_that_stands_still() {
    let files = Files::new();
    let path = files.dir.path().join("p.png");
    let picture = image::RgbImage::from_fn(32, 36, |x, _| image::Rgb([(x / 16 * 255) as u8; 3]));
    picture.save(&path).unwrap();
    let mut show = Show::of(&format!("image:{}", path.display()), PixelFormat::Grey);
    let mut crop_at = |left| {
        let crop = Rect {
            left,
            top: 3,
            width: 16,
            height: 18,
        };
        let settings = Settings {
            crop: Some(crop),
            ..Settings::default()
        };
        show.camera.set(settings);
        show.next().unwrap()
    };
    assert!(crop_at(0).iter().all(|level| *level == 0));
    assert!(crop_at(16).iter().all(|level| *level == 255));
}
