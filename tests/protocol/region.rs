//! Buffers of the card's own memory, seen through shared memory region 0.

mod media_device;

use std::fs;
use std::time::{Duration, Instant};

use pinhole::card::region::{MAX_MAPPINGS, REGION_SIZE};
use pinhole::card::witness::{DIGEST_BLOCK, Digest, Record, StreamMemory};
use vhost::VhostBackend;
use vhost::vhost_user::VhostUserFrontend;
use vhost::vhost_user::message::VhostUserProtocolFeatures;

use crate::harness::stream::check_watermarks;
use crate::harness::v4l2::*;
use crate::harness::{Card, Driver, Event, Manner, Options, Stream, guest_memory};

const BUF_FLAG_MAPPED: u32 = 1;
/// Flags of MMAP.
const READ: u32 = 0;
const WRITE: u32 = 1;

fn options() -> Options {
    Options {
        region: true,
        ..Options::default()
    }
}

fn driver(card: &mut Card) -> Driver {
    Driver::attach(card, guest_memory(8 << 20), options())
}

impl Driver {
    /// REQBUFS of MMAP buffers; how many there are.
    fn reqbufs_mmap(&mut self, session: u32, count: u32) -> Result<u32, u32> {
        let request = request_buffers(count, CAPTURE, MEMORY_MMAP);
        let answer = self.ioctl(session, REQBUFS, &request)?;
        assert_eq!(answer.le32(12) & 0x17, 0x13, "MMAP, USERPTR, ORPHANED_BUFS");
        Ok(answer.le32(0))
    }

    /// MMAP; the address and the length.
    fn mmap(&mut self, session: u32, flags: u32, offset: u64) -> Result<(u64, u64), u32> {
        let command = mmap_command(session, flags, offset.try_into().expect("an offset"));
        let reply = self.command(&command, 24);
        mapping(&reply)
    }

    fn munmap(&mut self, address: u64) -> Result<(), u32> {
        let reply = self.command(&munmap_command(address), 8);
        match reply.status().expect("a response") {
            0 => Ok(()),
            errno => Err(errno),
        }
    }

    fn qbuf_mmap(&mut self, session: u32, index: u32) -> Result<Buffer, u32> {
        let given = payload(QBUF)
            .with(0, index)
            .with(4, CAPTURE)
            .with(60, MEMORY_MMAP);
        let answer = self.ioctl(session, QBUF, &given)?;
        Ok(Buffer::parse(&answer))
    }
}

fn mapping(reply: &crate::harness::driver::Reply) -> Result<(u64, u64), u32> {
    match reply.status().expect("a response") {
        0 => Ok((reply.bytes.le64(8), reply.bytes.le64(16))),
        errno => {
            assert_eq!(reply.bytes.len(), 8, "an error is the header alone");
            Err(errno)
        }
    }
}

/// A session with MMAP buffers, all of them mapped.
struct Mapped {
    session: u32,
    sizeimage: u32,
    /// Offset of each buffer, and its address in the region.
    buffers: Vec<(u64, u64)>,
}

impl Mapped {
    fn new(
        driver: &mut Driver,
        (pixelformat, width, height): (u32, u32, u32),
        count: u32,
        flags: u32,
    ) -> Self {
        let session = driver.open();
        let sizeimage = driver
            .set_picture(session, pixelformat, width, height)
            .sizeimage;
        assert_eq!(driver.reqbufs_mmap(session, count), Ok(count));
        let buffers = (0..count)
            .map(|index| {
                let buffer = driver.querybuf(session, index).expect("QUERYBUF");
                assert_eq!(buffer.memory, MEMORY_MMAP);
                assert_eq!(buffer.flags & BUF_FLAG_MAPPED, 0);
                let (at, len) = driver.mmap(session, flags, buffer.userptr).expect("MMAP");
                assert_eq!(len, u64::from(buffer.length), "the buffer's length");
                assert_eq!(buffer.length, sizeimage);
                let buffer = driver.querybuf(session, index).expect("QUERYBUF");
                assert_eq!(buffer.flags & BUF_FLAG_MAPPED, BUF_FLAG_MAPPED);
                (buffer.userptr, at)
            })
            .collect();
        Self {
            session,
            sizeimage,
            buffers,
        }
    }

