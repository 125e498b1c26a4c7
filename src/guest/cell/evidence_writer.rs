//! The writer of a cell's evidence while the cell runs.

use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::agent::cell::evidence::{CallSeen, Evidence};
use crate::agent::cell::phases::{self, Phase, Phases};

use super::Stop;

/// Writes evidence for the agent, a line for each piece, at once: the process
/// may not live to write it later.
#[derive(Debug)]
pub struct EvidenceWriter {
    begin: Instant,
    phases: Mutex<Phases>,
}

impl EvidenceWriter {
    /// Returns a writer for a cell that begins now.
    pub fn new() -> Self {
        Self {
            begin: Instant::now(),
            phases: Mutex::default(),
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

    /// Does something that is a phase of the cell. The phases within it are not
    /// part of it.
    pub fn spend<T>(&self, phase: Phase, work: impl FnOnce() -> T) -> T {
        let before = self.spent();
        let begin = Instant::now();
        let result = work();
        let elapsed = begin.elapsed();
        let within = self.spent() - before;
        let own = elapsed.saturating_sub(within);
        phases::spend(&mut self.phases(), phase, own);
        result
    }

    /// Returns the time since the cell began.
    pub fn elapsed(&self) -> Duration {
        self.begin.elapsed()
    }

    /// Writes the phases, at the end of the cell.
    pub fn write_phases(&self) {
        let rest = self.begin.elapsed().saturating_sub(self.spent());
        let mut phases = self.phases().clone();
        phases::spend(&mut phases, Phase::Rest, rest);
        self.write(&Evidence::Phases(phases));
    }

    fn phases(&self) -> MutexGuard<'_, Phases> {
        self.phases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spent(&self) -> Duration {
        phases::total(&self.phases())
    }

    /// Makes a call and writes its result as evidence.
    pub fn call<T>(&self, name: &str, call: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        self.call_on(0, name, call)
    }

    /// Makes a call as [`call`](Self::call) does, on the queue of that number.
    pub fn call_on<T>(
        &self,
        queue: usize,
        name: &str,
        call: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        let begin = Instant::now();
        let result = self.spend(Phase::Device, call);
        let took = begin.elapsed();
        let error = result.as_ref().err();
        self.write(&Evidence::Call(CallSeen {
            name: name.to_owned(),
            errno: error.map(|error| error.raw_os_error().unwrap_or(libc::EIO)),
            at_us: self.elapsed().as_micros() as u64,
            took_us: took.as_micros() as u64,
            queue,
        }));
        result
    }

    /// Makes a call as [`call`](Self::call) does, without which the cell fails.
    pub fn must<T>(&self, name: &str, call: impl FnOnce() -> io::Result<T>) -> Result<T, Stop> {
        self.call(name, call)
            .map_err(|error| Stop::Failed(format!("{name}: {error}")))
    }
}
