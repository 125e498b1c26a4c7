//! One client of the control socket.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use rustix::event::PollFlags;

use super::line::{Lines, TooLong};
use super::protocol::{Answer, MAX_REQUEST};

/// Bytes read at once.
const CHUNK: usize = 16 * 1024;

/// A client: what it has sent, and what it has not taken yet. It is read from
/// only when it has taken the last answer, so that neither grows.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    input: Lines,
    /// A line that waits to be answered.
    request: Option<Result<Vec<u8>, TooLong>>,
    output: Vec<u8>,
    /// When it was last answered, in the server's turns.
    pub last_used: u64,
}

impl Connection {
    /// A client that has just connected.
    pub fn new(stream: UnixStream, turn: u64) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            input: Lines::default(),
            request: None,
            output: Vec::new(),
            last_used: turn,
        })
    }

    /// Whether a request can be answered without waiting for the client.
    pub fn is_ready(&self) -> bool {
        self.request.is_some() && self.output.is_empty()
    }

    /// What is to be waited for. Its end is always noticed.
    pub fn interest(&self) -> PollFlags {
        if !self.output.is_empty() {
            PollFlags::OUT
        } else if self.request.is_none() && !self.input.is_ended() {
            PollFlags::IN
        } else {
            PollFlags::empty()
        }
    }

    /// Does what can be done without waiting: takes what has come, answers
    /// one request, and sends. Says whether the client is still there.
    pub fn turn(&mut self, turn: u64, answer: impl FnOnce(&[u8]) -> Answer) -> bool {
        match self.try_turn(turn, answer) {
            Ok(stays) => stays,
            Err(error) => {
                log::debug!("a control client is given up: {error}");
                false
            }
        }
    }

    fn try_turn(&mut self, turn: u64, answer: impl FnOnce(&[u8]) -> Answer) -> io::Result<bool> {
        self.send()?;
        if !self.output.is_empty() {
            return Ok(true);
        }
        self.receive()?;
        if let Some(request) = self.request.take() {
            self.last_used = turn;
            let answer = match request {
                Ok(line) => answer(&line),
                Err(TooLong) => Answer::Error(format!(
                    "the request is longer than {MAX_REQUEST} bytes; its line was passed over"
                )),
            };
            serde_json::to_writer(&mut self.output, &answer)?;
            self.output.push(b'\n');
            self.send()?;
            self.request = self.input.next();
        }
        let ended = self.input.is_ended() && self.request.is_none() && self.output.is_empty();
        Ok(!ended)
    }

    /// Takes the next request, from what is there or what has come.
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

    /// Sends as much as the client takes.
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
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

fn is_temporary(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}
