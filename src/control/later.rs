//! Answers that are computed in another thread.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::thread;

use rustix::event::{EventfdFlags, eventfd};

use super::protocol::Answer;

/// The result of a request.
#[derive(Debug)]
pub enum Reply {
    /// The request has been executed.
    Now(Answer),
    /// The request is being executed, while other clients are served.
    Later(Later),
}

/// An answer that is not available yet.
#[derive(Debug)]
pub struct Later {
    answer: Receiver<Answer>,
    ready: Arc<OwnedFd>,
}

impl Later {
    /// Starts a thread that computes the answer.
    ///
    /// # Errors
    /// The thread or its eventfd cannot be created.
    pub fn start(find: impl FnOnce() -> Answer + Send + 'static) -> io::Result<Self> {
        let ready = Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?);
        let (sender, answer) = mpsc::sync_channel(1);
        let tells = Arc::clone(&ready);
        thread::Builder::new()
            .name("request".into())
            .spawn(move || {
                // The client may be gone.
                let _ = sender.send(find());
                // The write cannot fail: the eventfd has room.
                let _ = rustix::io::write(&tells, &1u64.to_ne_bytes());
            })?;
        Ok(Self { answer, ready })
    }

    /// Returns the answer, if it is available.
    pub fn take(&self) -> Option<Answer> {
        match self.answer.try_recv() {
            Ok(answer) => Some(answer),
            Err(TryRecvError::Empty) => None,
            // The thread panicked, which is reported on stderr.
            Err(TryRecvError::Disconnected) => {
                Some(Answer::Error("the request has failed".to_owned()))
            }
        }
    }
}

impl AsFd for Later {
    /// Returns a descriptor that is readable once the answer is available.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ready.as_fd()
    }
}