    fn start(&self, driver: &mut Driver) {
        for index in 0..self.buffers.len() as u32 {
            driver.qbuf_mmap(self.session, index).expect("QBUF");
        }
        driver.streamon(self.session).expect("STREAMON");
    }

    /// The next frame, held against the witness; what the guest sees of it.
    fn next(&self, driver: &mut Driver, card: &mut Card) -> (u32, Vec<u8>) {
        let buffer = driver.dqbuf(self.session);
        assert_eq!(
            (buffer.memory, buffer.bytesused),
            (MEMORY_MMAP, self.sizeimage)
        );
        let (offset, at) = self.buffers[buffer.index as usize];
        assert_eq!(buffer.userptr, offset, "the offset is no secret");
        let record = card.frame(self.session, buffer.sequence);
        assert_eq!(record.buffer, buffer.index);
        assert_eq!(record.plane.segments, [(0, self.sizeimage)]);
        assert_eq!(record.plane.bytes, self.sizeimage);
        let bytes = driver.window().read(at, self.sizeimage as usize);
        let digests: Vec<_> = bytes.chunks(DIGEST_BLOCK).map(Digest::of).collect();
        assert_eq!(record.plane.digests, digests, "frame {}", buffer.sequence);
        check_watermarks(&bytes, buffer.sequence);
        (buffer.index, bytes)
    }
}

/// How many files of the card's own memory the process has open. It may have
/// some from the beginning: those of other tests' cards, which this process had
/// when it started the card.
fn own_files(card: &Card) -> usize {
    let files = fs::read_dir(format!("/proc/{}/fd", card.id())).expect("files");
    let targets = files.filter_map(|file| fs::read_link(file.ok()?.path()).ok());
    let own = |target: &std::path::PathBuf| target.to_string_lossy().contains("pinhole-buffer");
    targets.filter(own).count()
}

#[test]
fn frames_in_the_cards_own_memory_are_what_the_witness_says() {
    let card = &mut Card::fast();
    let driver = &mut driver(card);
    let mapped = Mapped::new(driver, (YUYV, 322, 242), 4, READ);
    let mut places: Vec<_> = mapped.buffers.clone();
    places.sort_unstable();
    places.dedup();
    assert_eq!(places.len(), 4);
    assert!(driver.window().mappings().values().all(|m| !m.writable));
    mapped.start(driver);
    for _ in 0..40 {
        let (index, _) = mapped.next(driver, card);
        driver.qbuf_mmap(mapped.session, index).expect("QBUF");
    }
    driver.streamoff(mapped.session).unwrap();
    let Some(Record::StreamOn { memory, .. }) = card.witness().first() else {
        panic!("no stream");
    };
    assert_eq!(*memory, StreamMemory::Card);
    driver.forget_events();
    driver.assert_untouched();

    // The same session goes over to memory of the guest's, and back.
    assert_eq!(driver.reqbufs_mmap(mapped.session, 0), Ok(0));
    driver.capture_one(card, mapped.session);
    assert_eq!(driver.reqbufs_mmap(mapped.session, 2), Ok(2));
}

