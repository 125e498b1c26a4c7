//! The writer of a cell's evidence while the cell runs.

use std::io::{self, Write};
use std::time::Instant;

use pinhole::agent::cell::evidence::{CallSeen, Evidence};

/// Writes evidence for the agent, a line for each piece, at once: the process
/// may not live to write it later.
#[derive(Debug)]
pub struct EvidenceWriter {
    begin: Instant,
}

impl EvidenceWriter {
    /// Returns a writer for a cell that begins now.
    pub fn new() -> Self {
        Self {
            begin: Instant::now(),
        }
    }

    /// Writes a piece of evidence.
    pub fn write(&self, evidence: &Evidence) {
        // Evidence can always be encoded in JSON, and an error of writing means
        // that the agent is gone.
        let _ = serde_json::to_vec(evidence).map(|mut line| {
            line.push(b'\n');
            io::stdout().lock().write_all(&line)
        });
    }

    /// Writes a note: evidence without a structure of its own.
    pub fn note(&self, text: impl Into<String>) {
        self.write(&Evidence::Note(text.into()));
    }

    /// Makes a call and writes its result as evidence.
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
