//! Streams: which session may have one, which frames it gets, and how it ends.

use super::super::clock::GRACE;
use super::*;
use crate::wire::Errno;
use crate::wire::format::Fract;
use crate::wire::parm::StreamParm;

const EBUSY: u32 = Errno::EBUSY.0;

/// Slightly more than a frame interval of 1/60 s, in microseconds.
const INTERVAL: u64 = 16_667;

/// Returns the segment of buffer `index`.
fn place(index: u32) -> [(u64, u32); 1] {
    [(0x8000 + u64::from(index) * 0x1000, FRAME)]
}

fn sequences(buffers: &[Buffer]) -> Vec<u32> {
    buffers.iter().map(|buffer| buffer.sequence.get()).collect()
}

#[test]
fn frames_come_in_the_order_of_the_queue_each_at_its_time() {
    let (mut rig, session) = Rig::with_buffers(Rate::Guest, 3);
    for index in [2, 0, 1] {
        rig.queue(session, index, &place(index)).unwrap();
    }
    rig.run(1_000_000);
    assert!(rig.dequeue().is_empty(), "not streaming yet");
    rig.stream_on(session);
    rig.run(INTERVAL - 2);
    assert!(
        rig.dequeue().is_empty(),
        "the first frame takes an interval"
    );
    for (sequence, index) in [2, 0, 1].into_iter().enumerate() {
        rig.run(if sequence == 0 { 2 } else { INTERVAL });
        let [done] = rig.dequeue()[..] else {
            panic!("frame {sequence}: not one event")
        };
        assert_eq!(done.index, index);
        assert_eq!(
            (done.sequence.get(), done.bytesused.get()),
            (sequence as u32, FRAME)
        );
        assert_eq!(
            (done.type_.get(), done.memory.get(), done.field.get()),
            (1, 2, 1)
        );
        assert_eq!(done.m, 0, "no pointer");
        assert_eq!(done.flags, 0x2004);
        assert_eq!(done.timestamp_sec.get() as u64, rig.now.monotonic.as_secs());
        assert!(rig.read(&place(index)) == frame(sequence as u32));
        // One frame is due at a time.
        rig.run(0);
        assert!(rig.dequeue().is_empty());
    }
}

#[test]
fn frames_come_at_the_rate_that_was_set() {
    let (mut rig, session) = Rig::with_buffers(Rate::Guest, 2);
    for rate in [1, 30, 60, 200] {
        let parm = StreamParm::of(1, Fract::new(1, rate));
        rig.ok(session, Ioctl::SParm, &parm);
        rig.queue(session, 0, &place(0)).unwrap();
        rig.stream_on(session);
        let start = rig.now.monotonic;
        // The test makes as many frames as come in two seconds, waking up for
        // each.
        for number in 0..2 * rate {
            let nanoseconds = u64::from(number + 1) * 1_000_000_000 / u64::from(rate);
            let due = start + Duration::from_nanos(nanoseconds);
            assert_eq!(rig.card.next_deadline(), Some(due), "{rate} a second");
            rig.now.monotonic = due - Duration::from_nanos(1);
            assert!(!rig.card.tick(rig.now));
            rig.now.monotonic = due;
            assert!(rig.card.tick(rig.now));
            assert_eq!(sequences(&rig.dequeue()), [number]);
            rig.queue(session, 0, &place(0)).unwrap();
        }
        rig.stream_off(session);
    }
}

