//! Multi-planar buffers that are none.

use super::buffers::bad_segments;
use crate::harness::memory::{HIGH, Segment};
use crate::harness::v4l2::*;
use crate::harness::{Card, Driver, Options, guest_memory};

/// Sizes of the planes of 64x64 YM12.
const SIZES: [u32; 3] = [4096, 1024, 1024];
const WHOLE: [(u32, u64); 3] = [(SIZES[0], 1), (SIZES[1], 2), (SIZES[2], 3)];

/// A multi-planar card under attack, with two buffers.
struct Storm {
    card: Card,
    driver: Driver,
    session: u32,
    cases: usize,
}

impl Storm {
    fn new() -> Self {
        let mut card = Card::start(&["--rate", "max", "--planes", "multi"]);
        let mut driver = Driver::attach(&mut card, guest_memory(1 << 20), Options::default());
        let session = driver.open();
        let format = planar_format(u32::from_le_bytes(*b"YM12"), 64, 64);
        driver.ioctl(session, S_FMT, &format).expect("S_FMT");
        let request = request_buffers(2, CAPTURE_MPLANE, MEMORY_USERPTR);
        driver.ioctl(session, REQBUFS, &request).expect("REQBUFS");
        // Whatever were queued would be filled at once.
        let kind = payload(STREAMON).with(0, CAPTURE_MPLANE);
        driver.ioctl(session, STREAMON, &kind).expect("STREAMON");
        Self {
            card,
            driver,
            session,
            cases: 0,
        }
    }

    fn refused(&mut self, ioctl: Ioctl, given: &[u8], room: usize, case: &str) {
        let command = ioctl_command(self.session, ioctl.code, given);
        let reply = self.driver.command(&command, room);
        match reply.status() {
            Some(status) => assert!((1..4096).contains(&status), "{case}: status {status}"),
            None => assert!(room < RESPONSE, "{case}: no answer"),
        }
        self.cases += 1;
        self.card.assert_alive();
        if self.cases.is_multiple_of(16) {
            self.driver.assert_untouched();
        }
    }

    fn qbuf_refused(&mut self, planes: &[(u32, u64)], list: &[Segment], case: &str) {
        let mut given = planar_buffer(0, planes);
        given.extend(scatter_list(list));
        self.refused(QBUF, &given, RESPONSE + 88 + 8 * 64, case);
    }

    /// Nothing was queued by mistake, and a good buffer is filled.
    fn end(mut self) -> usize {
        assert_eq!(self.driver.pending_events(), 0);
        self.driver.assert_untouched();
        let list = good();
        let given = [planar_buffer(0, &WHOLE), scatter_list(&list)].concat();
        let command = ioctl_command(self.session, QBUF.code, &given);
        let reply = self.driver.command(&command, RESPONSE + 88 + 3 * 64);
        assert_eq!(reply.status(), Some(0));
        let buffer = self.driver.dqbuf(self.session);
        assert_eq!((buffer.index, buffer.length), (0, 3));
        self.driver.memory.accept_segments(&list);
        self.driver.assert_untouched();
        let allocated = self.card.allocated_kib();
        assert!(
            allocated < 8 << 10,
            "{allocated} KiB allocated after a storm"
        );
        self.cases
    }
}

/// A list for all three planes, each in two pieces.
fn good() -> Vec<Segment> {
    let pieces = (0..).zip(SIZES).flat_map(|(number, size)| {
        let start = HIGH + 0x4000 * number;
        [(start + 7, size - 100), (start + 0x2000, 100)]
    });
    pieces.collect()
}

#[test]
fn numbers_of_planes_that_cannot_be_are_refused() {
    let mut storm = Storm::new();
    let room = RESPONSE + 88 + 8 * 64;
    for ioctl in [QBUF, QUERYBUF] {
        let bits = (4..32).map(|bit| 1 << bit);
        for count in (9..40).chain(bits).chain([0, u32::MAX]) {
            let mut given = planar_buffer(0, &[(4096, 1); 8]).with(72, count);
            given.extend(scatter_list(&good()));
            storm.refused(ioctl, &given, room, &format!("{count} planes"));
        }
        for kind in (0..16)
            .chain([0x80, u32::MAX])
            .filter(|kind| *kind != CAPTURE_MPLANE)
        {
            let given = [
                planar_buffer(0, &WHOLE).with(4, kind),
                scatter_list(&good()),
            ]
            .concat();
            storm.refused(ioctl, &given, room, "another type");
        }
        for index in [2, 31, 32, u32::MAX] {
            let given = [planar_buffer(index, &WHOLE), scatter_list(&good())].concat();
            storm.refused(ioctl, &given, room, "no such buffer");
        }
    }
    for count in 1..3 {
        storm.qbuf_refused(&WHOLE[..count], &good(), "too few planes");
    }
    assert!(storm.end() > 150);
}

#[test]
fn every_truncation_is_refused_and_every_answer_without_room() {
    let mut storm = Storm::new();
    let whole = [planar_buffer(0, &WHOLE), scatter_list(&good())].concat();
    let room = 88 + 3 * 64;
    for len in 0..whole.len() {
        let case = format!("QBUF cut to {len}");
        storm.refused(QBUF, &whole[..len], RESPONSE + room, &case);
        if len < room {
            storm.refused(QUERYBUF, &whole[..len], RESPONSE + room, &case);
            storm.refused(QBUF, &whole, RESPONSE + len, &case);
            storm.refused(QUERYBUF, &whole, RESPONSE + len, &case);
        }
    }
    assert!(storm.end() > 1000);
}

#[test]
fn planes_that_are_too_small_or_without_memory_are_refused() {
    let mut storm = Storm::new();
    for plane in 0..3 {
        for length in [0, 1, SIZES[plane] / 2, SIZES[plane] - 1] {
            let mut planes = WHOLE;
            planes[plane].0 = length;
            storm.qbuf_refused(&planes, &good(), &format!("plane {plane} of {length}"));
        }
        for length in [SIZES[plane] + 1, 1 << 20, u32::MAX] {
            let mut planes = WHOLE;
            planes[plane].0 = length;
            // Its list runs into the next plane's, and the last one is short.
            storm.qbuf_refused(&planes, &good(), &format!("plane {plane} of {length}"));
        }
    }
    for missing in 0..good().len() {
        let mut list = good();
        list.remove(missing);
        storm.qbuf_refused(&WHOLE, &list, &format!("without segment {missing}"));
        let mut list = good();
        list[missing].1 = 0;
        storm.qbuf_refused(&WHOLE, &list, &format!("segment {missing} empty"));
    }
    assert!(storm.end() > 30);
}

#[test]
fn segments_that_lead_astray_are_refused_in_every_plane() {
    let mut storm = Storm::new();
    for (number, (why, bad)) in bad_segments(&storm.driver).into_iter().enumerate() {
        for plane in 0..3 {
            // Before, between and after the good ones of a plane, in turn.
            let at = 2 * plane + number % 2;
            let mut list = good();
            list.insert(at, bad);
            // A plane that is as long as the bad segment adds.
            let mut planes = WHOLE;
            planes[plane].0 = planes[plane].0.saturating_add(bad.1);
            storm.qbuf_refused(&planes, &list, &format!("{why}, plane {plane}"));
        }
    }
    assert!(storm.end() > 300);
}
