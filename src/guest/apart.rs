//! Requests that this program executes in a process of its own: one that takes too
//! much memory, or does not come back, does not take the agent with it.

use crate::agent::protocol::{Run, Status};
use rustix::process::Pid;
use serde::Serialize;
use serde_json::Value;

use crate::guest::children::Children;
use crate::guest::failure::Failure;
use crate::guest::run;

/// Runs this program with an argument and a request on its standard input, and
/// returns the answer on its standard output. `started` gets the process.
///
/// # Errors
///
/// [`Failure`] if it fails, the time is up, or there is no answer.
pub fn run(
    children: &Children,
    id: u64,
    (argument, request): (&str, &impl Serialize),
    limit_ms: u64,
    started: impl FnOnce(Pid),
) -> Result<Value, Failure> {
    let stdin = serde_json::to_string(request)
        .map_err(|error| Failure::new(format!("{argument}: tell the request: {error}")))?;
    let process = Run {
        stdin,
        timeout_ms: Some(limit_ms),
        ..Run::new(["/proc/self/exe", argument])
    };
    let ran = run::run(children, id, process, started, |_| {})?;
    if ran.timed_out {
        let still = match ran.stuck {
            true => ", and the kernel does not let its process go",
            false => "",
        };
        return Err(Failure::new(format!(
            "{argument}: not done in {limit_ms} ms{still}"
        )));
    }
    match ran.status {
        Status::Exit(0) => serde_json::from_str(&ran.stdout)
            .map_err(|error| Failure::new(format!("{argument}: no answer: {error}"))),
        status => Err(Failure::new(format!(
            "{argument}: {status}: {}",
            ran.stderr.trim()
        ))),
    }
}
