//! The control socket: access from the host to a running card.
//!
//! A [`Server`] listens on a Unix socket. Each of its clients sends any number
//! of requests, one JSON object per line, and the server answers each with a
//! line, in order. The server runs in its own thread and asks the card through
//! a [`Remote`](crate::vhost::Remote). Clients are trusted no more than a
//! guest: the size of their input is bounded, and a client that is slow or
//! silent, or whose request makes the card wait for a pipe, holds up only
//! itself.

mod client;
mod connection;
mod later;
mod line;
pub mod metrics;
mod operated;
pub mod protocol;
mod server;
mod service;

pub use client::{Client, ClientError};
pub use operated::Operated;
pub use protocol::{Answer, Request};
pub use server::{Server, ServerError};
pub use service::Service;
