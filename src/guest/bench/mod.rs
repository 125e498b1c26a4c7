//! Measurements: how fast a capture device streams, and how long it takes to
//! pin memory.

mod pin;
mod processors;
mod stream;

use std::io::{self, Write};
use std::process::ExitCode;

use crate::agent::bench::Measurement;
use serde_json::Value;

use crate::guest::failure::Failure;

/// Argument that makes this program the process that measures.
pub const ARGUMENT: &str = "bench";

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
