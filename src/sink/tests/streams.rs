//! Frames on their way from the card to a file.

use super::*;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

const RATE: (u32, u32) = (1, 60);

#[test]
fn frames_are_written_as_they_were_taken() {
    let disk = Disk::of(usize::MAX);
    let mut display = display(disk.clone(), Form::Raw);
    let mut all = Vec::new();
    let layouts = [
        layout(),
        Layout::new(PixelFormat::Yuyv, 640, 480),
        Layout::new(PixelFormat::Grey, 16, 16),
    ];
    // The streams follow each other while frames of the one before wait.
    for (seed, layout) in (1..).zip(layouts) {
        display.prepare(&layout, RATE);
        for number in 0..20 {
            let frame = noise(layout.sizeimage as usize, seed * 100 + number);
            show(&mut display, &frame);
            all.extend(frame);
        }
        display.end();
    }
    drop(display);
    assert!(disk.content() == all);
}

#[test]
fn what_was_not_given_is_zero() {
    let disk = Disk::of(usize::MAX);
    let mut display = display(disk.clone(), Form::Raw);
    let layout = layout();
    display.prepare(&layout, RATE);
    let mut expected = Vec::new();
    // All memories have had a whole frame before.
    for _ in 0..2 * MEMORIES {
        show(&mut display, &[0xff; 384]);
        expected.extend([0xff; 384]);
    }
    for _ in 0..MEMORIES {
        await_that(|| display.is_ready());
        display.begin();
        display.take(3, &[1; 10]);
        display.take(20, &[2; 5]);
        display.finish();
        let mut frame = [0; 384];
        frame[3..13].fill(1);
        frame[20..25].fill(2);
        expected.extend(frame);
    }
    // A frame of which nothing came is still a frame.
    await_that(|| display.is_ready());
    display.begin();
    display.finish();
    expected.extend([0; 384]);
    drop(display);
    assert!(disk.content() == expected);
}

#[test]
fn nothing_reaches_beyond_the_frame() {
    let disk = Disk::of(usize::MAX);
    let mut display = display(disk.clone(), Form::Raw);
    display.prepare(&layout(), RATE);
    display.begin();
    display.take(380, &[1; 100]);
    display.take(384, &[2; 100]);
    display.take(usize::MAX, &[3; 100]);
    display.finish();
    drop(display);
    let mut frame = [0; 384];
    frame[380..].fill(1);
    assert!(disk.content() == frame);
}

#[test]
fn a_compressed_frame_is_as_long_as_it_came() {
    let disk = Disk::of(usize::MAX);
    let mut display = display(disk.clone(), Form::Raw);
    display.prepare(&Layout::new(PixelFormat::Mjpg, 64, 64), RATE);
    for length in [5000, 0, 3, 12_288] {
        show(&mut display, &noise(length, 9));
    }
    drop(display);
    let frames = [5000, 0, 3, 12_288].map(|length| noise(length, 9));
    assert!(disk.content() == frames.concat());
}

#[test]
fn an_abandoned_frame_is_forgotten() {
    let disk = Disk::of(usize::MAX);
    let mut display = display(disk.clone(), Form::Raw);
    display.prepare(&layout(), RATE);
    // As often as there are memories, and more.
    for _ in 0..3 * MEMORIES {
        assert!(display.is_ready());
        display.begin();
        display.take(0, &[7; 384]);
        display.abandon();
    }
    display.begin();
    display.take(0, &[7; 384]);
    // STREAMOFF abandons it, too, and so does the next frame.
    display.end();
    display.prepare(&layout(), RATE);
    display.begin();
    display.take(0, &[7; 384]);
    show(&mut display, &[1; 384]);
    drop(display);
    assert!(disk.content() == [1; 384]);
}

