//! Requests, executed.

use super::protocol::{Answer, Request};
use crate::vhost::{Remote, RemoteError};

/// What executes the requests of all clients.
#[derive(Clone)]
pub struct Service {
    card: Remote,
}

impl Service {
    /// Requests are executed on that card.
    pub fn new(card: Remote) -> Self {
        Self { card }
    }

    /// Executes the request in `line`.
    pub fn answer(&self, line: &[u8]) -> Answer {
        match serde_json::from_slice(line) {
            Ok(request) => self.execute(request).unwrap_or_else(error),
            Err(cause) => error(format_args!("the request cannot be understood: {cause}")),
        }
    }

    fn execute(&self, request: Request) -> Result<Answer, RemoteError> {
        Ok(match request {
            Request::Statistics {} => {
                let statistics = self.card.run(|card, now| card.statistics(now))?;
                Answer::Statistics(Box::new(statistics))
            }
        })
    }
}

fn error(cause: impl ToString) -> Answer {
    Answer::Error(cause.to_string())
}
