//! The vhost-user daemon: virtqueues in, card calls out.
//!
//! A [`Daemon`] serves a [`Device`], the card, to one front end (a QEMU) after
//! the other. Each has one worker thread, which kicks of both queues and a
//! timer wake: it executes the commands that wait, makes the frame that is due,
//! and sends events, in this order, under one lock. The thread that speaks
//! vhost-user takes the same lock to stop a queue, to reset the card and to
//! change the memory table, so that none of this happens in the middle of a
//! frame. A [`Remote`] lets any other thread reach the card. Nobody waits for it
//! longer than a frame takes, or a command: what the worker does under one hold
//! of the lock is bounded by time, and who waits for the lock gets it next.
//!
//! A guest can do nothing that ends the worker, fails a queue or blocks the
//! card for another guest: a malformed chain is answered with an error where
//! a response header fits, and given back unused where it does not.
//!
//! A front end can do no more than end its own connection: what it hands over,
//! file descriptors ([`vring`]) and memory ([`bus_error`]), is used in ways
//! that it cannot hold up, and where the worker ends, whatever for, the
//! connection ends with it.

mod backend;
mod bus_error;
mod chain;
mod daemon;
mod device;
mod engine;
mod fair;
mod relay;
mod remote;
mod socket;
mod stop;
mod timer;
mod vring;

pub use daemon::{Daemon, DaemonError};
pub use device::Device;
pub use relay::Relay;
pub use remote::{Remote, RemoteError};
pub use socket::{InheritedSocket, ListenError, ListeningSocket, SocketName};
pub use stop::Stop;
