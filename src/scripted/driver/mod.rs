//! A driver without a guest: guest memory, split virtqueues, the front end of
//! vhost-user, and shared memory region 0.
//!
//! The driver does what its user tells it, also what no driver should. It trusts
//! the device in nothing: whatever the device does, a call returns within its
//! limit, with a [`Fault`] if there is no going on. What was only not as it
//! should be is kept as an [`Anomaly`].
//!
//! | file | what is in it |
//! |---|---|
//! | [`fault`] | what the device did wrong |
//! | [`front`] | the connection: messages with a time limit |
//! | [`log`] | the exchange, for a report |
//! | [`memory`] | guest memory and its shadow, which shows stray writes |
//! | [`queue`] | a split virtqueue |
//! | [`region`] | the shared memory region |
//! | [`session`] | the commands and events of virtio-media |
//! | [`v4l2`] | the structures, as bytes |

pub mod fault;
pub mod front;
pub mod log;
pub mod memory;
pub mod queue;
pub mod region;
pub mod session;
pub mod v4l2;

pub use fault::{Anomaly, Fault};
pub use log::Log;
pub use memory::Memory;
pub use session::{Chains, Driver, Event, Options, Reply};
