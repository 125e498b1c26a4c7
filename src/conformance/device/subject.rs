//! The back end under test: a socket of somebody else's, or a command that is
//! started on a socket of its own.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::vm::process::{Process, ProcessError};

/// What the path of the socket replaces in a command's arguments.
const PLACEHOLDER: &str = "{socket}";

/// How often is looked for the socket of a back end that was started.
const PAUSE: Duration = Duration::from_millis(5);

/// Why the back end cannot be reached.
#[derive(Debug, thiserror::Error)]
pub enum SubjectError {
    /// Nobody listens there.
    #[error("cannot connect to {}: {error}; start the back end first", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// The command cannot be started.
    #[error(transparent)]
    Start(#[from] ProcessError),
    /// The command ended before it listened.
    #[error("{command} ended ({status}) before it listened on its socket{hint}")]
    Ended {
        /// The command.
        command: String,
        /// How it ended.
        status: String,
        /// What may be wrong.
        hint: &'static str,
    },
    /// The command does not listen.
    #[error("{command} does not listen on its socket within {} s{hint}", limit.as_secs_f32())]
    Silent {
        /// The command.
        command: String,
        /// How long was waited.
        limit: Duration,
        /// What may be wrong.
        hint: &'static str,
    },
    /// There is no place for the socket.
    #[error("cannot make a folder for the socket: {0}")]
    Folder(io::Error),
}

/// A command that serves a vhost-user socket.
struct Started {
    argv: Vec<OsString>,
    /// The folder of the socket, removed at the end.
    folder: tempfile::TempDir,
    child: Option<Process>,
    /// Whether it logs no more than warnings, as far as RUST_LOG decides that.
    is_quiet: bool,
}

enum Kind {
    Socket(PathBuf),
    Started(Started),
}

/// The back end under test.
pub struct Subject {
    name: String,
    kind: Kind,
}

impl Subject {
    /// Returns the back end that listens on a socket.
    pub fn at(path: &Path) -> Self {
        Self {
            name: path.display().to_string(),
            kind: Kind::Socket(path.to_owned()),
        }
    }

    /// Returns the back end that a command starts; the path of the socket stands
    /// for `{socket}` in its arguments. The first of them is the program.
    ///
    /// # Errors
    /// There is no place for the socket.
    pub fn started(name: String, argv: Vec<OsString>) -> Result<Self, SubjectError> {
        let folder = tempfile::Builder::new()
            .prefix("pinhole-conformance-")
            .tempdir()
            .map_err(SubjectError::Folder)?;
        Ok(Self {
            name,
            kind: Kind::Started(Started {
                argv,
                folder,
                child: None,
                is_quiet: false,
            }),
        })
    }

    /// Has a command that logs as RUST_LOG says log errors only: it is made
    /// mistakes for.
    pub fn quiet(mut self) -> Self {
        if let Kind::Started(started) = &mut self.kind {
            started.is_quiet = true;
        }
        self
    }

    /// Starts the command, if it does not run.
    ///
    /// # Errors
    /// It cannot be started, or does not listen within `limit`.
    pub fn make_ready(&mut self, limit: Duration) -> Result<(), SubjectError> {
        match &mut self.kind {
            Kind::Socket(_) => Ok(()),
            Kind::Started(started) => started.make_ready(&self.name, limit),
        }
    }

    /// Ends the command, so that the next test finds a fresh one. What others
    /// have started stays.
    pub fn renew(&mut self) {
        if let Kind::Started(started) = &mut self.kind {
            started.end();
        }
    }

    /// Connects to the back end.
    ///
    /// # Errors
    /// Nobody listens.
    pub fn connect(&mut self, limit: Duration) -> Result<UnixStream, SubjectError> {
        let deadline = Instant::now() + limit;
        loop {
            // A command may be about to end, as the last connection has.
            self.make_ready(limit)?;
            let (path, is_started) = match &self.kind {
                Kind::Socket(path) => (path.clone(), false),
                Kind::Started(started) => (started.socket(), true),
            };
            match UnixStream::connect(&path) {
                Ok(stream) => return Ok(stream),
                Err(error) if may_pass(&error, is_started) && Instant::now() < deadline => {
                    thread::sleep(PAUSE);
                }
                Err(error) => return Err(SubjectError::Connect { path, error }),
            }
        }
    }
}

/// Returns whether a back end that begins anew has this error for a moment.
fn may_pass(error: &io::Error, is_started: bool) -> bool {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => true,
        io::ErrorKind::NotFound => is_started,
        _ => false,
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Started {
    fn socket(&self) -> PathBuf {
        self.folder.path().join("device.sock")
    }

    fn has_placeholder(&self) -> bool {
        let mut args = self.argv.iter();
        args.any(|arg| arg.to_string_lossy().contains(PLACEHOLDER))
    }

    /// What may be wrong with a command that does not listen.
    fn hint(&self) -> &'static str {
        match self.has_placeholder() {
            true => "; what it says is above",
            false => "; {socket} in its arguments stands for the path of the socket",
        }
    }

    fn make_ready(&mut self, name: &str, limit: Duration) -> Result<(), SubjectError> {
        if let Some(child) = &mut self.child
            && child.try_wait().is_none()
        {
            return Ok(());
        }
        self.end();
        let socket = self.socket();
        let args = self.argv.iter().map(|arg| match arg.to_str() {
            Some(text) => text.replace(PLACEHOLDER, &socket.to_string_lossy()).into(),
            None => arg.clone(),
        });
        let args: Vec<OsString> = args.collect();
        let Some((program, args)) = args.split_first() else {
            return Err(SubjectError::Start(ProcessError::Start {
                program: name.into(),
                source: io::ErrorKind::InvalidInput.into(),
            }));
        };
        // It may speak to the user, and must not speak among the results.
        let mut command = Command::new(program);
        command
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        if self.is_quiet && std::env::var_os("RUST_LOG").is_none() {
            command.env("RUST_LOG", "error");
        }
        self.child = Some(Process::spawn(command)?);
        self.wait_listening(name, limit)
    }

    /// Waits until the socket can be connected to. Some back ends take a
    /// connection that ends at once for the only one, so that none is made here:
    /// the name of a socket is there a moment before it listens.
    fn wait_listening(&mut self, name: &str, limit: Duration) -> Result<(), SubjectError> {
        let deadline = Instant::now() + limit;
        let hint = self.hint();
        while !self.socket().exists() {
            let status = self.child.as_mut().and_then(Process::try_wait);
            if let Some(status) = status {
                return Err(SubjectError::Ended {
                    command: name.into(),
                    status: status.to_string(),
                    hint,
                });
            }
            if Instant::now() > deadline {
                return Err(SubjectError::Silent {
                    command: name.into(),
                    limit,
                    hint,
                });
            }
            thread::sleep(PAUSE);
        }
        Ok(())
    }

    fn end(&mut self) {
        // Dropped, it is dead.
        self.child = None;
        let _ = std::fs::remove_file(self.socket());
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        self.end();
    }
}
