//! Running cells in a guest, and in another one when it breaks.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::expectation::{Version, expect};
use super::mutant::Mutant;
use super::mutation;
use super::name::{CellName, Pinning};
use super::observation::Observation;
use super::oracle::{self, Case, Finding, Oracle};
use super::outcome::{CellOutcome, KernelOutcome, Verdict};
use super::witness::{Follower, Testified};
use crate::agent::cell::CellAnswer;
use crate::agent::checks::{Check, Checks};
use crate::agent::protocol::{Read, Write};
use crate::rig::cell_guest::{self, CellGuestError};
use crate::rig::data::WitnessError;
use crate::rig::testbed::{CardProcess, Testbed, TestbedError, TestbedSpec};
use crate::vm::channel::{Agent, AgentError};
use crate::vm::progress::Progress;

/// How long a cell may take in the guest, and how long beyond that the guest
/// may take to say so.
const CELL_LIMIT: Duration = Duration::from_secs(15);
const GUEST_LIMIT: Duration = Duration::from_secs(30);

/// How far a guest's clock may be ahead of the host's after a cell.
const CLOCK_SLACK: Duration = Duration::from_secs(1);

/// Parameters of the guest's kernel: freed memory is poisoned, and looked at
/// when it is used again.
const APPEND: &str = "page_poison=1 slub_debug=FZPU";

/// The driver's parameter for the way in which it pins.
const NATIVE: &str = "native_userptr";

/// Cells for one kernel.
#[derive(Debug, Clone)]
pub struct MatrixSpec {
    /// The guest and its machine; what the matrix itself needs is added. A card
    /// that runs already must fill buffers as fast as they come, with the
    /// pattern `integrity`.
    pub testbed: TestbedSpec,
    /// The cells, in the order in which to run them.
    pub cells: Vec<CellName>,
    /// The mutants of the driver to run after them.
    pub mutants: Vec<Mutant>,
}

