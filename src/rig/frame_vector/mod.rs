//! The contract of the frame vector: the questions that reviewers of
//! `get_vaddr_frames()` asked, answered on a running kernel.
//!
//! Each question is a [`Point`](points::Point): a range of memory, calls over
//! it that frame_vector_probe.ko makes in the guest, and an [`Answer`] derived
//! from the results. [`expectation`] says what the answer should be on each
//! kernel, and why. An answer that differs is a finding.

mod answer;
pub mod expectation;
mod observation;
pub mod points;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use self::answer::Answer;
use self::expectation::Kernel;
use self::observation::Observation;
use self::points::{Point, Reading};
use super::kernel::Version;
use super::kernel_log;
use super::testbed::driver::{DriverModule, OtherDriver};
use super::testbed::{CardProcess, Testbed, TestbedError, TestbedSpec};
use crate::agent::frame_vector::FrameVectorAnswer;
use crate::agent::protocol::{Log, Read};
use crate::vm::accelerator::Accelerator;
use crate::vm::channel::AgentError;
use crate::vm::images::{self, Catalog};
use crate::vm::interrupt;
use crate::vm::machine::private_dir;
use crate::vm::progress::Progress;

/// Module parameter that shows whether the kernel has CONFIG_DEBUG_VM.
const DEBUG_VM: &str = "/sys/module/frame_vector_probe/parameters/debug_vm";

/// Kernel parameters. `iomem=relaxed` lets the memory of a PCI device be mapped
/// that has a driver, which otherwise has it exclusively. There are huge pages,
/// and a zone of movable pages, from which programs get memory first. The
/// kernel makes no free block by moving pages if there is none (before 6.16
/// `kvmalloc()` tries): vm.rst documents that for this threshold.
const APPEND: &str = "iomem=relaxed hugepages=4 movablecore=96M sysctl.vm.extfrag_threshold=1000";

/// Size in bytes of the disk whose pages are mapped.
const DISK_BYTES: u64 = 1 << 20;

/// How long a point may take: the largest takes seconds on a busy machine, and two minutes
/// on one whose kernel checks itself.
const POINT_LIMIT: Duration = Duration::from_secs(300);

/// The guest in which the points are tried.
#[derive(Debug, Clone, Default)]
pub struct FrameVectorSpec {
    /// Name of the guest in the catalogue.
    pub kernel: String,
    /// QEMU to use instead of searching for one.
    pub qemu: Option<PathBuf>,
    /// The accelerator; the best available one by default.
    pub accelerator: Option<Accelerator>,
}

/// Why the points could not be tried.
#[derive(Debug, thiserror::Error)]
pub enum FrameVectorError {
    /// The guest with the probe could not be started or stopped.
    #[error(transparent)]
    Testbed(#[from] TestbedError),
    /// The guest's disk could not be created.
    #[error("cannot make a disk for the guest: {0}")]
    Disk(io::Error),
    /// The guest or the probe failed to execute a request.
    #[error("cannot {what}: {source}")]
    Agent {
        /// The attempted action.
        what: &'static str,
        /// The agent's error.
        source: AgentError,
    },
    /// The kernel's release does not begin with two numbers.
    #[error("the kernel calls itself {0:?}, which tells no version")]
    Release(String),
    /// SIGINT or SIGTERM arrived.
    #[error("interrupted")]
    Interrupted,
}

/// The answers of one kernel.
#[derive(Debug, Clone, Serialize)]
pub struct Contract {
    /// Name of the guest.
    pub kernel: String,
    /// Release of its kernel.
    pub release: String,
    /// The answers to the points, in their order.
    pub points: Vec<Finding>,
}

impl Contract {
    /// Returns whether every answer was as expected.
    pub fn is_as_expected(&self) -> bool {
        self.points.iter().all(|point| point.as_expected)
    }
}

/// The answer to one point.
#[derive(Debug, Clone, Serialize)]
pub struct Finding {
    /// Name of the point.
    pub name: &'static str,
    /// The question.
    pub question: &'static str,
    /// The observed answer.
    pub answer: String,
    /// The expected answer.
    pub expected: String,
    /// The reason for the expectation.
    pub reason: &'static str,
    /// Whether the answer was as expected.
    pub as_expected: bool,
    /// The raw results.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<FrameVectorAnswer>,
    /// The kernel's complaints meanwhile.
    pub warnings: Vec<String>,
}

/// Boots a kernel and tries all points on it. If a point crashes the guest,
/// that is its answer, and the remaining points are tried in another boot.
///
/// # Errors
///
/// [`FrameVectorError`] if no guest can be booted to try them in.
pub fn run(spec: &FrameVectorSpec, progress: &Progress) -> Result<Contract, FrameVectorError> {
    let probe = build_probe(&spec.kernel, progress)?;
    let boot = || ProbeGuest::boot(spec, &probe, progress);

    let mut guest = boot()?;
    let release = guest.testbed.machine.hello().release.clone();
    let kernel = Kernel {
        version: Version::of(&release).ok_or(FrameVectorError::Release(release.clone()))?,
        debug_vm: guest.debug_vm()?,
    };
    let step = progress.step(format!("frame vectors on {release}"));
    let mut points = Vec::new();
    let count = points::all().count() as u64;
    for (index, point) in points::all().enumerate() {
        step.position(index as u64, count);
        step.update(point.name);
        let (finding, alive) = guest.ask(point, kernel)?;
        points.push(finding);
        if !alive {
            guest = boot()?;
        }
    }
    step.done();
    let finished = guest.testbed.finish()?;
    Ok(Contract {
        kernel: finished.guest.id,
        release,
        points,
    })
}

/// Builds the probe for a guest's kernel.
fn build_probe(kernel: &str, progress: &Progress) -> Result<PathBuf, TestbedError> {
    interrupt::watch().map_err(TestbedError::Signals)?;
    let recipe = Catalog::builtin().get(kernel)?;
    let guest = images::ensure_guest(&recipe, progress)?;
    Ok(images::ensure_probe(&guest, progress)?)
}

/// A running guest with the probe, and no card.
struct ProbeGuest {
    testbed: Testbed,
    /// Sequence number up to which the kernel log was read.
    log: u64,
    _dir: tempfile::TempDir,
}

impl ProbeGuest {
    fn boot(
        spec: &FrameVectorSpec,
        probe: &Path,
        progress: &Progress,
    ) -> Result<Self, FrameVectorError> {
        let dir = private_dir().map_err(TestbedError::from)?;
        let disk = dir.path().join("disk");
        File::create_new(&disk)
            .and_then(|file| file.set_len(DISK_BYTES))
            .map_err(FrameVectorError::Disk)?;
        let testbed = TestbedSpec {
            card: CardProcess::Absent,
            kernel: Some(spec.kernel.clone()),
            driver: Some(OtherDriver::new(DriverModule::File(probe.to_owned()), "")),
            qemu: spec.qemu.clone(),
            accelerator: spec.accelerator,
            append: APPEND.to_owned(),
            disks: vec![disk],
            ..TestbedSpec::default()
        };
        let mut guest = Self {
            testbed: Testbed::start(&testbed, progress)?,
            log: 0,
            _dir: dir,
        };
        guest.warnings()?;
        Ok(guest)
    }

