//! A guest in which cells run, and the handling of its end.

use std::mem;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::equipment::{self, EquipmentError};
use super::expectation::{expect, expect_of_any_driver};
use super::health::{self, GuestState};
use super::name::{CellName, Pinning};
use super::objection::Severity;
use super::observation::Observation;
use super::oracle::{self, CellEvidence, Finding, Oracle};
use super::outcome::{CellOutcome, Verdict};
use super::witness::{CardFrames, Follower};
use crate::agent::cell::phases::{self, Phase};
use crate::agent::cell::{Cell, CellAnswer, Ends, Flow, Hazard, Kind};
use crate::agent::checks::ChecksAnswer;
use crate::agent::protocol::{LogRecord, NewRecords, Read, Write};
use crate::card::CardKind;
use crate::rig::capture::witness::WitnessError;
use crate::rig::kernel::Version;
use crate::rig::kernel_log;
use crate::rig::testbed::{CardProcess, Testbed, TestbedError, TestbedSpec};
use crate::vm::channel::AgentError;
use crate::vm::progress::Progress;

/// How long a cell may take in the guest, and, below, how much longer the guest
/// may take to answer.
const CELL_LIMIT: Duration = Duration::from_secs(15);
/// Limit for a cell that makes hundreds of captures.
const MANY_CAPTURES_LIMIT: Duration = Duration::from_secs(240);
const GUEST_LIMIT: Duration = Duration::from_secs(30);

/// How often a guest is booted to find one in which all of its kernel's checks
/// work.
const BOOTS: u32 = 3;

/// Parameters of the guest's kernel: freed memory is poisoned, and checked when
/// it is used again; KASAN reports more than once per boot; the kernel's log holds
/// the dumps of many pages.
const APPEND: &str = "page_poison=1 slub_debug=FZPU kasan_multi_shot log_buf_len=4M";

/// The driver's parameter that selects how it pins.
const NATIVE: &str = "native_userptr";

/// Why the matrix could not be run. A guest that breaks is a finding, unless it
/// has just been booted.
#[derive(Debug, thiserror::Error)]
pub enum MatrixError {
    /// The card or the guest could not be started.
    #[error(transparent)]
    Testbed(#[from] TestbedError),
    /// The equipment for the kinds of memory could not be provided.
    #[error(transparent)]
    Equipment(#[from] EquipmentError),
    /// The card's witness is missing or malformed.
    #[error(transparent)]
    Witness(#[from] WitnessError),
    /// The directory for the witness could not be created.
    #[error("cannot make a folder for the card's witness: {0}")]
    Folder(std::io::Error),
    /// The kernel's release has no version.
    #[error("the guest's kernel calls itself \"{0}\", which is no version")]
    Release(String),
    /// The guest does not report its kernel's checks.
    #[error("the guest does not tell what its kernel checks: {0}")]
    Checks(AgentError),
    /// The driver does not take an application's memory at all.
    #[error(
        "the driver {driver} cannot be judged, it gets no further than: {why}; it has to take \
         buffers of V4L2_MEMORY_USERPTR, for which some drivers need a parameter (--driver-args)"
    )]
    NoUserPointers {
        /// Name of the driver.
        driver: String,
        /// The call that fails, and its error.
        why: String,
    },
    /// The driver's way of pinning could not be set.
    #[error("the driver cannot be switched: {0}")]
    Driver(AgentError),
    /// SIGINT or SIGTERM arrived.
    #[error("interrupted")]
    Interrupted,
}

impl MatrixError {
    /// Returns whether it is the driver that has no use for the card.
    pub(super) fn is_of_the_driver(&self) -> bool {
        matches!(
            self,
            Self::NoUserPointers { .. } | Self::Testbed(TestbedError::NoDevice { .. })
        )
    }

