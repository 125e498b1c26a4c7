//! Buffers: asking for them, looking at them, queueing them, and starting and
//! ending the stream.

use crate::harness::stream::{USERPTR, pages};
use crate::harness::v4l2::*;
use crate::harness::{Card, Driver, Stream};

const SMALL: (u32, u32, u32) = (GREY, 64, 64);

#[test]
fn reqbufs_gives_what_was_asked_for_up_to_its_limit() {
    let card = &mut Card::start(&[]);
    let driver = &mut Driver::new(card);
    let session = driver.open();
    for count in [1, 2, 3, 16, 32] {
        assert_eq!(driver.reqbufs(session, count), Ok(count));
    }
    for count in [33, 1000, u32::MAX] {
        assert_eq!(driver.reqbufs(session, count), Ok(32));
    }
    assert_eq!(driver.reqbufs(session, 0), Ok(0));
    assert_eq!(driver.reqbufs(session, 0), Ok(0));
}

#[test]
fn reqbufs_knows_shared_pages_and_says_so() {
    let card = &mut Card::start(&[]);
    let driver = &mut Driver::new(card);
    let session = driver.open();
    let request = request_buffers(2, CAPTURE, MEMORY_USERPTR);
    let answer = driver.ioctl(session, REQBUFS, &request).unwrap();
    assert_eq!(answer.le32(12) & 7, 2, "SUPPORTS_USERPTR and nothing else");
    for memory in [0, MEMORY_MMAP, 3, MEMORY_DMABUF, 5, u32::MAX] {
        let request = request_buffers(2, CAPTURE, memory);
        let answer = driver.ioctl(session, REQBUFS, &request);
        assert_eq!(answer, Err(EINVAL), "memory {memory}");
    }
    for kind in [0, OUTPUT, CAPTURE_MPLANE, u32::MAX] {
        let request = request_buffers(2, kind, MEMORY_USERPTR);
        let answer = driver.ioctl(session, REQBUFS, &request);
        assert_eq!(answer, Err(EINVAL), "type {kind}");
    }
}

#[test]
fn querybuf_follows_a_buffer_through_its_states() {
    let card = &mut Card::fast();
    let driver = &mut Driver::new(card);
    let stream = Stream::new(driver, SMALL, 2);
    let fresh = driver.querybuf(stream.session, 1).unwrap();
    assert_eq!((fresh.index, fresh.kind), (1, CAPTURE));
    assert_eq!(fresh.memory, MEMORY_USERPTR);
    assert_eq!(fresh.flags & (BUF_FLAG_QUEUED | BUF_FLAG_DONE), 0);

    let queued = driver.qbuf(stream.session, 1, &stream.lists[1]).unwrap();
    assert_eq!(queued.flags & BUF_FLAG_QUEUED, BUF_FLAG_QUEUED);
    assert_eq!(queued.userptr, USERPTR, "it comes back unchanged");
    assert_eq!(queued.length, stream.picture.sizeimage);
    let seen = driver.querybuf(stream.session, 1).unwrap();
    assert_eq!(seen.flags & BUF_FLAG_QUEUED, BUF_FLAG_QUEUED);
    assert_eq!(seen.userptr, USERPTR);

    driver.streamon(stream.session).unwrap();
    stream.next(driver, card);
    let back = driver.querybuf(stream.session, 1).unwrap();
    assert_eq!(back.flags & BUF_FLAG_QUEUED, 0);

    stream.queue(driver, 0);
    driver.streamoff(stream.session).unwrap();
    for index in [0, 1] {
        let idle = driver.querybuf(stream.session, index).unwrap();
        assert_eq!(idle.flags & (BUF_FLAG_QUEUED | BUF_FLAG_DONE), 0);
    }
}

#[test]
fn querybuf_needs_a_buffer_that_exists() {
    let card = &mut Card::start(&[]);
    let driver = &mut Driver::new(card);
    let session = driver.open();
    assert_eq!(driver.querybuf(session, 0), Err(EINVAL));
    driver.reqbufs(session, 3).unwrap();
    for index in [3, 32, u32::MAX] {
        assert_eq!(driver.querybuf(session, index), Err(EINVAL));
    }
    for kind in [0, OUTPUT, CAPTURE_MPLANE] {
        let query = payload(QUERYBUF).with(4, kind);
        assert_eq!(driver.ioctl(session, QUERYBUF, &query), Err(EINVAL));
    }
    driver.reqbufs(session, 0).unwrap();
    assert_eq!(driver.querybuf(session, 0), Err(EINVAL));
}

