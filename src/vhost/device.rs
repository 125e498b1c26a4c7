//! The interface of the device that the daemon serves.

use std::time::Duration;

use crate::card::region::Remap;
use crate::card::{Card, Now, Refused};
use crate::dma::Bus;
use crate::m2m::M2mCard;
use crate::wire::Reply;
use crate::wire::protocol::Config;

/// A media device, as the daemon drives it: a card, or a stand-in, such as a card
/// with a fault in a test.
///
/// The methods of [`Card`] with the same names document what each must do. The
/// daemon calls all of them under one lock.
pub trait Device: Send + 'static {
    /// Returns the configuration space.
    fn config(&self) -> Config;

    /// Executes the command in `request`, the readable part of a chain, and
    /// puts the response into `reply`, which goes back to the driver when this
    /// returns.
    ///
    /// # Errors
    /// The error is for the log; the response carries it as far as it fits.
    fn command(
        &mut self,
        now: Now,
        request: &[u8],
        bus: Bus<'_>,
        reply: &mut Reply,
    ) -> Result<(), Refused>;

    /// Makes the frame that is due, if one is; returns whether it made one.
    fn tick(&mut self, now: Now) -> bool;

    /// Returns when to tick next, on CLOCK_MONOTONIC.
    fn next_deadline(&self) -> Option<Duration>;

    /// Records that the last tick made a frame, and how long it took.
    fn frame_took(&mut self, _duration: Duration) {}

    /// Puts the next event for the driver into `event`, and returns whether
    /// there is one.
    fn next_event(&mut self, event: &mut Vec<u8>) -> bool;

    /// Removes the event that [`next_event`](Self::next_event) returned and
    /// that has been sent.
    fn event_sent(&mut self);

    /// Adapts to a change of guest memory or of the forbidden ranges in it.
    /// When this returns, nothing may refer to the old memory.
    fn memory_changed(&mut self, now: Now, bus: Bus<'_>);

    /// Returns whether the device has memory of its own for shared memory region 0.
    fn has_region(&self) -> bool {
        false
    }

    /// Tells the device whether its front end maps memory into shared memory
    /// region 0. A device that has no such memory ignores it.
    fn open_region(&mut self, _open: bool) {}

    /// Returns the next change of the region that the front end is to make. If
    /// it is awaited, [`remapped`](Self::remapped) answers the command that was
    /// just executed, and no other command comes before.
    fn next_remap(&mut self) -> Option<Remap> {
        None
    }

    /// Answers the command that waited for a change of the region; `done` tells
    /// whether the front end has made it.
    ///
    /// # Errors
    /// As [`command`](Self::command).
    fn remapped(&mut self, _done: bool, _reply: &mut Reply) -> Result<(), Refused> {
        Ok(())
    }

    /// Resets the device: the guest has reset it, or is gone.
    fn reset(&mut self);

    /// Does postponed work; nothing else is due at the moment.
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

    fn has_region(&self) -> bool {
        true
    }

    fn open_region(&mut self, open: bool) {
        Card::open_region(self, open);
    }

    fn next_remap(&mut self) -> Option<Remap> {
        Card::next_remap(self)
    }

    fn remapped(&mut self, done: bool, reply: &mut Reply) -> Result<(), Refused> {
        Card::remapped(self, done, reply)
    }

    fn reset(&mut self) {
        Card::reset(self);
    }

    fn flush_witness(&mut self) {
        Card::flush_witness(self);
    }
}

impl Device for M2mCard {
    fn config(&self) -> Config {
        M2mCard::config(self)
    }

    fn command(
        &mut self,
        now: Now,
        request: &[u8],
        bus: Bus<'_>,
        reply: &mut Reply,
    ) -> Result<(), Refused> {
        M2mCard::command(self, now, request, bus, reply)
    }

    fn tick(&mut self, now: Now) -> bool {
        M2mCard::tick(self, now)
    }

    fn next_deadline(&self) -> Option<Duration> {
        M2mCard::next_deadline(self)
    }

    fn frame_took(&mut self, duration: Duration) {
        M2mCard::frame_took(self, duration);
    }

    fn next_event(&mut self, event: &mut Vec<u8>) -> bool {
        M2mCard::next_event(self, event)
    }

    fn event_sent(&mut self) {
        M2mCard::event_sent(self);
    }

    fn memory_changed(&mut self, now: Now, bus: Bus<'_>) {
        M2mCard::memory_changed(self, now, bus);
    }

    fn reset(&mut self) {
        M2mCard::reset(self);
    }

    fn flush_witness(&mut self) {
        M2mCard::flush_witness(self);
    }
}
