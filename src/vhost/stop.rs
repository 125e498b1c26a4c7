//! The handle that ends the daemon, or the connection that it serves.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::event::{EventfdFlags, eventfd};
use vhost_user_backend::ShutdownHandle;

#[derive(Default)]
struct State {
    /// Whether the end of the daemon was requested.
    requested: bool,
    connection: Connection,
}

/// State of the connection that is served.
#[derive(Default)]
enum Connection {
    /// There is no connection.
    #[default]
    None,
    /// The worker runs, and no front end is attached yet.
    Opening,
    /// A front end is attached.
    Open(ShutdownHandle),
    /// The connection ends, or has ended, for that reason.
    Failed(String),
}

/// A handle that ends a daemon from another thread. Clones end the same daemon.
#[derive(Clone)]
pub struct Stop {
    state: Arc<Mutex<State>>,
    /// An eventfd that is readable once the end was requested.
    event: Arc<OwnedFd>,
}

impl Stop {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            state: Arc::default(),
            event: Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?),
        })
    }

    /// Requests the end: closes the connection, if there is one, and lets the
    /// daemon accept no other.
    pub fn request(&self) {
        let mut state = self.lock();
        state.requested = true;
        // The write fails only if the counter is at its maximum; the event is
        // then readable.
        let _ = rustix::io::write(&self.event, &1u64.to_ne_bytes());
        if let Connection::Open(handle) = &state.connection {
            handle.shutdown();
        }
    }

    /// Returns whether the end was requested.
    pub fn is_requested(&self) -> bool {
        self.lock().requested
    }

    /// Notes that a connection is being set up.
    pub(super) fn open(&self) {
        self.lock().connection = Connection::Opening;
    }

    /// Notes that a front end is attached to the connection.
    pub(super) fn attach(&self, handle: Option<ShutdownHandle>) {
        let mut state = self.lock();
        let Some(handle) = handle else { return };
        if state.requested || matches!(state.connection, Connection::Failed(_)) {
            handle.shutdown();
        }
        if matches!(state.connection, Connection::Opening) {
            state.connection = Connection::Open(handle);
        }
    }

    /// Ends the connection, but not the daemon, because of `reason`; the first
    /// of several reasons is kept. Does nothing if there is no connection.
    pub(super) fn fail(&self, reason: impl Into<String>) {
        let mut state = self.lock();
        match &state.connection {
            Connection::None | Connection::Failed(_) => return,
            Connection::Opening => (),
            Connection::Open(handle) => handle.shutdown(),
        }
        state.connection = Connection::Failed(reason.into());
    }

    /// Notes that the connection has ended. Returns the reason if
    /// [`fail`](Self::fail) ended it.
    pub(super) fn close(&self) -> Option<String> {
        match std::mem::take(&mut self.lock().connection) {
            Connection::Failed(reason) => Some(reason),
            _ => None,
        }
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
