//! The daemon's memory, which stays small whatever the frames' size.

use crate::harness::stream::pages;
use crate::harness::v4l2::*;
use crate::harness::{Card, Driver, Options, guest_memory};

/// What the daemon may have resident at most, in KiB; its own code takes more
/// where it is not optimized.
const LIMIT_KIB: u64 = if cfg!(debug_assertions) {
    24 << 10
} else {
    16 << 10
};

#[test]
fn thirty_two_buffers_of_the_largest_picture_fit_into_sixteen_mib() {
    let card = &mut Card::fast();
    // All buffers share the same 2 MiB, which is for the guest to regret and
    // not for the card.
    let driver = &mut Driver::attach(card, guest_memory(2 << 20), Options::default());
    let session = driver.open();
    let sizeimage = driver.set_picture(session, RGB3, 3840, 2160).sizeimage;
    assert_eq!(driver.reqbufs(session, 32), Ok(32));
    let start = driver.memory.high().start;
    let list: Vec<_> = (0..)
        .zip(pages(0, sizeimage))
        .map(|(i, (_, len))| (start + i * 211 % 512 * 4096, len))
        .collect();
    assert_eq!(list.len(), 6075);
    for index in 0..32 {
        driver.qbuf(session, index, &list).unwrap();
    }
    driver.streamon(session).unwrap();
    let (mut last, mut peak) = (0, 0);
    for _ in 0..40 {
        let buffer = driver.dqbuf(session);
        assert_eq!(buffer.flags & BUF_FLAG_ERROR, 0);
        last = buffer.sequence;
        peak = peak.max(card.resident_kib());
        driver.qbuf(session, buffer.index, &list).unwrap();
    }
    let frame = card.frame(session, last);
    assert_eq!(frame.plane.segments, list);
    assert_eq!(frame.plane.digests.len(), 6075);
    eprintln!("{peak} KiB resident");
    assert!(peak < LIMIT_KIB, "{peak} KiB resident");
    driver.streamoff(session).unwrap();
}
