//! One client of the control socket.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use rustix::event::PollFlags;

use super::later::{Later, Reply};
use super::line::{Lines, TooLong};
use super::protocol::{Answer, MAX_REQUEST};

/// Number of bytes read at once.
const CHUNK: usize = 16 * 1024;

/// A client: the bytes it has sent, and the bytes it has not taken yet. The
/// card reads from a client only when the client has taken the last answer, so
/// that neither grows.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    input: Lines,
    /// A line that is not answered yet.
    request: Option<Result<Vec<u8>, TooLong>>,
    /// The pending answer to the previous request.
    later: Option<Later>,
    output: Vec<u8>,
    /// The server's turn in which the client was last answered.
    pub last_used: u64,
}

impl Connection {
    /// Returns a connection to a client that has just connected.
    pub fn new(stream: UnixStream, turn: u64) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            input: Lines::default(),
            request: None,
            later: None,
            output: Vec::new(),
            last_used: turn,
        })
    }

    /// Returns whether a request can be answered without waiting for the
    /// client.
    pub fn is_ready(&self) -> bool {
        self.request.is_some() && self.later.is_none() && self.output.is_empty()
    }

    /// Returns the events to wait for. The client's hang-up is always noticed,
    /// except while an answer is pending.
    pub fn interest(&self) -> PollFlags {
        if self.later.is_some() {
            PollFlags::IN
        } else if !self.output.is_empty() {
            PollFlags::OUT
        } else if self.request.is_none() && !self.input.is_ended() {
            PollFlags::IN
        } else {
            PollFlags::empty()
        }
    }

    /// Does everything that can be done without waiting: reads what has
    /// arrived, answers one request, and sends. Returns whether the client is
    /// still connected.
    pub fn turn(&mut self, turn: u64, answer: impl FnOnce(&[u8]) -> Reply) -> bool {
        match self.try_turn(turn, answer) {
            Ok(stays) => stays,
            Err(error) => {
                log::debug!("a control client is given up: {error}");
                false
            }
        }
    }

    fn try_turn(&mut self, turn: u64, answer: impl FnOnce(&[u8]) -> Reply) -> io::Result<bool> {
        if let Some(later) = &self.later {
            let Some(answer) = later.take() else {
                return Ok(true);
            };
            self.later = None;
            self.say(&answer)?;
        }
        self.send()?;
        if !self.output.is_empty() {
            return Ok(true);
        }
        self.receive()?;
        if let Some(request) = self.request.take() {
            self.last_used = turn;
            let reply = match request {
                Ok(line) => answer(&line),
                Err(TooLong) => Reply::Now(Answer::Error(format!(
                    "the request is longer than {MAX_REQUEST} bytes; its line was passed over"
                ))),
            };
            match reply {
                Reply::Now(answer) => self.say(&answer)?,
                Reply::Later(later) => self.later = Some(later),
            }
            self.send()?;
            self.request = self.input.next();
        }
        let is_done = self.request.is_none() && self.later.is_none() && self.output.is_empty();
        Ok(!(self.input.is_ended() && is_done))
    }

    /// Appends an answer to the output.
    fn say(&mut self, answer: &Answer) -> io::Result<()> {
        serde_json::to_writer(&mut self.output, answer)?;
        self.output.push(b'\n');
        Ok(())
    }

    /// Takes the next request from the bytes received.
    fn receive(&mut self) -> io::Result<()> {
        if self.request.is_none() && !self.input.is_ended() {
            let mut chunk = [0; CHUNK];
            match self.stream.read(&mut chunk) {
                Ok(length) => self.input.push(&chunk[..length]),
                Err(error) if is_temporary(&error) => (),
                Err(error) => return Err(error),
            }
            self.request = self.input.next();
        }
        Ok(())
    }

    /// Sends as many bytes as the client takes.
    fn send(&mut self) -> io::Result<()> {
        while !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(sent) => drop(self.output.drain(..sent)),
                Err(error) if is_temporary(&error) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl AsFd for Connection {
    /// Returns the descriptor to which [`interest`](Connection::interest)
    /// applies.
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.later {
            Some(later) => later.as_fd(),
            None => self.stream.as_fd(),
        }
    }
}

fn is_temporary(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}
