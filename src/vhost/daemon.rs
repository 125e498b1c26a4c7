//! The daemon: one front end after the other.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex};

use rustix::event::{PollFd, PollFlags, poll};
use vhost::vhost_user::{Error as VhostUserError, Listener};
use vhost_user_backend::{Error as BackendError, VhostUserDaemon};
use vm_memory::{GuestMemoryAtomic, GuestMemoryMmap};
use vmm_sys_util::epoll::EventSet;

use super::backend::{Backend, SharedEngine, lock};
use super::engine::Engine;
use super::relay;
use super::stop::Stop;
use super::timer::Timer;
use crate::card::Card;
use crate::wire::protocol::QUEUES;

/// What the worker's event loop calls the timer; queues and its own events
/// have the numbers up to [`QUEUES`].
const TIMER_EVENT: u64 = QUEUES as u64 + 1;

/// Why the daemon cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The system refuses what the daemon needs to run at all.
    #[error("cannot set up the daemon: {0}")]
    Setup(#[from] io::Error),
    /// The device cannot be set up; with the words of vhost-user-backend,
    /// whose error may hold a panic's payload and cannot be passed on.
    #[error("cannot set up the vhost-user device: {0}")]
    Device(String),
    /// The socket cannot be waited on or accepted from.
    #[error("cannot accept a front end: {0}")]
    Accept(io::Error),
}

/// A card that is served by vhost-user.
pub struct Daemon {
    engine: SharedEngine,
    stop: Stop,
}

impl Daemon {
    /// A daemon that serves `card`.
    pub fn new(card: Card) -> Result<Self, DaemonError> {
        let engine = Engine::new(card, Timer::new()?);
        Ok(Self {
            engine: Arc::new(Mutex::new(engine)),
            stop: Stop::new()?,
        })
    }

    /// What ends [`serve`](Self::serve) from another thread.
    pub fn stop(&self) -> Stop {
        self.stop.clone()
    }

    /// Serves the front ends that connect to `listener`, one after the other,
    /// until it is stopped. Each finds the card as it was at the beginning.
    pub fn serve(&self, listener: &UnixListener) -> Result<(), DaemonError> {
        while self.wait_for(listener)? {
            let listener = listener.try_clone().map_err(DaemonError::Accept)?;
            self.serve_next(listener)?;
        }
        Ok(())
    }

    /// Serves the front end at the other end of `socket` until it is gone or
    /// the daemon is stopped.
    pub fn serve_connected(&self, socket: UnixStream) -> Result<(), DaemonError> {
        self.serve_next(relay::listener_for(socket)?)
    }

    /// Waits until a front end connects. Says whether one did: otherwise the
    /// daemon is to end.
    fn wait_for(&self, listener: &UnixListener) -> Result<bool, DaemonError> {
        loop {
            let (listener, stop) = (listener.as_fd(), self.stop.as_fd());
            let mut fds = [listener, stop].map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
            match poll(&mut fds, None) {
                Ok(_) if self.stop.is_requested() => return Ok(false),
                Ok(_) if !fds[0].revents().is_empty() => return Ok(true),
                Ok(_) | Err(rustix::io::Errno::INTR) => (),
                Err(error) => return Err(DaemonError::Accept(error.into())),
            }
        }
    }

    /// Accepts a front end, and serves it until it is gone or the daemon is
    /// stopped.
    fn serve_next(&self, listener: UnixListener) -> Result<(), DaemonError> {
        let memory = GuestMemoryAtomic::new(GuestMemoryMmap::new());
        lock(&self.engine).connect(memory.clone());
        let backend = Arc::new(Backend::new(Arc::clone(&self.engine)));
        let mut connection =
            VhostUserDaemon::new("vhost-user".into(), Arc::clone(&backend), memory)
                .map_err(device_error)?;
        let timer = lock(&self.engine).timer().as_raw_fd();
        for worker in connection.get_epoll_handlers() {
            worker.register_listener(timer, EventSet::IN, TIMER_EVENT)?;
        }
        connection
            .start(&mut Listener::from(listener))
            .map_err(device_error)?;
        log::info!("a front end is connected");
        self.stop.attach(connection.shutdown_handle());
        let result = connection.wait();
        self.stop.detach();
        // Ends the worker, too, and waits for it.
        drop(connection);
        // SAFETY: the worker has just been waited for.
        unsafe { backend.close_exit_event() };
        lock(&self.engine).disconnect();
        match result {
            // How a front end ends, or is killed, makes no difference.
            Ok(())
            | Err(BackendError::HandleRequest(
                VhostUserError::Disconnected | VhostUserError::PartialMessage,
            )) => log::info!("the front end is gone"),
            Err(error) => log::warn!("the connection is given up: {error}"),
        }
        Ok(())
    }
}

fn device_error(error: BackendError) -> DaemonError {
    DaemonError::Device(error.to_string())
}
