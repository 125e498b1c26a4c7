//! Shared memory region 0, in which the guest sees buffers of the card's own
//! memory (VIRTIO 1.4, Media Device, "Mapping a MMAP buffer").
//!
//! The front end maps and unmaps at the card's request. The card asks for a
//! change with [`Card::next_remap`] and learns the result by
//! [`Card::remapped`]; meanwhile it gets no command. A mapping holds its memory,
//! so it stays whole until MUNMAP, whatever becomes of buffer and session.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use zerocopy::FromBytes;

use super::Card;
use super::refused::{Refused, invalid};
use crate::dma::OwnMemory;
use crate::dma::own::Mapped;
use crate::wire::protocol::{MMAP_FLAG_RW, MmapBody, MmapReply, MunmapBody};
use crate::wire::request::Truncated;
use crate::wire::{Errno, Reply};

/// Size of the region in bytes, and of all memory of the card's own that exists
/// at once. It holds 15 frames of the largest kind, 3840x2160 at four bytes a
/// pixel, or 32 of 1920x1080. The region itself is address space of the guest
/// alone; memory costs the host what frames were written to.
pub const REGION_SIZE: u64 = 512 << 20;

/// Largest number of mappings at once: those of [`MAX_BUFFERS`] buffers of three
/// planes, and as many that outlive their buffers. A front end may need one of
/// its 509 memory slots for each.
///
/// [`MAX_BUFFERS`]: super::buffers::MAX_BUFFERS
pub const MAX_MAPPINGS: usize = 192;

/// A change of the region that the front end is to make.
#[derive(Debug, Clone)]
pub enum Change {
    /// Map memory at that offset.
    Map {
        /// Offset in the region, in bytes.
        at: u64,
        /// The memory, all of which is mapped.
        memory: Arc<OwnMemory>,
        /// Whether the guest may write to it.
        writable: bool,
    },
    /// Unmap what is mapped there.
    Unmap {
        /// Offset in the region, in bytes.
        at: u64,
        /// Size in bytes.
        size: u64,
    },
}

/// A change, and whether a command waits for it.
#[derive(Debug, Clone)]
pub struct Remap {
    /// The change.
    pub change: Change,
    /// Whether the command that was executed last is answered by
    /// [`Card::remapped`] only.
    pub awaited: bool,
}

/// The change that a command waits for.
#[derive(Debug, Clone, Copy)]
enum Awaited {
    Map(u64),
    Unmap(u64),
}

/// What is mapped in the region.
#[derive(Debug, Default)]
pub struct Region {
    /// Whether the front end maps memory at all.
    open: bool,
    /// The mappings by their offsets. They do not overlap.
    mappings: BTreeMap<u64, Mapped>,
    /// End of the mapping made last: the next one is tried behind it, so that an
    /// offset is not soon used again.
    next: u64,
    /// Changes that the front end has not been asked for yet.
    changes: VecDeque<Remap>,
    awaited: Option<Awaited>,
}

impl Region {
    /// Returns whether the front end maps memory.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Reserves a place for `memory`, and asks for the mapping.
    fn map(&mut self, memory: Arc<OwnMemory>, writable: bool) -> Result<(), Refused> {
        let size = memory.size();
        let place = match self.mappings.len() < MAX_MAPPINGS {
            true => self.gap(self.next, size).or_else(|| self.gap(0, size)),
            false => None,
        };
        let at = place.ok_or(Refused::Because(
            Errno::ENOMEM,
            "the shared memory region is full",
        ))?;
        self.next = at + size;
        let held = Mapped::new(Arc::clone(&memory));
        self.mappings.insert(at, held);
        self.ask(
            Awaited::Map(at),
            Change::Map {
                at,
                memory,
                writable,
            },
        );
        Ok(())
    }

    fn unmap(&mut self, at: u64) -> Result<(), Refused> {
        let mapping = self.mappings.get(&at);
        let mapping = mapping.ok_or(invalid("nothing is mapped at that address"))?;
        let size = mapping.memory().size();
        self.ask(Awaited::Unmap(at), Change::Unmap { at, size });
        Ok(())
    }

    fn ask(&mut self, awaited: Awaited, change: Change) {
        self.awaited = Some(awaited);
        self.changes.push_back(Remap {
            change,
            awaited: true,
        });
    }