/// Why the matrix could not be run. A guest that breaks is a finding, unless
/// it is a new one.
#[derive(Debug, thiserror::Error)]
pub enum MatrixError {
    /// Card or guest could not be started.
    #[error(transparent)]
    Testbed(#[from] TestbedError),
    /// What the kinds of memory need could not be made.
    #[error(transparent)]
    Equipment(#[from] CellGuestError),
    /// The card's witness is missing or broken.
    #[error(transparent)]
    Witness(#[from] WitnessError),
    /// A file could not be made.
    #[error("cannot make a folder for the card's witness: {0}")]
    Folder(std::io::Error),
    /// The kernel's release is not to be understood.
    #[error("the guest's kernel calls itself \"{0}\", which is no version")]
    Release(String),
    /// The guest did not tell what its kernel checks.
    #[error("the guest does not tell what its kernel checks: {0}")]
    Checks(AgentError),
    /// The driver could not be told how to pin.
    #[error("the driver cannot be switched: {0}")]
    Driver(AgentError),
    /// SIGINT or SIGTERM came.
    #[error("interrupted")]
    Interrupted,
}

impl MatrixError {
    fn checks(error: AgentError) -> Self {
        match error {
            AgentError::Interrupted => Self::Interrupted,
            error => Self::Checks(error),
        }
    }
}

/// A guest in which cells run.
pub(super) struct Bed {
    testbed: Testbed,
    /// Of its kernel.
    pub(super) version: Version,
    witness: Follower,
    pinning: Pinning,
    bounced: bool,
    /// Whether the driver can be told how to pin; one that is not Pinhole's may
    /// know but one way.
    switches: bool,
    /// Holds the witness.
    _folder: TempDir,
}

/// Runs the cells and then the mutants. Once its guest has booted, the kernel's
/// outcome is added to `outcomes`, also when it stops with an error after that:
/// what has been seen by then is not lost.
///
/// # Errors
///
/// [`MatrixError`] where no guest can be had to run them in.
pub fn run(
    spec: &MatrixSpec,
    progress: &Progress,
    outcomes: &mut Vec<KernelOutcome>,
) -> Result<(), MatrixError> {
    let begun = Instant::now();
    let bed = Bed::boot(&spec.testbed, progress)?;
    let mut outcome = KernelOutcome {
        kernel: bed.testbed.guest.id.clone(),
        release: bed.testbed.machine.hello().release.clone(),
        driver: spec
            .testbed
            .driver
            .as_ref()
            .map(|_| bed.testbed.driver.clone()),
        cells: Vec::with_capacity(spec.cells.len()),
        mutants: Vec::new(),
        boots: 1,
        elapsed_ms: 0,
        stopped: None,
    };
    let ran = run_cells(spec, bed, progress, &mut outcome)
        .and_then(|()| mutation::run(&spec.testbed, &spec.mutants, progress, &mut outcome));
    outcome.elapsed_ms = begun.elapsed().as_millis() as u64;
    outcome.stopped = ran.as_ref().err().map(ToString::to_string);
    outcomes.push(outcome);
    ran
}

/// Runs the cells, the first in that guest.
fn run_cells(
    spec: &MatrixSpec,
    mut bed: Bed,
    progress: &Progress,
    outcome: &mut KernelOutcome,
) -> Result<(), MatrixError> {
    let step = progress.step(format!(
        "running {} cells on {}",
        spec.cells.len(),
        outcome.kernel
    ));
    for (number, cell) in spec.cells.iter().enumerate() {
        step.update(&cell.to_string());
        step.position(number as u64, spec.cells.len() as u64);
        let (mut result, mut broken) = bed.run(cell)?;
        if clock_runs_ahead(&result) {
            log::warn!("the guest's clock runs ahead of the host's: {cell} is run in another");
            bed = Bed::boot(&spec.testbed, &Progress::silent())?;
            outcome.boots += 1;
            (result, broken) = bed.run(cell)?;
        }
        outcome.cells.push(result);
        if broken && number + 1 < spec.cells.len() {
            step.update("booting another guest");
            bed = Bed::boot(&spec.testbed, &Progress::silent())?;
            outcome.boots += 1;
        }
    }
    step.done();
    bed.finish();
    Ok(())
}

impl Bed {
    /// Boots a guest as `spec` says, and with what the matrix needs.
    pub(super) fn boot(spec: &TestbedSpec, progress: &Progress) -> Result<Self, MatrixError> {
        let folder = tempfile::tempdir().map_err(MatrixError::Folder)?;
        let witness: PathBuf = match &spec.card {
            CardProcess::Own => folder.path().join("witness"),
            CardProcess::Running { witness, .. } => witness.clone(),
        };
        let mut testbed = TestbedSpec {
            witness: Some(witness.clone()),
            source: Some("pattern:integrity".into()),
            free_running: true,
            append: format!("{APPEND} {}", spec.append),
            ..spec.clone()
        };
        cell_guest::equip(&mut testbed, folder.path())?;
        let testbed = Testbed::start(&testbed, progress)?;
        let release = &testbed.machine.hello().release;
        let mut follower = Follower::open(&witness)?;
        // A card that was there before has testified before, too.
        follower.news()?;
        report_every_error(testbed.machine.agent())?;
        let look = Read {
            path: parameter(&testbed, NATIVE),
            limit: 16,
        };
        let switches = match testbed.machine.agent().call(look, GUEST_LIMIT) {
            Err(AgentError::Interrupted) => return Err(MatrixError::Interrupted),
            read => read.is_ok(),
        };
        Ok(Self {
            version: Version::of(release).ok_or_else(|| MatrixError::Release(release.clone()))?,
            testbed,
            witness: follower,
            pinning: Pinning::default(),
            bounced: spec.bounce_buffers,
            switches,
            _folder: folder,
        })
    }

    /// What its kernel checks of itself.
    pub(super) fn checks(&self) -> Result<BTreeSet<Check>, MatrixError> {
        let agent = self.testbed.machine.agent();
        let answer = agent.call(Checks {}, GUEST_LIMIT);
        let answer = answer.map_err(MatrixError::checks)?;
        Ok(answer.on.into_keys().collect())
    }

    /// Runs a cell, and says whether it broke the guest.
    pub(super) fn run(&mut self, cell: &CellName) -> Result<(CellOutcome, bool), MatrixError> {
        if !self.pin_by(cell.pinning)? {
            let why = format!(
                "the driver {} has no parameter {NATIVE}",
                self.testbed.driver
            );
            return Ok((CellOutcome::impossible(*cell, why), false));
        }
        let begun = Instant::now();
        let request = cell.request(CELL_LIMIT.as_millis() as u64);
        let answer = self
            .testbed
            .machine
            .agent()
            .call(request, CELL_LIMIT + GUEST_LIMIT);
        let elapsed_ms = begun.elapsed().as_millis() as u64;
        let testified = Testified::of(self.witness.news()?);
        match answer {
            Ok(answer) => {
                let outcome = self.conclude(cell, answer, testified, elapsed_ms);
                Ok((outcome, false))
            }
            Err(AgentError::Interrupted) => Err(MatrixError::Interrupted),
            Err(error) => {
                let finding = Finding {
                    oracle: Oracle::Outcome,
                    what: format!("the guest broke: {error}"),
                };
                let broken = CellOutcome {
                    cell: *cell,
                    verdict: Verdict::Finding,
                    observation: None,
                    reason: None,
                    findings: vec![finding],
                    elapsed_ms,
                    answer: None,
                    testified,
                };
                Ok((broken, true))
            }
        }
    }

    /// Has the driver pin in that way; false where it cannot be told to.
    fn pin_by(&mut self, pinning: Pinning) -> Result<bool, MatrixError> {
        if pinning != self.pinning {
            if !self.switches {
                return Ok(false);
            }
            let value = match pinning {
                Pinning::FrameVector => "N",
                Pinning::Native => "Y",
            };
            self.set(NATIVE, value)?;
            self.pinning = pinning;
        }
        Ok(true)
    }

    /// Sets a parameter of the driver.
    pub(super) fn set(&self, parameter: &str, value: &str) -> Result<(), MatrixError> {
        let write = Write {
            path: self::parameter(&self.testbed, parameter),
            text: value.into(),
            append: false,
        };
        let agent = self.testbed.machine.agent();
        let written = agent.call(write, GUEST_LIMIT);
        written.map(|_| ()).map_err(MatrixError::Driver)
    }

    /// Turns the guest off. One that the last cell broke need not do it itself.
    pub(super) fn finish(self) {
        if let Err(error) = self.testbed.finish() {
            log::warn!("after the last cell: {error}");
        }
    }

    /// Judges a cell that the agent has told of.
    fn conclude(
        &self,
        cell: &CellName,
        answer: CellAnswer,
        testified: Testified,
        elapsed_ms: u64,
    ) -> CellOutcome {
        if let Some(why) = answer.impossible.clone() {
            return CellOutcome {
                elapsed_ms,
                answer: Some(answer),
                testified,
                ..CellOutcome::impossible(*cell, why)
            };
        }
        let expectation = expect(cell, self.version);
        let observation = Observation::of(&answer, &testified);
        let findings = oracle::judge(&Case {
            answer: &answer,
            testified: &testified,
            observation,
            expectation: &expectation,
            bounced: self.bounced,
        });
        CellOutcome {
            cell: *cell,
            verdict: match findings.is_empty() {
                true => Verdict::Expected,
                false => Verdict::Finding,
            },
            observation: Some(observation),
            reason: expectation.reason.map(str::to_owned),
            findings,
            elapsed_ms,
            answer: Some(answer),
            testified,
        }
    }
}

/// Has the DMA API's check report every error, and not one a boot
/// (Documentation/core-api/dma-api.rst). Without the check there is no such file.
fn report_every_error(agent: &Agent) -> Result<(), MatrixError> {
    let every = Write {
        path: "/sys/kernel/debug/dma-api/all_errors".into(),
        text: "1".into(),
        append: false,
    };
    match agent.call(every, GUEST_LIMIT) {
        Err(AgentError::Failed { .. }) => Ok(()),
        told => told.map_err(MatrixError::checks),
    }
}

/// Whether the guest saw more time pass in a cell than the host, whose
/// measurement begins before the guest's and ends after it. An emulated guest
/// that was starved while it calibrated its clock can have one that runs many
/// times too fast; whatever takes time in it then seems to hang.
fn clock_runs_ahead(outcome: &CellOutcome) -> bool {
    let guest = outcome
        .answer
        .as_ref()
        .map_or(0, |answer| answer.elapsed_ms);
    guest > outcome.elapsed_ms + CLOCK_SLACK.as_millis() as u64
}

/// Where the driver has a parameter.
fn parameter(testbed: &Testbed, name: &str) -> String {
    format!("/sys/module/{}/parameters/{name}", testbed.driver)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::cell::Kind;

    #[test]
    fn the_hosts_clock_is_the_one_that_counts() {
        let mut outcome = CellOutcome::impossible(CellName::plain(Kind::Heap), String::new());
        outcome.elapsed_ms = 500;
        assert!(!clock_runs_ahead(&outcome));
        for (guest, ahead) in [(480, false), (1400, false), (17_000, true)] {
            outcome.answer = Some(CellAnswer {
                elapsed_ms: guest,
                ..CellAnswer::default()
            });
            assert_eq!(clock_runs_ahead(&outcome), ahead, "{guest} ms");
        }
    }
}
