//! Surveys a device of any driver, in a process of its own: what it is, how a cell uses
//! it, and what picture it shows.
//!
//! | file | what is in it |
//! |---|---|
//! | [`conversion`] | what a mem-to-mem device makes of a frame |
//! | [`format`] | a format with small frames of one plane |
//! | [`rest`] | the controls that bring the picture to rest |
//! | [`picture`] | the picture, in memory of the driver's own |
//! | [`powers`] | what this process may see of the kernel |
//!
//! The device keeps the format and the controls: the cells need them.

mod conversion;
mod format;
mod picture;
mod powers;
mod rest;

use std::io;
use std::process::ExitCode;

use crate::agent::cell::Subject;
use crate::agent::survey::{Survey, SurveyAnswer};
use crate::card::{BufferApi, BufferType, CardKind, Direction};
use crate::wire::buffer::MEMORY_USERPTR;
use crate::wire::format::PixFormat;
use serde_json::Value;

use crate::guest::cell::device::Device;
use crate::guest::failure::Failure;

/// Argument that makes this program the process that surveys a device.
pub const ARGUMENT: &str = "survey";

/// Most buffers that a cell can have: V4L2's VIDEO_MAX_FRAME.
const BUFFERS_MAX: u32 = 32;

/// Most bytes that all buffers of a cell have together.
const BYTES_MAX: u64 = 256 << 20;

/// What the process of a survey writes: the answer, or why there is none, in a sentence
/// about the device.
type Surveyed = Result<SurveyAnswer, String>;

/// Surveys the device that standard input names, and writes what it is.
pub fn main() -> ExitCode {
    let request: Result<Survey, _> = serde_json::from_reader(io::stdin().lock());
    let surveyed: Surveyed = match request {
        Ok(request) => look(&request.device),
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
    let direction = match kind {
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
        Some((CardKind::Capture, _)) => Direction::Capture,
        Some((CardKind::Output, _)) => Direction::Output,
    };
    let api = kind.map(|(_, api)| api).unwrap_or_default();
    let type_ = BufferType { direction, api };
    let device = device.for_buffers_of(type_);
    match subject(&device, type_, &mut answer.notes) {
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

/// Says what failed, or that another program has the device.
fn failed(what: &str, error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EBUSY) => format!("another program uses it ({what}: {error})"),
        _ => format!("{what}: {error}"),
    }
}

/// Finds out how a cell uses the device; a sentence if none can.
fn subject(device: &Device, type_: BufferType, notes: &mut Vec<String>) -> Result<Subject, String> {
    let format = format::choose(device, false)?;
    if let Some(note) = format::field_note(&format) {
        notes.push(note);
    }
    let buffers = buffers(device, type_.direction).map_err(|error| {
        let what = "it takes no memory of a process, VIDIOC_REQBUFS of V4L2_MEMORY_USERPTR";
        failed(what, &error)
    })?;
    let bytes = u64::from(buffers) * u64::from(format.sizeimage.get());
    if bytes > BYTES_MAX {
        return Err(format!(
            "its {buffers} buffers are {bytes} bytes, a cell has {BYTES_MAX} for them"
        ));
    }
    let is_compressed = format::is_compressed(&device.formats(), format.pixelformat.get());
    Ok(described(&format, is_compressed, type_.api, buffers))
}

/// Returns how many buffers of a process's memory the device has at least.
fn buffers(device: &Device, direction: Direction) -> io::Result<u32> {
    /// V4L2_CID_MIN_BUFFERS_FOR_CAPTURE and _OUTPUT of linux/v4l2-controls.h.
    const MIN_FOR_CAPTURE: u32 = 0x0098_0927;
    const MIN_FOR_OUTPUT: u32 = 0x0098_0928;
    let made = device.request_buffers(1, MEMORY_USERPTR)?;
    device.request_buffers(0, MEMORY_USERPTR)?;
    let least = device.get_control(match direction {
        Direction::Capture => MIN_FOR_CAPTURE,
        Direction::Output => MIN_FOR_OUTPUT,
    });
    // Few devices have the control.
    let least = least.map_or(0, |least| least.max(0) as u32);
    Ok(made.max(least).clamp(1, BUFFERS_MAX))
}

fn described(format: &PixFormat, is_compressed: bool, api: BufferApi, buffers: u32) -> Subject {
    Subject {
        api,
        pixelformat: format.pixelformat.get(),
        width: format.width.get(),
        height: format.height.get(),
        bytesperline: match is_compressed {
            true => 0,
            false => format.bytesperline.get(),
        },
        line: format::line(format),
        sizeimage: format.sizeimage.get(),
        buffers,
        made: None,
    }
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

    #[test]
    fn who_has_the_device_is_another_program() {
        let of = |errno| failed("VIDIOC_S_FMT", &io::Error::from_raw_os_error(errno));
        let why = of(libc::EBUSY);
        assert!(
            why.starts_with("another program uses it (VIDIOC_S_FMT: "),
            "{why}"
        );
        assert!(of(libc::EINVAL).starts_with("VIDIOC_S_FMT: "));
    }

    #[test]
    fn a_compressed_format_has_no_lines() {
        let format = PixFormat {
            bytesperline: 640.into(),
            ..zerocopy::FromZeros::new_zeroed()
        };
        let lines =
            |is_compressed| described(&format, is_compressed, BufferApi::Single, 1).bytesperline;
        assert_eq!([lines(true), lines(false)], [0, 640]);
    }
}
