//! QBUF with scatter lists that lead astray.

use super::Storm;
use crate::harness::memory::{HIGH, LOW, LOW_END, LOW_SPARE, Segment};
use crate::harness::queue::Queue;
use crate::harness::stream::pages;
use crate::harness::v4l2::*;
use crate::harness::{Driver, Options, PAGE};

impl Storm {
    /// QBUF with that payload is refused, and the buffer stays the driver's.
    fn qbuf_refused(&mut self, payload: &[u8], case: &str) {
        let command = ioctl_command(self.session, QBUF.code, payload);
        self.refused(&command, RESPONSE + QBUF.size, case);
        let state = self.driver.querybuf(self.session, 0).expect("QUERYBUF");
        assert_eq!(state.flags & BUF_FLAG_QUEUED, 0, "after {case}");
    }

    /// As [`Self::qbuf_refused`], for a scatter list that covers `length`.
    fn list_refused(&mut self, length: u32, list: &[Segment], case: &str) {
        let mut payload = buffer(0, 0x1234, length);
        payload.extend(scatter_list(list));
        self.qbuf_refused(&payload, case);
    }
}

fn storm() -> Storm {
    let mut storm = Storm::new(Options::default());
    assert_eq!(storm.driver.reqbufs(storm.session, 2), Ok(2));
    storm
}

fn end(mut storm: Storm) -> usize {
    // Nothing was queued by mistake.
    storm.driver.streamon(storm.session).unwrap();
    storm.driver.streamoff(storm.session).unwrap();
    assert_eq!(storm.driver.pending_events(), 0);
    storm.driver.reqbufs(storm.session, 0).unwrap();
    storm.end()
}

/// Segments that no frame may be written to.
pub fn bad_segments(driver: &Driver) -> Vec<(String, Segment)> {
    let end = driver.memory.high().end;
    let mut bad = Vec::new();
    let mut add = |why: &str, start: u64, len: u32| {
        bad.push((format!("{why}: {start:#x}+{len:#x}"), (start, len)));
    };
    for len in [1, 512, PAGE as u32, 1 << 20, u32::MAX] {
        let back = u64::from(len);
        add("at the address zero", 0, len);
        add("before all memory", LOW - 1, len);
        add("in the hole", LOW_END, len);
        add("in the hole", HIGH / 2, len);
        add("behind all memory", end, len);
        add("far behind all memory", 1 << 40, len);
        add("far behind all memory", 1 << 63, len);
        add("not canonical", 0xffff_8000_0000_0000, len);
        add("across the end of a region", LOW_END - 1, len.max(2));
        add(
            "across the end of a region",
            LOW_END.saturating_sub(back / 2),
            len.max(2),
        );
        add("across the end of memory", end - 1, len.max(2));
        add("from the hole into a region", HIGH - 1, len);
        add("from before into a region", LOW - back.min(LOW), len.max(2));
        add("to the end of the address space", u64::MAX - back + 1, len);
        add("wrapping round", u64::MAX, len.max(2));
        add("wrapping round", u64::MAX - back / 2, len.max(2));
    }
    for start in [LOW, LOW_SPARE.start, HIGH, 0, LOW_END, u64::MAX] {
        add("of no bytes", start, 0);
    }
    add("over the hole", LOW_SPARE.start, u32::MAX);
    add("over everything", 0, u32::MAX);
    for queue in [&driver.commands, &driver.events] {
        for (name, start, len) in [
            ("descriptor table", queue.table(), Queue::TABLE_BYTES),
            ("available ring", queue.avail(), Queue::AVAIL_BYTES),
            ("used ring", queue.used(), Queue::USED_BYTES),
        ] {
            let why = format!("over the {name} of queue {}", queue.number);
            let whole = len as u32;
            add(&why, start, whole);
            add(&why, start, 1);
            add(&why, start + len - 1, 1);
            add(&why, start + len / 2, 2);
            add(&why, start + len - 1, PAGE as u32);
            if start > LOW {
                add(&why, start - 1, 2);
                add(&why, start - 16, whole + 32);
            }
        }
        add("over a whole queue", queue.table(), 0x4000);
    }
    bad
}

#[test]
fn a_segment_that_leads_astray_is_refused_wherever_it_stands() {
    let mut storm = storm();
    let good = |i: u64| (HIGH + i * 0x2000, 2048);
    for (why, bad) in bad_segments(&storm.driver) {
        for (place, list) in [
            ("alone", vec![bad]),
            ("first", vec![bad, good(0), good(1)]),
            ("second", vec![good(0), bad, good(1)]),
            ("last", vec![good(0), (HIGH + 0x2000, 2047), bad]),
        ] {
            let sum = list.iter().map(|(_, len)| u64::from(*len)).sum::<u64>();
            // What the driver calls the buffer's length; the frame's own size
            // is the least that is worth a look at the list.
            let length = u32::try_from(sum).unwrap_or(u32::MAX);
            for length in [length.max(4096), 4096] {
                storm.list_refused(length, &list, &format!("{place}, {why}"));
            }
        }
    }
    let cases = end(storm);
    assert!(cases > 800, "{cases}");
}

