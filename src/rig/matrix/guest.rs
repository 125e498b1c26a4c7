//! A guest in which cells run, and the handling of its end.

use std::mem;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::equipment;
use super::error::MatrixError;
use super::expectation::{expect, expect_of_any_driver, expect_unwitnessed};
use super::health;
pub use super::health::GuestState;
use super::name::{CellName, Pinning};
use super::objection::Severity;
use super::observation::Observation;
use super::oracle::{self, CellEvidence, Finding, Oracle, Scheduled};
use super::outcome::{CellOutcome, Verdict};
use super::pictures;
use super::place::Place;
use super::spec::Judged;
use super::survey::Surveyed;
use super::testimony::Testimony;
use super::witness::CardFrames;
use crate::agent::cell::evidence::Ended;
use crate::agent::cell::phases::{self, Phase};
use crate::agent::cell::{Cell, CellAnswer, Hazard};
use crate::agent::checks::ChecksAnswer;
use crate::agent::protocol::LogRecord;
use crate::rig::kernel::Version;
use crate::rig::kernel_log;
use crate::rig::testbed::{CardProcess, Testbed, TestbedSpec};
use crate::vm::channel::AgentError;
use crate::vm::progress::Progress;

/// How long a cell may take in the guest, and, below, how much longer the guest
/// may take to answer.
const CELL_LIMIT: Duration = Duration::from_secs(15);
/// Limit for a cell on a file system on a disk: to load the module of one takes an
/// emulated processor seconds, and many of them where others want the processor, too.
const FILE_SYSTEM_LIMIT: Duration = Duration::from_secs(60);
/// Limit for a cell that makes hundreds of captures.
const MANY_CAPTURES_LIMIT: Duration = Duration::from_secs(240);
const GUEST_LIMIT: Duration = Duration::from_secs(30);

/// Parameters of the guest's kernel: freed memory is poisoned, and checked when
/// it is used again, but it is not noted who had it, since to unwind the stack at each
/// allocation takes an emulated processor a fifth of all its time; KASAN reports more
/// than once per boot; the kernel's log holds the dumps of many pages.
const APPEND: &str = "page_poison=1 slub_debug=FZP kasan_multi_shot log_buf_len=4M";

/// The driver's parameter that selects how it pins; its values are the names of
/// [`Pinning`].
const USERPTR: &str = "userptr";

/// A guest, or this machine, in which cells run.
pub struct CellGuest {
    pub(super) place: Place,
    /// Number of guests that were booted until one was sound.
    pub(super) boots: u32,
    /// State of the kernel's checks.
    pub(super) checks: ChecksAnswer,
    /// Kernel messages from the loading of the driver, which count for the
    /// first cell.
    pub(super) loading: Vec<LogRecord>,
    /// The cell of the trial after which nothing more can be run here, and why.
    pub(super) ended: Option<(Box<CellOutcome>, MatrixError)>,
    /// Factor by which all limits are longer than usual.
    pub(super) patience: u32,
    /// Version of the kernel.
    pub(super) version: Version,
    /// What the device did, besides what the cells' processes see.
    pub(super) testimony: Testimony,
    /// Names by which the driver speaks in the kernel's log.
    names: Vec<String>,
    pinning: Pinning,
    bounced: bool,
    /// Whether the driver is Pinhole's own.
    pub(super) ours: bool,
    /// Whether the driver's way of pinning can be set; a driver that is not
    /// Pinhole's may support only one.
    switches: bool,
    /// The directory of the witness, and of the guest's disk.
    _folder: TempDir,
}

