//! The vhost-user daemon: virtqueues in, card calls out.
//!
//! A [`Daemon`] serves a [`Device`], the card, to one front end (a QEMU) after
//! the other. Each front end has one worker thread, which is woken by kicks of
//! both queues and by a timer. The worker executes the waiting commands, makes
//! the frame that is due, and sends events, in this order, under one lock. The
//! thread that speaks vhost-user takes the same lock to stop a queue, to reset
//! the card and to change the memory table, so that none of this happens in the
//! middle of a frame. A [`Remote`] lets any other thread reach the card. No
//! thread waits for the card longer than a frame or a command takes: the
//! worker's work under one hold of the lock is bounded by time, and a thread
//! that waits for the lock gets it next.
//!
//! A guest cannot end the worker, fail a queue or block the card for another
//! guest. A malformed chain is answered with an error if a response header
//! fits, and is returned unused if not.
//!
//! A front end can only end its own connection. Its file descriptors
//! ([`vring`]) and its memory ([`bus_error`]) are used in ways that it cannot
//! hold up. If the worker ends, for any reason, the connection ends with it.

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
mod window;

pub use daemon::{Daemon, DaemonError};
pub use device::Device;
pub use relay::Relay;
pub use remote::{Remote, RemoteError};
pub use socket::{InheritedSocket, ListenError, ListeningSocket, SocketName};
pub use stop::Stop;
