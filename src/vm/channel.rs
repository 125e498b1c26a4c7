//! The host's end of the agent's channel.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::marker::PhantomData;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::wait::{WaitResult, readable};
use crate::agent::protocol::{Call, Command, Failed, Hello, LINE_MAX, Line, Message, Request};

/// How long the guest may take to accept a request.
const SEND_LIMIT: Duration = Duration::from_secs(20);

/// Why a request to the agent failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AgentError {
    /// The agent could not execute the request.
    #[error("in the guest: {message}")]
    Failed {
        /// What failed, and on which object.
        message: String,
        /// Error number, if a system call failed.
        errno: Option<i32>,
    },
    /// The agent did not answer before the time was up.
    #[error("the guest did not answer within {:.1} s", .0.as_secs_f32())]
    TimedOut(Duration),
    /// The channel ended: the guest or QEMU is off.
    #[error("the guest's agent is gone")]
    Closed,
    /// The agent sent something that is not part of the protocol.
    #[error("the guest's agent sent nonsense: {0}")]
    Nonsense(String),
    /// Reading or writing failed.
    #[error("the guest's channel failed: {0}")]
    Io(String),
    /// SIGINT or SIGTERM arrived.
    #[error("interrupted")]
    Interrupted,
}

/// The agent of a running guest.
///
/// Any number of requests may be in progress, from any thread. After SIGINT or
/// SIGTERM all of them, and all later ones, end with
/// [`AgentError::Interrupted`].
#[derive(Debug)]
pub struct Agent {
    shared: Arc<Shared>,
    reader: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    stream: UnixStream,
    /// Held while a request is written, so that requests do not interleave.
    writing: Mutex<()>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    hello: Option<Hello>,
    ended: Option<AgentError>,
    last_id: u64,
    waiting: HashMap<u64, Sender<Event>>,
}

#[derive(Debug)]
enum Event {
    Line(Line),
    Done(Value),
    Failed(Failed),
}

/// A message about a request: a line of output before its end, or its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Update<A> {
    /// A line of output, if the request streams.
    Line(Line),
    /// The answer; nothing follows it.
    Done(A),
}

/// A request in progress. If it is dropped, its answer is ignored; the guest
/// still executes it.
#[derive(Debug)]
pub struct Pending<C> {
    shared: Arc<Shared>,
    id: u64,
    events: Receiver<Event>,
    call: PhantomData<C>,
}

