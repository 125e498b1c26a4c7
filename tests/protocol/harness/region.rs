//! Shared memory region 0, for a card that maps nothing but sealed memory.

use std::ops::Deref;

use pinhole::scripted::driver::region::Region as Scripted;

use super::card::LIMIT;

pub use pinhole::scripted::driver::region::Manner;

/// The region of a front end.
pub struct Region<'a>(pub &'a Scripted);

impl Deref for Region<'_> {
    type Target = Scripted;

    fn deref(&self) -> &Scripted {
        self.0
    }
}

impl Region<'_> {
    /// Waits until the card has made that many requests.
    pub fn wait_requests(&self, count: u32) {
        let made = self.0.wait_requests(count, LIMIT);
        assert!(made, "no {count} requests within {LIMIT:?}");
    }

    /// Waits until nothing is mapped.
    pub fn wait_empty(&self) {
        let empty = self.0.wait_empty(LIMIT);
        assert!(empty, "{:?} after {LIMIT:?}", self.mappings());
    }

    /// What the guest reads there; it must be mapped.
    pub fn read(&self, offset: u64, len: usize) -> Vec<u8> {
        self.0.read(offset, len).expect("a mapping")
    }

    /// Writes as the guest does; it must be mapped to be written.
    pub fn fill(&self, offset: u64, len: usize, byte: u8) {
        self.0.fill(offset, len, byte).expect("a mapping");
    }

    /// Fails if a file behind a mapping could shrink under the guest.
    pub fn assert_sealed(&self) {
        let mappings = self.mappings();
        assert!(mappings.values().all(|one| one.sealed), "{mappings:?}");
    }
}