impl CellGuest {
    /// Boots a guest as `spec` describes, with the matrix's equipment. What is `judged`
    /// may be on this machine, which then serves in place of a guest.
    ///
    /// # Errors
    ///
    /// [`MatrixError`] if there is no guest to be had, or no device to judge.
    pub fn boot(
        spec: &TestbedSpec,
        judged: Option<&Judged>,
        progress: &Progress,
    ) -> Result<Self, MatrixError> {
        let folder = tempfile::tempdir().map_err(MatrixError::Folder)?;
        let witness = match &spec.card {
            CardProcess::Running { witness, .. } => witness.clone(),
            _ => folder.path().join("witness"),
        };
        let place = match judged {
            Some(Judged { here: true, .. }) => Place::here()?,
            _ => {
                let mut testbed = TestbedSpec {
                    witness: judged.is_none().then(|| witness.clone()),
                    source: pictures::source(spec.kind, judged.is_none(), folder.path())
                        .map_err(MatrixError::Folder)?,
                    // Without a witness, a buffer of a camera that comes back before its
                    // time is seen not to be full.
                    free_running: judged.is_none() || !spec.kind.is_capture(),
                    append: format!("{APPEND} {}", spec.append),
                    ..spec.clone()
                };
                equipment::equip(&mut testbed, folder.path())?;
                Place::Guest(Box::new(Testbed::start(&testbed, progress)?))
            }
        };
        let release = &place.hello().release;
        let version = Version::of(release).ok_or_else(|| MatrixError::Release(release.clone()))?;
        let checks = place.checks()?;
        let loading = place.begin(&checks).map_err(MatrixError::checks)?;
        let patience = health::patience(&checks);
        let testimony = match judged {
            None => Testimony::of_card(spec.kind, &witness)?,
            Some(judged) => Testimony::Survey(Box::new(Surveyed::of(&place, judged, patience)?)),
        };
        Ok(Self {
            boots: 1,
            patience,
            checks,
            loading,
            ended: None,
            version,
            ours: judged.is_none_or(|judged| !judged.here) && spec.driver.is_none(),
            switches: place.has_parameter(USERPTR)?,
            names: match testimony.surveyed() {
                Some(surveyed) => surveyed.names.clone(),
                None => place.names(),
            },
            place,
            testimony,
            pinning: Pinning::FrameVector,
            bounced: spec.bounce_buffers,
            _folder: folder,
        })
    }

    /// Returns what was surveyed of the device, if it is judged without a witness.
    pub(super) fn surveyed(&self) -> Option<&Surveyed> {
        self.testimony.surveyed()
    }

    /// Returns the name of the driver.
    pub(super) fn driver(&self) -> &str {
        let surveyed = self.surveyed().map(|surveyed| &*surveyed.answer.driver);
        self.place.module().or(surveyed).unwrap_or_default()
    }

    /// Runs a cell, and returns its outcome and the state of the guest after
    /// it.
    ///
    /// # Errors
    ///
    /// [`MatrixError`] if the driver or the witness cannot be had, or the run was
    /// interrupted. A guest that breaks is an outcome.
    pub fn run(&mut self, cell: &CellName) -> Result<(CellOutcome, GuestState), MatrixError> {
        if let Some(why) = self.pin_by(cell.pinning)? {
            return Ok((CellOutcome::impossible(*cell, why), GuestState::Fit));
        }
        let begun = Instant::now();
        let limit = limit(cell) * self.patience;
        let request = Cell {
            patience: self.patience,
            ..self.testimony.request(cell, limit.as_millis() as u64)
        };
        let agent = self.place.agent();
        let answer = agent.call(request, limit + GUEST_LIMIT * self.patience);
        let elapsed = begun.elapsed();
        let elapsed_ms = elapsed.as_millis() as u64;
        let judging = Instant::now();
        let card_frames = self.testimony.frames(cell, answer.as_ref().ok())?;
        match answer {
            Ok(mut answer) => {
                let before = mem::take(&mut self.loading);
                answer.log.splice(..0, before);
                let others = self.take_others(&mut answer.log);
                answer.notes.extend(others);
                let channel = elapsed.saturating_sub(phases::total(&answer.phases));
                phases::spend(&mut answer.phases, Phase::Channel, channel);
                let state = match answer.ended {
                    Ended::Stuck => {
                        GuestState::Broken("the kernel does not let go of a process".into())
                    }
                    _ => self.state(&answer.log)?,
                };
                let mut outcome = self.conclude(cell, answer, card_frames, elapsed_ms);
                if let Some(answer) = &mut outcome.answer {
                    phases::spend(&mut answer.phases, Phase::Judge, judging.elapsed());
                }
                Ok((outcome, state))
            }
            Err(AgentError::Interrupted) => Err(MatrixError::Interrupted),
            // The server on this machine could not do its work, which says nothing of
            // the device.
            Err(error) if self.place.is_here() && !matches!(error, AgentError::TimedOut(_)) => {
                Err(MatrixError::Lost {
                    why: error.to_string(),
                    cell: *cell,
                })
            }
            Err(error) => {
                let why = match error {
                    AgentError::Closed => self.place.why_ended(),
                    error => error.to_string(),
                };
                let finding = Finding {
                    oracle: Oracle::Outcome,
                    severity: Severity::KernelBroken,
                    what: format!("{} broke: {why}", self.place.noun()),
                };
                let state = GuestState::Broken(why);
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
                Ok((broken, state))
            }
        }
    }

