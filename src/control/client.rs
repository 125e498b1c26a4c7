//! The client side of the control socket.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::protocol::{Answer, MAX_ANSWER, Request};

/// How long the client waits for the card's answer; longer than the card itself
/// may wait before it answers.
const PATIENCE: Duration = Duration::from_secs(20);

/// Why a request was not answered.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No process listens on the socket.
    #[error("cannot reach a card at {path}: {error}; {}", advice(.path, .error), path = .path.display())]
    Connect {
        /// The control socket.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// The connection broke, or the card took too long.
    #[error("the card does not answer: {0}")]
    Io(#[from] io::Error),
    /// The peer's answer is not a Pinhole card's.
    #[error("what answers is not a Pinhole card of this version: {0}")]
    Nonsense(#[from] serde_json::Error),
    /// The card refuses the request, and says why.
    #[error("{0}")]
    Refused(String),
}

/// Returns what to do if there is no connection.
fn advice(path: &Path, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "a card's control socket is for the user alone who started it: be that user, or root"
                .to_owned()
        }
        _ => format!("is `pinhole device --control {}` running?", path.display()),
    }
}

/// A connection to the control socket of a running card.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
}

impl Client {
    /// Connects to the control socket at `path`.
    pub fn connect(path: &Path) -> Result<Self, ClientError> {
        let stream = UnixStream::connect(path).map_err(|error| ClientError::Connect {
            path: path.to_owned(),
            error,
        })?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self {
            stream: BufReader::new(stream),
        })
    }

    /// Sends a request, and returns the answer, which is never
    /// [`Answer::Error`].
    pub fn request(&mut self, request: &Request) -> Result<Answer, ClientError> {
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        self.stream.get_mut().write_all(&line)?;
        line.clear();
        let mut bounded = self.stream.by_ref().take(MAX_ANSWER as u64);
        if bounded.read_until(b'\n', &mut line)? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        match serde_json::from_slice(&line)? {
            Answer::Error(cause) => Err(ClientError::Refused(cause)),
            answer => Ok(answer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_not_is_not_asked_whether_it_runs() {
        let said = |kind: io::ErrorKind| {
            let (path, error) = ("/run/card".into(), kind.into());
            ClientError::Connect { path, error }.to_string()
        };
        let denied = said(io::ErrorKind::PermissionDenied);
        assert!(denied.ends_with("be that user, or root"), "{denied}");
        let absent = said(io::ErrorKind::NotFound);
        assert!(
            absent.ends_with("is `pinhole device --control /run/card` running?"),
            "{absent}"
        );
    }
}
