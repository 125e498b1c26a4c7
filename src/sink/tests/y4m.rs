//! Films that are written, and read again.

use super::*;
use crate::source::pattern::canvas::{Ink, Row};
use crate::source::raster::Raster;
use crate::source::{self, Begun, Camera, FrameInfo, Input};
use PixelFormat::*;

const RATE: (u32, u32) = (1001, 30000);

fn film(frames: &[(Layout, Vec<u8>)]) -> Vec<u8> {
    let disk = Disk::of(usize::MAX);
    let mut display = display(disk.clone(), Form::Y4m);
    for (layout, frame) in frames {
        assert!(display.takes(layout.format));
        display.prepare(layout, RATE);
        show(&mut display, frame);
        display.end();
    }
    drop(display);
    disk.content()
}

/// Returns the header line of a film, and the frames that follow it, each with
/// its mark.
fn parts(film: &[u8]) -> (&str, &[u8]) {
    let end = film.iter().position(|byte| *byte == b'\n').unwrap();
    let (header, frames) = film.split_at(end + 1);
    (std::str::from_utf8(header).unwrap().trim_end(), frames)
}

fn taken() -> impl Iterator<Item = PixelFormat> {
    let display = display(Disk::of(0), Form::Y4m);
    let all = PixelFormat::ALL.into_iter();
    all.filter(move |format| display.takes(*format))
}

#[test]
fn what_a_film_cannot_hold_is_not_taken() {
    let taken: Vec<_> = taken().collect();
    let all = PixelFormat::ALL.into_iter();
    let left: Vec<_> = all.filter(|format| !taken.contains(format)).collect();
    assert_eq!(left, [Y16, Mjpg]);
    // Whichever output is selected.
    let both = Display::new(vec![Output::digest(), output(Disk::of(0), Form::Y4m)]);
    assert!(!both.takes(Mjpg));
    assert!(both.takes(Yuyv) && both.takes(Nv12));
}

/// The frames of all formats of luma and chroma, said here anew.
#[test]
fn samples_are_moved_to_the_planes_of_a_film() {
    let y = |i: usize| i as u8;
    let u = |i: usize| (100 + i * 7) as u8;
    let v = |i: usize| (50 + i * 11) as u8;
    let all = |count, sample: &dyn Fn(usize) -> u8| (0..count).map(sample).collect::<Vec<u8>>();
    let pairs = |count, a: &dyn Fn(usize) -> u8, b: &dyn Fn(usize) -> u8| {
        (0..count).flat_map(|i| [a(i), b(i)]).collect::<Vec<u8>>()
    };
    let fours = |order: fn([u8; 4]) -> [u8; 4]| {
        let groups = (0..128).map(|i| order([y(2 * i), u(i), y(2 * i + 1), v(i)]));
        groups.flatten().collect::<Vec<u8>>()
    };
    let planes = |chroma| [all(256, &y), all(chroma, &u), all(chroma, &v)].concat();
    let (c420, c422) = ("420jpeg XCOLORRANGE=LIMITED", "422 XCOLORRANGE=LIMITED");
    let rows = [
        (Nv12, [all(256, &y), pairs(64, &u, &v)].concat(), 64, c420),
        (Nm12, [all(256, &y), pairs(64, &u, &v)].concat(), 64, c420),
        (Nv21, [all(256, &y), pairs(64, &v, &u)].concat(), 64, c420),
        (Yu12, planes(64), 64, c420),
        (Ym12, planes(64), 64, c420),
        (
            Yv12,
            [all(256, &y), all(64, &v), all(64, &u)].concat(),
            64,
            c420,
        ),
        (P422, planes(128), 128, c422),
        (Nv16, [all(256, &y), pairs(128, &u, &v)].concat(), 128, c422),
        (Nm16, [all(256, &y), pairs(128, &u, &v)].concat(), 128, c422),
        (Yuyv, fours(|[y, u, z, v]| [y, u, z, v]), 128, c422),
        (Uyvy, fours(|[y, u, z, v]| [u, y, v, z]), 128, c422),
        (Yvyu, fours(|[y, u, z, v]| [y, v, z, u]), 128, c422),
        (Vyuy, fours(|[y, u, z, v]| [v, y, u, z]), 128, c422),
        (Grey, all(256, &y), 0, "mono XCOLORRANGE=FULL"),
    ];
    let mut formats = Vec::new();
    for (format, frame, chroma, tags) in rows {
        let film = film(&[(Layout::new(format, 16, 16), frame)]);
        let (header, frames) = parts(&film);
        let expected = format!("YUV4MPEG2 W16 H16 F30000:1001 Ip A1:1 C{tags}");
        assert_eq!(header, expected, "{format}");
        assert!(
            frames == [b"FRAME\n", &planes(chroma)[..]].concat(),
            "{format}"
        );
        formats.push(format);
    }
    // The others are of red, green and blue.
    assert!(taken().all(|format| format.is_rgb() || formats.contains(&format)));
}

