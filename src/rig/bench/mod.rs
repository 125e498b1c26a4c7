//! Measurements in a guest: how fast the card streams beside vivid, what it
//! costs to pin memory, how even the timestamps are, how long a boot takes, and
//! where the time of the matrix's cells goes.
//!
//! Every value is the median of several runs, with the least and the greatest.
//! What is compared is measured in the same boot, in turns where it streams, so
//! that a load which comes and goes meets both.
//!
//! | file | what is in it |
//! |---|---|
//! | [`spread`] | the median of several runs |
//! | [`guest`] | a guest in which is measured, and its vivid |
//! | [`streams`] | frames a second, and processor time a frame |
//! | [`pins`] | pinning memory, and releasing it |
//! | [`jitter`] | the timestamps' distance from an even rate |
//! | [`boot`] | the time to the first frame |
//! | [`cells`] | the phases of the matrix's cells |

pub mod boot;
pub mod cells;
mod guest;
pub mod jitter;
pub mod pins;
pub mod spread;
pub mod streams;

use serde::Serialize;

use self::boot::Boot;
use self::cells::CellPhase;
use self::guest::BenchGuest;
use self::jitter::Jitter;
use self::pins::Pinning;
use self::streams::Streaming;
use super::matrix::error::MatrixError;
use super::testbed::{TestbedError, TestbedSpec};
use crate::vm::channel::AgentError;
use crate::vm::progress::Progress;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// Frames a second and processor time a frame, beside vivid's.
    Streams,
    /// Pinning memory, and releasing it.
    Pins,
    /// How even the timestamps are.
    Jitter,
    /// The time to the first frame.
    Boot,
    /// Where the time of the matrix's cells goes.
    Cells,
}

impl Measure {
    /// Everything that can be measured.
    pub const ALL: &[Self] = &[
        Self::Streams,
        Self::Pins,
        Self::Jitter,
        Self::Boot,
        Self::Cells,
    ];
}

/// What to measure, and in which guest.
#[derive(Debug, Clone)]
pub struct BenchSpec {
    /// The guest and its machine.
    pub testbed: TestbedSpec,
    /// What to measure.
    pub measures: Vec<Measure>,
    /// How often, at least once.
    pub runs: u32,
}

/// Why it could not be measured.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The card or the guest could not be started or stopped.
    #[error(transparent)]
    Testbed(#[from] TestbedError),
    /// The matrix's cells could not be run.
    #[error(transparent)]
    Matrix(#[from] MatrixError),
    /// The guest failed to execute a request.
    #[error("cannot {what}: {source}")]
    Agent {
        /// The attempted action.
        what: String,
        /// The agent's error.
        source: AgentError,
    },
    /// SIGINT or SIGTERM arrived.
    #[error("interrupted")]
    Interrupted,
}

/// The measurements on one kernel.
#[derive(Debug, Clone, Serialize)]
pub struct Bench {
    /// Name of the guest, or `bzimage` if its kernel is the user's own.
    pub kernel: String,
    /// Release of its kernel.
    pub release: String,
    /// Version of QEMU.
    pub qemu: String,
    /// What ran the guest's instructions.
    pub accelerator: String,
    /// Number of the guest's processors.
    pub cpus: u32,
    /// The guest's memory in MiB.
    pub memory_mib: u32,
    /// The host.
    pub host: Host,
    /// How often each value was measured.
    pub runs: u32,
    /// Frames a second, and processor time a frame.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub streams: Vec<Streaming>,
    /// Times to pin memory.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pins: Vec<Pinning>,
    /// The timestamps' distance from an even rate.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub jitter: Vec<Jitter>,
    /// The time to the first frame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot: Option<Boot>,
    /// The phases of the matrix's cells, the longest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cells: Vec<CellPhase>,
}

/// The host on which was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Host {
    /// Name of its processor.
    pub processor: String,
    /// Number of its processors.
    pub cpus: usize,
    /// Its load before the first measurement: the average of the last minute.
    pub load: f64,
}

impl Host {
    /// Returns this host.
    pub fn here() -> Self {
        let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let name = text.lines().find_map(|line| {
            let value = line.strip_prefix("model name")?;
            Some(value.trim_start_matches([' ', '\t', ':']).to_owned())
        });
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        Self {
            processor: name.unwrap_or_else(|| "a processor of no name".to_owned()),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            load: load
                .split(' ')
                .next()
                .and_then(|load| load.parse().ok())
                .unwrap_or_default(),
        }
    }
}

/// Boots the guests, and measures.
///
/// # Errors
///
/// [`BenchError`] if something could not be measured.
pub fn run(spec: &BenchSpec, progress: &Progress) -> Result<Bench, BenchError> {
    let host = Host::here();
    let runs = spec.runs.max(1);
    let wants = |measure| spec.measures.contains(&measure);
    let (mut boot, mut jitter) = (None, Vec::new());
    if wants(Measure::Boot) {
        boot = Some(boot::measure(&spec.testbed, runs, progress)?);
    }
    if wants(Measure::Jitter) {
        let guest = BenchGuest::boot(&spec.testbed, progress)?;
        let step = progress.step("measuring the timestamps");
        jitter = jitter::measure(&guest, runs)?;
        step.done();
        guest.finish()?;
    }
    let mut cells = Vec::new();
    if wants(Measure::Cells) {
        cells = cells::measure(&spec.testbed, runs, progress)?;
    }
    // The guest whose card fills buffers as fast as they come is the last, and
    // tells of the machine.
    let testbed = TestbedSpec {
        free_running: true,
        probe: wants(Measure::Pins),
        ..spec.testbed.clone()
    };
    let mut guest = BenchGuest::boot(&testbed, progress)?;
    let mut streams = Vec::new();
    if wants(Measure::Streams) {
        let step = progress.step("measuring streams");
        streams = streams::measure(&mut guest, runs, &step)?;
        step.done();
    }
    let mut pins = Vec::new();
    if wants(Measure::Pins) {
        let step = progress.step("measuring pins");
        pins = pins::measure(&mut guest, runs, &step)?;
        step.done();
    }
    let cpus = guest.cpus;
    let finished = guest.finish()?;
    Ok(Bench {
        kernel: finished.guest.id,
        release: finished.release,
        qemu: finished.qemu.version,
        accelerator: finished.accelerator.to_string(),
        cpus,
        memory_mib: finished.memory_mib,
        host,
        runs,
        streams,
        pins,
        jitter,
        boot,
        cells,
    })
}

fn cannot(what: impl Into<String>, source: AgentError) -> BenchError {
    match source {
        AgentError::Interrupted => BenchError::Interrupted,
        source => BenchError::Agent {
            what: what.into(),
            source,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_has_a_name_and_processors() {
        let host = Host::here();
        assert!(!host.processor.is_empty() && host.cpus > 0, "{host:?}");
    }
}
