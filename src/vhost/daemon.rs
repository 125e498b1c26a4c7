//! The daemon: one front end after the other.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixListener;
use std::sync::{Arc, Mutex};

use rustix::event::{PollFd, PollFlags, poll};
use vhost::vhost_user::{Error as VhostUserError, Listener};
use vhost_user_backend::{Error as BackendError, VhostUserDaemon};
use vm_memory::{GuestMemoryAtomic, GuestMemoryMmap};
use vmm_sys_util::epoll::EventSet;

use super::backend::{Backend, SharedEngine, lock};
use super::device::Device;
use super::engine::Engine;
use super::relay::Relay;
use super::remote::{Mailbox, Remote};
use super::socket::ListeningSocket;
use super::stop::Stop;
use super::timer::Timer;
use crate::card::Card;
use crate::wire::protocol::QUEUES;

/// What the worker's event loop calls the timer; queues and its own events
/// have the numbers up to [`QUEUES`].
const TIMER_EVENT: u64 = QUEUES as u64 + 1;

/// What it calls the mailbox of requests from other threads.
pub(super) const MAILBOX_EVENT: u64 = TIMER_EVENT + 1;

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
pub struct Daemon<D = Card> {
    engine: SharedEngine<D>,
    stop: Stop,
    remote: Remote<D>,
}

impl<D: Device> Daemon<D> {
    /// A daemon that serves `card`.
    pub fn new(card: D) -> Result<Self, DaemonError> {
        let (mailbox, remote) = Mailbox::new()?;
        let engine = Engine::new(card, Timer::new()?, mailbox);
        Ok(Self {
            engine: Arc::new(Mutex::new(engine)),
            stop: Stop::new()?,
            remote,
        })
    }

    /// What reaches the card from another thread while the daemon serves.
    pub fn remote(&self) -> Remote<D> {
        self.remote.clone()
    }

    /// What ends [`serve`](Self::serve) from another thread.
    pub fn stop(&self) -> Stop {
        self.stop.clone()
    }

    /// Listens on `socket` and serves the front ends that connect, one after
    /// the other, until it is stopped. Each finds the card as it was at the
    /// beginning.
    pub fn serve(&self, socket: &ListeningSocket) -> Result<(), DaemonError> {
        socket.listen().map_err(DaemonError::Accept)?;
        let listener = socket.listener();
        while self.wait_for(listener)? {
            let listener = listener.try_clone().map_err(DaemonError::Accept)?;
            self.serve_next(listener)?;
        }
        Ok(())
    }

    /// Serves the front end at the other end of `socket` until it is gone or
    /// the daemon is stopped.
    pub fn serve_connected(&self, socket: Relay) -> Result<(), DaemonError> {
        self.serve_next(socket.start()?)
    }

    /// Waits until a front end connects, and executes the requests of other
    /// threads meanwhile. Says whether one did: otherwise the daemon is to
    /// end.
    fn wait_for(&self, listener: &UnixListener) -> Result<bool, DaemonError> {
        let mailbox = lock(&self.engine).mailbox().as_fd().try_clone_to_owned();
        let mailbox = mailbox.map_err(DaemonError::Setup)?;
        loop {
            let fds = [listener.as_fd(), self.stop.as_fd(), mailbox.as_fd()];
            let mut fds = fds.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
            match poll(&mut fds, None) {
                Ok(_) if self.stop.is_requested() => return Ok(false),
                Ok(_) if !fds[0].revents().is_empty() => return Ok(true),
                Ok(_) => lock(&self.engine).run_requests(),
                Err(rustix::io::Errno::INTR) => (),
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
        let (timer, mailbox) = {
            let engine = lock(&self.engine);
            (engine.timer().as_raw_fd(), engine.mailbox().as_raw_fd())
        };
        for worker in connection.get_epoll_handlers() {
            worker.register_listener(timer, EventSet::IN, TIMER_EVENT)?;
            worker.register_listener(mailbox, EventSet::IN, MAILBOX_EVENT)?;
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
