//! Where cells are run: in a guest, or on this machine.

use std::time::Duration;

use super::error::MatrixError;
use super::health;
use super::outcome::HERE;
use crate::agent::checks::ChecksAnswer;
use crate::agent::protocol::{Hello, LogRecord, NewRecords, Read, Write};
use crate::guest;
use crate::rig::testbed::Testbed;
use crate::vm::channel::{Agent, AgentError};

/// How long the server on this machine may take to introduce itself, and who executes
/// requests to read or set a parameter.
const LIMIT: Duration = Duration::from_secs(30);

/// How long it may take to read the kernel's log: a guest whose kernel checks itself
/// may have thousands of lines.
const LOG_LIMIT: Duration = Duration::from_secs(120);

/// Where cells are run.
pub(super) enum Place {
    /// A guest, with which anything may be done, and which can be replaced.
    Guest(Box<Testbed>),
    /// This machine.
    Here(Here),
}

/// The server of the guest's requests on this machine, and its introduction.
pub(super) struct Here {
    agent: Agent,
    hello: Hello,
}

impl Place {
    /// Returns this machine.
    ///
    /// # Errors
    ///
    /// [`MatrixError::Here`] if its requests cannot be served.
    pub(super) fn here() -> Result<Self, MatrixError> {
        let agent = guest::serve_here().and_then(Agent::new);
        let agent = agent.map_err(MatrixError::Here)?;
        let hello = agent.hello(LIMIT).map_err(|error| match error {
            AgentError::Interrupted => MatrixError::Interrupted,
            error => MatrixError::Here(std::io::Error::other(error)),
        })?;
        Ok(Self::Here(Here { agent, hello }))
    }

    /// Returns whether it is this machine.
    pub(super) const fn is_here(&self) -> bool {
        matches!(self, Self::Here(_))
    }

    /// Returns who executes requests.
    pub(super) fn agent(&self) -> &Agent {
        match self {
            Self::Guest(testbed) => testbed.machine.agent(),
            Self::Here(here) => &here.agent,
        }
    }

    /// Returns the introduction of who does.
    pub(super) fn hello(&self) -> &Hello {
        match self {
            Self::Guest(testbed) => testbed.machine.hello(),
            Self::Here(here) => &here.hello,
        }
    }

