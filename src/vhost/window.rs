//! Shared memory region 0, as the front end maps it for its guest
//! (VHOST_USER_BACKEND_SHMEM_MAP and SHMEM_UNMAP).
//!
//! A thread sends the requests and waits for the answers, one after the other.
//! Nobody who holds the card may wait for them: a front end handles such a
//! request between two others, and may itself wait for the card meanwhile. QEMU
//! does, whenever a mapping changes the memory table.
//!
//! Without VHOST_USER_PROTOCOL_F_REPLY_ACK nobody answers, and a mapping counts as
//! made when it was asked for.
//!
//! A front end that does not answer costs the guest its mappings, not the card.
//! vhost gives no access to the channel's socket, so the thread waits until the
//! front end closes it. There is at most one such thread: the next front end is
//! not offered a region while the thread of the last one still waits.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use vhost::vhost_user::message::{VhostUserMMap, VhostUserMMapFlags, VhostUserShMemConfig};
use vhost::vhost_user::{Backend as FrontEndChannel, VhostUserFrontendReqHandler};

use crate::card::region::{Change, REGION_SIZE};
use crate::wire::protocol::REGION;

/// How long the guest waits for a mapping: many times what a front end takes
/// that does anything else first.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// Number of mappings that a front end refuses and that are logged; a guest must
/// not be able to fill a disk with them.
const REFUSALS_LOGGED: u32 = 10;

/// How long the end of a connection waits for the thread: the front end that
/// ended it has usually closed both sockets.
const FAREWELL: Duration = Duration::from_secs(1);

/// Returns the answer to GET_SHMEM_CONFIG: region 0 alone.
pub fn config() -> VhostUserShMemConfig {
    VhostUserShMemConfig::new(1, &[REGION_SIZE])
}

/// A request of the card.
struct Job {
    ticket: u64,
    change: Change,
}

/// The requests to one front end.
pub struct Window {
    jobs: Sender<Job>,
    /// Tickets of the requests that were answered, and whether by success.
    done: Receiver<(u64, bool)>,
    thread: JoinHandle<()>,
    last: u64,
    /// The front end has left a request unanswered, so that nobody knows what
    /// it has mapped.
    silent: bool,
}

impl Window {
    /// Starts the thread, which writes to the eventfd `wake` after each answer.
    pub fn open(channel: FrontEndChannel, wake: Arc<OwnedFd>) -> io::Result<Self> {
        let (jobs, waiting) = mpsc::channel::<Job>();
        let (answers, done) = mpsc::channel();
        let thread = thread::Builder::new()
            .name("region".into())
            .spawn(move || {
                let mut refused = 0;
                for Job { ticket, change } in waiting {
                    let result = carry_out(&channel, &change);
                    if let Err(error) = &result
                        && refused < REFUSALS_LOGGED
                    {
                        refused += 1;
                        let (what, at) = match change {
                            Change::Map { at, .. } => ("map", at),
                            Change::Unmap { at, .. } => ("unmap", at),
                        };
                        log::warn!("the front end does not {what} at {at:#x}: {error}");
                    }
                    if answers.send((ticket, result.is_ok())).is_err() {
                        break;
                    }
                    // The write fails only if the counter is at its maximum;
                    // the event is then readable.
                    let _ = rustix::io::write(&wake, &1u64.to_ne_bytes());
                }
            })?;
        Ok(Self {
            jobs,
            done,
            thread,
            last: 0,
            silent: false,
        })
    }

    /// Has the front end make a change, after those before it, and returns the
    /// ticket of the request.
    pub fn ask(&mut self, change: Change) -> u64 {
        self.last += 1;
        if !self.silent {
            let ticket = self.last;
            // If the thread has ended, there is no answer.
            let _ = self.jobs.send(Job { ticket, change });
        }
        self.last
    }

    /// Returns whether the change with that ticket was made, once the front end
    /// has answered, or cannot any more.
    pub fn answer(&self, ticket: u64) -> Option<bool> {
        if self.silent {
            return Some(false);
        }
        loop {
            match self.done.try_recv() {
                Ok((answered, done)) if answered == ticket => return Some(done),
                // Nobody has waited for this one.
                Ok(_) => (),
                Err(mpsc::TryRecvError::Empty) => return None,
                Err(mpsc::TryRecvError::Disconnected) => return Some(false),
            }
        }
    }

    /// Gives the front end up, which has not answered for [`PATIENCE`].
    pub fn give_up(&mut self) {
        log::error!(
            "the front end has not answered for {} s what it maps; it is asked no more",
            PATIENCE.as_secs()
        );
        self.silent = true;
    }

    /// Ends the requests, and returns the thread if it still waits for the front
    /// end.
    pub fn close(self) -> Option<JoinHandle<()>> {
        drop(self.jobs);
        let end = Instant::now() + FAREWELL;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.done.recv_timeout(left) {
                Ok(_) => (),
                Err(mpsc::RecvTimeoutError::Timeout) => return Some(self.thread),
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    // The thread ends at this moment.
                    let _ = self.thread.join();
                    return None;
                }
            }
        }
    }
}

fn carry_out(channel: &FrontEndChannel, change: &Change) -> io::Result<()> {
    let request = |at, len, flags: VhostUserMMapFlags| VhostUserMMap {
        shmid: REGION,
        shm_offset: at,
        len,
        flags: flags.bits(),
        ..VhostUserMMap::default()
    };
    match change {
        Change::Map {
            at,
            memory,
            writable,
        } => {
            let flags = match writable {
                true => VhostUserMMapFlags::WRITABLE,
                false => VhostUserMMapFlags::empty(),
            };
            channel.shmem_map(&request(*at, memory.size(), flags), memory.file())
        }
        Change::Unmap { at, size } => {
            channel.shmem_unmap(&request(*at, *size, VhostUserMMapFlags::empty()))
        }
    }
    .map(drop)
}