#[test]
fn a_slow_reader_holds_frames_back_and_loses_none() {
    let gate = Gate::new();
    let mut display = display(gate.clone(), Form::Raw);
    display.prepare(&layout(), RATE);
    for frame in 0..MEMORIES {
        assert!(display.is_ready(), "{frame}");
        show(&mut display, &[frame as u8; 384]);
    }
    assert!(!display.is_ready());
    // A frame that is begun all the same is not kept.
    display.begin();
    display.take(0, &[99; 384]);
    display.finish();
    assert!(!display.is_ready());
    gate.open();
    let mut all: Vec<_> = (0..MEMORIES as u8).flat_map(|n| [n; 384]).collect();
    for frame in 50..100 {
        show(&mut display, &[frame; 384]);
        all.extend([frame; 384]);
    }
    drop(display);
    assert!(gate.disk.content() == all);
}

/// A guest that starts stream after stream does not make the card keep more
/// frames, or wait.
#[test]
fn streams_share_the_memories_that_a_slow_reader_leaves() {
    let gate = Gate::new();
    let mut display = display(gate.clone(), Form::Raw);
    let large = Layout::new(PixelFormat::Nv12, 64, 64);
    let mut taken = Vec::new();
    for stream in 0..20u8 {
        let layout = [layout(), large][usize::from(stream % 2)];
        let frame = vec![stream; layout.sizeimage as usize];
        display.prepare(&layout, RATE);
        if display.is_ready() {
            show(&mut display, &frame);
            taken.extend(frame);
        }
        display.end();
    }
    assert_eq!(taken.len(), MEMORIES / 2 * (384 + 6144));
    display.prepare(&large, RATE);
    gate.open();
    // They all become memories of the stream that is on.
    await_that(|| gate.disk.content().len() == taken.len());
    for frame in 0..2 * MEMORIES {
        show(&mut display, &[frame as u8; 6144]);
        taken.extend([frame as u8; 6144]);
    }
    await_that(|| gate.disk.content().len() == taken.len());
    for _ in 0..MEMORIES {
        assert!(display.is_ready());
        display.begin();
        display.finish();
        taken.extend([0; 6144]);
    }
    drop(display);
    assert!(gate.disk.content() == taken);
}

#[test]
fn no_memory_is_kept_without_a_stream() {
    let mut display = display(Disk::of(usize::MAX), Form::Raw);
    assert!(!display.is_ready());
    display.prepare(&layout(), RATE);
    assert!(display.is_ready());
    display.end();
    assert!(!display.is_ready());
    // Frames outside a stream are not kept.
    display.begin();
    display.take(0, &[1; 384]);
    display.finish();
}

#[test]
fn a_reader_that_is_gone_is_done_without() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let file = fs::File::from(OwnedFd::from(ours));
    let mut display = display(file, Form::Raw);
    display.prepare(&layout(), RATE);
    show(&mut display, &[1; 384]);
    drop(theirs);
    // The stream goes on, and so do later ones.
    for _ in 0..3 {
        for _ in 0..10 * MEMORIES {
            show(&mut display, &[2; 384]);
        }
        display.end();
        display.prepare(&layout(), RATE);
    }
    await_that(|| display.is_ready());
}

#[test]
fn a_disk_that_fills_keeps_whole_frames() {
    for (room, frames) in [(0, 0), (383, 0), (384, 1), (385, 1), (3 * 384 + 383, 3)] {
        let disk = Disk::of(room);
        let mut display = display(disk.clone(), Form::Raw);
        display.prepare(&layout(), RATE);
        for _ in 0..3 * MEMORIES {
            show(&mut display, &[7; 384]);
        }
        drop(display);
        assert_eq!(disk.content(), vec![7; frames * 384], "{room}");
    }
}

