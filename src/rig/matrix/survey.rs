//! The survey of a device that is judged without a witness: what it is, how cells use
//! it, and what can be seen of it.

use std::time::{Duration, Instant};

use super::error::MatrixError;
use super::oracle::Oracle;
use super::outcome::Device;
use super::place::Place;
use super::spec::Judged;
use crate::agent::cell::{Flow, Scope, Subject};
use crate::agent::protocol::{Read, ReadAnswer};
use crate::agent::survey::{Survey, SurveyAnswer};
use crate::card::{CardKind, Direction};
use crate::vm::channel::AgentError;
use crate::vm::wait;

/// How long a survey may take on a kernel of usual speed, and, below, how much longer
/// its answer may.
const LIMIT: Duration = Duration::from_secs(30);
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// How long a driver may take from its loading until it has made the device's node,
/// and the interval between two looks.
const NODE_LIMIT: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(50);

/// A device that was surveyed, and can be used by cells.
pub(super) struct Surveyed {
    /// Path of its node.
    pub(super) device: String,
    /// What cells may do to the machine.
    pub(super) scope: Scope,
    /// How cells use it.
    pub(super) subject: Subject,
    /// The flow of the cells that it is for.
    pub(super) flow: Flow,
    /// Names by which its driver speaks in the kernel's log.
    pub(super) names: Vec<String>,
    /// What was found of it.
    pub(super) answer: SurveyAnswer,
}

impl Surveyed {
    /// Surveys a device; all limits are `patience` times longer than usual.
    ///
    /// # Errors
    ///
    /// [`MatrixError::NoSubject`] if it is not there, or no cell can use it;
    /// [`MatrixError::Interrupted`].
    pub(super) fn of(place: &Place, judged: &Judged, patience: u32) -> Result<Self, MatrixError> {
        let device = &judged.device;
        if !place.is_here() {
            wait_for(place, device, NODE_LIMIT * patience)?;
        }
        let limit = LIMIT * patience;
        let survey = Survey {
            device: device.clone(),
            limit_ms: limit.as_millis() as u64,
        };
        let answer = place.agent().call(survey, limit + ANSWER_LIMIT * patience);
        let answer = answer.map_err(|error| no_subject(device, error))?;
        let unsuitable = || MatrixError::NoSubject {
            device: device.clone(),
            why: unsuitable(&answer),
        };
        let flow = match answer.kind {
            Some(CardKind::Capture) => Flow::Capture,
            Some(CardKind::Output) => Flow::Output,
            Some(CardKind::M2m) | None => return Err(unsuitable()),
        };
        Ok(Self {
            device: device.clone(),
            scope: match place.is_here() {
                true => Scope::Machine,
                false => Scope::Guest,
            },
            subject: answer.subject.clone().ok_or_else(unsuitable)?,
            flow,
            names: names(place, device, &answer),
            answer,
        })
    }

    /// Returns what the report says of it.
    pub(super) fn report(&self) -> Device {
        let answer = &self.answer;
        Device {
            driver: answer.driver.clone(),
            card: answer.card.clone(),
            bus: answer.bus.clone(),
            version: answer.version.clone(),
            missing: self.missing(),
            notes: answer.notes.clone(),
        }
    }

    /// Returns the oracles that have nothing to judge by, or less than with a witness.
    fn missing(&self) -> Vec<(Oracle, String)> {
        let powers = &self.answer.powers;
        let data = match (self.flow.subject(), &self.answer.picture) {
            (Direction::Output, _) => Some("no witness tells what the device reads"),
            (Direction::Capture, None) => Some(
                "the device shows no still picture, so that only what it leaves as it was is seen",
            ),
            (Direction::Capture, Some(_)) => None,
        };
        let leaks = "memory that the kernel loses is not looked for on a machine in use";
        let here = (self.scope == Scope::Machine).then(|| leaks.to_owned());
        let address = "no witness tells which memory the device was given";
        let frames = powers.no_frames.as_ref();
        let missing = [
            (Oracle::Data, data.map(str::to_owned)),
            (Oracle::Address, Some(address.to_owned())),
            (Oracle::Pins, powers.no_pin_counters.clone()),
            (Oracle::Mappings, powers.no_mappings.clone()),
            (
                Oracle::Dirty,
                frames.or(powers.no_page_flags.as_ref()).cloned(),
            ),
            (Oracle::Idle, frames.cloned()),
            (Oracle::Leaks, here),
            (Oracle::Log, powers.no_log.clone()),
        ];
        let missing = missing.into_iter();
        missing
            .filter_map(|(oracle, why)| Some((oracle, why?)))
            .collect()
    }
}

/// Returns why no cell can use a device, a part of a sentence.
fn unsuitable(answer: &SurveyAnswer) -> String {
    match &answer.notes[..] {
        [] => "no cell has a use for such a device".to_owned(),
        notes => notes.join("; "),
    }
}

/// Returns the error of a survey that failed.
fn no_subject(device: &str, error: AgentError) -> MatrixError {
    let why = match error {
        AgentError::Interrupted => return MatrixError::Interrupted,
        AgentError::Failed { message, .. } => message,
        error => error.to_string(),
    };
    MatrixError::NoSubject {
        device: device.to_owned(),
        why,
    }
}

/// Waits until a guest's driver has made the device's node: some find their devices
/// after they were loaded.
fn wait_for(place: &Place, device: &str, limit: Duration) -> Result<(), MatrixError> {
    let deadline = Instant::now() + limit;
    loop {
        match attribute(place, device, "name") {
            Err(AgentError::Failed { .. }) if Instant::now() < deadline => {
                // There is no descriptor to wait for but that of SIGINT and SIGTERM.
                let _ = wait::readable(&[], Some(Instant::now() + LOOK));
            }
            Err(AgentError::Failed { .. }) => {
                let why = format!(
                    "the driver {} is loaded, and has made no such device within {} s",
                    place.module().unwrap_or_default(),
                    limit.as_secs()
                );
                return Err(MatrixError::NoSubject {
                    device: device.to_owned(),
                    why,
                });
            }
            Err(error) => return Err(no_subject(device, error)),
            Ok(_) => return Ok(()),
        }
    }
}

/// Returns the names by which a device's driver speaks in the kernel's log: those of
/// the driver as V4L2 and the driver core know it, and that of the device itself
/// (v4l2_device::name), which is the last part of where it is on a bus of the driver's
/// own.
fn names(place: &Place, device: &str, answer: &SurveyAnswer) -> Vec<String> {
    let mut names = place.names();
    names.push(answer.driver.clone());
    let bound = attribute(place, device, "device/uevent");
    let bound = bound.map(|read| read.text).unwrap_or_default();
    names.extend(bound_driver(&bound).map(str::to_owned));
    let (_, of_bus) = answer.bus.split_once(':').unwrap_or_default();
    names.push(of_bus.to_owned());
    names.retain(|name| !name.is_empty());
    names.sort();
    names.dedup();
    names
}

/// Returns the driver that a device's uevent names.
fn bound_driver(uevent: &str) -> Option<&str> {
    let mut lines = uevent.lines();
    lines.find_map(|line| line.strip_prefix("DRIVER="))
}

/// Reads what sysfs says of a video device.
fn attribute(place: &Place, device: &str, name: &str) -> Result<ReadAnswer, AgentError> {
    let node = device.rsplit('/').next().unwrap_or_default();
    let read = Read {
        path: format!("/sys/class/video4linux/{node}/{name}"),
        limit: 4096,
    };
    place.agent().call(read, ANSWER_LIMIT)
}
