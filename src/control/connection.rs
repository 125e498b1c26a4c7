//! One client of the control socket.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use rustix::event::PollFlags;

use super::later::{Later, Reply};
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
    /// The answer to the one before it.
    later: Option<Later>,
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
            later: None,
            output: Vec::new(),
            last_used: turn,
        })
    }

    /// Whether a request can be answered without waiting for the client.
    pub fn is_ready(&self) -> bool {
        self.request.is_some() && self.later.is_none() && self.output.is_empty()
    }

    /// What is to be waited for. Its end is always noticed, but while an answer
    /// is awaited.
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

    /// Does what can be done without waiting: takes what has come, answers
    /// one request, and sends. Says whether the client is still there.
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

    /// Puts an answer where it will be sent from.
    fn say(&mut self, answer: &Answer) -> io::Result<()> {
        serde_json::to_writer(&mut self.output, answer)?;
        self.output.push(b'\n');
        Ok(())
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
    /// What [`interest`](Connection::interest) is in.
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
