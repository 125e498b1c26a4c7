//! Frames in guest memory, byte for byte, through every shape of scatter list.

use pinhole::card::witness::{DIGEST_BLOCK, Digest};

use crate::harness::memory::{HIGH, LOW_END, LOW_SPARE, Segment};
use crate::harness::stream::{Stream, pages, pieces};
use crate::harness::v4l2::*;
use crate::harness::{Card, Driver, Memory, Options, guest_memory};

/// Captures two frames of that picture into each of the scatter lists that
/// `shape` makes of the frame's size and the memory above the hole.
fn captures(
    (pixelformat, width, height): (u32, u32, u32),
    shape: impl Fn(&Memory, u32) -> Vec<Segment>,
) {
    let card = &mut Card::fast();
    let driver = &mut Driver::attach(card, guest_memory(8 << 20), Options::default());
    let session = driver.open();
    let picture = driver.set_picture(session, pixelformat, width, height);
    let list = shape(&driver.memory, picture.sizeimage);
    assert_eq!(
        list.iter().map(|(_, len)| len).sum::<u32>(),
        picture.sizeimage
    );
    for _ in 0..2 {
        driver.capture(card, session, std::slice::from_ref(&list));
    }
}

#[test]
fn pages_in_order() {
    captures((YUYV, 640, 480), |memory, size| {
        pages(memory.high().start, size)
    });
}

#[test]
fn pages_in_reverse_order() {
    captures((YUYV, 640, 480), |memory, size| {
        let mut list = pages(memory.high().start, size);
        list.reverse();
        list
    });
}

#[test]
fn pages_shuffled_over_all_memory() {
    captures((NV12, 642, 482), |memory, size| {
        // 1021 is a prime, so every page is met once.
        let page = |i: u64| memory.high().start + i * 617 % 1021 * 4096;
        let list = pages(0, size);
        assert!(list.len() < 1021);
        (0..)
            .zip(list)
            .map(|(i, (_, len))| (page(i), len))
            .collect()
    });
}

#[test]
fn one_segment_for_the_whole_frame() {
    captures((RGB3, 800, 600), |memory, size| {
        vec![(memory.high().start + 0x1000, size)]
    });
}

#[test]
fn a_buffer_that_begins_within_a_page() {
    for offset in [1, 2, 63, 2048, 4095] {
        captures((YUYV, 320, 240), |memory, size| {
            let first = 4096 - offset as u32;
            let start = memory.high().start;
            let mut list = vec![(start + offset, first)];
            list.extend(pages(start + 0x1_0000, size - first));
            list
        });
    }
}

#[test]
fn segments_of_odd_lengths_at_odd_addresses() {
    captures((RGB3, 322, 242), |memory, size| {
        let mut left = size;
        let mut at = memory.high().start + 3;
        let mut list = Vec::new();
        for len in [1, 4095, 4097, 17, 8191, 333, 12_289, 5]
            .into_iter()
            .cycle()
        {
            let len = left.min(len);
            list.push((at, len));
            left -= len;
            // A gap of an odd length as well.
            at += u64::from(len) + 7;
            if left == 0 {
                return list;
            }
        }
        unreachable!("the cycle does not end")
    });
}

#[test]
fn segments_of_one_byte_each() {
    captures((GREY, 16, 16), |memory, size| {
        let start = memory.high().start;
        (0..u64::from(size)).map(|i| (start + i * 37, 1)).collect()
    });
    captures((YUYV, 18, 22), |memory, size| {
        let start = memory.high().start;
        (0..u64::from(size))
            .rev()
            .map(|i| (start + i * 2, 1))
            .collect()
    });
}

#[test]
fn segments_in_several_memory_regions() {
    captures((YUYV, 640, 480), |memory, size| {
        // A page below the hole, one in each region above it, and so on.
        let places = [LOW_SPARE.start, memory.high().start, memory.seam()];
        (0..)
            .zip(pages(0, size))
            .map(|(i, (_, len))| (places[i % 3] + i as u64 / 3 * 8192, len))
            .collect()
    });
}

#[test]
fn a_segment_that_spans_two_regions_without_a_gap() {
    captures((YUYV, 640, 480), |memory, size| {
        vec![(memory.seam() - u64::from(size) / 2 - 1, size)]
    });
}

#[test]
fn the_last_bytes_before_the_hole_and_the_first_behind_it() {
    captures((GREY, 128, 64), |memory, size| {
        let half = size / 2;
        let last = memory.high().end;
        vec![
            (LOW_END - u64::from(half) + 100, half - 100),
            (HIGH, half),
            (last - 100, 100),
        ]
    });
}