    /// Returns the first place at `from` or behind it that has room for `size`
    /// bytes.
    fn gap(&self, from: u64, size: u64) -> Option<u64> {
        let end = |(at, mapping): (&u64, &Mapped)| at + mapping.memory().size();
        let before = self.mappings.range(..from).next_back().map_or(0, end);
        let mut start = from.max(before);
        for mapping in self.mappings.range(from..) {
            if *mapping.0 >= start + size {
                break;
            }
            start = end(mapping);
        }
        (start + size <= REGION_SIZE).then_some(start)
    }

    /// Forgets all mappings, and asks the front end to undo them.
    pub fn clear(&mut self) {
        self.awaited = None;
        // A change that waits is carried out first, so that the unmapping finds
        // what it may have mapped.
        for remap in &mut self.changes {
            remap.awaited = false;
        }
        for (at, mapping) in std::mem::take(&mut self.mappings) {
            let size = mapping.memory().size();
            self.changes.push_back(Remap {
                change: Change::Unmap { at, size },
                awaited: false,
            });
        }
    }
}

impl Card {
    /// Tells the card whether its front end maps memory into region 0. Without
    /// that the card has no buffers of its own memory. The caller has reset the
    /// card.
    pub fn open_region(&mut self, open: bool) {
        self.region = Region {
            open,
            ..Region::default()
        };
    }

    /// Returns the next change of region 0 that the front end is to make, in
    /// order. If it is awaited, the command that was just executed has not been
    /// answered: [`remapped`](Self::remapped) answers it, and no other command
    /// may come before.
    pub fn next_remap(&mut self) -> Option<Remap> {
        self.region.changes.pop_front()
    }

    /// Answers the command that waited for a change of region 0. `done` tells
    /// whether the front end has made it.
    ///
    /// # Errors
    /// The front end has not. The response says so.
    pub fn remapped(&mut self, done: bool, reply: &mut Reply) -> Result<(), Refused> {
        let region = &mut self.region;
        match (region.awaited.take(), done) {
            (Some(Awaited::Map(at)), true) => {
                let len = region.mappings.get(&at).map(|m| m.memory().length());
                reply.succeed(&MmapReply {
                    driver_addr: at.into(),
                    len: u64::from(len.unwrap_or_default()).into(),
                });
                return Ok(());
            }
            (Some(Awaited::Unmap(at)), true) => {
                region.mappings.remove(&at);
                reply.succeed(&[0u8; 0]);
                return Ok(());
            }
            (Some(Awaited::Map(at)), false) => {
                region.mappings.remove(&at);
            }
            // What the front end did not unmap may still be mapped.
            (Some(Awaited::Unmap(_)) | None, _) => (),
        }
        let refused = Refused::Because(Errno::EIO, "the front end has not changed its mappings");
        reply.fail(refused.errno());
        Err(refused)
    }

    /// VIRTIO_MEDIA_CMD_MMAP. As with V4L2's mmap(), any open session may map
    /// the buffers.
    pub(super) fn map_buffer(&mut self, body: &[u8], reply: &Reply) -> Result<(), Refused> {
        self.check_region()?;
        let (body, _) = MmapBody::ref_from_prefix(body).map_err(|_| Truncated)?;
        if !reply.has_room_for(size_of::<MmapReply>()) {
            return Err(Refused::NoRoom);
        }
        self.sessions.check(body.session_id.get())?;
        let memory = self.buffers.own_memory(body.offset.get());
        let memory = memory.ok_or(invalid("no buffer has that offset"))?;
        let writable = body.flags.get() & MMAP_FLAG_RW != 0;
        self.region.map(Arc::clone(memory), writable)
    }

    /// VIRTIO_MEDIA_CMD_MUNMAP.
    pub(super) fn unmap_buffer(&mut self, body: &[u8], reply: &Reply) -> Result<(), Refused> {
        self.check_region()?;
        let (body, _) = MunmapBody::ref_from_prefix(body).map_err(|_| Truncated)?;
        if !reply.has_room_for(0) {
            return Err(Refused::NoRoom);
        }
        self.region.unmap(body.driver_addr.get())
    }

    fn check_region(&self) -> Result<(), Refused> {
        match self.region.is_open() {
            true => Ok(()),
            false => Err(Refused::Because(
                Errno::ENOTTY,
                "the front end has no shared memory region",
            )),
        }
    }
}
