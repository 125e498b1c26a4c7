//! How the daemon is told to end.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::event::{EventfdFlags, eventfd};
use vhost_user_backend::ShutdownHandle;

#[derive(Default)]
struct State {
    requested: bool,
    /// The connection that is to end with the daemon.
    connection: Option<ShutdownHandle>,
}

/// Ends a daemon from another thread. Clones end the same daemon.
#[derive(Clone)]
pub struct Stop {
    state: Arc<Mutex<State>>,
    /// Readable once the end was requested.
    event: Arc<OwnedFd>,
}

impl Stop {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            state: Arc::default(),
            event: Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?),
        })
    }

    /// Requests the end: the connection is closed, if there is one, and no
    /// other is accepted.
    pub fn request(&self) {
        let mut state = self.lock();
        state.requested = true;
        // Fails only if the counter is at its end, and then it is readable.
        let _ = rustix::io::write(&self.event, &1u64.to_ne_bytes());
        if let Some(connection) = state.connection.take() {
            connection.shutdown();
        }
    }

    /// Whether the end was requested.
    pub fn is_requested(&self) -> bool {
        self.lock().requested
    }

    /// A connection has begun.
    pub(super) fn attach(&self, connection: Option<ShutdownHandle>) {
        let mut state = self.lock();
        state.connection = connection;
        if state.requested
            && let Some(connection) = state.connection.take()
        {
            connection.shutdown();
        }
    }

    /// The connection has ended.
    pub(super) fn detach(&self) {
        self.lock().connection = None;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsFd for Stop {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}