#[test]
fn the_end_does_not_wait_for_a_reader_that_does_not_read() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let file = fs::File::from(OwnedFd::from(ours));
    let blocked = || output(Gate::new(), Form::Raw);
    let mut display = Display::new(vec![output(file, Form::Raw), blocked(), blocked()]);
    let layout = Layout::new(PixelFormat::Xr24, 640, 480);
    for output in [1, 2, 0] {
        assert!(display.select(output));
        display.prepare(&layout, RATE);
        while display.is_ready() {
            display.begin();
            display.finish();
        }
        let began = Instant::now();
        display.end();
        assert!(began.elapsed() < Duration::from_millis(100));
    }
    let began = Instant::now();
    drop(display);
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(200), "{took:?}");
    assert!(took < Duration::from_millis(800), "{took:?}");
    // The thread of the pipe ends once its write does.
    let mut rest = Vec::new();
    theirs.read_to_end(&mut rest).unwrap();
    assert!(rest.len() < 2 * layout.sizeimage as usize);
}

#[test]
fn the_end_waits_for_frames_that_are_written() {
    let gate = Gate::new();
    let mut display = display(gate.clone(), Form::Raw);
    display.prepare(&layout(), RATE);
    for _ in 0..MEMORIES {
        show(&mut display, &[3; 384]);
    }
    let opener = gate.clone();
    let thread = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(50));
        opener.open();
    });
    drop(display);
    assert_eq!(gate.disk.content(), vec![3; MEMORIES * 384]);
    thread.join().unwrap();
}

/// A disk so slow that the end of the card comes before that of the frame.
#[test]
fn a_file_that_is_given_up_is_cut_to_whole_frames() {
    struct Slow(Disk);
    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = self.0.write(&bytes[..bytes.len().min(4096)])?;
            std::thread::sleep(Duration::from_millis(2));
            Ok(count)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    impl Target for Slow {
        fn cut(&mut self, bytes: u64) {
            self.0.cut(bytes);
        }
    }
    let disk = Disk::of(usize::MAX);
    let mut display = display(Slow(disk.clone()), Form::Raw);
    // A frame takes 150 ms at least.
    let layout = Layout::new(PixelFormat::Grey, 640, 480);
    display.prepare(&layout, RATE);
    while display.is_ready() {
        display.begin();
        display.finish();
    }
    drop(display);
    let whole = disk.content().len();
    assert_eq!(whole % layout.sizeimage as usize, 0);
    assert!(whole < 3 * layout.sizeimage as usize);
}

#[test]
fn the_selected_output_gets_the_stream() {
    let disks = [Disk::of(usize::MAX), Disk::of(usize::MAX)];
    let [first, second] = disks.clone().map(|disk| output(disk, Form::Raw));
    let outputs = vec![first, second, Output::digest()];
    let mut display = Display::new(outputs);
    assert!(!display.select(3));
    for selected in [2, 1, 0] {
        assert!(display.select(selected));
        assert_eq!(display.selected(), selected);
        display.prepare(&layout(), RATE);
        show(&mut display, &[selected as u8; 384]);
        display.end();
    }
    drop(display);
    assert_eq!(disks[0].content(), [0; 384]);
    assert_eq!(disks[1].content(), [1; 384]);
}

#[test]
fn a_sink_that_keeps_nothing_is_always_ready() {
    let mut display = Display::new(vec![Output::digest()]);
    assert!(display.is_ready());
    display.prepare(&layout(), RATE);
    for _ in 0..100 {
        assert!(display.is_ready());
        display.begin();
        display.take(0, &[1; 384]);
        display.finish();
    }
    display.end();
    assert!(PixelFormat::ALL.iter().all(|format| display.takes(*format)));
}

#[test]
fn streams_of_one_card_go_into_one_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let spec = format!("raw:{}", file.path().display());
    let mut display = Display::new(vec![open(&spec).unwrap()]);
    for stream in 0..3 {
        display.prepare(&layout(), RATE);
        show(&mut display, &[stream; 384]);
        display.end();
    }
    drop(display);
    let all = [[0; 384], [1; 384], [2; 384]].concat();
    assert!(read(file.path()) == all);
}