impl Agent {
    /// Takes over a connection to the guest's port.
    pub fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_write_timeout(Some(SEND_LIMIT))?;
        let shared = Arc::new(Shared {
            stream,
            writing: Mutex::default(),
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let reads = Arc::clone(&shared);
        let reader = std::thread::Builder::new()
            .name("agent".into())
            .spawn(move || {
                let why = reads.read_all();
                reads.end(why);
            })?;
        Ok(Self {
            shared,
            reader: Some(reader),
        })
    }

    /// Waits for the agent's introduction.
    pub fn hello(&self, limit: Duration) -> Result<Hello, AgentError> {
        let state = self.shared.lock();
        let silent = |state: &mut State| state.hello.is_none() && state.ended.is_none();
        let (state, _) = self
            .shared
            .changed
            .wait_timeout_while(state, limit, silent)
            .unwrap_or_else(PoisonError::into_inner);
        match (&state.hello, &state.ended) {
            (_, Some(why)) => Err(why.clone()),
            (Some(hello), None) => Ok(hello.clone()),
            (None, None) => Err(AgentError::TimedOut(limit)),
        }
    }

    /// Sends a request; the returned value waits for its answer.
    pub fn start<C: Call>(&self, call: C) -> Result<Pending<C>, AgentError> {
        let command: Command = call.into();
        let (sender, events) = mpsc::channel();
        let id = {
            let mut state = self.shared.lock();
            if let Some(why) = &state.ended {
                return Err(why.clone());
            }
            state.last_id += 1;
            let id = state.last_id;
            state.waiting.insert(id, sender);
            id
        };
        let pending = Pending {
            shared: Arc::clone(&self.shared),
            id,
            events,
            call: PhantomData,
        };
        let mut line = serde_json::to_vec(&Request { id, command })
            .map_err(|error| AgentError::Io(error.to_string()))?;
        line.push(b'\n');
        let sent = {
            let _whole = self.shared.writing.lock();
            (&self.shared.stream).write_all(&line)
        };
        if let Err(error) = sent {
            // Part of the request may be sent, so no other can follow it.
            self.shared.end(match error.kind() {
                io::ErrorKind::BrokenPipe => AgentError::Closed,
                _ => AgentError::Io(error.to_string()),
            });
            return Err(self.shared.why_ended());
        }
        Ok(pending)
    }

    /// Sends a request and waits for its answer.
    pub fn call<C: Call>(&self, call: C, limit: Duration) -> Result<C::Answer, AgentError> {
        self.start(call)?.wait(limit)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.shared.end(AgentError::Closed);
        if let Some(reader) = self.reader.take() {
            // The reader thread ends because the stream is shut down.
            let _ = reader.join();
        }
    }
}

impl<C: Call> Pending<C> {
    /// Returns the request's id, for [`crate::agent::protocol::Kill`].
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Waits for the answer; skips lines that come before it.
    pub fn wait(&self, limit: Duration) -> Result<C::Answer, AgentError> {
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.next(left) {
                Ok(Update::Line(_)) => {}
                Ok(Update::Done(answer)) => return Ok(answer),
                Err(AgentError::TimedOut(_)) => return Err(AgentError::TimedOut(limit)),
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits for the next line, or the answer. Nothing follows the answer.
    pub fn next(&self, limit: Duration) -> Result<Update<C::Answer>, AgentError> {
        match self.events.recv_timeout(limit) {
            Ok(Event::Line(line)) => Ok(Update::Line(line)),
            Ok(Event::Done(value)) => serde_json::from_value(value)
                .map(Update::Done)
                .map_err(|error| AgentError::Nonsense(error.to_string())),
            Ok(Event::Failed(Failed { message, errno, .. })) => {
                Err(AgentError::Failed { message, errno })
            }
            Err(RecvTimeoutError::Timeout) => Err(AgentError::TimedOut(limit)),
            Err(RecvTimeoutError::Disconnected) => Err(self.shared.why_ended()),
        }
    }
}

impl<C> Drop for Pending<C> {
    fn drop(&mut self) {
        self.shared.lock().waiting.remove(&self.id);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn why_ended(&self) -> AgentError {
        self.lock().ended.clone().unwrap_or(AgentError::Closed)
    }

    /// Ends the channel for good; the first reason is kept.
    fn end(&self, why: AgentError) {
        let mut state = self.lock();
        state.ended.get_or_insert(why);
        // Waiting threads notice that their sender is gone.
        state.waiting.clear();
        self.changed.notify_all();
        drop(state);
        // The stream may be shut down already.
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// Reads until the channel ends; returns the reason.
    fn read_all(&self) -> AgentError {
        let mut line = Vec::new();
        let mut buffer = vec![0; 64 << 10];
        loop {
            match readable(&[self.stream.as_fd()], None) {
                Ok(WaitResult::Interrupted) => return AgentError::Interrupted,
                Ok(_) => {}
                Err(error) => return AgentError::Io(error.to_string()),
            }
            let length = match (&self.stream).read(&mut buffer) {
                Ok(0) => return AgentError::Closed,
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                    return AgentError::Closed;
                }
                Err(error) => return AgentError::Io(error.to_string()),
            };
            for piece in buffer[..length].split_inclusive(|&byte| byte == b'\n') {
                line.extend_from_slice(piece);
                if line.len() > LINE_MAX {
                    return AgentError::Nonsense(format!("a line longer than {LINE_MAX} bytes"));
                }
                if piece.ends_with(b"\n") {
                    if let Err(error) = self.take(&line) {
                        return error;
                    }
                    line.clear();
                }
            }
        }
    }

    fn take(&self, line: &[u8]) -> Result<(), AgentError> {
        let message = serde_json::from_slice(line).map_err(|error| {
            let start = String::from_utf8_lossy(&line[..line.len().min(80)]).into_owned();
            AgentError::Nonsense(format!("{start:?}: {error}"))
        })?;
        let mut state = self.lock();
        // The requester may have given up waiting; the message is then dropped.
        match message {
            Message::Hello(hello) => {
                state.hello = Some(hello);
                self.changed.notify_all();
            }
            Message::Line(line) => {
                if let Some(sender) = state.waiting.get(&line.id) {
                    let _ = sender.send(Event::Line(line));
                }
            }
            Message::Done(done) => {
                if let Some(sender) = state.waiting.remove(&done.id) {
                    let _ = sender.send(Event::Done(done.answer));
                }
            }
            Message::Failed(failed) => match failed.id {
                Some(id) => {
                    if let Some(sender) = state.waiting.remove(&id) {
                        let _ = sender.send(Event::Failed(failed));
                    }
                }
                None => return Err(AgentError::Nonsense(failed.message)),
            },
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
