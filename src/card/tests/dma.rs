//! Where frames are written, what the witness records, and what happens when
//! guest memory changes.

use std::sync::Arc;

use super::*;
use crate::dma::{DIGEST_BLOCK, Digest};

#[test]
fn a_frame_is_written_where_the_segments_say_and_the_witness_says_the_same() {
    let (mut rig, session) = Rig::with_buffers(Rate::Guest, 1);
    rig.ok(session, Ioctl::ReqBufs, &request(0));
    rig.ok(session, Ioctl::SFmt, &format(b"NV12", 98, 62));
    rig.ok(session, Ioctl::ReqBufs, &request(1));
    let size = 98 * 62 * 3 / 2;
    // The segments are out of order, unaligned, one byte long, adjacent, and
    // longer than the frame; the bytes after the frame must not change.
    let segments = [
        (0x2_0001, 4096),
        (0x1_0fff, 1),
        (0x1_0ff0, 15),
        (0x3_0000, 4096),
        (0x3_1000, size),
    ];
    rig.memory
        .write_slice(&[0xee; MEMORY], GuestAddress(0))
        .unwrap();
    rig.queue(session, 0, &segments).unwrap();
    rig.stream_on(session);
    rig.run(20_000);
    let expected: Vec<u8> = (0..size as usize).map(|i| pixel(0, i)).collect();
    let mut everything = vec![0xee; MEMORY];
    let mut rest = &expected[..];
    for (start, len) in segments {
        let (now, later) = rest.split_at(rest.len().min(len as usize));
        everything[start as usize..][..now.len()].copy_from_slice(now);
        rest = later;
    }
    assert!(rig.everything() == everything);

    let records = rig.records();
    let [
        Record::StreamOn {
            format,
            bytesperline,
            ..
        },
        Record::Frame { planes, .. },
    ] = &records[..]
    else {
        panic!("{records:?}")
    };
    assert_eq!((format.as_str(), &bytesperline[..]), ("NV12", &[98][..]));
    assert_eq!(planes.len(), 1);
    assert_eq!(planes[0].bytes, size);
    assert_eq!(planes[0].segments, segments);
    let digests: Vec<_> = expected.chunks(DIGEST_BLOCK).map(Digest::of).collect();
    assert_eq!(planes[0].digests, digests);
}

#[test]
fn buffers_follow_a_change_of_memory_or_come_back_in_error() {
    for streaming in [false, true] {
        let (mut rig, session) = Rig::with_buffers(Rate::Guest, 3);
        let places = [(0x8_0000, FRAME), (0x1_0000, FRAME), (0x8_1000, FRAME)];
        for (index, place) in (0..).zip(places) {
            rig.queue(session, index, &[place]).unwrap();
        }
        if streaming {
            rig.stream_on(session);
            rig.run(20_000);
            assert_eq!(rig.dequeue().len(), 1);
            rig.queue(session, 0, &[places[0]]).unwrap();
        }
        let region = rig.memory.find_region(GuestAddress(0)).unwrap();
        let old = Arc::downgrade(&region.get_mmap());
        // The upper half of the memory is removed, and the lower half is
        // replaced.
        rig.memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), MEMORY / 2)]).unwrap();
        let bus = Bus {
            memory: &rig.memory,
            forbidden: &[],
        };
        rig.card.memory_changed(rig.now, bus);
        assert!(old.upgrade().is_none(), "nothing holds the old memory");

        let mut lost = rig.dequeue();
        lost.sort_by_key(|buffer| buffer.index.get());
        let indices: Vec<u32> = lost.iter().map(|buffer| buffer.index.get()).collect();
        assert_eq!(indices, [0, 2]);
        for buffer in lost {
            assert_eq!((buffer.flags.get(), buffer.bytesused.get()), (0x2044, 0));
        }
        rig.stream_on(session);
        rig.run(20_000);
        let [done] = rig.dequeue()[..] else {
            panic!("the buffer whose memory is there gets its frame")
        };
        assert_eq!((done.index.get(), done.flags.get()), (1, 0x2004));
        assert!(rig.read(&[places[1]]) == frame(done.sequence.get()));
    }
}

#[test]
fn finished_buffers_hold_no_memory() {
    holds_no_memory_after(true);
}

#[test]
fn cancelled_buffers_hold_no_memory() {
    holds_no_memory_after(false);
}

fn holds_no_memory_after(finish: bool) {
    let (mut rig, session) = Rig::with_buffers(Rate::Guest, 2);
    rig.queue(session, 0, &[(0x8000, FRAME)]).unwrap();
    rig.queue(session, 1, &[(0x9000, FRAME)]).unwrap();
    let region = rig.memory.find_region(GuestAddress(0)).unwrap();
    let old = Arc::downgrade(&region.get_mmap());
    rig.memory = GuestMemoryMmap::new();
    assert!(old.upgrade().is_some());
    rig.stream_on(session);
    rig.run(20_000);
    assert!(old.upgrade().is_some(), "one buffer is queued still");
    if finish {
        rig.run(20_000);
    } else {
        rig.stream_off(session);
    }
    assert!(old.upgrade().is_none());
}