/// The levels are those of BT.601, in the limited range.
#[test]
fn red_green_and_blue_become_luma_and_chroma() {
    for (rgb, yuv) in [
        ([0, 0, 0], [16, 128, 128]),
        ([255, 255, 255], [235, 128, 128]),
        ([255, 0, 0], [81, 90, 240]),
        ([0, 255, 0], [145, 54, 34]),
        ([0, 0, 255], [41, 240, 110]),
    ] {
        let [r, g, b] = rgb;
        for format in taken().filter(|format| format.is_rgb()) {
            let pixel: &[u8] = match format {
                Rgb3 => &[r, g, b],
                Bgr3 => &[b, g, r],
                Xr24 => &[b, g, r, 0xee],
                Bx24 => &[0xee, r, g, b],
                // Five, six and five bits, the lower byte first.
                Rgbp => &[(g & 0x1c) << 3 | b >> 3, r & 0xf8 | g >> 5],
                other => panic!("{other} is not known"),
            };
            // An odd size, which has as many samples of chroma as pixels.
            let film = film(&[(Layout::new(format, 17, 19), pixel.repeat(17 * 19))]);
            let (header, frames) = parts(&film);
            assert!(header.ends_with("C444 XCOLORRANGE=LIMITED"), "{header}");
            let planes = &frames[b"FRAME\n".len()..];
            assert_eq!(planes.len(), 3 * 17 * 19);
            for (plane, level) in planes.chunks(17 * 19).zip(yuv) {
                let near = |sample: &u8| sample.abs_diff(level) <= 1;
                assert!(
                    plane.iter().all(near),
                    "{format} {rgb:?}: {} is not {level}",
                    plane[0]
                );
            }
        }
    }
}

/// Reads the film at that path by the card's own source, as frames of `layout`.
fn read_again(path: &Path, layout: &Layout, frames: usize) -> Vec<Vec<u8>> {
    let source = source::open(&format!("y4m:{},once,rate=frame", path.display())).unwrap();
    assert_eq!(source.native().size, Some((layout.width, layout.height)));
    assert_eq!(source.native().interval, Some(RATE));
    let mut camera = Camera::new(vec![Input {
        name: "film".into(),
        source,
    }]);
    camera.prepare(layout);
    let mut sequence = 0;
    let mut next = || {
        let info = FrameInfo {
            sequence,
            ..FrameInfo::default()
        };
        sequence += 1;
        let begun = loop {
            match camera.begin(&info) {
                Begun::Late => std::thread::sleep(Duration::from_millis(1)),
                begun => break begun,
            }
        };
        let Begun::Frame { bytes } = begun else {
            return None;
        };
        let mut frame = vec![0; bytes as usize];
        camera.fill(0, &mut frame);
        Some(frame)
    };
    let read: Vec<_> = (0..frames).map_while(|_| next()).collect();
    assert!(next().is_none(), "there are more frames");
    read
}