#[test]
fn planes_of_a_buffer_are_mapped_one_by_one() {
    let card = &mut Card::start(&["--rate", "max", "--planes", "multi"]);
    let driver = &mut driver(card);
    let session = driver.open();
    let wanted = planar_format(u32::from_le_bytes(*b"YM12"), 98, 66);
    driver.ioctl(session, S_FMT, &wanted).expect("S_FMT");
    let request = request_buffers(1, CAPTURE_MPLANE, MEMORY_MMAP);
    driver.ioctl(session, REQBUFS, &request).expect("REQBUFS");
    let mut asked = planar_buffer(0, &[(0, 0), (0, 0), (0, 0)]);
    asked = asked.with(60, MEMORY_MMAP);
    let reply = driver.command(
        &ioctl_command(session, QUERYBUF.code, &asked),
        RESPONSE + 88 + 3 * 64,
    );
    assert_eq!(reply.status(), Some(0));
    let planes = reply.payload()[88..].to_vec();
    let mut places = Vec::new();
    for number in 0..3 {
        let (length, offset) = (planes.le32(64 * number + 4), planes.le32(64 * number + 8));
        let (at, len) = driver.mmap(session, READ, offset.into()).expect("MMAP");
        assert_eq!(len, u64::from(length));
        places.push((at, length as usize));
    }
    let reply = driver.command(
        &ioctl_command(session, QBUF.code, &asked),
        RESPONSE + 88 + 3 * 64,
    );
    assert_eq!(reply.status(), Some(0));
    let kind = payload(STREAMON).with(0, CAPTURE_MPLANE);
    driver.ioctl(session, STREAMON, &kind).expect("STREAMON");
    assert!(matches!(driver.event(), Event::Dqbuf { .. }));
    driver.ioctl(session, STREAMOFF, &kind).expect("STREAMOFF");
    let planes = card.wait_record("the frame", |record| match record {
        Record::Frame { planes, .. } => Some(planes.clone()),
        _ => None,
    });
    for (plane, (at, length)) in planes.iter().zip(places) {
        assert_eq!(plane.segments, [(0, length as u32)]);
        let bytes = driver.window().read(at, length);
        let digests: Vec<_> = bytes.chunks(DIGEST_BLOCK).map(Digest::of).collect();
        assert_eq!(plane.digests, digests);
    }
    driver.assert_untouched();
}

#[test]
fn a_mapping_stays_until_munmap_whatever_becomes_of_its_buffer() {
    let card = &mut Card::fast();
    let driver = &mut driver(card);
    let before = own_files(card);
    let mapped = Mapped::new(driver, (GREY, 320, 240), 2, WRITE);
    assert!(driver.window().mappings().values().all(|m| m.writable));
    mapped.start(driver);
    let (index, bytes) = mapped.next(driver, card);
    let at = mapped.buffers[index as usize].1;
    driver.streamoff(mapped.session).unwrap();
    driver.forget_events();
    assert_eq!(
        driver.window().read(at, bytes.len()),
        bytes,
        "after STREAMOFF"
    );
    assert_eq!(driver.reqbufs_mmap(mapped.session, 0), Ok(0));
    assert_eq!(
        driver.window().read(at, bytes.len()),
        bytes,
        "after REQBUFS(0)"
    );
    let offset = mapped.buffers[index as usize].0;
    assert_eq!(driver.mmap(mapped.session, READ, offset), Err(EINVAL));
    driver.close(mapped.session);
    assert_eq!(driver.window().read(at, bytes.len()), bytes, "after CLOSE");

    // Another session's frames go elsewhere.
    let other = Mapped::new(driver, (GREY, 320, 240), 2, READ);
    assert!(other.buffers.iter().all(|(_, other)| *other != at));
    other.start(driver);
    for _ in 0..8 {
        let (index, _) = other.next(driver, card);
        driver.qbuf_mmap(other.session, index).expect("QBUF");
    }
    assert_eq!(driver.window().read(at, bytes.len()), bytes);
    driver.streamoff(other.session).unwrap();
    driver.forget_events();
    assert_eq!(own_files(card), before + 4);

    for (_, at) in &mapped.buffers {
        assert_eq!(driver.munmap(*at), Ok(()));
        assert_eq!(driver.munmap(*at), Err(EINVAL), "it is gone");
    }
    assert_eq!(driver.window().mappings().len(), 2);
    wait_files(card, before + 2);
    // MUNMAP takes no more than it is given.
    for wrong in [other.buffers[0].1 + 4096, other.buffers[0].1 + 1, u64::MAX] {
        assert_eq!(driver.munmap(wrong), Err(EINVAL));
    }
    assert_eq!(driver.window().mappings().len(), 2);
    // A mapping can go while its buffer is streamed into.
    other.start(driver);
    assert_eq!(driver.munmap(other.buffers[0].1), Ok(()));
    driver.dqbuf(other.session);
}

/// Waits until that many files of the card's own memory are left.
fn wait_files(card: &Card, count: usize) {
    let deadline = Instant::now() + crate::harness::card::LIMIT;
    while own_files(card) > count {
        assert!(Instant::now() < deadline, "{} files stay", own_files(card));
        std::thread::yield_now();
    }
    assert_eq!(own_files(card), count);
}

