//! Streams: who may have one, which frames it has, and how it ends.

use super::*;
use crate::wire::Errno;
use crate::wire::capture::StreamParm;
use crate::wire::format::Fract;

const EBUSY: u32 = Errno::EBUSY.0;

/// A frame interval of 1/60 s in microseconds, and a little.
const INTERVAL: u64 = 16_667;

/// Where buffer `index` lies.
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
        // One is due at a time.
        rig.run(0);
        assert!(rig.dequeue().is_empty());
    }
}

#[test]
fn frames_come_at_the_rate_that_was_set() {
    let (mut rig, session) = Rig::with_buffers(Rate::Guest, 2);
    for rate in [1, 30, 60, 200] {
        let parm = StreamParm::capture(1, Fract::new(1, rate));
        rig.ok(session, Ioctl::SParm, &parm);
        rig.queue(session, 0, &place(0)).unwrap();
        rig.stream_on(session);
        let start = rig.now.monotonic;
        // As many as come in two seconds, each woken up for.
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
    // Frames 0 to 6 are due and find nothing.
    rig.run(7 * INTERVAL);
    assert_eq!(rig.card.next_deadline(), None, "nothing to wake up for");
    rig.queue(session, 0, &place(0)).unwrap();
    rig.run(0);
    assert!(rig.dequeue().is_empty(), "the next frame is not due yet");
    rig.run(INTERVAL);
    assert_eq!(sequences(&rig.dequeue()), [7]);
    assert!(rig.read(&place(0)) == frame(7));
    // Late with two buffers: both are filled with what was due first, the
    // rest is dropped.
    rig.queue(session, 0, &place(0)).unwrap();
    rig.queue(session, 1, &place(1)).unwrap();
    rig.run(10 * INTERVAL);
    assert_eq!(sequences(&rig.dequeue()), [8, 9]);
    rig.queue(session, 0, &place(0)).unwrap();
    rig.run(INTERVAL);
    assert_eq!(sequences(&rig.dequeue()), [18]);
    rig.stream_off(session);
    let text = rig.testimony();
    assert_eq!(
        text.lines().last(),
        Some(r#"{"event":"stream-off","session":1,"frames":4,"dropped":15}"#)
    );
}

#[test]
fn one_tick_makes_one_frame() {
    let (mut rig, session) = Rig::with_buffers(Rate::Guest, 2);
    rig.queue(session, 0, &place(0)).unwrap();
    rig.queue(session, 1, &place(1)).unwrap();
    rig.stream_on(session);
    rig.now.monotonic += Duration::from_secs(1);
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
            // One frame is made, two buffers wait.
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
    // Its buffers are free for others.
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