    fn checks(error: AgentError) -> Self {
        match error {
            AgentError::Interrupted => Self::Interrupted,
            error => Self::Checks(error),
        }
    }
}

/// A guest in which cells run.
pub(super) struct CellGuest {
    pub(super) testbed: Testbed,
    /// Number of guests that were booted until one was sound.
    pub(super) boots: u32,
    /// State of the kernel's checks.
    pub(super) checks: ChecksAnswer,
    /// Kernel messages from the loading of the driver, which count for the
    /// first cell.
    loading: Vec<LogRecord>,
    /// Factor by which all limits are longer than usual.
    patience: u32,
    /// Version of the guest's kernel.
    pub(super) version: Version,
    witness: Follower,
    /// The flow of a cell that the card has.
    flow: Flow,
    pinning: Pinning,
    bounced: bool,
    /// Whether the driver is Pinhole's own.
    ours: bool,
    /// Whether the driver's way of pinning can be set; a driver that is not
    /// Pinhole's may support only one.
    switches: bool,
    /// The directory of the witness.
    _folder: TempDir,
}

impl CellGuest {
    /// Boots a guest as `spec` describes, with the matrix's equipment. A guest
    /// in which a check has turned itself off meanwhile is replaced, until
    /// [`BOOTS`] guests have been tried.
    pub(super) fn boot(spec: &TestbedSpec, progress: &Progress) -> Result<Self, MatrixError> {
        let mut boots = 1;
        loop {
            let mut guest = Self::boot_once(spec, progress)?;
            match health::unsound(&guest.checks) {
                Some(why) if boots < BOOTS => {
                    log::warn!("a guest that has just booted is no good, {why}: booting another");
                    boots += 1;
                }
                _ => {
                    let state = guest.try_user_pointers()?;
                    if state == GuestState::Broken {
                        // The same cell, when it is run, tells of it.
                        boots += 1;
                        guest = Self::boot_once(spec, progress)?;
                    }
                    guest.boots = boots;
                    return Ok(guest);
                }
            }
        }
    }

    /// Runs a cell in advance of the others, with a driver that is not Pinhole's:
    /// one that never gets to queue a buffer would fail all cells for the same
    /// reason. Returns the state of the guest.
    fn try_user_pointers(&mut self) -> Result<GuestState, MatrixError> {
        if self.ours {
            return Ok(GuestState::Fit);
        }
        let (outcome, state) = self.run(&CellName {
            flow: self.flow,
            ..CellName::plain(Kind::AnonTouched)
        })?;
        let Some(answer) = outcome.answer else {
            return Ok(GuestState::Broken);
        };
        if let Some(why) = before_queueing(&answer) {
            return Err(MatrixError::NoUserPointers {
                driver: self.testbed.driver.clone(),
                why: why.to_owned(),
            });
        }
        self.loading = answer.log;
        Ok(state)
    }

    fn boot_once(spec: &TestbedSpec, progress: &Progress) -> Result<Self, MatrixError> {
        let folder = tempfile::tempdir().map_err(MatrixError::Folder)?;
        let witness: PathBuf = match &spec.card {
            CardProcess::Running { witness, .. } => witness.clone(),
            _ => folder.path().join("witness"),
        };
        let mut testbed = TestbedSpec {
            witness: Some(witness.clone()),
            source: spec.kind.is_capture().then(|| "pattern:integrity".into()),
            free_running: true,
            append: format!("{APPEND} {}", spec.append),
            ..spec.clone()
        };
        equipment::equip(&mut testbed, folder.path())?;
        let testbed = Testbed::start(&testbed, progress)?;
        let release = &testbed.machine.hello().release;
        let mut follower = Follower::open(&witness)?;
        // A card that was running before may have witness records from then.
        follower.new_records()?;
        let look = Read {
            path: parameter(&testbed, NATIVE),
            limit: 16,
        };
        let switches = match testbed.machine.agent().call(look, GUEST_LIMIT) {
            Err(AgentError::Interrupted) => return Err(MatrixError::Interrupted),
            read => read.is_ok(),
        };
        let agent = testbed.machine.agent();
        let checks = health::ask(agent).map_err(MatrixError::checks)?;
        health::speak_up(agent, &checks).map_err(MatrixError::checks)?;
        // The agent started before the driver was loaded.
        let up_us = testbed.machine.hello().uptime_ms * 1000;
        let mut loading = agent
            .call(NewRecords {}, GUEST_LIMIT)
            .map_err(MatrixError::checks)?
            .records;
        loading.retain(|record| record.time_us > up_us);
        Ok(Self {
            boots: 1,
            patience: health::patience(&checks),
            checks,
            loading,
            ours: spec.driver.is_none(),
            version: Version::of(release).ok_or_else(|| MatrixError::Release(release.clone()))?,
            testbed,
            witness: follower,
            flow: match spec.kind {
                CardKind::Capture => Flow::Capture,
                CardKind::Output => Flow::Output,
                CardKind::M2m => Flow::M2m(Ends::Read),
            },
            pinning: Pinning::default(),
            bounced: spec.bounce_buffers,
            switches,
            _folder: folder,
        })
    }

