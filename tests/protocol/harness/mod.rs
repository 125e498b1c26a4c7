//! A guest without a virtual machine: memory, virtqueues and a driver, and the
//! card at the other end of the socket.

pub mod card;
pub mod driver;
pub mod memory;
pub mod region;
pub mod stream;
pub mod v4l2;

use std::sync::atomic::{AtomicBool, Ordering};

pub use card::Card;
pub use driver::{Chains, Driver, Event, Options};
pub use memory::{Memory, PAGE, guest_memory};
pub use pinhole::scripted::driver::queue;
pub use region::Manner;
pub use stream::Stream;

/// Sets a flag when dropped, so that a thread that goes on until then does not
/// keep a test that has failed from ending.
pub struct SetAtEnd<'a>(pub &'a AtomicBool);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