#[test]
fn what_is_wrong_is_refused_and_changes_nothing() {
    let card = &mut Card::fast();
    let driver = &mut driver(card);
    let mapped = Mapped::new(driver, (GREY, 64, 64), 2, READ);
    let session = mapped.session;
    let other = driver.open();
    assert_eq!(driver.mmap(session + 100, READ, 0), Err(EINVAL));
    for offset in [1, 4095, 2 * 4096, 0xffff_f000] {
        assert_eq!(
            driver.mmap(session, READ, offset),
            Err(EINVAL),
            "{offset:#x}"
        );
    }
    let before = driver.window().requests();
    for len in 8..20 {
        let command = &mmap_command(session, READ, 0)[..len];
        assert_eq!(driver.command(command, 24).status(), Some(EINVAL));
    }
    for len in 8..16 {
        let command = &munmap_command(mapped.buffers[0].1)[..len];
        assert_eq!(driver.command(command, 8).status(), Some(EINVAL));
    }
    // An answer that does not fit is not begun.
    for room in 0..24 {
        let reply = driver.command(&mmap_command(session, READ, 0), room);
        assert!(
            reply.status().is_none_or(|status| status == EINVAL),
            "{room}"
        );
    }
    for room in 0..8 {
        let reply = driver.command(&munmap_command(mapped.buffers[0].1), room);
        assert_eq!(reply.status(), None);
    }
    assert_eq!(driver.window().requests(), before);
    // Memory of two kinds is not mixed.
    let list = [(driver.memory.high().start, 4096)];
    assert_eq!(driver.qbuf(session, 0, &list), Err(EINVAL));
    assert_eq!(driver.reqbufs_mmap(other, 1), Err(EBUSY));
    // As for every file handle of a V4L2 device, looking is free.
    let (at, _) = driver.mmap(other, READ, mapped.buffers[0].0).expect("MMAP");
    assert_ne!(at, mapped.buffers[0].1);
    mapped.start(driver);
    let (_, bytes) = mapped.next(driver, card);
    assert_eq!(driver.window().read(at, bytes.len()), bytes);
}

#[test]
fn a_front_end_that_maps_nothing_gets_no_such_buffers() {
    let card = &mut Card::fast();
    let driver = &mut Driver::new(card);
    let session = driver.open();
    let request = request_buffers(2, CAPTURE, MEMORY_MMAP);
    assert_eq!(driver.ioctl(session, REQBUFS, &request), Err(EINVAL));
    let request = request_buffers(2, CAPTURE, MEMORY_USERPTR);
    let answer = driver.ioctl(session, REQBUFS, &request).unwrap();
    assert_eq!(answer.le32(12), 2, "SUPPORTS_USERPTR and nothing else");
    for command in [mmap_command(session, READ, 0), munmap_command(0)] {
        assert_eq!(driver.command(&command, 24).status(), Some(ENOTTY));
    }
}

#[test]
fn a_front_end_that_refuses_to_map_costs_the_mapping_alone() {
    let card = &mut Card::fast();
    let driver = &mut driver(card);
    let mapped = Mapped::new(driver, (GREY, 64, 64), 2, READ);
    driver.window().set_manner(Manner::Refusing);
    for _ in 0..3 {
        assert_eq!(driver.mmap(mapped.session, READ, 0), Err(EIO));
    }
    assert_eq!(driver.munmap(mapped.buffers[0].1), Err(EIO));
    // What was mapped is mapped, and the stream works.
    mapped.start(driver);
    mapped.next(driver, card);
    driver.window().set_manner(Manner::Willing);
    let (again, _) = driver.mmap(mapped.session, READ, 0).expect("MMAP");
    assert_eq!(driver.munmap(again), Ok(()));
    assert_eq!(driver.munmap(mapped.buffers[0].1), Ok(()));
    driver.streamoff(mapped.session).unwrap();
    driver.forget_events();
    assert_eq!(driver.reqbufs_mmap(mapped.session, 0), Ok(0));
    driver.capture_one(card, mapped.session);
}