#[test]
fn every_format_at_odd_and_even_sizes() {
    let card = &mut Card::fast();
    let driver = &mut Driver::new(card);
    let session = driver.open();
    for Raw { fourcc, step, .. } in RAW {
        let smallest = (
            17u32.next_multiple_of(step.0),
            19u32.next_multiple_of(step.1),
        );
        for (width, height) in [smallest, (16, 2160), (3840, 16), (1278, 718)] {
            driver.set_picture(session, fourcc, width, height);
            driver.capture_one(card, session);
        }
    }
}

#[test]
fn frames_of_a_compressed_format_are_as_long_as_they_are() {
    let card = &mut Card::fast();
    let driver = &mut Driver::new(card);
    let session = driver.open();
    for (width, height) in [(17, 19), (640, 480), (1918, 1078)] {
        let picture = driver.set_picture(session, MJPG, width, height);
        assert_eq!(picture.bytesperline, 0);
        let list = pages(driver.memory.high().start, picture.sizeimage);
        assert_eq!(driver.reqbufs(session, 1), Ok(1));
        let mut lengths = Vec::new();
        for _ in 0..4 {
            driver.qbuf(session, 0, &list).expect("QBUF");
            if lengths.is_empty() {
                driver.streamon(session).expect("STREAMON");
            }
            let buffer = driver.dqbuf(session);
            assert!((100..picture.sizeimage).contains(&buffer.bytesused));
            let record = card.frame(session, buffer.sequence);
            assert_eq!(record.plane.bytes, buffer.bytesused);
            let mut frame = driver.memory.gather(&list);
            frame.truncate(buffer.bytesused as usize);
            // From the marker of a JPEG's start to that of its end.
            assert_eq!(frame[..3], [0xff, 0xd8, 0xff], "{width}x{height}");
            assert!(frame.ends_with(&[0xff, 0xd9]), "{width}x{height}");
            let digests: Vec<_> = frame.chunks(DIGEST_BLOCK).map(Digest::of).collect();
            assert_eq!(digests, record.plane.digests);
            lengths.push(buffer.bytesused);
        }
        driver.streamoff(session).expect("STREAMOFF");
        assert_eq!(driver.reqbufs(session, 0), Ok(0));
        lengths.dedup();
        assert!(lengths.len() > 1, "all of {lengths:?} bytes");
    }
}

#[test]
fn the_largest_picture_in_scattered_pages() {
    let card = &mut Card::fast();
    let driver = &mut Driver::attach(card, guest_memory(32 << 20), Options::default());
    let session = driver.open();
    let picture = driver.set_picture(session, RGB3, 3840, 2160);
    assert_eq!(picture.sizeimage, 24_883_200);
    // 8191 is a prime; the memory has 8192 pages.
    let start = driver.memory.high().start;
    let list: Vec<_> = (0..)
        .zip(pages(0, picture.sizeimage))
        .map(|(i, (_, len))| (start + i * 4099 % 8191 * 4096, len))
        .collect();
    driver.capture(card, session, &[list]);
}

#[test]
fn thirty_two_buffers_hold_frames_that_all_differ() {
    let card = &mut Card::fast();
    let driver = &mut Driver::attach(card, guest_memory(16 << 20), Options::default());
    let stream = Stream::new(driver, (YUYV, 320, 240), 32);
    let frames = driver.capture(card, stream.session, &stream.lists);
    let mut pages = std::collections::HashSet::new();
    for (number, frame) in (0..).zip(&frames) {
        assert_eq!(frame.sequence, number);
        for (page, digest) in frame.plane.digests.iter().enumerate() {
            assert!(
                pages.insert((page, *digest)),
                "page {page} of frame {number} is the same as before"
            );
        }
    }
}

#[test]
fn two_hundred_frames_in_a_row_through_three_buffers() {
    let card = &mut Card::fast();
    let driver = &mut Driver::new(card);
    let stream = Stream::new(driver, (NV12, 320, 240), 3);
    stream.start(driver);
    let mut last = None;
    for _ in 0..200 {
        let sequence = stream.turn(driver, card).sequence;
        assert!(last.is_none_or(|last| sequence > last));
        last = Some(sequence);
    }
    driver.streamoff(stream.session).unwrap();
    driver.forget_events();
    for list in &stream.lists {
        driver.memory.accept_segments(list);
    }
    driver.assert_untouched();
}

#[test]
fn segments_that_do_not_divide_the_digests_blocks() {
    for piece in [4095, 4097, 1000, 10_000, 65_537] {
        captures((YUYV, 320, 240), |memory, size| {
            pieces(memory.high().start + 5, size, piece)
        });
    }
}
