//! Surveys a device of any driver, in a process of its own: what it is, how a cell uses
//! it, and what picture it shows.
//!
//! | file | what is in it |
//! |---|---|
//! | [`format`] | a format with small frames of one plane |
//! | [`rest`] | the controls that bring the picture to rest |
//! | [`picture`] | the picture, in memory of the driver's own |
//! | [`powers`] | what this process may see of the kernel |
//!
//! The device keeps the format and the controls: the cells need them.

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

use crate::guest::cell::device::Device;

/// Argument that makes this program the process that surveys a device.
pub const ARGUMENT: &str = "survey";

/// Most buffers that a cell can have: V4L2's VIDEO_MAX_FRAME.
const BUFFERS_MAX: u32 = 32;

/// Surveys the device that standard input names, and writes what it is.
pub fn main() -> ExitCode {
    match survey() {
        Ok(answer) => {
            println!("{answer}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn survey() -> Result<String, String> {
    let request: Survey = serde_json::from_reader(io::stdin().lock())
        .map_err(|error| format!("no request: {error}"))?;
    let answer = look(&request.device).map_err(|error| format!("{}: {error}", request.device))?;
    serde_json::to_string(&answer).map_err(|error| format!("answer: {error}"))
}

/// Surveys the device at `path`; fails if it is no video device, or cannot be opened.
fn look(path: &str) -> io::Result<SurveyAnswer> {
    let device = Device::open(path, Direction::Capture)?;
    let capability = device.capability()?;
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
        Some((CardKind::M2m, _)) => {
            let why = "it is a mem-to-mem device, for which there are no cells yet";
            answer.notes.push(why.into());
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
            Ok(picture) => answer.picture = Some(picture),
            Err(why) => answer
                .notes
                .push(format!("it shows no still picture: {why}")),
        }
    }
    Ok(answer)
}

/// Finds out how a cell uses the device; a sentence if none can.
fn subject(device: &Device, type_: BufferType, notes: &mut Vec<String>) -> Result<Subject, String> {
    let format = format::choose(device)?;
    if let Some(note) = format::field_note(&format) {
        notes.push(note);
    }
    let buffers = buffers(device, type_.direction).map_err(|error| {
        format!("it takes no memory of a process, VIDIOC_REQBUFS of V4L2_MEMORY_USERPTR: {error}")
    })?;
    Ok(described(&format, type_.api, buffers))
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

fn described(format: &PixFormat, api: BufferApi, buffers: u32) -> Subject {
    Subject {
        api,
        pixelformat: format.pixelformat.get(),
        width: format.width.get(),
        height: format.height.get(),
        bytesperline: format.bytesperline.get(),
        line: format::line(format),
        sizeimage: format.sizeimage.get(),
        buffers,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_video_device_is_an_error() {
        let error = look("/dev/null").unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOTTY));
        let error = look("/no/such/device").unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOENT));
    }
}
