//! The front end changes the memory table while the card streams.

use vhost::VhostBackend;
use vhost::vhost_user::VhostUserFrontend;

use crate::harness::v4l2::*;
use crate::harness::{Card, Driver, Stream};

const SMALL: (u32, u32, u32) = (YUYV, 160, 120);

/// The regions by their number: one below the hole, two above.
const LOW: usize = 0;
const FIRST_HIGH: usize = 1;
const SECOND_HIGH: usize = 2;

/// All buffers come back in error, and nothing is written into them.
fn all_come_back_in_error(driver: &mut Driver, stream: &Stream, count: usize) {
    let mut indices: Vec<_> = (0..count)
        .map(|_| {
            let buffer = driver.dqbuf(stream.session);
            assert_eq!(buffer.flags & BUF_FLAG_ERROR, BUF_FLAG_ERROR, "{buffer:?}");
            buffer.index
        })
        .collect();
    indices.sort_unstable();
    indices.dedup();
    assert_eq!(indices.len(), count);
    driver.assert_untouched();
}

#[test]
fn the_same_memory_again_does_not_disturb_the_stream() {
    let card = &mut Card::fast();
    let driver = &mut Driver::new(card);
    let stream = Stream::new(driver, SMALL, 4);
    stream.start(driver);
    for _ in 0..20 {
        let regions = driver.memory.regions(|_| true);
        driver.front.set_mem_table(&regions).expect("SET_MEM_TABLE");
        for _ in 0..5 {
            stream.turn(driver, card);
        }
    }
    driver.streamoff(stream.session).unwrap();
}

#[test]
fn buffers_that_are_queued_survive_a_new_table_with_the_same_memory() {
    let card = &mut Card::start(&[]);
    let driver = &mut Driver::new(card);
    let stream = Stream::new(driver, SMALL, 4);
    for index in 0..4 {
        stream.queue(driver, index);
    }
    let regions = driver.memory.regions(|_| true);
    driver.front.set_mem_table(&regions).expect("SET_MEM_TABLE");
    driver.barrier();
    driver.set_rate(stream.session, 240);
    driver.streamon(stream.session).unwrap();
    for _ in 0..8 {
        stream.turn(driver, card);
    }
    driver.streamoff(stream.session).unwrap();
}

#[test]
fn buffers_whose_memory_is_taken_away_come_back_in_error() {
    let card = &mut Card::fast();
    let driver = &mut Driver::new(card);
    let stream = Stream::new(driver, SMALL, 4);
    // The buffers are still queued when it happens.
    driver.set_control(stream.session, HOLD_FRAMES, 1).unwrap();
    stream.start(driver);
    let low = driver.memory.regions(|number| number == LOW);
    driver.front.set_mem_table(&low).expect("SET_MEM_TABLE");
    driver.barrier();
    driver.set_control(stream.session, HOLD_FRAMES, 0).unwrap();
    all_come_back_in_error(driver, &stream, 4);

    // Without that memory they cannot be queued; with it they can again.
    let refused = driver.qbuf(stream.session, 0, &stream.lists[0]);
    assert!(refused.is_err());
    let regions = driver.memory.regions(|_| true);
    driver.front.set_mem_table(&regions).expect("SET_MEM_TABLE");
    driver.barrier();
    stream.queue(driver, 0);
    stream.next(driver, card);
    driver.streamoff(stream.session).unwrap();
    driver.reqbufs(stream.session, 0).unwrap();
    driver.capture_one(card, stream.session);
}

#[test]
fn buffers_that_are_queued_before_the_stream_lose_their_memory_too() {
    let card = &mut Card::fast();
    let driver = &mut Driver::new(card);
    let stream = Stream::new(driver, SMALL, 3);
    for index in 0..3 {
        stream.queue(driver, index);
    }
    let low = driver.memory.regions(|number| number == LOW);
    driver.front.set_mem_table(&low).expect("SET_MEM_TABLE");
    driver.barrier();
    driver.streamon(stream.session).unwrap();
    all_come_back_in_error(driver, &stream, 3);
    driver.streamoff(stream.session).unwrap();
}

/// No frame is due that would have the card look, and no kick comes.
#[test]
fn buffers_that_lose_their_memory_come_back_at_once() {
    let card = &mut Card::start(&[]);
    let driver = &mut Driver::new(card);
    let stream = Stream::new(driver, SMALL, 3);
    for index in 0..3 {
        stream.queue(driver, index);
    }
    let low = driver.memory.regions(|number| number == LOW);
    driver.front.set_mem_table(&low).expect("SET_MEM_TABLE");
    all_come_back_in_error(driver, &stream, 3);
}

#[test]
fn regions_are_added_and_removed_one_at_a_time() {
    let card = &mut Card::fast();
    let driver = &mut Driver::new(card);
    let stream = Stream::new(driver, SMALL, 3);
    stream.start(driver);
    for _ in 0..10 {
        // Not the region that the buffers are in.
        let other = driver.memory.regions(|number| number == SECOND_HIGH);
        let front = &mut driver.front;
        front.remove_mem_region(&other[0]).expect("REM_MEM_REG");
        for _ in 0..3 {
            stream.turn(driver, card);
        }
        let front = &mut driver.front;
        front.add_mem_region(&other[0]).expect("ADD_MEM_REG");
        for _ in 0..3 {
            stream.turn(driver, card);
        }
    }
    driver.streamoff(stream.session).unwrap();
    driver.forget_events();
    driver.set_rate(stream.session, 1);

    let first = driver.memory.regions(|number| number == FIRST_HIGH);
    for index in 0..3 {
        driver.memory.accept_segments(&stream.lists[index]);
        stream.queue(driver, index as u32);
    }
    let front = &mut driver.front;
    front.remove_mem_region(&first[0]).expect("REM_MEM_REG");
    driver.barrier();
    driver.streamon(stream.session).unwrap();
    all_come_back_in_error(driver, &stream, 3);
    driver.front.add_mem_region(&first[0]).expect("ADD_MEM_REG");
    driver.barrier();
    driver.streamoff(stream.session).unwrap();
    driver.reqbufs(stream.session, 0).unwrap();
    driver.capture_one(card, stream.session);
}

#[test]
fn rings_whose_memory_is_taken_away_rest_until_it_is_back() {
    let card = &mut Card::fast();
    let driver = &mut Driver::new(card);
    let stream = Stream::new(driver, SMALL, 3);
    stream.start(driver);
    stream.turn(driver, card);
    let without = driver.memory.regions(|number| number != LOW);
    driver.front.set_mem_table(&without).expect("SET_MEM_TABLE");
    for queue in [&driver.commands, &driver.events] {
        queue.kick.write(1).expect("kick");
        Driver::wait_kick_taken(queue);
    }
    driver.barrier();
    card.assert_alive();
    let regions = driver.memory.regions(|_| true);
    driver.front.set_mem_table(&regions).expect("SET_MEM_TABLE");
    driver.barrier();
    for queue in [&driver.commands, &driver.events] {
        queue.kick.write(1).expect("kick");
    }
    driver.streamoff(stream.session).unwrap();
    driver.reqbufs(stream.session, 0).unwrap();
    for list in &stream.lists {
        driver.memory.accept_segments(list);
    }
    driver.forget_events();
    // An event that was on its way may be in its buffer and not on the ring.
    let low = driver.memory.low();
    driver
        .memory
        .accept(low.start, (low.end - low.start) as usize);
    driver.capture_one(card, stream.session);
}
