//! Event buffers that cannot take an event.

use super::Storm;
use crate::harness::memory::{HIGH, LOW_END};
use crate::harness::queue::{Descriptor, INDIRECT, NEXT, RAW, SIZE, WRITE};
use crate::harness::stream::pages;
use crate::harness::v4l2::*;
use crate::harness::{Driver, Options};

/// A driver that has posted no event buffer, with one frame about to be
/// written.
fn storm(event_idx: bool) -> Storm {
    let mut storm = Storm::new(Options {
        event_idx,
        event_buffers: 0,
        ..Options::default()
    });
    storm.driver.reqbufs(storm.session, 1).unwrap();
    storm.driver.streamon(storm.session).unwrap();
    storm
}

/// One frame is made while the event queue begins with that chain; its event
/// must come in the good buffer behind it.
fn event_passes(storm: &mut Storm, bad: Descriptor, case: &str) {
    let Storm {
        card,
        driver,
        session,
        ..
    } = storm;
    driver.on_events(|queue, memory| queue.write_descriptor(memory, RAW, bad));
    driver.on_events(|queue, memory| queue.make_available(memory, RAW));
    let list = pages(HIGH + 0x1_0000, 4096);
    driver.qbuf(*session, 0, &list).unwrap();
    driver.post_event_buffer();
    let buffer = driver.dqbuf(*session);
    driver.check_frame(card, *session, &buffer, &list, 4096);
    let strays = std::mem::take(&mut driver.strays);
    assert_eq!(strays, [(RAW, 0)], "{case}: given back unused");
    storm.survived(case);
}

#[test]
fn an_event_finds_its_way_past_a_buffer_that_cannot_take_it() {
    let mut storm = storm(true);
    let end = storm.driver.memory.high().end;
    let bad = |address, len, flags| Descriptor {
        address,
        len,
        flags,
        next: RAW,
    };
    let small: Vec<_> = [0, 1, 7, 8, 9, 15, 16, 95, 96, 159, 160, 600, 607]
        .map(|len| ("too small", bad(HIGH, len, WRITE)))
        .into();
    let broken = [
        ("readable", bad(HIGH, EVENT as u32, 0)),
        ("a loop", bad(HIGH, 16, WRITE | NEXT)),
        ("in the hole", bad(LOW_END, EVENT as u32, WRITE)),
        (
            "across the end of a region",
            bad(LOW_END - 8, EVENT as u32, WRITE),
        ),
        (
            "across the end of memory",
            bad(end - 600, EVENT as u32, WRITE),
        ),
        ("wrapping round", bad(u64::MAX - 8, EVENT as u32, WRITE)),
        ("at the address zero", bad(0, EVENT as u32, WRITE)),
        ("an indirect table nowhere", bad(LOW_END, 32, INDIRECT)),
        ("an indirect table cut short", bad(HIGH, 15, INDIRECT)),
        ("an indirect table of itself", bad(HIGH, 16, INDIRECT)),
    ];
    for (case, descriptor) in small.into_iter().chain(broken) {
        let case = format!("an event buffer {case}: {descriptor:?}");
        event_passes(&mut storm, descriptor, &case);
    }
    storm.driver.streamoff(storm.session).unwrap();
    storm.driver.reqbufs(storm.session, 0).unwrap();
    storm.driver.post_event_buffer();
    assert!(storm.end() > 20);
}

#[test]
fn event_chains_that_begin_nowhere_are_passed_over() {
    let mut storm = storm(true);
    for head in [SIZE, 1000, 0xffff] {
        let Storm {
            card,
            driver,
            session,
            ..
        } = &mut storm;
        driver.on_events(|queue, memory| queue.make_available(memory, head));
        let list = pages(HIGH + 0x1_0000, 4096);
        driver.qbuf(*session, 0, &list).unwrap();
        driver.post_event_buffer();
        let buffer = driver.dqbuf(*session);
        driver.check_frame(card, *session, &buffer, &list, 4096);
        storm.survived("an event chain nowhere");
    }
    storm.driver.streamoff(storm.session).unwrap();
    storm.driver.reqbufs(storm.session, 0).unwrap();
    storm.driver.post_event_buffer();
    storm.end();
}

#[test]
fn an_event_index_that_leaps_over_the_ring_is_not_followed() {
    for event_idx in [true, false] {
        let mut storm = storm(event_idx);
        for ahead in [SIZE + 1, 1000, 0x8000, 0xffff] {
            let Storm {
                card,
                driver,
                session,
                ..
            } = &mut storm;
            driver.on_events(|queue, memory| queue.set_index_wrong(memory, ahead));
            let list = pages(HIGH + 0x1_0000, 4096);
            driver.qbuf(*session, 0, &list).unwrap();
            Driver::wait_kick_taken(&driver.events);
            driver.on_events(|queue, memory| queue.set_index_right(memory));
            driver.post_event_buffer();
            let buffer = driver.dqbuf(*session);
            driver.check_frame(card, *session, &buffer, &list, 4096);
            storm.survived("an event index ahead");
        }
        storm.driver.streamoff(storm.session).unwrap();
        storm.driver.reqbufs(storm.session, 0).unwrap();
        storm.driver.post_event_buffer();
        storm.end();
    }
}
