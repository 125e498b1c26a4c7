//! The card's clock: rates, dropped frames, and events that have to wait.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, SystemTime};

use pinhole::card::clock::GRACE;
use pinhole::card::witness::{Record, StreamMemory};

use crate::harness::v4l2::*;
use crate::harness::{Card, Driver, Event, Options, Stream, guest_memory};

const SMALL: (u32, u32, u32) = (GREY, 64, 64);

/// How late one comes is the machine's business; that the card is woken for it
/// at its time is tested with a clock that a test sets.
#[test]
fn no_frame_comes_before_its_time() {
    let card = &mut Card::start(&[]);
    let driver = &mut Driver::new(card);
    let stream = Stream::new(driver, SMALL, 4);
    for rate in [30, 60, 200] {
        driver.set_rate(stream.session, rate);
        stream.start(driver);
        for _ in 0..rate / 3 {
            let frame = stream.turn(driver, card);
            let due = u64::from(frame.sequence + 1) * 1_000_000_000 / u64::from(rate);
            assert!(frame.time_ns >= due, "{frame:?} at {rate} a second");
        }
        driver.streamoff(stream.session).unwrap();
        driver.forget_events();
        card.wait_streams_ended();
    }
}

#[test]
fn at_full_speed_a_buffer_is_filled_as_soon_as_it_is_queued() {
    let card = &mut Card::fast();
    let driver = &mut Driver::new(card);
    let stream = Stream::new(driver, SMALL, 4);
    stream.start(driver);
    for sequence in 0..100 {
        let frame = stream.turn(driver, card);
        assert_eq!(frame.sequence, sequence, "nothing is dropped");
    }
}

#[test]
fn a_frame_without_a_buffer_is_dropped_and_counted() {
    let card = &mut Card::start(&[]);
    let driver = &mut Driver::new(card);
    let stream = Stream::new(driver, SMALL, 2);
    driver.set_rate(stream.session, 240);
    driver.streamon(stream.session).unwrap();
    stream.queue(driver, 0);
    let first = stream.next(driver, card);
    // Long enough for a dozen frames at 240 a second.
    assert_eq!(driver.event_within(Duration::from_millis(100)), None);
    stream.queue(driver, 1);
    let second = stream.next(driver, card);
    let missed = second.sequence - first.sequence - 1;
    assert!(missed >= 12, "{missed} frames dropped");
    assert!(second.time_ns - first.time_ns >= 90_000_000);
    driver.streamoff(stream.session).unwrap();
    driver.assert_untouched();

    let session = stream.session;
    let (frames, dropped) = card.wait_record("the end of the stream", |record| match record {
        Record::StreamOff {
            session: of,
            direction: None,
            frames,
            dropped,
        } if *of == session => Some((*frames, *dropped)),
        _ => None,
    });
    assert_eq!(frames, 2);
    assert!(dropped >= u64::from(missed));
}

/// A JPEG of that size takes longer than the 4 ms that there are for it; and
/// where it does not, the same holds.
#[test]
fn a_card_that_is_too_slow_keeps_to_the_time_and_all_agree_on_what_is_dropped() {
    const RATE: u32 = 240;
    let dir = tempfile::tempdir().unwrap();
    let mut command = Card::command();
    for (option, name) in [("--socket-path", "card.sock"), ("--control", "control")] {
        command.arg(option).arg(dir.path().join(name));
    }
    let card = &mut Card::spawn(command, dir);
    let driver = &mut Driver::attach(card, guest_memory(24 << 20), Options::default());
    let stream = Stream::new(driver, (MJPG, 1920, 1080), 4);
    driver.set_rate(stream.session, RATE);
    stream.start(driver);
    let due = |frames: u64| frames * 1_000_000_000 / u64::from(RATE);
    let mut seen = Vec::new();
    while seen.len() < 60 {
        let buffer = driver.dqbuf(stream.session);
        let frame = card.frame(stream.session, buffer.sequence);
        // A frame that was begun was no later than so many intervals.
        let latest = due(u64::from(frame.sequence) + 1 + GRACE);
        assert!(frame.time_ns < latest, "{frame:?}");
        seen.push(frame.sequence);
        let list = &stream.lists[buffer.index as usize];
        driver.memory.accept_segments(list);
        stream.queue(driver, buffer.index);
    }
    driver.streamoff(stream.session).unwrap();
    let (frames, dropped) = card.wait_record("the end of the stream", |record| match record {
        Record::StreamOff {
            frames, dropped, ..
        } => Some((*frames, *dropped)),
        _ => None,
    });
    // The gaps that the guest has seen, and what it was not told of any more.
    let last = seen.last().expect("a frame");
    let gaps = u64::from(*last) + 1 - seen.len() as u64;
    assert!(dropped >= gaps, "{dropped} of {gaps}");
    assert!(frames >= seen.len() as u64, "{frames}");

    let client = UnixStream::connect(card.directory().join("control")).unwrap();
    (&client)
        .write_all(b"{\"request\":\"statistics\"}\n")
        .unwrap();
    let mut answer = String::new();
    BufReader::new(&client).read_line(&mut answer).unwrap();
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    let counted = &answer["statistics"];
    assert_eq!(
        (counted["frames"].as_u64(), counted["dropped"].as_u64()),
        (Some(frames), Some(dropped))
    );
}