#[test]
fn frames_without_a_buffer_are_dropped_and_counted() {
    let (mut rig, session) = Rig::with_buffers(Rate::Guest, 2);
    rig.stream_on(session);
    // Frames 0 to 6 are due and find no buffer.
    rig.run(7 * INTERVAL);
    assert_eq!(rig.card.next_deadline(), None, "nothing to wake up for");
    rig.queue(session, 0, &place(0)).unwrap();
    rig.run(0);
    assert!(rig.dequeue().is_empty(), "the next frame is not due yet");
    rig.run(INTERVAL);
    assert_eq!(sequences(&rig.dequeue()), [7]);
    assert!(rig.read(&place(0)) == frame(7));
    rig.stream_off(session);
    let text = rig.witness_text();
    assert_eq!(
        text.lines().last(),
        Some(r#"{"event":"stream-off","session":1,"frames":1,"dropped":7}"#)
    );
}

#[test]
fn a_hiccup_costs_no_frame_and_a_longer_one_all_that_are_late() {
    let (mut rig, session) = Rig::with_buffers(Rate::Guest, 8);
    let queue = |rig: &mut Rig| {
        for index in 0..8 {
            rig.queue(session, index, &place(index)).unwrap();
        }
    };
    queue(&mut rig);
    rig.stream_on(session);
    rig.run(GRACE * INTERVAL);
    let all: Vec<u32> = (0..GRACE as u32).collect();
    assert_eq!(sequences(&rig.dequeue()), all, "as many as are tolerated");
    rig.stream_off(session);
    queue(&mut rig);
    rig.stream_on(session);
    rig.run((GRACE + 1) * INTERVAL);
    assert_eq!(
        sequences(&rig.dequeue()),
        [GRACE as u32],
        "the last of them"
    );
    // The stream is on time again.
    rig.run(INTERVAL - 10);
    assert!(rig.dequeue().is_empty());
    rig.run(INTERVAL);
    assert_eq!(sequences(&rig.dequeue()), [GRACE as u32 + 1]);
    rig.stream_off(session);
    let ends: Vec<_> = rig.records().into_iter().filter(is_end).collect();
    let [
        _,
        Record::StreamOff {
            frames, dropped, ..
        },
    ] = ends[..]
    else {
        panic!("{ends:?}")
    };
    assert_eq!((frames, dropped), (2, GRACE));
    assert_eq!(rig.card.statistics(rig.now).dropped, GRACE);
}

fn is_end(record: &Record) -> bool {
    matches!(record, Record::StreamOff { .. })
}

/// A frame takes three times as long to make as its interval.
#[test]
fn a_card_that_is_too_slow_drops_frames_and_keeps_to_the_time() {
    const SECONDS: u64 = 10;
    let (mut rig, session) = Rig::with_buffers(Rate::Guest, 2);
    rig.queue(session, 0, &place(0)).unwrap();
    rig.queue(session, 1, &place(1)).unwrap();
    rig.stream_on(session);
    let start = rig.now.monotonic;
    let mut seen = Vec::new();
    while rig.now.monotonic < start + Duration::from_secs(SECONDS) {
        if !rig.card.tick(rig.now) {
            rig.now.monotonic = rig.card.next_deadline().unwrap();
            continue;
        }
        // The time that a film shows, and that the clock overlay draws, is the
        // current one.
        let shown = rig.stage.lock().unwrap().frame.elapsed;
        let late = (rig.now.monotonic - start).saturating_sub(shown);
        let most = Duration::from_micros(GRACE * INTERVAL);
        assert!(late < most, "{late:?} late after {} frames", seen.len());
        rig.now.monotonic += Duration::from_micros(3 * INTERVAL);
        for buffer in rig.dequeue() {
            seen.push(buffer.sequence.get());
            let index = buffer.index.get();
            rig.queue(session, index, &place(index)).unwrap();
        }
    }
    rig.stream_off(session);
    let last = *seen.last().unwrap();
    assert!(u64::from(last) >= 60 * SECONDS - GRACE - 1, "{last}");
    // The guest's gaps, the witness and the statistics agree.
    let missing = u64::from(last) + 1 - seen.len() as u64;
    let records = rig.records();
    let Some(Record::StreamOff {
        frames, dropped, ..
    }) = records.last()
    else {
        panic!("{records:?}")
    };
    assert_eq!((*frames, *dropped), (seen.len() as u64, missing));
    let statistics = rig.card.statistics(rig.now);
    assert_eq!(
        (statistics.frames, statistics.dropped),
        (seen.len() as u64, missing)
    );
    assert!(missing > 300, "{missing}");
}

#[test]
fn one_tick_makes_one_frame() {
    let (mut rig, session) = Rig::with_buffers(Rate::Guest, 2);
    rig.queue(session, 0, &place(0)).unwrap();
    rig.queue(session, 1, &place(1)).unwrap();
    rig.stream_on(session);
    rig.now.monotonic += Duration::from_micros(2 * INTERVAL);
    rig.card.tick(rig.now);
    assert_eq!(rig.dequeue().len(), 1);
    assert!(rig.card.next_deadline().unwrap() <= rig.now.monotonic);
}

#[test]
fn at_the_highest_rate_every_buffer_is_filled_at_once_and_none_dropped() {
    let (mut rig, session) = Rig::with_buffers(Rate::Max, 2);
    rig.stream_on(session);
    for round in 0..3 {
        rig.run(1_000_000);
        rig.queue(session, 0, &place(0)).unwrap();
        rig.queue(session, 1, &place(1)).unwrap();
        rig.run(0);
        assert_eq!(sequences(&rig.dequeue()), [2 * round, 2 * round + 1]);
    }
}

#[test]
fn a_stream_begins_at_zero_again() {
    let (mut rig, session) = Rig::with_buffers(Rate::Guest, 1);
    for _ in 0..2 {
        rig.stream_on(session);
        rig.run(4 * INTERVAL);
        rig.queue(session, 0, &place(0)).unwrap();
        rig.run(INTERVAL);
        assert_eq!(sequences(&rig.dequeue()), [4]);
        rig.stream_off(session);
    }
}

#[test]
fn after_each_end_of_a_stream_nothing_is_written_or_said() {
    type End = fn(&mut Rig, u32);
    let ends: [(&str, End); 6] = [
        ("STREAMOFF", |rig, session| rig.stream_off(session)),
        ("REQBUFS(0)", |rig, session| {
            rig.ok(session, Ioctl::ReqBufs, &request(0));
        }),
        ("CLOSE", |rig, session| rig.close(session)),
        ("reset", |rig, _| rig.card.reset()),
        ("death", |rig, session| {
            rig.card.fail_session(session, Errno::EIO);
            rig.close(session);
        }),
        ("STREAMOFF twice", |rig, session| {
            rig.stream_off(session);
            rig.stream_off(session);
        }),
    ];
    for rate in [Rate::Guest, Rate::Max] {
        for (name, end) in ends {
            let (mut rig, session) = Rig::with_buffers(rate, 3);
            for index in 0..3 {
                rig.queue(session, index, &place(index)).unwrap();
            }
            rig.stream_on(session);
            // One frame is made, and two buffers wait.
            rig.now.monotonic += Duration::from_micros(INTERVAL);
            rig.card.tick(rig.now);
            end(&mut rig, session);
            rig.memory
                .write_slice(&[0xa5; MEMORY], GuestAddress(0))
                .unwrap();
            rig.run(10 * INTERVAL);
            rig.card.tick(rig.now);
            assert!(rig.everything().iter().all(|byte| *byte == 0xa5), "{name}");
            assert!(rig.dequeue().is_empty(), "{name}");
            assert_eq!(rig.card.next_deadline(), None, "{name}");
        }
    }
}

#[test]
fn streamoff_gives_all_buffers_back() {
    let (mut rig, session) = Rig::with_buffers(Rate::Guest, 3);
    for streaming in [true, false] {
        for index in 0..3 {
            rig.queue(session, index, &place(index)).unwrap();
        }
        if streaming {
            rig.stream_on(session);
            rig.run(INTERVAL);
        }
        rig.stream_off(session);
    }
    for index in 0..3 {
        rig.queue(session, index, &place(index)).unwrap();
    }
}

#[test]
fn buffers_belong_to_one_session_at_a_time() {
    let (mut rig, owner) = Rig::with_buffers(Rate::Guest, 2);
    let other = rig.open();
    let one = 1u32.to_le_bytes();
    let attempts = [
        (Ioctl::ReqBufs, request(1).as_bytes().to_vec()),
        (Ioctl::ReqBufs, request(0).as_bytes().to_vec()),
        (Ioctl::QBuf, qbuf(0, FRAME, &place(0))),
        (Ioctl::StreamOn, one.to_vec()),
        (Ioctl::StreamOff, one.to_vec()),
    ];
    for (ioctl, payload) in &attempts {
        assert_eq!(rig.ioctl(other, *ioctl, payload), Err(EBUSY), "{ioctl:?}");
    }
    rig.ioctl(other, Ioctl::QueryBuf, &qbuf(0, 0, &[])).unwrap();
    rig.close(owner);
    for (ioctl, payload) in &attempts {
        if *ioctl != Ioctl::QBuf {
            let answer = rig.ioctl(other, *ioctl, payload);
            assert_ne!(answer, Err(EBUSY), "{ioctl:?}");
        }
    }
}

#[test]
fn a_dead_session_is_announced_and_its_id_kept_until_it_is_closed() {
    let (mut rig, session) = Rig::with_buffers(Rate::Guest, 1);
    rig.queue(session, 0, &place(0)).unwrap();
    rig.stream_on(session);
    rig.run(INTERVAL);
    rig.card.fail_session(session, Errno::EIO);
    rig.card.fail_session(session, Errno::EIO);
    let mut event = Vec::new();
    assert!(rig.card.next_event(&mut event));
    assert_eq!(event, words(&[0, session, 5, 0]));
    rig.card.event_sent();
    assert!(!rig.card.next_event(&mut event), "its buffers died with it");
    // Another session can allocate buffers.
    let other = rig.open();
    assert_ne!(other, session);
    rig.ok(other, Ioctl::ReqBufs, &request(1));
    rig.close(session);
}

#[test]
fn a_reset_card_is_as_new() {
    let (mut used, session) = Rig::with_buffers(Rate::Guest, 3);
    used.queue(session, 1, &place(1)).unwrap();
    used.stream_on(session);
    used.card.reset();
    let mut new = Rig::new(Rate::Guest);
    let (a, b) = (used.open(), new.open());
    assert_eq!(used.state(a), new.state(b));
}