#[test]
fn a_front_end_that_does_not_answer_holds_up_nothing_but_the_mapping() {
    let card = &mut Card::fast();
    let silent = &mut driver(card);
    let driver = &mut *silent;
    let mapped = Mapped::new(driver, (GREY, 64, 64), 4, READ);
    driver.window().set_manner(Manner::Silent);
    mapped.start(driver);
    let before = driver.window().requests();
    let ticket = driver.submit(&mmap_command(mapped.session, READ, 0), 24);
    driver.window().wait_requests(before + 1);
    // The front end itself is answered, which it may wait for before it
    // answers; a change of memory is such a request.
    driver.barrier();
    let regions = driver.memory.regions(|_| true);
    driver.front.set_mem_table(&regions).expect("SET_MEM_TABLE");
    // Frames go on.
    for _ in 0..4 {
        mapped.next(driver, card);
    }
    let began = Instant::now();
    assert_eq!(mapping(&driver.wait(ticket)), Err(EIO));
    assert!(began.elapsed() < Duration::from_secs(20));
    // The next is refused at once, and the card works.
    let began = Instant::now();
    assert_eq!(driver.mmap(mapped.session, READ, 0), Err(EIO));
    assert_eq!(driver.munmap(mapped.buffers[0].1), Err(EIO));
    assert!(began.elapsed() < Duration::from_secs(4));
    assert_eq!(driver.window().requests(), before + 1);
    driver.streamoff(mapped.session).unwrap();
    driver.forget_events();
    assert_eq!(driver.reqbufs_mmap(mapped.session, 0), Ok(0));
    driver.capture_one(card, mapped.session);
}

#[test]
fn no_thread_waits_for_more_than_one_silent_front_end() {
    let card = &mut Card::fast();
    let mut silent = driver(card);
    let mapped = Mapped::new(&mut silent, (GREY, 64, 64), 1, READ);
    let before = silent.window().requests();
    silent.window().set_manner(Manner::Silent);
    silent.submit(&mmap_command(mapped.session, READ, 0), 24);
    silent.window().wait_requests(before + 1);
    // Its connection ends, and its channel stays open.
    let region = silent.region.take();
    drop(silent);
    let mut next = Driver::new(card);
    let offered = next.front.get_protocol_features().unwrap();
    assert!(!offered.contains(VhostUserProtocolFeatures::SHMEM));
    let session = next.open();
    next.set_picture(session, GREY, 64, 64);
    next.capture_one(card, session);
    drop(next);
    drop(region);
    // The thread ends when it sees that the channel is closed.
    card.until("the region", |card| {
        let mut next = Driver::new(card);
        let offered = next.front.get_protocol_features().unwrap();
        offered
            .contains(VhostUserProtocolFeatures::SHMEM)
            .then_some(())
    });
    let driver = &mut driver(card);
    Mapped::new(driver, (GREY, 64, 64), 1, READ);
}

#[test]
fn a_guest_cannot_have_more_mappings_or_memory_than_there_are() {
    let card = &mut Card::fast();
    let driver = &mut driver(card);
    let session = driver.open();
    driver.set_picture(session, GREY, 64, 64);
    assert_eq!(driver.reqbufs_mmap(session, 32), Ok(32));
    let mut made = Vec::new();
    let refused = loop {
        match driver.mmap(session, READ, 0) {
            Ok((at, _)) => made.push(at),
            Err(errno) => break errno,
        }
        assert!(made.len() <= MAX_MAPPINGS);
    };
    assert_eq!((refused, made.len()), (ENOMEM, MAX_MAPPINGS));
    for at in made.drain(..) {
        assert_eq!(driver.munmap(at), Ok(()));
    }
    // Of the largest picture there are fewer buffers than asked for.
    assert_eq!(driver.reqbufs_mmap(session, 0), Ok(0));
    let xr24 = u32::from_le_bytes(*b"XR24");
    let sizeimage = driver.set_picture(session, xr24, 3840, 2160).sizeimage;
    let most = REGION_SIZE / u64::from(sizeimage);
    assert_eq!(driver.reqbufs_mmap(session, 32), Ok(most as u32));
    // Memory that is still mapped counts when its buffers are gone.
    for index in 0..most as u32 {
        let offset = driver.querybuf(session, index).unwrap().userptr;
        made.push(driver.mmap(session, READ, offset).expect("MMAP").0);
    }
    assert_eq!(
        driver.mmap(session, READ, 0),
        Err(ENOMEM),
        "the region is full"
    );
    assert_eq!(driver.reqbufs_mmap(session, 1), Err(ENOMEM));
    assert!(
        driver.querybuf(session, 0).is_ok(),
        "a refusal changes nothing"
    );
    assert_eq!(driver.reqbufs_mmap(session, 0), Ok(0));
    assert_eq!(driver.reqbufs_mmap(session, 1), Err(ENOMEM));
    assert_eq!(driver.munmap(made[0]), Ok(()));
    assert_eq!(driver.reqbufs_mmap(session, 32), Ok(1));
}

