//! Measurements: how fast a capture device streams, and how long it takes to
//! pin memory.

mod pin;
mod processors;
mod stream;

use std::io::{self, Write};
use std::process::ExitCode;

use pinhole::agent::bench::Measurement;
use pinhole::agent::protocol::{Run, Status};
use rustix::process::Pid;
use serde_json::Value;

use crate::children::Children;
use crate::failure::Failure;
use crate::run;

/// Argument that makes this program the process that measures.
pub const ARGUMENT: &str = "bench";

/// Measures in a process of its own, which `started` gets.
///
/// # Errors
///
/// [`Failure`] if the device refuses, the time is up, or the memory is not
/// there.
pub fn run(
    children: &Children,
    id: u64,
    measurement: &Measurement,
    limit_ms: u64,
    started: impl FnOnce(Pid),
) -> Result<Value, Failure> {
    let stdin = serde_json::to_string(measurement)
        .map_err(|error| Failure::new(format!("tell what to measure: {error}")))?;
    let process = Run {
        stdin,
        timeout_ms: Some(limit_ms),
        ..Run::new(["/proc/self/exe", ARGUMENT])
    };
    let ran = run::run(children, id, process, started, |_| {})?;
    if ran.timed_out {
        return Err(Failure::new(format!("measure: not done in {limit_ms} ms")));
    }
    match ran.status {
        Status::Exit(0) => serde_json::from_str(&ran.stdout)
            .map_err(|error| Failure::new(format!("measure: no answer: {error}"))),
        status => Err(Failure::new(format!(
            "measure: {status}: {}",
            ran.stderr.trim()
        ))),
    }
}

/// Runs the process that measures what standard input says, and writes the
/// answer.
pub fn main() -> ExitCode {
    match measure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{}", failure.message);
            ExitCode::from(2)
        }
    }
}

fn measure() -> Result<(), Failure> {
    let measurement: Measurement = serde_json::from_reader(io::stdin().lock())
        .map_err(|error| Failure::new(format!("no request: {error}")))?;
    let answer: Result<Value, serde_json::Error> = match measurement {
        Measurement::Stream(request) => serde_json::to_value(stream::measure(&request)?),
        Measurement::Pin(request) => serde_json::to_value(pin::measure(&request)?),
    };
    let answer = answer.map_err(|error| Failure::new(format!("answer: {error}")))?;
    writeln!(io::stdout().lock(), "{answer}").map_err(|error| Failure::io("answer", error))
}