    /// Runs a cell, and returns its outcome and the state of the guest after
    /// it.
    pub(super) fn run(
        &mut self,
        cell: &CellName,
    ) -> Result<(CellOutcome, GuestState), MatrixError> {
        if !self.pin_by(cell.pinning)? {
            let why = format!(
                "the driver {} has no parameter {NATIVE}",
                self.testbed.driver
            );
            return Ok((CellOutcome::impossible(*cell, why), GuestState::Fit));
        }
        let begun = Instant::now();
        let limit = limit(cell) * self.patience;
        let request = Cell {
            patience: self.patience,
            ..cell.request(limit.as_millis() as u64)
        };
        let answer = self
            .testbed
            .machine
            .agent()
            .call(request, limit + GUEST_LIMIT * self.patience);
        let elapsed = begun.elapsed();
        let elapsed_ms = elapsed.as_millis() as u64;
        let judging = Instant::now();
        let card_frames = CardFrames::of(cell.flow, self.witness.new_records()?);
        match answer {
            Ok(mut answer) => {
                let before = mem::take(&mut self.loading);
                answer.log.splice(..0, before);
                let channel = elapsed.saturating_sub(phases::total(&answer.phases));
                phases::spend(&mut answer.phases, Phase::Channel, channel);
                let state = self.state(&answer.log)?;
                let mut outcome = self.conclude(cell, answer, card_frames, elapsed_ms);
                if let Some(answer) = &mut outcome.answer {
                    phases::spend(&mut answer.phases, Phase::Judge, judging.elapsed());
                }
                Ok((outcome, state))
            }
            Err(AgentError::Interrupted) => Err(MatrixError::Interrupted),
            Err(error) => {
                let why = match error {
                    AgentError::Closed => self.testbed.machine.why_ended().to_string(),
                    error => error.to_string(),
                };
                let finding = Finding {
                    oracle: Oracle::Outcome,
                    severity: Severity::KernelBroken,
                    what: format!("the guest broke: {why}"),
                };
                let broken = CellOutcome {
                    cell: *cell,
                    verdict: Verdict::Finding,
                    observation: None,
                    reason: None,
                    findings: vec![finding],
                    runs: Vec::new(),
                    elapsed_ms,
                    answer: None,
                    card_frames,
                };
                Ok((broken, GuestState::Broken))
            }
        }
    }

    /// Sets the driver's way of pinning; returns false if it cannot be set.
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
        let written = agent.call(write, GUEST_LIMIT * self.patience);
        written.map(|_| ()).map_err(MatrixError::Driver)
    }

    /// Turns the guest off. A guest that the last cell broke may fail to do so.
    pub(super) fn finish(self) {
        if let Err(error) = self.testbed.finish() {
            log::warn!("after the last cell: {error}");
        }
    }

    /// Adds to the last cell what the kernel has logged since it ended. Returns
    /// the state of the guest.
    ///
    /// # Errors
    ///
    /// [`MatrixError::Interrupted`].
    pub(super) fn aftermath(&mut self, cell: &mut CellOutcome) -> Result<GuestState, MatrixError> {
        let begun = Instant::now();
        let records = match health::new_records(self.testbed.machine.agent()) {
            Ok(records) => records,
            Err(AgentError::Interrupted) => return Err(MatrixError::Interrupted),
            Err(_) => return Ok(GuestState::Broken),
        };
        if let Some(answer) = &mut cell.answer {
            phases::spend(&mut answer.phases, Phase::Aftermath, begun.elapsed());
        }
        let state = self.state(&records)?;
        if let Some(answer) = cell.answer.as_mut().filter(|_| !records.is_empty()) {
            answer.log.extend(records);
            self.judge_again(cell);
        }
        Ok(state)
    }

