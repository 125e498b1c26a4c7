//! Reaching the card from another thread.
//!
//! A request is put into a mailbox, and whoever waits for events at the time
//! executes it between two frames, the worker of a connection or, while there
//! is none, the thread that waits for one; what comes of it, events and a new
//! deadline, is then seen to at once. The frame path does not look at the
//! mailbox.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};

use crate::card::{Card, Now};

/// Requests that may wait. Each holds up its sender, so that there are no more
/// than there are threads that send any.
const WAITING: usize = 16;

/// How long a request may wait for the card: several times what a frame takes,
/// and what a witness may keep it waiting.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is to be done with the card.
type Request<D> = Box<dyn FnOnce(&mut D, Now) + Send>;

/// Why a request was not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RemoteError {
    /// The daemon has ended.
    #[error("the card has ended")]
    Ended,
    /// It is in the middle of something.
    #[error("the card did not answer within {} s; it may still do what was asked", PATIENCE.as_secs())]
    Busy,
    /// Too many requests wait already.
    #[error("the card has {WAITING} requests waiting already; try again")]
    Full,
}

/// A hand on the card of a daemon. Clones reach the same card.
pub struct Remote<D = Card> {
    requests: SyncSender<Request<D>>,
    event: Arc<OwnedFd>,
}

impl<D> Clone for Remote<D> {
    fn clone(&self) -> Self {
        Self {
            requests: self.requests.clone(),
            event: Arc::clone(&self.event),
        }
    }
}

impl<D> Remote<D> {
    /// Runs `action` on the card, with the time at which it does so, between
    /// two commands; whether a front end is connected or not. Events that come
    /// of it are sent, and the timer is set anew.
    ///
    /// # Errors
    /// Where there is no answer. Only after [`RemoteError::Busy`] may the
    /// action be executed nevertheless.
    pub fn run<T: Send + 'static>(
        &self,
        action: impl FnOnce(&mut D, Now) -> T + Send + 'static,
    ) -> Result<T, RemoteError> {
        let (sender, answer) = mpsc::sync_channel(1);
        let request: Request<D> = Box::new(move |card, now| {
            // Whoever asked may have lost patience.
            let _ = sender.send(action(card, now));
        });
        self.requests
            .try_send(request)
            .map_err(|error| match error {
                TrySendError::Full(_) => RemoteError::Full,
                TrySendError::Disconnected(_) => RemoteError::Ended,
            })?;
        // Fails only if the counter is at its end, and then it is readable.
        let _ = rustix::io::write(&self.event, &1u64.to_ne_bytes());
        answer.recv_timeout(PATIENCE).map_err(|error| match error {
            RecvTimeoutError::Timeout => RemoteError::Busy,
            RecvTimeoutError::Disconnected => RemoteError::Ended,
        })
    }
}

/// The requests of all [`Remote`]s of a daemon.
pub struct Mailbox<D> {
    requests: Receiver<Request<D>>,
    /// Readable while there may be requests.
    event: Arc<OwnedFd>,
}

impl<D> Mailbox<D> {
    /// An empty mailbox, and the way into it.
    pub fn new() -> io::Result<(Self, Remote<D>)> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let event = Arc::new(event);
        let (sender, requests) = mpsc::sync_channel(WAITING);
        let remote = Remote {
            requests: sender,
            event: Arc::clone(&event),
        };
        Ok((Self { requests, event }, remote))
    }

    /// Executes the requests that wait, at most as many as fit.
    pub fn empty(&self, card: &mut D, now: impl Fn() -> Now) {
        // Before the requests are taken: what comes later is seen later.
        let _ = rustix::io::read(&self.event, &mut [0; 8]);
        for request in self.requests.try_iter().take(WAITING) {
            request(card, now());
        }
    }
}

impl<D> AsFd for Mailbox<D> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

impl<D> AsRawFd for Mailbox<D> {
    fn as_raw_fd(&self) -> RawFd {
        self.event.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::card::{Rate, Spec};
    use crate::source::{self, Camera};
    use std::thread;

    fn card() -> Card {
        let camera = Camera::with("Pinhole", source::open("pattern").unwrap());
        Card::new(Spec::new(camera, Rate::Max))
    }

    #[test]
    fn requests_are_executed_in_order_and_answered() {
        let (mailbox, remote) = Mailbox::<Card>::new().unwrap();
        let asking = thread::spawn(move || {
            let time = remote.run(|_, now| now.monotonic).unwrap();
            (time, remote.run(|card, now| card.statistics(now).frames))
        });
        let now = || Now {
            monotonic: Duration::from_secs(7),
            ..Now::default()
        };
        let mut card = card();
        while !asking.is_finished() {
            mailbox.empty(&mut card, now);
        }
        assert_eq!(asking.join().unwrap(), (Duration::from_secs(7), Ok(0)));
    }

    #[test]
    fn requests_that_nobody_will_execute_fail_at_once() {
        let (mailbox, remote) = Mailbox::<Card>::new().unwrap();
        let waiting: Vec<_> = (0..WAITING)
            .map(|_| {
                let remote = remote.clone();
                thread::spawn(move || remote.run(|_, _| ()))
            })
            .collect();
        // Until the mailbox is full, of theirs or of these.
        while remote.requests.try_send(Box::new(|_, _| ())).is_ok() {}
        assert_eq!(remote.run(|_, _| ()), Err(RemoteError::Full));
        drop(mailbox);
        assert_eq!(remote.run(|_, _| ()), Err(RemoteError::Ended));
        for waiting in waiting {
            let result = waiting.join().unwrap();
            let ended = [Err(RemoteError::Ended), Err(RemoteError::Full)];
            assert!(ended.contains(&result), "{result:?}");
        }
    }
}