    /// Returns whether the kernel checks the callers of its memory management.
    fn debug_vm(&self) -> Result<bool, FrameVectorError> {
        let read = Read {
            path: DEBUG_VM.to_owned(),
            limit: 16,
        };
        let read = self.testbed.machine.agent().call(read, POINT_LIMIT);
        read.map(|answer| answer.text.trim() == "Y")
            .map_err(|source| cannot("ask the frame vector probe", source))
    }

    /// Tries a point; returns whether the guest can be asked another.
    fn ask(&mut self, point: &Point, kernel: Kernel) -> Result<(Finding, bool), FrameVectorError> {
        let script = (point.script)();
        let answer = self
            .testbed
            .machine
            .agent()
            .call(script.clone(), POINT_LIMIT);
        let (evidence, failure) = match answer {
            Ok(answer) => (Some(answer), None),
            Err(AgentError::Interrupted) => return Err(FrameVectorError::Interrupted),
            Err(error) => (None, Some(error)),
        };
        let mut alive = matches!(failure, None | Some(AgentError::Failed { .. }));
        let warnings = match self.warnings() {
            Ok(warnings) => warnings,
            Err(error) if alive => return Err(error),
            Err(_) => Vec::new(),
        };
        let reading = match &evidence {
            Some(answer) => point.read(&Observation::new(&script, answer, &warnings)),
            None => Reading {
                answer: Answer::Silence(
                    failure.map_or_else(String::new, |error| error.to_string()),
                ),
                complaints: Vec::new(),
            },
        };
        // A kernel that has oopsed is not reliable any more.
        alive &= !warnings.iter().any(|line| line.contains("Oops"));
        let expected = expectation::of(point.name, kernel);
        let reason = expected.as_ref().map_or("", |(_, reason)| *reason);
        let expected = expected.map(|(answer, _)| answer);
        let finding = Finding {
            name: point.name,
            question: point.question,
            as_expected: expected.as_ref().is_some_and(|answer| reading.is(answer)),
            answer: reading.to_string(),
            expected: expected.map_or_else(String::new, |answer| answer.to_string()),
            reason,
            evidence,
            warnings,
        };
        Ok((finding, alive))
    }

    /// Returns the kernel's complaints since the last call.
    fn warnings(&mut self) -> Result<Vec<String>, FrameVectorError> {
        let since = self.log;
        let log = self
            .testbed
            .machine
            .agent()
            .call(Log { since }, POINT_LIMIT)
            .map_err(|source| cannot("read the kernel log", source))?;
        self.log = log.next;
        Ok(kernel_log::splats(&log.records))
    }
}

fn cannot(what: &'static str, source: AgentError) -> FrameVectorError {
    match source {
        AgentError::Interrupted => FrameVectorError::Interrupted,
        source => FrameVectorError::Agent { what, source },
    }
}
