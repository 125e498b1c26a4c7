//! Calls on a frame vector, over memory laid out for it.

mod counters;
mod device;
mod layout;
mod userfault;

use std::io::{self, Write};
use std::process::ExitCode;

use pinhole::agent::frame_vector::{
    FrameVector, FrameVectorAnswer, Outcome, Page, SHOWN, Step, Told,
};
use pinhole::agent::protocol::{Run, Status};
use rustix::process::Pid;

use crate::children::Children;
use crate::failure::Failure;
use crate::run;
use device::{Device, Request};
use layout::Range;

/// Bytes of a page.
const PAGE: usize = 4096;

/// Tells this program that it is the process that makes the calls.
pub const ARGUMENT: &str = "frame-vector";

/// Lays out memory, makes the calls, and clears up. Where a kernel may end who
/// makes them, that is a process of its own, of which `started` is told.
///
/// # Errors
///
/// [`Failure`] where the memory cannot be had, or the probe is not there.
pub fn run(
    children: &Children,
    id: u64,
    request: &FrameVector,
    started: impl FnOnce(Pid),
) -> Result<FrameVectorAnswer, Failure> {
    // Any other would be the first to die where memory is short, and it would
    // free memory behind the back of the scripts that come after it.
    if !request.steps.contains(&Step::Abandon) {
        let mut answer = FrameVectorAnswer::default();
        take_all(request, |told| {
            answer.add(told);
            Ok(())
        })?;
        return Ok(answer);
    }
    let stdin = serde_json::to_string(request)
        .map_err(|error| Failure::new(format!("tell the calls: {error}")))?;
    let process = Run {
        stdin,
        ..Run::new(["/proc/self/exe", ARGUMENT])
    };
    let ran = run::run(children, id, process, started, |_| {})?;
    let mut answer = collect(&ran.stdout)?;
    match ran.status {
        Status::Exit(0) => {}
        Status::Exit(code) => {
            let said = ran.stderr.trim();
            return Err(Failure::new(format!(
                "make the calls: exit code {code}: {said}"
            )));
        }
        Status::Signal(signal) => answer.killed = Some(signal),
    }
    Ok(answer)
}

/// The answer in what the process wrote; a last line without an end is one that
/// it did not live to finish.
fn collect(output: &str) -> Result<FrameVectorAnswer, Failure> {
    let mut answer = FrameVectorAnswer::default();
    let lines = output.split_inclusive('\n');
    for line in lines.filter_map(|line| line.strip_suffix('\n')) {
        let told = serde_json::from_str(line)
            .map_err(|error| Failure::new(format!("no answer: {error}: {line}")))?;
        match told {
            Told::Failed { message, errno } => return Err(Failure { message, errno }),
            told => answer.add(told),
        }
    }
    Ok(answer)
}

/// The process that makes the calls of the script on standard input, and tells
/// what comes of each before it makes the next.
pub fn main() -> ExitCode {
    let request = match serde_json::from_reader(io::stdin().lock()) {
        Ok(request) => request,
        Err(error) => {
            eprintln!("no script: {error}");
            return ExitCode::from(2);
        }
    };
    let told = take_all(&request, tell).or_else(|failure| {
        tell(Told::Failed {
            message: failure.message,
            errno: failure.errno,
        })
    });
    match told {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{}", failure.message);
            ExitCode::from(2)
        }
    }
}

/// Lays out memory, makes the calls, and clears up; tells of each before the next
/// is made.
fn take_all(
    request: &FrameVector,
    mut tell: impl FnMut(Told) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let device = Device::open()?;
    let mut range = Range::new(&request.areas, &device)?;
    let mut tracked = Vec::new();
    for step in &request.steps {
        tell(Told::Step(take(step, &device, &range, &mut tracked)?))?;
    }
    // The pins first: what is pinned is not to be unmapped.
    drop(device);
    match range.finish()? {
        Some(filled) => tell(Told::Filled(filled)),
        None => Ok(()),
    }
}

fn tell(told: Told) -> Result<(), Failure> {
    let line = serde_json::to_string(&told)
        .map_err(|error| Failure::new(format!("tell an answer: {error}")))?;
    let written = writeln!(io::stdout().lock(), "{line}");
    written.map_err(|error| Failure::io("tell an answer", error))
}

/// Takes a step. `tracked` are the PFNs to look at after it.
fn take(
    step: &Step,
    device: &Device,
    range: &Range,
    tracked: &mut Vec<u64>,
) -> Result<Outcome, Failure> {
    let call = match *step {
        Step::Create { frames } => device.call(Request::Create, 0, frames, false),
        Step::Get {
            page,
            frames,
            write,
        } => device.call(Request::Get, range.address(page), frames, write),
        Step::GetAt { address, frames } => device.call(Request::Get, address, frames, true),
        Step::Pages => device.call(Request::Pages, 0, 0, false),
        Step::Pfns => device.call(Request::Pfns, 0, 0, false),
        Step::ToPages => device.call(Request::ToPages, 0, 0, false),
        Step::ToPfns => device.call(Request::ToPfns, 0, 0, false),
        Step::Put => device.call(Request::Put, 0, 0, false),
        Step::Destroy => device.call(Request::Destroy, 0, 0, false),
        Step::Fill { page, frames } => {
            let pfn = range.pfn(page)?;
            if pfn == 0 {
                return Err(Failure::new(format!("page {page} has no PFN to fill in")));
            }
            device.call(Request::Fill, pfn, frames, false)
        }
        Step::Abandon => device.call(Request::Abandon, 0, 0, false),
        Step::Release => device.call(Request::Release, 0, 0, false),
        Step::Hoard { singles } => device.call(Request::Hoard, 0, singles, false),
    };
    let frames = device.frames()?;
    let process = (0..range.pages().min(SHOWN as u32))
        .map(|page| range.pfn(page))
        .collect::<Result<Vec<_>, _>>()?;
    if !frames.is_empty() {
        tracked.clone_from(&frames);
    }
    let looked_at = match tracked.is_empty() {
        true => &process,
        false => &*tracked,
    };
    let pages = looked_at
        .iter()
        .map(|&pfn| device.page(pfn))
        .collect::<Result<Vec<Page>, _>>()?;
    let (returned, refused, vector) = match call {
        Ok((returned, vector)) => (returned, None, vector),
        Err(errno) => (0, Some(errno), None),
    };
    Ok(Outcome {
        returned,
        refused,
        vector,
        frames,
        process,
        pages,
        pins: counters::pins()?,
        free_order: counters::free_order()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_told_before_the_end_is_the_answer() {
        let filled = r#"{"filled":{"pages":3,"mapped":1,"intact":3}}"#;
        let answer = collect(&format!("{filled}\n{{\"step\":{{")).unwrap();
        assert_eq!(answer.filled.unwrap().pages, 3);
        assert!(answer.steps.is_empty());
        let failed = collect("{\"failed\":{\"message\":\"no probe\",\"errno\":2}}\n").unwrap_err();
        assert_eq!(
            (failed.message.as_str(), failed.errno),
            ("no probe", Some(2))
        );
        assert!(collect("garbage\n").is_err());
    }
}
