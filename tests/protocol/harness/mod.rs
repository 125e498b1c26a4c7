//! A guest without a virtual machine: memory, virtqueues and a driver, and the
//! card at the other end of the socket.

pub mod card;
pub mod driver;
pub mod memory;
pub mod queue;
pub mod stream;
pub mod v4l2;

pub use card::Card;
pub use driver::{Chains, Driver, Event, Options};
pub use memory::{Memory, PAGE};
pub use stream::Stream;
