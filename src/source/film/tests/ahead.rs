//! Tests of films whose frames are converted, and so begun before they are due.

use super::*;
use crate::source::Pace;
use crate::source::ahead::tests::frame as frame_at_sixty;
use crate::source::settings::Adjust;

/// Returns the number of a frame of [`film`] that is shown as NV12.
fn number(frame: &[u8]) -> usize {
    let (luma, pairs) = frame.split_at(BYTES / 3 * 2);
    let sample = |which| pairs.iter().skip(which).step_by(2);
    let planar: Vec<u8> = luma
        .iter()
        .chain(sample(0))
        .chain(sample(1))
        .copied()
        .collect();
    number_of(&planar)
}

fn next(show: &mut Show) -> Option<usize> {
    show.next().map(|frame| number(&frame))
}

/// Settings that change no byte, and make all frames anew.
fn other_settings(show: &Show) -> Settings {
    let settings = show.camera.settings();
    Settings {
        quality: settings.quality % 100 + 1,
        ..settings.clone()
    }
}

/// Begins that frame and returns its number in the film.
fn shown(show: &mut Show, info: &FrameInfo) -> Option<usize> {
    let deadline = Instant::now() + LIMIT;
    loop {
        match show.camera.begin(info) {
            Begun::Late => assert!(Instant::now() < deadline, "no frame"),
            Begun::Ended => return None,
            Begun::Frame { .. } => break,
        }
        std::thread::yield_now();
    }
    Some(number(&show.bytes()))
}

fn at_sixty(spec: &str) -> Show {
    let mut show = Show::of(spec, PixelFormat::Nv12);
    show.camera
        .expect(Pace::Every(1, 60), Some(frame_at_sixty(0)));
    show
}

/// Waits until a pipe is full, because nobody reads from it.
fn until_held_up(mut writer: &PipeWriter, mut rest: &[u8]) -> usize {
    ioctl_fionbio(writer, true).unwrap();
    let mut total = 0;
    loop {
        let limit = Timespec {
            tv_sec: 0,
            tv_nsec: 300_000_000,
        };
        let mut fds = [PollFd::new(writer, PollFlags::OUT)];
        if poll(&mut fds, Some(&limit)).unwrap() == 0 {
            return total;
        }
        match writer.write(rest) {
            Ok(written) => {
                rest = &rest[written..];
                total += written;
            }
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        }
    }
}

/// Whatever happens to a stream, each frame of a pipe is shown once and in its
/// turn, although several have been begun ahead each time.
#[test]
fn no_frame_of_a_pipe_is_lost_or_shown_twice() {
    let (_reader, mut writer, path) = pipe();
    writer.write_all(&film(100)).unwrap();
    drop(writer);
    let mut show = at_sixty(&format!("y4m:{path}"));
    let mut expected = 0;
    let mut sequence = 0;
    let mut some = |show: &mut Show, frames: u32, step: u32| {
        for _ in 0..frames {
            let got = shown(show, &frame_at_sixty(sequence));
            assert_eq!(got, Some(expected));
            expected += 1;
            sequence += step;
        }
    };
    for round in 0..4 {
        some(&mut show, 5, 1);
        // The guest has no buffer for most frames.
        some(&mut show, 3, 7);
        // A control.
        let settings = other_settings(&show);
        show.camera.set(settings);
        some(&mut show, 4, 1);
        // Another picture is shown for a while.
        let film = show.camera.settings().clone();
        let card = Settings {
            test_pattern: Some(3),
            ..film.clone()
        };
        show.camera.set(card);
        for n in 0..3 {
            let begun = show.camera.begin(&frame_at_sixty(n));
            assert!(matches!(begun, Begun::Frame { .. }));
        }
        show.camera.set(film);
        some(&mut show, 3, 1);
        // The stream ends, and another one begins.
        show.camera.end();
        show.prepare();
        if round % 2 == 0 {
            show.camera
                .expect(Pace::Every(1, 60), Some(frame_at_sixty(0)));
        } else {
            show.camera.expect(Pace::Free, None);
        }
    }
    some(&mut show, 40, 1);
    assert_eq!(shown(&mut show, &frame_at_sixty(9)), None);
    assert_eq!(shown(&mut show, &frame_at_sixty(10)), None);
}

#[test]
fn a_pipe_that_stalls_is_late_also_if_its_frames_are_converted() {
    let (_reader, mut writer, path) = pipe();
    writer.write_all(HEADER.as_bytes()).unwrap();
    let mut show = at_sixty(&format!("y4m:{path}"));
    for n in 0..10 {
        for _ in 0..3 {
            assert_eq!(show.camera.begin(&frame_at_sixty(n)), Begun::Late);
        }
        writer.write_all(&frame_of(n as usize)).unwrap();
        assert_eq!(shown(&mut show, &frame_at_sixty(n)), Some(n as usize));
    }
    assert_eq!(show.camera.begin(&frame_at_sixty(10)), Begun::Late);
    assert_eq!(number(&show.bytes()), 9, "it stays");
    // A stream can end while its pipe stalls.
    show.camera.end();
    show.prepare();
    drop(writer);
    assert_eq!(next(&mut show), None);
}

