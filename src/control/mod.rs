//! The control socket: a running card, reached from the host.
//!
//! A [`Server`] listens on a Unix socket for any number of requests of several
//! clients, one JSON object a line, and answers each with a line, in order.
//! It runs in a thread of its own and asks the card through a
//! [`Remote`](crate::vhost::Remote). Clients are not trusted more than a guest
//! is: what they send is bounded, and one that is slow or silent holds up
//! nobody but itself, nor does one that has the card wait for a pipe.

mod client;
mod connection;
mod later;
mod line;
pub mod metrics;
pub mod protocol;
mod server;
mod service;

pub use client::{Client, ClientError};
pub use protocol::{Answer, Request};
pub use server::{Server, ServerError};
pub use service::Service;
