//! The files and pipes that films come from.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::fcntl_dupfd_cloexec;
use rustix::stdio::stdin;
use rustix::termios::isatty;

use super::FilmError;

/// Whether a film comes from standard input already: two would share its
/// bytes.
static STDIN_TAKEN: AtomicBool = AtomicBool::new(false);

/// An open file or pipe. It is never opened again by its name.
#[derive(Debug)]
pub struct Input {
    name: String,
    file: File,
    is_file: bool,
}

impl Input {
    /// Opens a path; `-` is standard input. Waits for whoever writes if it is
    /// a FIFO.
    pub fn open(path: &str) -> Result<Self, FilmError> {
        let name = match path {
            "-" => "standard input",
            path => path,
        };
        let open = || {
            let file = match path {
                "-" => take_stdin()?,
                path => File::open(path)?,
            };
            let is_file = file.metadata()?.is_file();
            Ok((file, is_file))
        };
        match open() {
            Ok((file, is_file)) => Ok(Self {
                name: name.to_owned(),
                file,
                is_file,
            }),
            Err(source) => Err(FilmError::Open {
                name: name.to_owned(),
                source,
            }),
        }
    }

    /// What it is called in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its length in bytes, if it is a file: one that can be read again from
    /// any place.
    pub fn length(&self) -> Option<u64> {
        let metadata = self.file.metadata().ok()?;
        self.is_file.then_some(metadata.len())
    }
}

fn take_stdin() -> io::Result<File> {
    if isatty(stdin()) {
        return Err(io::Error::other("it is a terminal, not a film"));
    }
    if STDIN_TAKEN.swap(true, Ordering::Relaxed) {
        return Err(io::Error::other("another source reads it already"));
    }
    Ok(File::from(fcntl_dupfd_cloexec(stdin(), 3)?))
}

impl Read for Input {
    /// As of a file that blocks, also where whoever passed it on made it
    /// non-blocking.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.file.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    poll(&mut [PollFd::new(&self.file, PollFlags::IN)], None)?;
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
