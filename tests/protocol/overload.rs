//! A card that has more to do than it can: everybody else gets a turn.

use std::time::Instant;

use vhost::VhostBackend;
use vhost::vhost_user::VhostUserFrontend;
use vhost::vhost_user::message::VhostUserConfigFlags;

use crate::harness::card::LIMIT;
use crate::harness::queue::Queue;
use crate::harness::v4l2::*;
use crate::harness::{Card, Chains, Driver, Memory, Options, Stream, guest_memory};

/// Waits until the card has given back a chain of the queue, and so has begun.
fn wait_for_first(queue: &Queue, memory: &Memory, before: u16) {
    let deadline = Instant::now() + LIMIT;
    while queue.used_index(memory) == before {
        assert!(Instant::now() < deadline, "the card has not begun");
        std::thread::yield_now();
    }
}

/// What a VMM asks of the card, with its main loop waiting for the answer.
fn ask(driver: &mut Driver) {
    let flags = VhostUserConfigFlags::WRITABLE;
    let front = &mut driver.front;
    front
        .get_config(0, 40, flags, &[0; 40])
        .expect("GET_CONFIG");
    let regions = driver.memory.regions(|_| true);
    driver.front.set_mem_table(&regions).expect("SET_MEM_TABLE");
}

#[test]
fn a_queue_full_of_long_commands_keeps_nobody_waiting() {
    const PAIRS: usize = 20;
    let card = &mut Card::start(&[]);
    let options = Options {
        chains: Chains::Indirect,
        ..Options::default()
    };
    let driver = &mut Driver::attach(card, guest_memory(1 << 20), options);
    let session = driver.open();
    driver.set_picture(session, NV12, 3840, 2160);
    driver.reqbufs(session, 1).expect("REQBUFS");
    let before = driver.commands.used_index(&driver.memory);
    let all = before.wrapping_add(2 * PAIRS as u16);
    let mut tickets = Vec::new();
    for _ in 0..PAIRS {
        for ioctl in [STREAMON, STREAMOFF] {
            // Everything of a stream of that size is made anew.
            let kind = payload(ioctl).with(0, CAPTURE);
            let command = ioctl_command(session, ioctl.code, &kind);
            tickets.push(driver.submit(&command, RESPONSE));
        }
    }
    wait_for_first(&driver.commands, &driver.memory, before);
    ask(driver);
    let done = driver.commands.used_index(&driver.memory);
    assert_ne!(done, all, "all commands came first");
    for ticket in tickets {
        assert_eq!(driver.wait(ticket).status(), Some(0));
    }
}

#[test]
fn frames_without_a_pause_keep_nobody_waiting() {
    const BUFFERS: u32 = 32;
    let card = &mut Card::fast();
    let driver = &mut Driver::attach(card, guest_memory(64 << 20), Options::default());
    let stream = Stream::new(driver, (MJPG, 1280, 720), BUFFERS);
    let before = driver.events.used_index(&driver.memory);
    stream.start(driver);
    wait_for_first(&driver.events, &driver.memory, before);
    for _ in 0..3 {
        ask(driver);
    }
    let done = driver
        .events
        .used_index(&driver.memory)
        .wrapping_sub(before);
    assert!(u32::from(done) < BUFFERS, "all frames came first");
    for _ in 0..BUFFERS {
        driver.dqbuf(stream.session);
    }
}
