//! The contract of the frame vector: what reviewers of `get_vaddr_frames()`
//! asked about it, shown on a kernel.
//!
//! Each question is a [`Point`](points::Point): a range of memory, calls over it
//! made in the guest by frame_vector_probe.ko, and an answer in a few words read
//! off what came back. [`expectation`] says what the answer should be on each
//! kernel, and why. An answer that differs is a finding.

pub mod expectation;
mod observation;
pub mod points;

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use self::expectation::Kernel;
use self::observation::Observation;
use self::points::Point;
use super::kernel::Version;
use super::kernel_log;
use crate::agent::frame_vector::FrameVectorAnswer;
use crate::agent::protocol::{Load, Log, Read};
use crate::vm::accelerator::Accelerator;
use crate::vm::channel::AgentError;
use crate::vm::command_line::{Disk, Hardware};
use crate::vm::images::{self, Catalog, Guest};
use crate::vm::interrupt;
use crate::vm::machine::{BOOT_LIMIT, Machine, MachineError, Off, Spec, private_dir};
use crate::vm::overlay::Overlay;
use crate::vm::progress::Progress;
use crate::vm::provision;
use crate::vm::qemu::{self, Qemu};

/// Where the probe is in the guest.
const PROBE: &str = "/usr/lib/modules/frame_vector_probe.ko";

/// Where the probe says whether the kernel has CONFIG_DEBUG_VM.
const DEBUG_VM: &str = "/sys/module/frame_vector_probe/parameters/debug_vm";

/// The kernel has drivers' memory to themselves otherwise, and the memory of a
/// PCI device that has a driver could not be mapped. There are huge pages, and a
/// zone of pages that can be moved, from which programs are given memory first.
/// Where there is no free block, none is made by moving pages (before 6.16
/// `kvmalloc()` tries): vm.rst says that of that threshold.
const APPEND: &str = "iomem=relaxed hugepages=4 movablecore=96M sysctl.vm.extfrag_threshold=1000";

/// Bytes of the disk whose pages are mapped.
const DISK_BYTES: u64 = 1 << 20;

/// How long a point may take: the largest takes seconds on a busy machine.
const POINT_LIMIT: Duration = Duration::from_secs(60);

/// How long the guest may take to turn itself off.
const OFF_LIMIT: Duration = Duration::from_secs(60);

/// Where the points are to be tried.
#[derive(Debug, Clone, Default)]
pub struct FrameVectorSpec {
    /// The guest by its name in the catalogue.
    pub kernel: String,
    /// A QEMU to use in place of one that is found.
    pub qemu: Option<PathBuf>,
    /// The accelerator; the best there is if none.
    pub accelerator: Option<Accelerator>,
}

