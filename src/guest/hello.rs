//! How a server introduces itself to the host.

use crate::agent::protocol::{Hello, Message};
use rustix::time::{ClockId, clock_gettime};

use crate::guest::modules;

/// Returns the introduction of a server on this machine, with the problems of its
/// set-up.
pub fn hello(problems: &[String]) -> Message {
    let uptime = clock_gettime(ClockId::Boottime);
    Message::Hello(Hello {
        agent: env!("CARGO_PKG_VERSION").into(),
        release: modules::release(),
        uptime_ms: uptime.tv_sec as u64 * 1000 + uptime.tv_nsec as u64 / 1_000_000,
        problems: problems.to_vec(),
    })
}
