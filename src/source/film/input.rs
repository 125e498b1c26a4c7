//! The files and pipes that films come from.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::termios::isatty;

use super::descriptors::Descriptors;
use super::error::{FilmError, HANGUP};
use crate::source::name::Place;

/// The means to open films.
#[derive(Debug, Default)]
pub struct Access {
    /// File descriptors that may name films.
    pub descriptors: Descriptors,
    /// Time limit for the beginning of a film; `None` for no limit.
    pub patience: Option<Duration>,
}

/// An open file or pipe. It is never opened again by its name, except a FIFO
/// whose writer has ended.
#[derive(Debug)]
pub struct Input {
    name: String,
    file: File,
    kind: Kind,
    /// Deadline for the beginning of the film, and the time limit that it
    /// follows from; `None` if there is none.
    access_ends: Option<(Instant, Duration)>,
    /// The writer has ended. A FIFO is then opened anew at once, so that the
    /// reader sees both the beginning and the end of the next writer, whenever
    /// they come.
    at_end: bool,
    /// The FIFO could not be opened anew.
    is_stale: bool,
    hangup: Arc<Hangup>,
}

/// How an input can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    /// At any offset, and repeatedly.
    File,
    /// Once for each writer.
    Fifo(PathBuf),
    /// Once.
    Stream,
}

/// Cancels the reads of an input.
#[derive(Debug)]
pub struct Hangup(OwnedFd);

impl Hangup {
    /// Makes every read of the input fail from now on, except of a file.
    pub fn hang_up(&self) {
        // A write to an eventfd with room never fails.
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }
}

impl Input {
    /// Opens the file, FIFO or descriptor that a film's path names. Does not
    /// wait for a writer.
    pub fn open(path: &str, access: &Access) -> Result<Self, FilmError> {
        let name = Place::name(path);
        let open = || {
            let file = match Place::of(path) {
                Place::Descriptor(number) => access.descriptors.give(number)?,
                Place::Path(path) => open_path(&path)?,
            };
            if isatty(&file) {
                return Err(io::Error::other("it is a terminal, not a film"));
            }
            let file_type = file.metadata()?.file_type();
            let kind = match Place::of(path) {
                _ if file_type.is_file() => Kind::File,
                Place::Path(path) if file_type.is_fifo() => Kind::Fifo(path),
                _ => Kind::Stream,
            };
            let patience = access.patience.filter(|_| kind != Kind::File);
            Ok(Self {
                name: name.to_owned(),
                file,
                kind,
                access_ends: patience.map(|patience| (Instant::now() + patience, patience)),
                at_end: false,
                is_stale: false,
                hangup: Arc::new(Hangup(eventfd(0, EventfdFlags::CLOEXEC)?)),
            })
        };
        open().map_err(|source| FilmError::Open {
            name: name.to_owned(),
            source,
        })
    }

    /// Returns the name for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the length in bytes of a file, which can be read again at any
    /// offset; `None` for a pipe.
    pub fn length(&self) -> Option<u64> {
        let metadata = self.file.metadata().ok()?;
        (self.kind == Kind::File).then_some(metadata.len())
    }

    /// Returns whether another writer may follow when the writer has ended.
    pub fn is_fifo(&self) -> bool {
        matches!(self.kind, Kind::Fifo(_))
    }

    /// Removes the time limit, because the film has begun.
    pub fn has_begun(&mut self) {
        self.access_ends = None;
    }

    /// Returns the handle that cancels reads.
    pub fn hangup(&self) -> Arc<Hangup> {
        Arc::clone(&self.hangup)
    }

    /// Continues with the next writer of a FIFO. Discards the rest of what the
    /// last one writes.
    pub fn next_writer(&mut self) -> io::Result<()> {
        if !self.is_fifo() {
            return Ok(());
        }
        if !self.at_end {
            io::copy(self, &mut io::sink())?;
        }
        if self.is_stale {
            self.renew()?;
        }
        self.at_end = false;
        Ok(())
    }

    /// Opens a FIFO again whose writer has ended: on the old file description,
    /// poll(2) reports the old writer's end as if it were the next one's.
    fn renew(&mut self) -> io::Result<()> {
        let Kind::Fifo(path) = &self.kind else {
            return Ok(());
        };
        self.is_stale = true;
        let file = open_path(path)?;
        if !file.metadata()?.file_type().is_fifo() {
            return Err(io::Error::other("it is no FIFO any more"));
        }
        // The new file is opened before the old one is closed: a FIFO keeps
        // what a writer has written meanwhile as long as a reader has it open.
        self.file = file;
        self.is_stale = false;
        Ok(())
    }

    /// Waits until there is something to read, or the end of the input. Fails
    /// on a hangup and at the deadline.
    fn wait(&self) -> io::Result<()> {
        let left = |end: Instant| {
            let left = end.saturating_duration_since(Instant::now());
            Timespec {
                tv_sec: left.as_secs() as i64,
                tv_nsec: left.subsec_nanos().into(),
            }
        };
        loop {
            let mut fds = [
                PollFd::new(&self.hangup.0, PollFlags::IN),
                PollFd::new(&self.file, PollFlags::IN),
            ];
            match poll(
                &mut fds,
                self.access_ends.map(|(end, _)| left(end)).as_ref(),
            ) {
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
            let [hung_up, readable] = fds.map(|fd| !fd.revents().is_empty());
            if hung_up {
                return Err(io::Error::new(HANGUP, "nobody wants it any more"));
            }
            if readable {
                return Ok(());
            }
            if let Some((end, patience)) = self.access_ends
                && Instant::now() >= end
            {
                return Err(io::Error::other(format!(
                    "nobody has written a whole beginning into it within {} s",
                    patience.as_secs()
                )));
            }
        }
    }
}

/// Opens a path without waiting for a writer if it is a FIFO. Until a writer
/// has opened such a FIFO, poll(2) reports neither data nor an end.
fn open_path(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
}

impl Read for Input {
    /// Reads as from a blocking file, also where the file is non-blocking.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.kind == Kind::File {
            return self.file.read(buffer);
        }
        if self.at_end {
            return Ok(0);
        }
        loop {
            self.wait()?;
            match self.file.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(0) if !buffer.is_empty() => {
                    self.at_end = true;
                    // If this fails, the next call of `next_writer` reports it.
                    let _ = self.renew();
                    return Ok(0);
                }
                result => return result,
            }
        }
    }
}

impl Seek for Input {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}