    /// Sets the driver's way of pinning; returns the reason why it cannot be set, if
    /// there is one.
    fn pin_by(&mut self, pinning: Pinning) -> Result<Option<String>, MatrixError> {
        if pinning == self.pinning {
            return Ok(None);
        }
        if !self.switches {
            let why = format!("the driver {} has no parameter {USERPTR}", self.driver());
            return Ok(Some(why));
        }
        match self.set(USERPTR, pinning.name()) {
            Err(MatrixError::Driver(AgentError::Failed {
                errno: Some(libc::EOPNOTSUPP),
                ..
            })) => Ok(Some(format!(
                "this kernel lacks what {USERPTR}={} takes",
                pinning.name()
            ))),
            set => {
                set?;
                self.pinning = pinning;
                Ok(None)
            }
        }
    }

    /// Sets a parameter of the driver.
    pub(super) fn set(&self, parameter: &str, value: &str) -> Result<(), MatrixError> {
        let set = self.place.set_parameter(parameter, value, self.patience);
        set.map_err(MatrixError::Driver)
    }

    /// Turns the guest off.
    pub fn finish(self) {
        self.place.finish();
    }

    /// Returns an error if a place in that state after a cell cannot be used any more,
    /// and cannot be replaced: it is this machine.
    ///
    /// # Errors
    ///
    /// [`MatrixError::Stuck`], [`MatrixError::Damaged`] or [`MatrixError::Lost`], which
    /// say what to do.
    pub(super) fn go_on(&self, state: &GuestState, cell: &CellOutcome) -> Result<(), MatrixError> {
        match self.surveyed().filter(|_| self.place.is_here()) {
            Some(surveyed) => unusable(state, cell, &surveyed.device).map_or(Ok(()), Err),
            None => Ok(()),
        }
    }

    /// Adds to the last cell what the kernel has logged since it ended. Returns
    /// the state of the guest.
    ///
    /// # Errors
    ///
    /// [`MatrixError::Interrupted`].
    pub fn aftermath(&mut self, cell: &mut CellOutcome) -> Result<GuestState, MatrixError> {
        let begun = Instant::now();
        let mut records = match self.place.new_records() {
            Ok(records) => records,
            Err(AgentError::Interrupted) => return Err(MatrixError::Interrupted),
            Err(error) => return Ok(GuestState::Broken(error.to_string())),
        };
        if let Some(answer) = &mut cell.answer {
            phases::spend(&mut answer.phases, Phase::Aftermath, begun.elapsed());
        }
        let state = self.state(&records)?;
        let others = self.take_others(&mut records);
        if let Some(answer) = &mut cell.answer {
            answer.notes.extend(others);
        }
        if let Some(answer) = cell.answer.as_mut().filter(|_| !records.is_empty()) {
            answer.log.extend(records);
            self.judge_again(cell);
        }
        Ok(state)
    }

