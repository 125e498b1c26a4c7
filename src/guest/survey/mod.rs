//! Surveys a device of any driver, in a process of its own: what it is, how a cell uses
//! it, and what picture it shows.
//!
//! | file | what is in it |
//! |---|---|
//! | [`conversion`] | what a mem-to-mem device makes of a frame |
//! | [`failed`] | a call that failed, as a sentence |
//! | [`format`] | a format with small frames of one plane |
//! | [`rest`] | the controls that bring the picture to rest |
//! | [`picture`] | the picture, in memory of the driver's own |
//! | [`powers`] | what this process may see of the kernel |
//! | [`subject`] | the buffers, and what a cell is told of the device |
//!
//! The device keeps the format and the controls: the cells need them.

mod conversion;
mod failed;
mod format;
mod picture;
mod powers;
mod rest;
mod subject;

use std::io;
use std::process::ExitCode;

use crate::agent::survey::{Survey, SurveyAnswer};
use crate::card::{BufferType, CardKind, Direction};
use serde_json::Value;

use crate::guest::cell::device::Device;
use crate::guest::cell::patience;
use crate::guest::failure::Failure;
use failed::failed;

/// Argument that makes this program the process that surveys a device.
pub const ARGUMENT: &str = "survey";

/// What the process of a survey writes: the answer, or why there is none, in a sentence
/// about the device.
type Surveyed = Result<SurveyAnswer, String>;

/// Surveys the device that standard input names, and writes what it is.
pub fn main() -> ExitCode {
    let request: Result<Survey, _> = serde_json::from_reader(io::stdin().lock());
    let surveyed: Surveyed = match request {
        Ok(request) => {
            patience::set(request.patience);
            look(&request.device)
        }
        Err(error) => Err(format!("no request: {error}")),
    };
    match serde_json::to_string(&surveyed) {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("answer: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Returns the answer of a survey, given what its process wrote.
pub fn answer(written: Value) -> Result<SurveyAnswer, Failure> {
    let surveyed: Surveyed = serde_json::from_value(written)
        .map_err(|error| Failure::new(format!("{ARGUMENT}: no answer: {error}")))?;
    surveyed.map_err(Failure::new)
}

/// Surveys the device at `path`; says why not if it is no video device, or cannot be
/// opened.
fn look(path: &str) -> Surveyed {
    let device =
        Device::open(path, Direction::Capture).map_err(|error| match error.raw_os_error() {
            Some(libc::ENOENT) => "there is no such device".to_owned(),
            _ => failed("it cannot be opened", &error),
        })?;
    let capability = device.capability().map_err(|error| {
        let what = "it is no video device of V4L2, VIDIOC_QUERYCAP";
        failed(what, &error)
    })?;
    let kind = capability.kind();
    let mut answer = SurveyAnswer {
        driver: capability.driver(),
        card: capability.card(),
        bus: capability.bus(),
        version: capability.version(),
        kind: kind.map(|(kind, _)| kind),
        subject: None,
        notes: Vec::new(),
        picture: None,
        powers: powers::powers(path),
    };
    let (direction, api) = match kind {
        None => {
            answer.notes.push("it moves no video frames".into());
            return Ok(answer);
        }
        Some((CardKind::M2m, api)) => {
            match conversion::look(path, device, api, &mut answer.notes) {
                Ok((subject, picture)) => {
                    (answer.subject, answer.picture) = (Some(subject), picture);
                }
                Err(why) => answer.notes.push(why),
            }
            return Ok(answer);
        }
        Some((CardKind::Capture, api)) => (Direction::Capture, api),
        Some((CardKind::Output, api)) => (Direction::Output, api),
    };
    let type_ = BufferType { direction, api };
    let device = device.for_buffers_of(type_);
    match subject::look(&device, type_, &mut answer.notes) {
        Ok(subject) => answer.subject = Some(subject),
        Err(why) => answer.notes.push(why),
    }
    if let (Some(subject), Direction::Capture) = (&answer.subject, direction) {
        answer.notes.extend(rest::bring_to_rest(&device));
        drop(device);
        match picture::look(path, subject) {
            Ok(seen) => {
                answer.notes.extend(seen.notes());
                answer.picture = seen.picture.ok();
            }
            Err(why) => {
                answer.notes.push(why);
                answer.subject = None;
            }
        }
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_video_device_is_an_error() {
        let why = look("/dev/null").unwrap_err();
        assert!(why.starts_with("it is no video device of V4L2, "), "{why}");
        assert_eq!(
            look("/no/such/device").unwrap_err(),
            "there is no such device"
        );
        let why = look("/").unwrap_err();
        assert!(why.starts_with("it cannot be opened: "), "{why}");
        let written = serde_json::to_value(look("/no/such/device")).unwrap();
        let failure = answer(written).unwrap_err();
        assert_eq!(failure.message, "there is no such device");
        assert!(answer(Value::Null).is_err());
    }
}
