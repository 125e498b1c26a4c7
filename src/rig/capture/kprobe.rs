//! The trace oracle: a kprobe on `get_vaddr_frames()`.
//!
//! The probe is set in the guest's tracefs, on the stock kernel's own function,
//! at its entry and at its return. It shows how often the function ran and how
//! many page frames it found.

use std::time::Duration;

use serde::Serialize;

use crate::agent::protocol::{Read, Write};
use crate::vm::channel::{Agent, AgentError};

/// Mount point of the guest's tracefs.
const TRACEFS: &str = "/sys/kernel/tracing";

/// How long the guest may take for each request; longer than any needs.
const PATIENCE: Duration = Duration::from_secs(60);

/// The probes at entry and return (Documentation/trace/kprobetrace.rst). On
/// every kernel the second argument is the number of frames requested, and the
/// function returns how many it got.
const PROBES: [&str; 2] = [
    "p:pinhole/gvf get_vaddr_frames start=%di:x64 asked=%si:u32",
    "r:pinhole/gvf_ret get_vaddr_frames got=$retval:s32",
];

/// Sets the probes. The function's module must be loaded.
///
/// # Errors
///
/// [`AgentError`] if the kernel does not accept them.
pub fn arm(agent: &Agent) -> Result<(), AgentError> {
    for probe in PROBES {
        write(agent, "kprobe_events", &format!("{probe}\n"), true)?;
    }
    write(agent, "events/pinhole/enable", "1", false)
}

/// Returns the results of the probes since [`arm`].
///
/// # Errors
///
/// [`AgentError`] if the trace cannot be read.
pub fn read(agent: &Agent) -> Result<GetVaddrFrames, AgentError> {
    let trace = agent.call(
        Read {
            path: format!("{TRACEFS}/trace"),
            limit: 8 << 20,
        },
        PATIENCE,
    )?;
    Ok(GetVaddrFrames::parse(&trace.text))
}

fn write(agent: &Agent, file: &str, text: &str, append: bool) -> Result<(), AgentError> {
    agent.call(
        Write {
            path: format!("{TRACEFS}/{file}"),
            text: text.to_owned(),
            append,
        },
        PATIENCE,
    )
}

/// Results of the probes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct GetVaddrFrames {
    /// Number of calls of the function.
    pub calls: u64,
    /// Number of page frames that it returned, over all calls.
    pub pages: u64,
    /// Number of calls that returned an error, or fewer frames than requested.
    pub short: u64,
}

impl GetVaddrFrames {
    /// Parses the probes' lines in tracefs' `trace`. Calls may overlap on
    /// several processors, so entry and return are paired by the task's name
    /// and number.
    pub fn parse(trace: &str) -> Self {
        let mut seen = Self::default();
        let mut asked_by = std::collections::HashMap::new();
        for line in trace.lines().filter(|line| !line.starts_with('#')) {
            let Some((task, _)) = line.split_once('[') else {
                continue;
            };
            let number = |key: &str| {
                line.split_once(key)?
                    .1
                    .split_whitespace()
                    .next()?
                    .parse::<i64>()
                    .ok()
            };
            if let Some(asked) = number(" asked=") {
                seen.calls += 1;
                asked_by.insert(task.trim(), asked);
            } else if let Some(got) = number(" got=") {
                seen.pages += got.max(0) as u64;
                let asked = asked_by.remove(task.trim());
                seen.short += u64::from(asked.is_none_or(|asked| got < asked));
            }
        }
        seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_and_pages_are_counted_and_short_ones_told() {
        let trace = "\
# tracer: nop
#
#           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION
        v4l2-ctl-91      [001] .....     5.123: gvf: (get_vaddr_frames+0x0/0x90 [videobuf2_memops]) start=0x7f1200000010 asked=451
           other-92      [000] .....     5.123: gvf: (get_vaddr_frames+0x0/0x90 [videobuf2_memops]) start=0x7f1200000010 asked=7
        v4l2-ctl-91      [001] .....     5.124: gvf_ret: (vb2_create_framevec+0x5f/0xd0 <- get_vaddr_frames) got=451
           other-92      [000] .....     5.125: gvf_ret: (vb2_create_framevec+0x5f/0xd0 <- get_vaddr_frames) got=3
        v4l2-ctl-91      [001] .....     5.126: gvf: (get_vaddr_frames+0x0/0x90 [videobuf2_memops]) start=0x7f1200000010 asked=451
        v4l2-ctl-91      [001] .....     5.127: gvf_ret: (vb2_create_framevec+0x5f/0xd0 <- get_vaddr_frames) got=-14
";
        let seen = GetVaddrFrames::parse(trace);
        assert_eq!(
            seen,
            GetVaddrFrames {
                calls: 3,
                pages: 454,
                short: 2
            }
        );
    }

    #[test]
    fn an_empty_trace_has_no_calls() {
        assert_eq!(
            GetVaddrFrames::parse("# tracer: nop\n"),
            GetVaddrFrames::default()
        );
    }
}