    /// Takes out of the log of this machine what the kernel reports of something else;
    /// returns a note of each.
    fn take_others(&self, log: &mut Vec<LogRecord>) -> Vec<String> {
        if !self.place.is_here() {
            return Vec::new();
        }
        let others = kernel_log::take_others(log, &self.names).into_iter();
        let note = |line| format!("the kernel reported of something else: {line}");
        others.map(note).collect()
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
        let expects = |cell: &CellName| match (self.surveyed(), self.ours) {
            (Some(surveyed), _) => {
                expect_unwitnessed(cell, self.version, surveyed.expects_of(&answer))
            }
            (None, true) => expect(cell, self.version),
            (None, false) => expect_of_any_driver(cell, self.version),
        };
        let expectation = expects(&cell.first_alone());
        let second = cell
            .schedule
            .map(|order| (order, expects(&cell.second_alone())));
        let schedule = second.as_ref().map(|(order, second)| Scheduled {
            order: *order,
            second,
        });
        let observation = Observation::of(cell.flow, &answer, &card_frames);
        let findings = oracle::judge(&CellEvidence {
            point: cell.point,
            flow: cell.flow,
            schedule,
            number: 0,
            cell: &answer,
            answer: &answer,
            card_frames: &card_frames,
            observation,
            expectation: &expectation,
            bounced: self.bounced,
            pinning: (self.ours && self.surveyed().is_none()).then_some(cell.pinning),
            names: &self.names,
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
        if kernel_log::splats(log).is_empty() && !self.place.is_here() {
            return Ok(GuestState::Fit);
        }
        let memory_mib = self.place.memory_mib();
        if let Some(why) = memory_mib.and_then(|of| kernel_log::out_of_memory(log, of)) {
            log::warn!("{why}");
        }
        match self.place.checks_again(&self.checks) {
            Err(AgentError::Interrupted) => Err(MatrixError::Interrupted),
            Err(error) => Ok(GuestState::Broken(error.to_string())),
            Ok(now) => {
                let lost = health::lost(&self.checks, &now);
                // The new state is stored, so that each loss is reported once.
                self.checks = now;
                Ok(lost.map_or(GuestState::Fit, GuestState::Spoilt))
            }
        }
    }
}

/// Returns the error that a machine in that state after a cell cannot be used any more,
/// if that is so; `device` is the path of the device's node.
fn unusable(state: &GuestState, cell: &CellOutcome, device: &str) -> Option<MatrixError> {
    let left = cell.answer.as_ref().and_then(|answer| answer.left);
    match (state, left) {
        (GuestState::Fit, _) => None,
        (GuestState::Spoilt(why), _) => Some(MatrixError::Damaged {
            why: why.clone(),
            cell: cell.cell,
        }),
        (GuestState::Broken(_), Some(process)) => Some(MatrixError::Stuck {
            process,
            device: device.to_owned(),
            cell: cell.cell,
        }),
        (GuestState::Broken(why), None) => Some(MatrixError::Lost {
            why: why.clone(),
            cell: cell.cell,
        }),
    }
}

/// Returns how long a cell may take on a kernel of usual speed.
const fn limit(cell: &CellName) -> Duration {
    match (cell.hazard, cell.kind) {
        (Hazard::FailNth, _) => MANY_CAPTURES_LIMIT,
        (_, kind) if kind.needs_file_system() => FILE_SYSTEM_LIMIT,
        _ => CELL_LIMIT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::cell::Kind;

    #[test]
    fn a_machine_that_cannot_be_used_any_more_says_why_and_what_to_do() {
        let mut cell = CellOutcome::impossible(CellName::plain(Kind::Heap), String::new());
        cell.answer = Some(CellAnswer::default());
        let said = |state: &GuestState, cell: &CellOutcome| {
            unusable(state, cell, "/dev/video0").map(|error| error.to_string())
        };
        let damaged = GuestState::Spoilt("the kernel calls itself damaged".into());
        let broken = GuestState::Broken("no memory".into());
        assert_eq!(said(&GuestState::Fit, &cell), None);
        let told = said(&damaged, &cell).unwrap();
        assert!(told.ends_with("damaged after the cell heap: reboot this machine"));
        // Nothing says that a process hangs.
        let told = said(&broken, &cell).unwrap();
        assert!(
            told.contains("no memory") && !told.contains("hangs"),
            "{told}"
        );
        if let Some(answer) = &mut cell.answer {
            answer.left = Some(77);
        }
        let told = said(&broken, &cell).unwrap();
        assert!(
            told.contains("process 77, which hangs in the driver"),
            "{told}"
        );
    }
}
