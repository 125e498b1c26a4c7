//! What is told of a cell while it runs.

use std::io::{self, Write};
use std::time::Instant;

use pinhole::agent::cell::evidence::{CallSeen, Evidence};

/// Tells the agent, a line for each piece of evidence, at once: the process may
/// not live to tell it later.
#[derive(Debug)]
pub struct EvidenceWriter {
    begin: Instant,
}

impl EvidenceWriter {
    /// The cell begins.
    pub fn new() -> Self {
        Self {
            begin: Instant::now(),
        }
    }

    /// Tells a piece of evidence.
    pub fn write(&self, evidence: &Evidence) {
        // Evidence always has a form in JSON, and where the agent is gone
        // nobody is left to tell.
        let _ = serde_json::to_vec(evidence).map(|mut line| {
            line.push(b'\n');
            io::stdout().lock().write_all(&line)
        });
    }

    /// Tells something that has no form of its own.
    pub fn note(&self, text: impl Into<String>) {
        self.write(&Evidence::Note(text.into()));
    }

    /// Makes a call and tells how it went.
    pub fn call<T>(&self, name: &str, call: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let begin = Instant::now();
        let result = call();
        let error = result.as_ref().err();
        self.write(&Evidence::Call(CallSeen {
            name: name.to_owned(),
            errno: error.map(|error| error.raw_os_error().unwrap_or(libc::EIO)),
            at_us: self.begin.elapsed().as_micros() as u64,
            took_us: begin.elapsed().as_micros() as u64,
        }));
        result
    }
}