#[test]
fn a_reset_drops_every_mapping_and_its_memory() {
    let card = &mut Card::fast();
    let driver = &mut driver(card);
    let before = own_files(card);
    for round in 0..3 {
        let mapped = Mapped::new(driver, (GREY, 320, 240), 4, READ);
        mapped.start(driver);
        mapped.next(driver, card);
        driver.streamoff(mapped.session).unwrap();
        if round == 1 {
            assert_eq!(driver.reqbufs_mmap(mapped.session, 2), Ok(2));
        }
        if round < 2 {
            driver.front.reset_device().expect("RESET_DEVICE");
        } else {
            // Not every front end says so: another driver starts its rings.
            driver.stop_rings();
        }
        driver.restart();
        let session = driver.open();
        driver.window().wait_empty();
        wait_files(card, before);
        assert_eq!(driver.mmap(session, READ, 0), Err(EINVAL));
        assert_eq!(driver.munmap(mapped.buffers[0].1), Err(EINVAL));
        driver.close(session);
    }
    Mapped::new(driver, (GREY, 320, 240), 4, READ);
}

#[test]
fn a_front_end_that_goes_leaves_no_memory_behind() {
    let card = &mut Card::fast();
    drop(Driver::new(card));
    let before = own_files(card);
    for _ in 0..3 {
        let driver = &mut driver(card);
        let mapped = Mapped::new(driver, (GREY, 320, 240), 4, READ);
        mapped.start(driver);
        mapped.next(driver, card);
    }
    let driver = &mut Driver::new(card);
    driver.open();
    wait_files(card, before);
}

/// Large, so that a frame takes the card some milliseconds.
const LARGE: (u32, u32, u32) = (RGB3, 1920, 1080);

#[test]
fn nothing_is_written_to_a_mapping_after_its_stream_has_ended() {
    let card = &mut Card::fast();
    let driver = &mut driver(card);
    for round in 0..6u32 {
        let mapped = Mapped::new(driver, LARGE, 4, WRITE);
        mapped.start(driver);
        driver.dqbuf(mapped.session);
        // A little later into the frame each round.
        let until = Instant::now() + Duration::from_micros(300) * round;
        while Instant::now() < until {
            std::hint::spin_loop();
        }
        match round % 3 {
            0 => driver.streamoff(mapped.session).unwrap(),
            1 => {
                driver.reqbufs_mmap(mapped.session, 0).unwrap();
            }
            _ => driver.close(mapped.session),
        }
        driver.forget_events();
        for (_, at) in &mapped.buffers {
            driver.window().fill(*at, mapped.sizeimage as usize, 0xa5);
        }
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(40) {
            driver.barrier();
        }
        for (_, at) in &mapped.buffers {
            let bytes = driver.window().read(*at, mapped.sizeimage as usize);
            assert!(bytes.iter().all(|byte| *byte == 0xa5), "round {round}");
            assert_eq!(driver.munmap(*at), Ok(()));
        }
        assert_eq!(driver.pending_events(), 0);
        if round % 3 == 0 {
            driver.close(mapped.session);
        }
    }
    // Memory of the guest's is none of its business.
    driver.assert_untouched();
    let session = driver.open();
    driver.set_picture(session, GREY, 64, 64);
    driver.capture_one(card, session);
    let stream = Stream::new(driver, (GREY, 64, 64), 2);
    stream.start(driver);
}