    /// Returns its name: the guest's in the catalogue, or [`HERE`].
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Guest(testbed) => &testbed.guest.id,
            Self::Here(_) => HERE,
        }
    }

    /// Returns what it is called in a sentence.
    pub(super) const fn noun(&self) -> &'static str {
        match self {
            Self::Guest(_) => "the guest",
            Self::Here(_) => "the server on this machine",
        }
    }

    /// Returns the name of the module that was loaded as the driver, if one was.
    pub(super) fn module(&self) -> Option<&str> {
        match self {
            Self::Guest(testbed) => Some(&testbed.driver),
            Self::Here(_) => None,
        }
    }

    /// Returns the names by which that speaks in the kernel's log.
    pub(super) fn names(&self) -> Vec<String> {
        match self {
            Self::Guest(testbed) => testbed.names.clone(),
            Self::Here(_) => Vec::new(),
        }
    }

    /// Returns the memory of a guest in MiB.
    pub(super) fn memory_mib(&self) -> Option<u32> {
        match self {
            Self::Guest(testbed) => Some(testbed.memory_mib),
            Self::Here(_) => None,
        }
    }

    /// Returns the checks of its kernel. On this machine there may be some that this
    /// process may not see.
    ///
    /// # Errors
    ///
    /// [`MatrixError`] if a guest does not tell.
    pub(super) fn checks(&self) -> Result<ChecksAnswer, MatrixError> {
        match (self, health::ask(self.agent())) {
            (Self::Here(_), Err(AgentError::Failed { .. })) => Ok(ChecksAnswer::default()),
            (_, checks) => checks.map_err(MatrixError::checks),
        }
    }

    /// Returns the checks of its kernel once more, which were `before`, after something
    /// may have damaged it. A guest's kernel reports warnings again that it reports once
    /// per boot; of this machine's only the damage is looked at.
    ///
    /// # Errors
    ///
    /// [`AgentError`] if it does not answer.
    pub(super) fn checks_again(&self, before: &ChecksAnswer) -> Result<ChecksAnswer, AgentError> {
        let agent = self.agent();
        match self {
            Self::Guest(_) => {
                health::warn_again(agent)?;
                health::ask(agent)
            }
            Self::Here(_) => Ok(ChecksAnswer {
                tainted: health::tainted(agent)?,
                ..before.clone()
            }),
        }
    }

    /// Makes a guest's kernel report every error. Returns the kernel's messages since
    /// the driver was loaded, if that was done for the cells.
    ///
    /// # Errors
    ///
    /// [`AgentError`] if it does not answer.
    pub(super) fn begin(&self, checks: &ChecksAnswer) -> Result<Vec<LogRecord>, AgentError> {
        let mut records = match self {
            Self::Guest(_) => {
                health::speak_up(self.agent(), checks)?;
                self.new_records()?
            }
            Self::Here(_) => {
                self.new_records()?;
                return Ok(Vec::new());
            }
        };
        // The agent started before the driver was loaded.
        let up_us = self.hello().uptime_ms * 1000;
        records.retain(|record| record.time_us > up_us);
        Ok(records)
    }

    /// Returns whether the driver has a parameter of that name.
    ///
    /// # Errors
    ///
    /// [`MatrixError::Interrupted`].
    pub(super) fn has_parameter(&self, name: &str) -> Result<bool, MatrixError> {
        let Some(path) = self.parameter(name) else {
            return Ok(false);
        };
        let look = Read { path, limit: 16 };
        match self.agent().call(look, LIMIT) {
            Err(AgentError::Interrupted) => Err(MatrixError::Interrupted),
            read => Ok(read.is_ok()),
        }
    }

    /// Sets a parameter of the driver, within a limit that is `patience` times longer
    /// than usual.
    ///
    /// # Errors
    ///
    /// [`AgentError`] if it cannot be set.
    pub(super) fn set_parameter(
        &self,
        name: &str,
        value: &str,
        patience: u32,
    ) -> Result<(), AgentError> {
        let path = self.parameter(name).ok_or_else(|| AgentError::Failed {
            message: "no driver was loaded".into(),
            errno: None,
        })?;
        let write = Write {
            path,
            text: value.into(),
            append: false,
        };
        self.agent().call(write, LIMIT * patience)
    }

    /// Returns the path of a parameter of the driver.
    fn parameter(&self, name: &str) -> Option<String> {
        let module = self.module()?;
        Some(format!("/sys/module/{module}/parameters/{name}"))
    }

    /// Returns the new records of the kernel's log; on this machine none, if this
    /// process may not read it.
    ///
    /// # Errors
    ///
    /// [`AgentError`] if a guest does not answer.
    pub(super) fn new_records(&self) -> Result<Vec<LogRecord>, AgentError> {
        match (self, self.agent().call(NewRecords {}, LOG_LIMIT)) {
            (Self::Here(_), Err(AgentError::Failed { .. })) => Ok(Vec::new()),
            (_, answer) => Ok(answer?.records),
        }
    }

    /// Returns why requests are not answered any more, the place having ended.
    pub(super) fn why_ended(&mut self) -> String {
        match self {
            Self::Guest(testbed) => testbed.machine.why_ended().to_string(),
            Self::Here(_) => AgentError::Closed.to_string(),
        }
    }

    /// Turns a guest off. One that the last cell broke may fail to do so.
    pub(super) fn finish(self) {
        if let Self::Guest(testbed) = self
            && let Err(error) = testbed.finish()
        {
            log::warn!("after the last cell: {error}");
        }
    }
}