/// Why the points could not be tried.
#[derive(Debug, thiserror::Error)]
pub enum FrameVectorError {
    /// Signals cannot be waited for.
    #[error("cannot prepare for signals: {0}")]
    Signals(io::Error),
    /// A guest, the probe or a QEMU could not be provided.
    #[error(transparent)]
    Provision(#[from] provision::Error),
    /// The guest could not be booted.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// The guest's disk could not be made.
    #[error("cannot make a disk for the guest: {0}")]
    Disk(io::Error),
    /// The probe does not load, or the guest tells nothing.
    #[error("cannot {what}: {source}")]
    Agent {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: AgentError,
    },
    /// The kernel's release does not begin with two numbers.
    #[error("the kernel calls itself {0:?}, which tells no version")]
    Release(String),
    /// SIGINT or SIGTERM came.
    #[error("interrupted")]
    Interrupted,
}

/// The answers of one kernel.
#[derive(Debug, Clone, Serialize)]
pub struct Contract {
    /// The guest.
    pub kernel: String,
    /// Its kernel's release.
    pub release: String,
    /// The points, in their order.
    pub points: Vec<Finding>,
}

impl Contract {
    /// Whether every answer was as expected.
    pub fn is_as_expected(&self) -> bool {
        self.points.iter().all(|point| point.as_expected)
    }
}

/// The answer to one point.
#[derive(Debug, Clone, Serialize)]
pub struct Finding {
    /// Name of the point.
    pub name: &'static str,
    /// What it asks.
    pub question: &'static str,
    /// What was seen.
    pub answer: String,
    /// What should have been.
    pub expected: &'static str,
    /// Why.
    pub reason: &'static str,
    /// Whether they are the same.
    pub as_expected: bool,
    /// All that was seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<FrameVectorAnswer>,
    /// What the kernel complained of meanwhile.
    pub warnings: Vec<String>,
}

/// Boots a kernel and tries all points on it. A point that costs the guest its
/// life has that as its answer, and the rest is tried in another boot.
///
/// # Errors
///
/// [`FrameVectorError`] where there is no guest to try them in.
pub fn run(spec: &FrameVectorSpec, progress: &Progress) -> Result<Contract, FrameVectorError> {
    interrupt::watch().map_err(FrameVectorError::Signals)?;
    let recipe = Catalog::builtin().get(&spec.kernel)?;
    let qemu = qemu::ensure(spec.qemu.as_deref(), progress)?;
    let guest = images::ensure_guest(&recipe, progress)?;
    let probe = images::ensure_probe(&guest, progress)?;
    let boot = || Bench::boot(spec, &qemu, &guest, &probe, progress);

    let mut bench = boot()?;
    let release = bench.machine.hello().release.clone();
    let kernel = Kernel {
        version: Version::of(&release).ok_or(FrameVectorError::Release(release.clone()))?,
        debug_vm: bench.debug_vm()?,
    };
    let step = progress.step(format!("frame vectors on {release}"));
    let mut points = Vec::new();
    let count = points::all().count() as u64;
    for (index, point) in points::all().enumerate() {
        step.position(index as u64, count);
        step.update(point.name);
        let (finding, alive) = bench.ask(point, kernel)?;
        points.push(finding);
        if !alive {
            bench = boot()?;
        }
    }
    step.done();
    if bench.machine.power_off(OFF_LIMIT) != Off::ByGuest {
        log::warn!("the guest did not turn itself off, QEMU was ended");
    }
    Ok(Contract {
        kernel: guest.id,
        release,
        points,
    })
}

/// A running guest with the probe.
struct Bench {
    machine: Machine,
    /// Where the kernel log was read to.
    log: u64,
    _dir: tempfile::TempDir,
}

impl Bench {
    fn boot(
        spec: &FrameVectorSpec,
        qemu: &Qemu,
        guest: &Guest,
        probe: &std::path::Path,
        progress: &Progress,
    ) -> Result<Self, FrameVectorError> {
        let step = progress.step(format!("booting {} ({})", guest.id, guest.release));
        let dir = private_dir()?;
        let disk = dir.path().join("disk");
        File::create_new(&disk)
            .and_then(|file| file.set_len(DISK_BYTES))
            .map_err(FrameVectorError::Disk)?;
        let defaults = Hardware::default();
        let machine = Machine::boot(&Spec {
            qemu: qemu.clone(),
            kernel: guest.kernel.clone(),
            initramfs: guest.initramfs.clone(),
            overlay: Overlay {
                files: vec![(PROBE.to_owned(), probe.to_owned())],
                ..Overlay::default()
            },
            append: APPEND.to_owned(),
            hardware: Hardware {
                accelerator: spec.accelerator.unwrap_or(defaults.accelerator),
                disks: vec![Disk {
                    path: disk,
                    serial: "pages".to_owned(),
                    read_only: false,
                }],
                ..defaults
            },
            console_log: None,
            boot_limit: BOOT_LIMIT,
        })?;
        let load = Load {
            module: PROBE.to_owned(),
            params: String::new(),
        };
        machine
            .agent()
            .call(load, POINT_LIMIT)
            .map_err(|source| cannot("load the frame vector probe", source))?;
        let mut bench = Self {
            machine,
            log: 0,
            _dir: dir,
        };
        bench.warnings()?;
        step.done();
        Ok(bench)
    }

    /// Whether the kernel checks the callers of its memory management.
    fn debug_vm(&self) -> Result<bool, FrameVectorError> {
        let read = Read {
            path: DEBUG_VM.to_owned(),
            limit: 16,
        };
        let read = self.machine.agent().call(read, POINT_LIMIT);
        read.map(|answer| answer.text.trim() == "Y")
            .map_err(|source| cannot("ask the frame vector probe", source))
    }

    /// Tries a point; tells whether the guest can be asked another.
    fn ask(&mut self, point: &Point, kernel: Kernel) -> Result<(Finding, bool), FrameVectorError> {
        let script = (point.script)();
        let answer = self.machine.agent().call(script.clone(), POINT_LIMIT);
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
        let answer = match (&evidence, failure) {
            (Some(answer), _) => Observation::new(&script, answer, &warnings).answer(point),
            (None, Some(error)) => format!("could not be tried: {error}"),
            (None, None) => String::new(),
        };
        // A kernel that has oopsed is no witness any more.
        alive &= !warnings.iter().any(|line| line.contains("Oops"));
        let (expected, reason) = expectation::of(point.name, kernel);
        let finding = Finding {
            name: point.name,
            question: point.question,
            as_expected: answer == expected,
            answer,
            expected,
            reason,
            evidence,
            warnings,
        };
        Ok((finding, alive))
    }

    /// What the kernel complained of since the last time.
    fn warnings(&mut self) -> Result<Vec<String>, FrameVectorError> {
        let since = self.log;
        let log = self
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
