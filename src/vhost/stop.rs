//! How the daemon, or the connection that it serves, is told to end.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::event::{EventfdFlags, eventfd};
use vhost_user_backend::ShutdownHandle;

#[derive(Default)]
struct State {
    /// The daemon is to end.
    requested: bool,
    connection: Connection,
}

/// The connection that is served.
#[derive(Default)]
enum Connection {
    /// There is none.
    #[default]
    None,
    /// Its worker runs, and no front end speaks to it yet.
    Opening,
    /// A front end speaks to it.
    Open(ShutdownHandle),
    /// It is to end, or has ended, for that reason.
    Failed(String),
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
        if let Connection::Open(handle) = &state.connection {
            handle.shutdown();
        }
    }

    /// Whether the end was requested.
    pub fn is_requested(&self) -> bool {
        self.lock().requested
    }

    /// A connection is being set up.
    pub(super) fn open(&self) {
        self.lock().connection = Connection::Opening;
    }

    /// A front end speaks to the connection now.
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

    /// Ends the connection, and not the daemon, because of `reason`; of
    /// several the first is kept. Nothing, if there is none.
    pub(super) fn fail(&self, reason: impl Into<String>) {
        let mut state = self.lock();
        match &state.connection {
            Connection::None | Connection::Failed(_) => return,
            Connection::Opening => (),
            Connection::Open(handle) => handle.shutdown(),
        }
        state.connection = Connection::Failed(reason.into());
    }

    /// The connection has ended. Says why, if it was because of
    /// [`fail`](Self::fail).
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
