//! The control socket's thread. It serves each client that is ready once, then
//! waits for the next.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::thread::{self, JoinHandle};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::connection::Connection;
use super::operated::Operated;
use super::service::Service;
use crate::vhost::{ListeningSocket, Stop};

/// Largest number of connected clients. A further client replaces the one that
/// has been silent for longest.
const MAX_CLIENTS: usize = 32;

/// Why the control socket cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The system refuses.
    #[error("cannot serve the control socket: {0}")]
    Setup(#[from] io::Error),
}

/// The thread that serves the control socket, and owns it.
#[derive(Debug)]
pub struct Server {
    thread: JoinHandle<()>,
}

impl Server {
    /// Listens on `socket`, and serves the clients that connect until `stop` is
    /// requested.
    pub fn start<D: Operated>(
        socket: ListeningSocket,
        service: Service<D>,
        stop: Stop,
    ) -> Result<Self, ServerError> {
        socket.listener().set_nonblocking(true)?;
        socket.listen()?;
        let thread = thread::Builder::new()
            .name("control".into())
            .spawn(move || {
                if let Err(error) = serve(&socket, &service, &stop) {
                    log::error!("the control socket is closed: {error}");
                }
            })?;
        Ok(Self { thread })
    }

    /// Waits for the thread to end; `stop` must have been requested.
    pub fn join(self) {
        // A panic has been reported on stderr, and nothing is left to clean up.
        let _ = self.thread.join();
    }
}

fn serve<D: Operated>(
    socket: &ListeningSocket,
    service: &Service<D>,
    stop: &Stop,
) -> io::Result<()> {
    let mut clients: Vec<Connection> = Vec::new();
    for turn in 0.. {
        let (accepted, ready) = wait(socket, stop, &clients)?;
        if stop.is_requested() {
            break;
        }
        let mut ready = ready.into_iter();
        clients.retain_mut(|client| {
            let is_ready = ready.next().unwrap_or(false);
            !is_ready || client.turn(turn, |line| service.answer(line))
        });
        if accepted && let Some(client) = accept(socket, turn) {
            if clients.len() >= MAX_CLIENTS {
                drop_most_silent(&mut clients);
            }
            clients.push(client);
        }
    }
    Ok(())
}

/// Waits until there is something to do. Returns whether a client has
/// connected, and for each of the others whether it is ready.
fn wait(
    socket: &ListeningSocket,
    stop: &Stop,
    clients: &[Connection],
) -> io::Result<(bool, Vec<bool>)> {
    let mut fds = vec![
        PollFd::from_borrowed_fd(stop.as_fd(), PollFlags::IN),
        PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::IN),
    ];
    for client in clients {
        fds.push(PollFd::from_borrowed_fd(client.as_fd(), client.interest()));
    }
    let at_once = clients.iter().any(Connection::is_ready);
    match poll(&mut fds, at_once.then_some(&Timespec::default())) {
        Ok(_) => (),
        Err(rustix::io::Errno::INTR) => return Ok((false, vec![false; clients.len()])),
        Err(error) => return Err(error.into()),
    }
    let ready = clients
        .iter()
        .zip(&fds[2..])
        .map(|(client, fd)| client.is_ready() || !fd.revents().is_empty())
        .collect();
    Ok((!fds[1].revents().is_empty(), ready))
}

/// Returns the client that has connected, unless it is gone already.
fn accept(socket: &ListeningSocket, turn: u64) -> Option<Connection> {
    let accepted = socket.listener().accept();
    let connection = accepted.and_then(|(stream, _)| {
        let stream: UnixStream = stream;
        Connection::new(stream, turn)
    });
    connection
        .inspect_err(|error| log::debug!("a control client is not accepted: {error}"))
        .ok()
}

fn drop_most_silent(clients: &mut Vec<Connection>) {
    let oldest = (0..clients.len()).min_by_key(|&at| clients[at].last_used);
    if let Some(oldest) = oldest {
        clients.remove(oldest);
    }
}