    /// Judges a cell again after more evidence was added.
    pub(super) fn judge_again(&self, cell: &mut CellOutcome) {
        if let Some(answer) = cell.answer.take() {
            let card_frames = mem::take(&mut cell.card_frames);
            *cell = self.conclude(&cell.cell, answer, card_frames, cell.elapsed_ms);
        }
    }

    /// Judges a cell by the agent's evidence.
    fn conclude(
        &self,
        cell: &CellName,
        answer: CellAnswer,
        card_frames: CardFrames,
        elapsed_ms: u64,
    ) -> CellOutcome {
        let expectation = match self.ours {
            true => expect(cell, self.version),
            false => expect_of_any_driver(cell, self.version),
        };
        let observation = Observation::of(cell.flow, &answer, &card_frames);
        let findings = oracle::judge(&CellEvidence {
            point: cell.point,
            flow: cell.flow,
            number: 0,
            cell: &answer,
            answer: &answer,
            card_frames: &card_frames,
            observation,
            expectation: &expectation,
            bounced: self.bounced,
            pinning: self.ours.then_some(cell.pinning),
            names: &self.testbed.names,
        });
        let impossible = answer.impossible.clone();
        CellOutcome {
            cell: *cell,
            verdict: match (findings.is_empty(), &impossible) {
                (false, _) => Verdict::Finding,
                (true, Some(_)) => Verdict::Impossible,
                (true, None) => Verdict::Expected,
            },
            observation: impossible.is_none().then_some(observation),
            reason: impossible.or_else(|| {
                let others = expectation.failing.reasons(&answer.injected);
                let reasons: Vec<_> = expectation.reason.into_iter().chain(others).collect();
                (!reasons.is_empty()).then(|| reasons.join("; "))
            }),
            findings,
            runs: Vec::new(),
            elapsed_ms,
            answer: Some(answer),
            card_frames,
        }
    }

    /// Returns the state of the guest after those records in its kernel's log.
    ///
    /// # Errors
    ///
    /// [`MatrixError::Interrupted`].
    pub(super) fn state(&mut self, log: &[LogRecord]) -> Result<GuestState, MatrixError> {
        if kernel_log::splats(log).is_empty() {
            return Ok(GuestState::Fit);
        }
        if let Some(why) = kernel_log::out_of_memory(log, self.testbed.memory_mib) {
            log::warn!("{why}");
        }
        let agent = self.testbed.machine.agent();
        match health::warn_again(agent).and_then(|()| health::ask(agent)) {
            Err(AgentError::Interrupted) => Err(MatrixError::Interrupted),
            Err(_) => Ok(GuestState::Broken),
            Ok(now) => {
                let lost = health::lost(&self.checks, &now);
                // The new state is stored, so that each loss is reported once.
                self.checks = now;
                Ok(lost.map_or(GuestState::Fit, GuestState::Spoilt))
            }
        }
    }
}

/// Returns why a cell failed, if it failed before it queued a buffer.
fn before_queueing(answer: &CellAnswer) -> Option<&str> {
    let queued = answer.call("VIDIOC_QBUF").is_some();
    answer.failed.as_deref().filter(|_| !queued)
}

/// Returns how long a cell may take on a kernel of usual speed.
const fn limit(cell: &CellName) -> Duration {
    match cell.hazard {
        Hazard::FailNth => MANY_CAPTURES_LIMIT,
        _ => CELL_LIMIT,
    }
}

/// Returns the path of a parameter of the driver.
fn parameter(testbed: &Testbed, name: &str) -> String {
    format!("/sys/module/{}/parameters/{name}", testbed.driver)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::cell::evidence::CallSeen;

    #[test]
    fn a_driver_that_queues_nothing_is_no_driver_to_judge() {
        let mut answer = CellAnswer::default();
        assert_eq!(before_queueing(&answer), None);
        answer.failed = Some("VIDIOC_REQBUFS: Invalid argument".into());
        let why = before_queueing(&answer);
        assert_eq!(why, Some("VIDIOC_REQBUFS: Invalid argument"));
        answer.calls.push(CallSeen {
            name: "VIDIOC_QBUF".into(),
            errno: None,
            at_us: 1,
            took_us: 1,
        });
        assert_eq!(before_queueing(&answer), None);
    }
}
