//! The daemon: serves one front end after the other.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixListener;
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, poll};
use vhost::vhost_user::{Error as VhostUserError, Listener};
use vhost_user_backend::{Error as BackendError, VhostUserDaemon};
use vm_memory::{GuestMemoryAtomic, GuestMemoryMmap};
use vmm_sys_util::epoll::EventSet;

use super::backend::{Backend, SharedEngine};
use super::bus_error;
use super::device::Device;
use super::engine::{Engine, MAILBOX_EVENT, TIMER_EVENT};
use super::fair::Fair;
use super::relay::Relay;
use super::remote::{Mailbox, Remote};
use super::socket::ListeningSocket;
use super::stop::Stop;
use super::timer::Timer;
use crate::card::Card;

/// Why the daemon cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The system refuses a resource that the daemon needs.
    #[error("cannot set up the daemon: {0}")]
    Setup(#[from] io::Error),
    /// The device cannot be set up. The text is that of vhost-user-backend,
    /// whose error may hold a panic's payload and cannot be passed on.
    #[error("cannot set up the vhost-user device: {0}")]
    Device(String),
    /// The daemon cannot wait on the socket or accept from it.
    #[error("cannot accept a front end: {0}")]
    Accept(io::Error),
}

/// A daemon that serves a card over vhost-user.
pub struct Daemon<D = Card> {
    engine: SharedEngine<D>,
    stop: Stop,
    remote: Remote<D>,
}

impl<D: Device> Daemon<D> {
    /// Creates a daemon that serves `card`.
    pub fn new(card: D) -> Result<Self, DaemonError> {
        bus_error::survive()?;
        let (mailbox, remote) = Mailbox::new()?;
        let engine = Engine::new(card, Timer::new()?, mailbox);
        Ok(Self {
            engine: Arc::new(Fair::new(engine)),
            stop: Stop::new()?,
            remote,
        })
    }

    /// Returns a handle with which other threads reach the card while the
    /// daemon serves.
    pub fn remote(&self) -> Remote<D> {
        self.remote.clone()
    }

    /// Returns a handle with which other threads end [`serve`](Self::serve).
    pub fn stop(&self) -> Stop {
        self.stop.clone()
    }

    /// Listens on `socket` and serves the front ends that connect, one after
    /// the other, until the daemon is stopped. Each front end finds the card in
    /// its initial state.
    pub fn serve(&self, socket: &ListeningSocket) -> Result<(), DaemonError> {
        socket.listen().map_err(DaemonError::Accept)?;
        let listener = socket.listener();
        while self.wait_for(listener)? {
            let listener = listener.try_clone().map_err(DaemonError::Accept)?;
            self.serve_next(listener)?;
        }
        Ok(())
    }

    /// Serves the front end at the other end of `socket` until it disconnects
    /// or the daemon is stopped.
    pub fn serve_connected(&self, socket: Relay) -> Result<(), DaemonError> {
        self.serve_next(socket.start()?)
    }

    /// Waits until a front end connects, and executes the requests of other
    /// threads meanwhile. Returns false if the daemon must end instead.
    fn wait_for(&self, listener: &UnixListener) -> Result<bool, DaemonError> {
        let mailbox = self.engine.lock().mailbox().as_fd().try_clone_to_owned();
        let mailbox = mailbox.map_err(DaemonError::Setup)?;
        loop {
            let fds = [listener.as_fd(), self.stop.as_fd(), mailbox.as_fd()];
            let mut fds = fds.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
            match poll(&mut fds, None) {
                Ok(_) if self.stop.is_requested() => return Ok(false),
                Ok(_) if !fds[0].revents().is_empty() => return Ok(true),
                Ok(_) => self.engine.lock().run_requests(),
                Err(rustix::io::Errno::INTR) => (),
                Err(error) => return Err(DaemonError::Accept(error.into())),
            }
        }
    }

    /// Accepts a front end, and serves it until it disconnects or the daemon is
    /// stopped.
    fn serve_next(&self, listener: UnixListener) -> Result<(), DaemonError> {
        let memory = GuestMemoryAtomic::new(GuestMemoryMmap::new());
        self.engine.lock().connect(memory.clone());
        self.stop.open();
        let backend = Backend::new(Arc::clone(&self.engine), self.stop.clone());
        let backend = Arc::new(backend);
        let mut connection =
            VhostUserDaemon::new("vhost-user".into(), Arc::clone(&backend), memory)
                .map_err(device_error)?;
        let (timer, mailbox) = {
            let engine = self.engine.lock();
            (engine.timer().as_raw_fd(), engine.mailbox().as_raw_fd())
        };
        for worker in connection.get_epoll_handlers() {
            worker.register_listener(timer, EventSet::IN, TIMER_EVENT)?;
            worker.register_listener(mailbox, EventSet::IN, MAILBOX_EVENT)?;
        }
        // This waits until the worker runs, and its end is noticed, before a
        // front end can cause that end. If the request times out, the card is
        // busy, so the worker runs as well.
        let _ = self.remote.run(|_, _| ());
        connection
            .start(&mut Listener::from(listener))
            .map_err(device_error)?;
        log::info!("a front end is connected");
        self.stop.attach(connection.shutdown_handle());
        let result = connection.wait();
        let failure = self.stop.close();
        // This also ends the worker, and waits for it.
        drop(connection);
        // SAFETY: dropping the connection has waited for the worker.
        unsafe { backend.close_exit_event() };
        self.engine.lock().disconnect();
        if let Some(reason) = failure {
            log::error!("the connection is given up: {reason}");
            return Ok(());
        }
        match result {
            // It makes no difference whether a front end ends or is killed.
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

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;
    use std::thread;
    use std::time::Duration;

    use vhost::VhostBackend;
    use vhost::vhost_user::Frontend;

    use super::*;
    use crate::card::{Rate, Spec};
    use crate::source::{self, Camera};
    use crate::vhost::RemoteError;

    /// How long the test waits for anything before it fails.
    const LIMIT: Duration = Duration::from_secs(30);

    /// Connects a front end, and waits until its connection is served.
    fn connect(socket: &std::path::Path) -> (Frontend, UnixStream) {
        let stream = loop {
            match UnixStream::connect(socket) {
                Ok(stream) => break stream,
                // The socket is bound, but the daemon does not listen yet.
                Err(_) => thread::yield_now(),
            }
        };
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let front = Frontend::from_stream(stream.try_clone().unwrap(), 2);
        front.set_owner().unwrap();
        front.get_features().unwrap();
        (front, stream)
    }

    #[test]
    fn a_worker_that_dies_ends_its_connection_and_the_next_is_served() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("card.sock");
        let socket = ListeningSocket::bind(&path).unwrap();
        let camera = Camera::with("Pinhole", source::open("pattern").unwrap());
        let daemon = Daemon::new(Card::new(Spec::new(camera, Rate::Max))).unwrap();
        let (remote, stop) = (daemon.remote(), daemon.stop());
        thread::scope(|scope| {
            let serving = scope.spawn(|| daemon.serve(&socket));
            for _ in 0..3 {
                let (_front, mut stream) = connect(&path);
                // The action panics in the worker, as a fault of the card
                // would.
                let died = remote.run(|_, _| -> () { panic!("a fault of the card's") });
                assert_eq!(died, Err(RemoteError::Ended));
                assert_eq!(stream.read(&mut [0]).unwrap(), 0, "closed");
            }
            let (front, _) = connect(&path);
            front.get_features().unwrap();
            assert_eq!(remote.run(|card, now| card.statistics(now).frames), Ok(0));
            stop.request();
            serving.join().unwrap().unwrap();
        });
    }
}