#[test]
fn a_fifo_s_next_writer_begins_the_next_stream() {
    let files = Files::new();
    let path = fifos::fifo(&files);
    let first = fifos::writer(&path, film(2));
    let mut show = at_sixty(&format!("y4m:{path}"));
    first.join().unwrap();
    for round in 0..3 {
        assert_eq!(shown(&mut show, &frame_at_sixty(0)), Some(round));
        assert_eq!(shown(&mut show, &frame_at_sixty(1)), Some(round + 1));
        assert_eq!(shown(&mut show, &frame_at_sixty(2)), None);
        show.camera.end();
        show.prepare();
        show.camera
            .expect(Pace::Every(1, 60), Some(frame_at_sixty(0)));
        let both = [fifos::one(round + 1), frame_of(round + 2)].concat();
        fifos::writer(&path, both).join().unwrap();
    }
}

/// How much a card reads ahead of what it shows is bounded.
#[test]
fn a_pipe_is_held_up_also_if_its_frames_are_converted() {
    let (_reader, writer, path) = pipe();
    (&writer).write_all(HEADER.as_bytes()).unwrap();
    let mut show = at_sixty(&format!("y4m:{path}"));
    let bytes = film(100_000);
    let written = until_held_up(&writer, &bytes[HEADER.len()..]);
    // The limit is the pipe's 64 KiB, the frames, and the size of a read: four
    // frames, and those of at most four threads and two more.
    assert!(
        written <= (64 << 10) + (4 + 6) * (BYTES + 9) + (8 << 10),
        "{written}"
    );
    assert_eq!(shown(&mut show, &frame_at_sixty(0)), Some(0));
}

#[test]
fn by_time_every_frame_is_that_of_its_time() {
    let files = Files::new();
    let path = files.file("film", &film(70));
    for changes in [false, true] {
        let mut show = at_sixty(&format!("y4m:{path}"));
        let mut n = 0;
        for round in 0..60 {
            assert_eq!(
                shown(&mut show, &frame_at_sixty(n)),
                Some(n as usize / 2 % 70),
                "frame {n}"
            );
            // Every now and then some frames are left out.
            n += if round % 7 == 3 { 3 } else { 1 };
            n += if round % 20 == 19 { 50 } else { 0 };
            if changes && round % 3 == 0 {
                let settings = other_settings(&show);
                show.camera.set(settings);
            }
        }
    }
}

/// A film that is not read in time shows the frames that there are. What nobody
/// waits for is not late.
#[test]
fn a_film_is_not_behind_its_time_before_a_frame_is_due() {
    let (_reader, mut writer, path) = pipe();
    writer.write_all(&film(3)).unwrap();
    let mut film = open(&format!("y4m:{path},rate=time")).unwrap();
    let film = film.whole().expect("its frames come whole");
    film.go_ahead(Some((6, Arc::new(|| ()))));
    let mut begin = |n, is_awaited| film.begin_ahead(&frame_at_sixty(n), 0, is_awaited);
    let deadline = Instant::now() + LIMIT;
    for n in [0, 2] {
        while begin(n, true) == Begun::Late {
            assert!(Instant::now() < deadline, "no frame");
            std::thread::yield_now();
        }
    }
    assert_eq!(begin(20, false), Begun::Late);
    for _ in 0..1000 {
        assert_eq!(begin(30, true), Begun::Late);
        std::thread::yield_now();
    }
    // Now it is.
    while begin(40, true) == Begun::Late {
        assert!(Instant::now() < deadline, "no frame");
        std::thread::yield_now();
    }
}

/// However late the guest has its first buffer, a stream begins with the film's
/// first frame.
#[test]
fn a_stream_begins_with_the_first_frame_whenever_it_is_shown() {
    let files = Files::new();
    let path = files.file("film", &film(70));
    for first in [0, 1, 3, 200] {
        let mut show = at_sixty(&format!("y4m:{path}"));
        for n in 0..20 {
            let got = shown(&mut show, &frame_at_sixty(first + n));
            assert_eq!(got, Some(n as usize / 2), "{n} after {first}");
        }
    }
}

#[test]
fn a_film_that_is_shown_once_ends_after_its_last_frame() {
    let files = Files::new();
    let path = files.file("film", &film(3));
    for (spec, frames) in [("once", 6), ("once,rate=frame", 3)] {
        let mut show = at_sixty(&format!("y4m:{path},{spec}"));
        for _ in 0..3 {
            for n in 0..frames {
                assert!(shown(&mut show, &frame_at_sixty(n)).is_some(), "{spec} {n}");
            }
            assert_eq!(shown(&mut show, &frame_at_sixty(frames)), None, "{spec}");
            show.camera.end();
            show.prepare();
            show.camera
                .expect(Pace::Every(1, 60), Some(frame_at_sixty(0)));
        }
    }
}

/// A change appears in the frame that is asked for next, also in frames that
/// repeat a picture.
#[test]
fn a_control_changes_the_next_frame() {
    let files = Files::new();
    let bytes: Vec<u8> = [100; 288].into();
    let path = files.file("film", &bytes);
    let mut show = Show::of(
        &format!("raw:{path},format=GREY,size=16x18,fps=1"),
        PixelFormat::Rgb3,
    );
    show.camera
        .expect(Pace::Every(1, 60), Some(frame_at_sixty(0)));
    for n in 0..50 {
        let brightness = 128 + n as i32;
        let adjust = Adjust {
            brightness,
            ..Adjust::default()
        };
        show.camera.set(Settings {
            adjust,
            ..Settings::default()
        });
        for more in 0..3 {
            let info = frame_at_sixty(n * 3 + more);
            assert!(matches!(show.camera.begin(&info), Begun::Frame { .. }));
            let level = 100 + n as u8;
            assert!(show.bytes().iter().all(|byte| *byte == level), "{n} {more}");
        }
    }
}
