//! Guest memory that is the card's to write only where it was asked to.

pub use pinhole::scripted::driver::memory::*;

/// Memory with `high` bytes above the hole, for frames.
pub fn guest_memory(high: u64) -> Memory {
    Memory::new(high).expect("guest memory")
}

/// Fails if any byte of any region is not what it should be.
pub fn assert_untouched(memory: &Memory) {
    if let Err(stray) = memory.check_untouched() {
        panic!("{stray}");
    }
}
