//! Access to the card from other threads.
//!
//! A request is put into a mailbox. The thread that waits for events at the
//! time executes it between two frames: the worker of a connection or, while
//! there is none, the thread that waits for a connection. Events and a new
//! deadline that result are handled at once. The frame path does not look at
//! the mailbox.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};

use crate::card::{Card, Now};

/// Largest number of waiting requests. Each request blocks its sender, so there
/// are at most as many as there are threads that send requests.
const WAITING: usize = 16;

/// How long a request may wait for the card: several times what a frame takes,
/// and what a witness may hold it up.
const PATIENCE: Duration = Duration::from_secs(10);

/// An action on the card.
type Request<D> = Box<dyn FnOnce(&mut D, Now) + Send>;

/// Why a request was not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RemoteError {
    /// The daemon has ended.
    #[error("the card has ended")]
    Ended,
    /// The card is busy.
    #[error("the card did not answer within {} s; it may still do what was asked", PATIENCE.as_secs())]
    Busy,
    /// Too many requests wait already.
    #[error("the card has {WAITING} requests waiting already; try again")]
    Full,
}

/// A handle to the card of a daemon. Clones reach the same card.
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
    /// Runs `action` on the card between two commands, with the current time,
    /// whether or not a front end is connected. Afterwards resulting events are
    /// sent and the timer is set again.
    ///
    /// # Errors
    /// There is no answer. Only after [`RemoteError::Busy`] may the action
    /// still be executed.
    pub fn run<T: Send + 'static>(
        &self,
        action: impl FnOnce(&mut D, Now) -> T + Send + 'static,
    ) -> Result<T, RemoteError> {
        let (sender, answer) = mpsc::sync_channel(1);
        let request: Request<D> = Box::new(move |card, now| {
            // The sender may have given up waiting.
            let _ = sender.send(action(card, now));
        });
        self.requests
            .try_send(request)
            .map_err(|error| match error {
                TrySendError::Full(_) => RemoteError::Full,
                TrySendError::Disconnected(_) => RemoteError::Ended,
            })?;
        // The write fails only if the counter is at its maximum; the event is
        // then readable.
        let _ = rustix::io::write(&self.event, &1u64.to_ne_bytes());
        answer.recv_timeout(PATIENCE).map_err(|error| match error {
            RecvTimeoutError::Timeout => RemoteError::Busy,
            RecvTimeoutError::Disconnected => RemoteError::Ended,
        })
    }
}

/// The mailbox with the requests of all [`Remote`]s of a daemon.
pub struct Mailbox<D> {
    requests: Receiver<Request<D>>,
    /// An eventfd that is readable while requests may wait.
    event: Arc<OwnedFd>,
}

impl<D> Mailbox<D> {
    /// Creates an empty mailbox, and a handle that sends requests to it.
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

    /// Returns the eventfd, with which another thread of the daemon wakes the
    /// worker.
    pub fn event(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.event)
    }

    /// Executes the waiting requests, at most as many as fit in the mailbox.
    pub fn empty(&self, card: &mut D, now: impl Fn() -> Now) {
        // The event is cleared before the requests are taken, so that a later
        // request is noticed later.
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
        // The loop ends when the mailbox is full, with the threads' requests or
        // with these.
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
