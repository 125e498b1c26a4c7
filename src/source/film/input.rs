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

/// What films are opened with.
#[derive(Debug, Default)]
pub struct Access {
    /// File descriptors that they may be named by.
    pub descriptors: Descriptors,
    /// How long the beginning of one may be waited for; without, for ever.
    pub patience: Option<Duration>,
}

/// An open file or pipe. It is never opened again by its name, but for a FIFO
/// whose writer has ended.
#[derive(Debug)]
pub struct Input {
    name: String,
    file: File,
    kind: Kind,
    /// Until when it may be waited for, and how long that was.
    access_ends: Option<(Instant, Duration)>,
    /// Who wrote into it has ended; a FIFO is then opened anew at once, so that
    /// both the beginning and the end of the next are seen, whenever they come.
    at_end: bool,
    /// A FIFO could not be opened anew.
    is_stale: bool,
    hangup: Arc<Hangup>,
}

/// How it can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    /// From any place, and again.
    File,
    /// As often as somebody writes into it.
    Fifo(PathBuf),
    /// Once.
    Stream,
}

/// Ends what waits for an input.
#[derive(Debug)]
pub struct Hangup(OwnedFd);

impl Hangup {
    /// Lets every read of the input fail from now on, unless it is of a file.
    pub fn hang_up(&self) {
        // An eventfd with room never refuses a write.
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }
}

impl Input {
    /// Opens what a film's path names. Does not wait for whoever writes.
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

    /// What it is called in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its length in bytes, if it is a file: one that can be read again from
    /// any place.
    pub fn length(&self) -> Option<u64> {
        let metadata = self.file.metadata().ok()?;
        (self.kind == Kind::File).then_some(metadata.len())
    }

    /// Whether somebody else may write into it when its writer has ended.
    pub fn is_fifo(&self) -> bool {
        matches!(self.kind, Kind::Fifo(_))
    }

    /// It has begun: from now on it may take its time.
    pub fn has_begun(&mut self) {
        self.access_ends = None;
    }

    /// Ends what waits for it.
    pub fn hangup(&self) -> Arc<Hangup> {
        Arc::clone(&self.hangup)
    }

    /// Goes on to who writes into a FIFO next. What the last one still writes is
    /// passed over.
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

    /// Opens a FIFO again whose writer has ended: for one that was open before,
    /// poll(2) takes its end for that of the next.
    fn renew(&mut self) -> io::Result<()> {
        let Kind::Fifo(path) = &self.kind else {
            return Ok(());
        };
        self.is_stale = true;
        let file = open_path(path)?;
        if !file.metadata()?.file_type().is_fifo() {
            return Err(io::Error::other("it is no FIFO any more"));
        }
        // In this order: what somebody has written meanwhile stays in a FIFO that
        // is open.
        self.file = file;
        self.is_stale = false;
        Ok(())
    }

    /// Waits until there is something to read, or the end of it.
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

/// Opens a path so that it is not waited for who writes into a FIFO. As poll(2)
/// has it then, there is neither something to read nor an end before somebody
/// has opened it to write.
fn open_path(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
}

impl Read for Input {
    /// As of a file that blocks, also where it does not.
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
                    // If it fails, who waits for the next is told.
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