#[test]
fn a_film_that_is_written_is_read_again() {
    for format in taken() {
        let layout = Layout::new(format, 66, 34);
        let size = layout.sizeimage as usize;
        let frames: Vec<_> = match format.is_rgb() {
            false => (1..6).map(|seed| noise(size, seed)).collect(),
            // Colours that come back as they were, or nearly.
            true => [Ink::rgb(20, 200, 60), Ink::rgb(16, 32, 222)]
                .map(|ink| flat(&layout, ink))
                .to_vec(),
        };
        let file = tempfile::NamedTempFile::new().unwrap();
        let spec = format!("y4m:{}", file.path().display());
        let mut display = Display::new(vec![open(&spec).unwrap()]);
        display.prepare(&layout, RATE);
        for frame in &frames {
            show(&mut display, frame);
        }
        drop(display);
        let again = read_again(file.path(), &layout, frames.len());
        assert_eq!(again.len(), frames.len(), "{format}");
        for (number, (again, frame)) in again.iter().zip(&frames).enumerate() {
            let tolerance = match format {
                // Words of which a colour has five or six bits.
                Rgbp => continue,
                _ if format.is_rgb() => 3,
                _ => 0,
            };
            let near = |(a, b): (&u8, &u8)| a.abs_diff(*b) <= tolerance;
            assert!(again.iter().zip(frame).all(near), "{format}, {number}");
        }
    }
}

/// Returns a picture of one colour.
fn flat(layout: &Layout, ink: Ink) -> Vec<u8> {
    let mut frame = vec![0; layout.sizeimage as usize];
    for plane in Raster::of(layout).unwrap().planes() {
        let bytes = &mut frame[plane.offset..plane.offset + plane.stride * plane.lines];
        for line in bytes.chunks_mut(plane.stride) {
            Row::new(line, plane.format).fill(0, i32::MAX, ink);
        }
    }
    frame
}

#[test]
fn streams_that_do_not_fit_the_film_are_left_out_of_it() {
    let frame = |format, width, height, seed| {
        let layout = Layout::new(format, width, height);
        (layout, noise(layout.sizeimage as usize, seed))
    };
    let first = frame(Yu12, 16, 16, 1);
    let last = frame(Ym12, 16, 16, 5);
    let film = film(&[
        first.clone(),
        frame(Yu12, 16, 18, 2),
        frame(P422, 16, 16, 3),
        frame(Rgb3, 16, 16, 4),
        // It lies in other memory, and has the film's size and sampling.
        last.clone(),
    ]);
    let (header, frames) = parts(&film);
    assert!(header.starts_with("YUV4MPEG2 W16 H16 "), "{header}");
    let expected = [b"FRAME\n", &first.1[..], b"FRAME\n", &last.1[..]].concat();
    assert!(frames == expected);
}

#[test]
fn a_film_on_a_disk_that_fills_has_whole_frames() {
    let layout = layout();
    let frame = vec![100; layout.sizeimage as usize];
    let whole = film(&[(layout, frame.clone())]);
    let marked = b"FRAME\n".len() + frame.len();
    for (room, length) in [
        (10, 0),
        (whole.len() - 1, 0),
        (whole.len(), whole.len()),
        (whole.len() + marked - 1, whole.len()),
        (whole.len() + marked + 3, whole.len() + marked),
    ] {
        let disk = Disk::of(room);
        let mut display = display(disk.clone(), Form::Y4m);
        display.prepare(&layout, RATE);
        for _ in 0..10 {
            show(&mut display, &frame);
        }
        drop(display);
        assert_eq!(disk.content().len(), length, "{room}");
        assert!(
            disk.content()
                .starts_with(&whole[..whole.len().min(length)])
        );
    }
}

/// Its converter is freed while no stream is on, and made anew.
#[test]
fn a_film_goes_on_after_a_rest() {
    let layout = Layout::new(Yuyv, 16, 16);
    let frame = noise(512, 1);
    let whole = film(&[(layout, frame.clone())]);
    let disk = Disk::of(usize::MAX);
    let mut display = display(disk.clone(), Form::Y4m);
    let mut expected = whole.len();
    for _ in 0..3 {
        display.prepare(&layout, RATE);
        show(&mut display, &frame);
        display.end();
        await_that(|| disk.content().len() == expected);
        expected += b"FRAME\n".len() + 512;
        // Time for the thread to rest; nothing depends on it.
        std::thread::sleep(Duration::from_millis(5));
    }
    let (_, frames) = parts(&whole);
    assert!(parts(&disk.content()).1 == frames.repeat(3));
}