#[test]
fn a_buffer_is_queued_once() {
    let card = &mut Card::fast();
    let driver = &mut Driver::new(card);
    let stream = Stream::new(driver, SMALL, 2);
    stream.queue(driver, 0);
    let again = driver.qbuf(stream.session, 0, &stream.lists[0]);
    assert_eq!(again, Err(EINVAL));
    driver.streamon(stream.session).unwrap();
    assert_eq!(stream.next(driver, card).buffer, 0);
    assert!(driver.event_within(card_quiet()).is_none());
    driver.assert_untouched();
}

#[test]
fn a_buffer_may_be_larger_than_the_frame_but_not_smaller() {
    let card = &mut Card::fast();
    let driver = &mut Driver::new(card);
    let session = driver.open();
    let sizeimage = driver.set_picture(session, GREY, 64, 66).sizeimage;
    driver.reqbufs(session, 1).unwrap();
    let start = driver.memory.high().start;
    for length in [0, 1, sizeimage - 1] {
        let list = pages(start, sizeimage);
        assert_eq!(driver.qbuf_as(session, 0, length, &list), Err(EINVAL));
    }
    // 64 x 66 bytes end in the middle of the second page.
    let list = [(start, 4096), (start + 8192, 4096)];
    driver.qbuf(session, 0, &list).unwrap();
    driver.streamon(session).unwrap();
    let buffer = driver.dqbuf(session);
    assert_eq!((buffer.bytesused, buffer.length), (sizeimage, 8192));
    driver.check_frame(card, session, &buffer, &list, sizeimage);
    driver.assert_untouched();
}

#[test]
fn a_buffer_may_get_other_memory_each_time() {
    let card = &mut Card::fast();
    let driver = &mut Driver::new(card);
    let session = driver.open();
    let sizeimage = driver.set_picture(session, GREY, 64, 64).sizeimage;
    driver.reqbufs(session, 1).unwrap();
    driver.streamon(session).unwrap();
    for turn in 0..8 {
        let list = pages(driver.memory.high().start + turn * 0x3000, sizeimage);
        driver.qbuf(session, 0, &list).unwrap();
        let buffer = driver.dqbuf(session);
        driver.check_frame(card, session, &buffer, &list, sizeimage);
        driver.assert_untouched();
    }
}

#[test]
fn streaming_needs_buffers_and_ends_and_begins_as_often_as_asked() {
    let card = &mut Card::fast();
    let driver = &mut Driver::new(card);
    let session = driver.open();
    driver.set_picture(session, GREY, 64, 64);
    assert_eq!(driver.streamon(session), Err(EINVAL));
    assert_eq!(driver.streamoff(session), Ok(()));
    driver.reqbufs(session, 2).unwrap();
    for kind in [0, OUTPUT, CAPTURE_MPLANE] {
        for ioctl in [STREAMON, STREAMOFF] {
            let given = payload(ioctl).with(0, kind);
            assert_eq!(driver.ioctl(session, ioctl, &given), Err(EINVAL));
        }
    }
    for _ in 0..3 {
        driver.streamon(session).unwrap();
        assert_eq!(driver.streamon(session), Ok(()), "it streams already");
        driver.streamoff(session).unwrap();
        assert_eq!(driver.streamoff(session), Ok(()), "it has ended already");
    }
}

#[test]
fn the_sequence_begins_at_zero_with_each_stream() {
    let card = &mut Card::fast();
    let driver = &mut Driver::new(card);
    let stream = Stream::new(driver, SMALL, 3);
    for _ in 0..3 {
        stream.start(driver);
        for sequence in 0..3 {
            assert_eq!(stream.next(driver, card).sequence, sequence);
        }
        driver.streamoff(stream.session).unwrap();
        card.wait_streams_ended();
    }
}

#[test]
fn buffers_come_back_in_the_order_in_which_they_were_queued() {
    let card = &mut Card::fast();
    let driver = &mut Driver::new(card);
    let stream = Stream::new(driver, SMALL, 6);
    let order = [4, 0, 5, 2, 1, 3];
    for index in order {
        stream.queue(driver, index);
    }
    driver.streamon(stream.session).unwrap();
    for index in order {
        assert_eq!(stream.next(driver, card).buffer, index);
    }
}

#[test]
fn buffers_are_not_taken_away_while_streaming() {
    let card = &mut Card::fast();
    let driver = &mut Driver::new(card);
    let stream = Stream::new(driver, SMALL, 2);
    driver.streamon(stream.session).unwrap();
    assert_eq!(driver.reqbufs(stream.session, 4), Err(EBUSY));
    stream.queue(driver, 0);
    stream.turn(driver, card);
    driver.streamoff(stream.session).unwrap();
    assert_eq!(driver.reqbufs(stream.session, 4), Ok(4));
}

/// How long nothing must come for, where a card at full speed would have made
/// hundreds of frames.
fn card_quiet() -> std::time::Duration {
    std::time::Duration::from_millis(50)
}
