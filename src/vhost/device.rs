//! What the daemon serves.

use std::time::Duration;

use crate::card::{Card, Now, Refused};
use crate::dma::Bus;
use crate::wire::Reply;
use crate::wire::protocol::Config;

/// A media device, as the daemon drives it: the card, or something that stands
/// in for it, such as a card with a fault in a test.
///
/// Each method of [`Card`] of the same name says what is wanted. All are
/// called under one lock.
pub trait Device: Send + 'static {
    /// The configuration space.
    fn config(&self) -> Config;

    /// Executes the command in `request`, the readable part of a chain, and
    /// leaves the answer in `reply`, which goes back to the driver when this
    /// returns.
    ///
    /// # Errors
    /// For the log; the answer says so as far as it fits.
    fn command(
        &mut self,
        now: Now,
        request: &[u8],
        bus: Bus<'_>,
        reply: &mut Reply,
    ) -> Result<(), Refused>;

    /// Makes the frame that is due, if one is; says whether it did.
    fn tick(&mut self, now: Now) -> bool;

    /// When to tick next, by the monotonic clock.
    fn next_deadline(&self) -> Option<Duration>;

    /// The last tick made a frame, and took that long.
    fn frame_took(&mut self, _duration: Duration) {}

    /// Leaves in `event` what the driver is to be told next, and says whether
    /// there is anything.
    fn next_event(&mut self, event: &mut Vec<u8>) -> bool;

    /// The event of [`next_event`](Self::next_event) has been sent.
    fn event_sent(&mut self);

    /// Guest memory, or what of it is forbidden, has changed. When this
    /// returns, nothing may refer to the old memory.
    fn memory_changed(&mut self, now: Now, bus: Bus<'_>);

    /// The guest has reset the device, or is gone.
    fn reset(&mut self);

    /// Nothing is due at once: what was put off can be done.
    fn flush_witness(&mut self) {}
}

impl Device for Card {
    fn config(&self) -> Config {
        Card::config(self)
    }

    fn command(
        &mut self,
        now: Now,
        request: &[u8],
        bus: Bus<'_>,
        reply: &mut Reply,
    ) -> Result<(), Refused> {
        Card::command(self, now, request, bus, reply)
    }

    fn tick(&mut self, now: Now) -> bool {
        Card::tick(self, now)
    }

    fn next_deadline(&self) -> Option<Duration> {
        Card::next_deadline(self)
    }

    fn frame_took(&mut self, duration: Duration) {
        Card::frame_took(self, duration);
    }

    fn next_event(&mut self, event: &mut Vec<u8>) -> bool {
        Card::next_event(self, event)
    }

    fn event_sent(&mut self) {
        Card::event_sent(self);
    }

    fn memory_changed(&mut self, now: Now, bus: Bus<'_>) {
        Card::memory_changed(self, now, bus);
    }

    fn reset(&mut self) {
        Card::reset(self);
    }

    fn flush_witness(&mut self) {
        Card::flush_witness(self);
    }
}
