//! Answers that take their time.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::thread;

use rustix::event::{EventfdFlags, eventfd};

use super::protocol::Answer;

/// What becomes of a request.
#[derive(Debug)]
pub enum Reply {
    /// It has been executed.
    Now(Answer),
    /// It is being executed, while others are served.
    Later(Later),
}

/// An answer that will come.
#[derive(Debug)]
pub struct Later {
    answer: Receiver<Answer>,
    ready: Arc<OwnedFd>,
}

impl Later {
    /// Finds an answer in a thread of its own.
    ///
    /// # Errors
    /// Where there can be none.
    pub fn start(find: impl FnOnce() -> Answer + Send + 'static) -> io::Result<Self> {
        let ready = Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?);
        let (sender, answer) = mpsc::sync_channel(1);
        let tells = Arc::clone(&ready);
        thread::Builder::new()
            .name("request".into())
            .spawn(move || {
                // Who asked may be gone.
                let _ = sender.send(find());
                // An eventfd with room never refuses a write.
                let _ = rustix::io::write(&tells, &1u64.to_ne_bytes());
            })?;
        Ok(Self { answer, ready })
    }

    /// The answer, if it has come.
    pub fn take(&self) -> Option<Answer> {
        match self.answer.try_recv() {
            Ok(answer) => Some(answer),
            Err(TryRecvError::Empty) => None,
            // It panicked, which stderr tells of.
            Err(TryRecvError::Disconnected) => {
                Some(Answer::Error("the request has failed".to_owned()))
            }
        }
    }
}

impl AsFd for Later {
    /// Readable once the answer has come.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ready.as_fd()
    }
}