#[test]
fn the_witness_tells_of_the_stream_and_its_end() {
    let card = &mut Card::fast();
    let driver = &mut Driver::new(card);
    let stream = Stream::new(driver, (NV12, 320, 240), 3);
    let before = SystemTime::now();
    stream.start(driver);
    let after = SystemTime::now();
    for _ in 0..3 {
        stream.next(driver, card);
    }
    driver.streamoff(stream.session).unwrap();
    let session = stream.session;
    card.wait_record("the end of the stream", |record| {
        matches!(record, Record::StreamOff { session: of, frames: 3, dropped: 0, .. } if *of == session)
            .then_some(())
    });
    let Record::StreamOn {
        session: of,
        direction: None,
        format,
        width,
        height,
        bytesperline,
        sizeimage,
        memory,
        card: kind,
        wall_ns,
    } = &card.witness()[0]
    else {
        panic!("{:?}", card.witness());
    };
    assert_eq!((*of, format.as_str()), (session, "NV12"));
    assert_eq!(*memory, StreamMemory::Guest);
    assert!(kind.is_capture());
    assert_eq!((*width, *height), (320, 240));
    assert_eq!(bytesperline[0], 320);
    assert_eq!(sizeimage, &[320 * 240 * 3 / 2]);
    let begun = SystemTime::UNIX_EPOCH + Duration::from_nanos(*wall_ns);
    assert!((before..=after).contains(&begun), "{begun:?}");
    assert_eq!(card.witness().len(), 5);
}

#[test]
fn without_a_witness_frames_are_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("card.sock");
    let mut command = Card::command();
    command.args(["--rate", "max", "--socket-path"]).arg(socket);
    let card = &mut Card::spawn_without_witness(command, dir);
    let driver = &mut Driver::new(card);
    let stream = Stream::new(driver, SMALL, 2);
    stream.start(driver);
    for _ in 0..20 {
        let buffer = driver.dqbuf(stream.session);
        let list = &stream.lists[buffer.index as usize];
        crate::harness::stream::check_watermarks(&driver.memory.gather(list), buffer.sequence);
        driver.memory.accept_segments(list);
        stream.queue(driver, buffer.index);
    }
    driver.streamoff(stream.session).unwrap();
    assert!(card.witness().is_empty());
}

#[test]
fn events_wait_for_a_buffer_and_none_is_lost() {
    let card = &mut Card::fast();
    let options = Options {
        event_buffers: 0,
        ..Options::default()
    };
    let driver = &mut Driver::attach(card, guest_memory(1 << 20), options);
    let stream = Stream::new(driver, SMALL, 8);
    stream.start(driver);
    // All eight frames are written, and nobody can be told.
    card.wait_frame(7);
    assert_eq!(driver.event_within(Duration::from_millis(20)), None);
    for sequence in 0..8 {
        driver.post_event_buffer();
        let frame = stream.next(driver, card);
        assert_eq!(frame.sequence, sequence);
        assert_eq!(driver.event_within(Duration::ZERO), None);
    }
    driver.streamoff(stream.session).unwrap();
    driver.assert_untouched();
}

#[test]
fn a_stream_that_ends_takes_its_waiting_events_with_it() {
    let card = &mut Card::fast();
    let options = Options {
        event_buffers: 0,
        ..Options::default()
    };
    let driver = &mut Driver::attach(card, guest_memory(1 << 20), options);
    let stream = Stream::new(driver, SMALL, 4);
    stream.start(driver);
    card.wait_frame(3);
    driver.streamoff(stream.session).unwrap();
    for _ in 0..4 {
        driver.post_event_buffer();
    }
    // A new stream's events are the first to come.
    for list in &stream.lists {
        driver.memory.accept_segments(list);
    }
    stream.queue(driver, 2);
    driver.streamon(stream.session).unwrap();
    match driver.event() {
        Event::Dqbuf { buffer, .. } => assert_eq!((buffer.index, buffer.sequence), (2, 0)),
        other => panic!("{other:?}"),
    }
    assert_eq!(driver.event_within(Duration::from_millis(20)), None);
}

#[test]
fn timestamps_do_not_go_back() {
    let card = &mut Card::fast();
    let driver = &mut Driver::new(card);
    let stream = Stream::new(driver, SMALL, 4);
    stream.start(driver);
    let mut last = 0;
    for _ in 0..50 {
        let frame = stream.turn(driver, card);
        assert!(frame.time_ns >= last);
        last = frame.time_ns;
    }
}
