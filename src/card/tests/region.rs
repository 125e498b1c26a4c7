//! Shared memory region 0: what the card asks of its front end, and what it
//! answers to its driver.

use std::os::unix::fs::FileExt;

use super::*;
use crate::card::region::{Change, MAX_MAPPINGS, REGION_SIZE, Remap};
use crate::wire::buffer::MEMORY_MMAP;

/// Returns a card with a region, and a session that has `buffers` MMAP buffers
/// of 32x16 GREY.
fn with_region(buffers: u32) -> (Rig, u32) {
    let mut rig = Rig::new(Rate::Max);
    rig.card.open_region(true);
    let session = rig.open();
    rig.ok(session, Ioctl::SFmt, &format(b"GREY", 32, 16));
    rig.ok(session, Ioctl::ReqBufs, &mmap_request(buffers));
    (rig, session)
}

fn mmap_request(count: u32) -> RequestBuffers {
    RequestBuffers {
        memory: MEMORY_MMAP.into(),
        ..request(count)
    }
}

impl Rig {
    /// Gives MMAP, and returns the change that it waits for.
    fn mmap(&mut self, session: u32, offset: u32) -> Change {
        let (result, reply) = self.give(&words(&[4, 0, session, 1, offset]), 24);
        assert_eq!((result, reply), (Ok(()), vec![]), "not answered yet");
        self.awaited()
    }

    fn munmap(&mut self, at: u64) -> Change {
        let (result, reply) = self.give(&words(&[5, 0, at as u32, 0]), 8);
        assert_eq!((result, reply), (Ok(()), vec![]), "not answered yet");
        self.awaited()
    }

    fn awaited(&mut self) -> Change {
        match self.card.next_remap() {
            Some(Remap {
                change,
                awaited: true,
            }) => change,
            other => panic!("{other:?}"),
        }
    }

    /// Tells the card of the front end's answer, and returns the response.
    fn remapped(&mut self, done: bool) -> Vec<u8> {
        let mut reply = Reply::default();
        reply.begin(24);
        let result = self.card.remapped(done, &mut reply);
        assert_eq!(result.is_ok(), done);
        reply.bytes().to_vec()
    }

    /// Maps what has that offset, and returns its place.
    fn map(&mut self, session: u32, offset: u32) -> u64 {
        let Change::Map { at, .. } = self.mmap(session, offset) else {
            panic!("no mapping")
        };
        let reply = self.remapped(true);
        assert_eq!(reply[..8], [0; 8]);
        assert_eq!(reply[8..16], at.to_le_bytes());
        assert_eq!(reply[16..], u64::from(FRAME).to_le_bytes());
        at
    }
}

#[test]
fn a_frame_is_in_the_memory_that_the_front_end_was_given() {
    let (mut rig, session) = with_region(2);
    let Change::Map {
        memory, writable, ..
    } = rig.mmap(session, 4096)
    else {
        panic!("no mapping")
    };
    assert!(writable);
    rig.remapped(true);
    for index in [1, 0] {
        let mut asked = buffer(index, 0);
        asked.memory = MEMORY_MMAP.into();
        rig.ok(session, Ioctl::QBuf, &asked);
    }
    rig.stream_on(session);
    rig.run(0);
    let mut bytes = vec![0xee; 4096];
    memory.file().read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(bytes[..FRAME as usize], frame(0));
    assert!(bytes[FRAME as usize..].iter().all(|byte| *byte == 0));
    // The file is not written any more, whoever holds it.
    rig.stream_off(session);
    memory.file().write_all_at(&[0xa5; 512], 0).unwrap();
    rig.run(100_000);
    memory.file().read_exact_at(&mut bytes, 0).unwrap();
    assert!(bytes[..512].iter().all(|byte| *byte == 0xa5));
}

#[test]
fn a_mapping_that_fails_leaves_nothing_and_an_unmapping_everything() {
    let (mut rig, session) = with_region(1);
    rig.mmap(session, 0);
    assert_eq!(rig.remapped(false), words(&[5, 0]));
    let at = rig.map(session, 0);
    rig.munmap(at);
    assert_eq!(rig.remapped(false), words(&[5, 0]));
    rig.munmap(at);
    assert_eq!(rig.remapped(true), words(&[0, 0]));
    let (result, _) = rig.give(&words(&[5, 0, at as u32, 0]), 8);
    assert_eq!(result.unwrap_err().errno().0, 22);
    assert!(rig.card.next_remap().is_none());
}

#[test]
fn a_place_is_used_again_only_when_the_others_have_been() {
    let (mut rig, session) = with_region(1);
    let first = rig.map(session, 0);
    let second = rig.map(session, 0);
    rig.munmap(first);
    rig.remapped(true);
    let third = rig.map(session, 0);
    assert!(third > second, "{third:#x}");
    // One mapping after the other goes round the whole region.
    let mut at = third;
    for _ in 0..REGION_SIZE / 4096 {
        rig.munmap(at);
        rig.remapped(true);
        at = rig.map(session, 0);
        assert_ne!(at, second, "it is taken");
    }
    assert!(at < REGION_SIZE);
}

#[test]
fn a_reset_asks_for_the_end_of_every_mapping_also_of_one_that_is_not_made_yet() {
    let (mut rig, session) = with_region(2);
    let made = rig.map(session, 0);
    let (result, _) = rig.give(&words(&[4, 0, session, 1, 4096]), 24);
    assert_eq!(result, Ok(()));
    rig.card.reset();
    let mut mapped = vec![made];
    while let Some(remap) = rig.card.next_remap() {
        assert!(!remap.awaited);
        match remap.change {
            Change::Map { at, .. } => mapped.push(at),
            Change::Unmap { at, .. } => mapped.retain(|other| *other != at),
        }
    }
    assert!(mapped.is_empty(), "{mapped:x?}");
    // The pool is whole again.
    assert_eq!(rig.card.pool.left(), REGION_SIZE);
    let session = rig.open();
    rig.ok(session, Ioctl::ReqBufs, &mmap_request(1));
}

#[test]
fn mappings_are_as_many_as_the_front_end_has_slots_for() {
    let (mut rig, session) = with_region(1);
    for _ in 0..MAX_MAPPINGS {
        rig.map(session, 0);
    }
    let (result, reply) = rig.give(&words(&[4, 0, session, 1, 0]), 24);
    assert_eq!(result.unwrap_err().errno().0, 12);
    assert_eq!(reply, words(&[12, 0]));
    assert!(rig.card.next_remap().is_none());
}