#[test]
fn a_list_that_does_not_cover_its_length_is_refused() {
    let mut storm = storm();
    let list = pages(HIGH, 4096);
    storm.list_refused(4097, &list, "one byte too few");
    storm.list_refused(8192, &list, "half of it");
    storm.list_refused(u32::MAX, &list, "almost nothing of it");
    storm.list_refused(4096, &[], "nothing at all");
    for count in 1..64 {
        // Segments of 64 bytes each: 64 of them would do.
        let list: Vec<_> = (0..count).map(|i| (HIGH + i * 100, 64)).collect();
        storm.list_refused(4096, &list, &format!("{count} segments of 64"));
    }
    // The last entry is cut.
    let mut whole = buffer(0, 0, 4096);
    whole.extend(scatter_list(&[(HIGH, 2048), (HIGH + 8192, 2048)]));
    for len in QBUF.size..whole.len() {
        storm.qbuf_refused(&whole[..len], &format!("a list cut to {len}"));
    }
    let cases = end(storm);
    assert!(cases > 90, "{cases}");
}

#[test]
fn a_buffer_that_is_too_small_for_the_frame_is_refused() {
    let mut storm = storm();
    for length in (0..4096).step_by(64).chain([1, 4094, 4095]) {
        storm.list_refused(length, &pages(HIGH, 4096), "too small");
        storm.list_refused(length, &pages(HIGH, length), "too small");
    }
    assert!(end(storm) > 100);
}

#[test]
fn far_too_many_segments_are_refused() {
    let mut storm = storm();
    // More bytes of list than the card will ever need for any picture.
    for count in [20_000, 100_000] {
        let list: Vec<_> = (0..count).map(|i| (HIGH + i % 4096, 1)).collect();
        let length = count as u32;
        let mut payload = buffer(0, 0, length);
        payload.extend(scatter_list(&list));
        let command = ioctl_command(storm.session, QBUF.code, &payload);
        // Only what the frame needs is kept, so this may be accepted; then it
        // must be a buffer like any other.
        let reply = storm.driver.command(&command, RESPONSE + QBUF.size);
        if reply.status() == Some(0) {
            storm.driver.streamoff(storm.session).unwrap();
        }
        storm.survived("far too many segments");
    }
    storm.driver.reqbufs(storm.session, 0).unwrap();
    let large = storm.driver.set_picture(storm.session, GREY, 256, 256);
    assert_eq!(large.sizeimage, 65_536);
    storm.driver.reqbufs(storm.session, 1).unwrap();
    storm.picture = large;
    let list: Vec<_> = (0..65_536).map(|i| (HIGH + i, 1)).collect();
    storm.list_refused(65_536, &list, "65536 segments for one frame");
    end(storm);
}

#[test]
fn a_buffer_that_does_not_exist_or_is_of_another_kind_is_refused() {
    let mut storm = storm();
    let list = scatter_list(&pages(HIGH, 4096));
    let right = buffer(0, 0x1234, 4096);
    let mut wrong = Vec::new();
    for index in [2, 3, 31, 32, 64, 0xffff, 0x8000_0000, u32::MAX] {
        wrong.push(right.clone().with(0, index));
    }
    for kind in (0..16).chain([0x80, 0x8000_0001, u32::MAX]) {
        if kind != CAPTURE {
            wrong.push(right.clone().with(4, kind));
        }
    }
    for memory in [0, MEMORY_MMAP, 3, MEMORY_DMABUF, 5, 0x8000_0002, u32::MAX] {
        wrong.push(right.clone().with(60, memory));
    }
    for mut payload in wrong {
        payload.extend(&list);
        storm.qbuf_refused(&payload, "another kind of buffer");
    }
    assert!(end(storm) > 30);
}

#[test]
fn right_next_to_the_rings_is_memory_like_any_other() {
    let mut storm = storm();
    let mut list = Vec::new();
    for queue in [&storm.driver.commands, &storm.driver.events] {
        for (start, len) in [
            (queue.table(), Queue::TABLE_BYTES),
            (queue.avail(), Queue::AVAIL_BYTES),
            (queue.used(), Queue::USED_BYTES),
        ] {
            if start > LOW {
                list.push((start - 100, 100));
            }
            list.push((start + len, 200));
        }
    }
    let held: u32 = list.iter().map(|(_, len)| len).sum();
    list.push((HIGH, 4096 - held));
    storm.driver.reqbufs(storm.session, 0).unwrap();
    let Storm {
        card,
        driver,
        session,
        ..
    } = &mut storm;
    driver.capture(card, *session, &[list]);
    storm.end();
}
