//! Calls on a frame vector, and the memory that is laid out for them.

mod counters;
pub mod device;
mod layout;
mod meanwhile;
mod twin;
mod userfault;

use std::io::{self, Write};
use std::process::ExitCode;

use crate::agent::frame_vector::{
    AnswerPart, FrameVector, FrameVectorAnswer, Killed, Outcome, Page, SHOWN, Step, Vector, WRITE,
};
use crate::agent::protocol::{Run, Status};
use rustix::process::{Pid, Resource, Rlimit, setrlimit};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

use crate::guest::children::Children;
use crate::guest::failure::Failure;
use crate::guest::run;
use device::{Device, Request};
use layout::Range;
use twin::Twin;

/// Order of the block that a large vector would need: 2 MiB.
const LARGE: u32 = 9;

/// Largest number of further attempts to hoard: some free blocks are not
/// available to anyone.
const AGAIN: usize = 16;

/// Argument that makes this program the process that makes the calls.
pub const ARGUMENT: &str = "frame-vector";

/// Lays out memory, makes the calls, and cleans up. If that needs a separate
/// process, `started` gets it.
///
/// # Errors
///
/// [`Failure`] if the memory cannot be laid out, or the probe is missing.
pub fn run(
    children: &Children,
    id: u64,
    request: &FrameVector,
    started: impl FnOnce(Pid),
) -> Result<FrameVectorAnswer, Failure> {
    // A separate process would be the first to be killed when memory is short,
    // which would free memory unnoticed by the scripts that follow.
    if !request.needs_a_process() {
        let mut answer = FrameVectorAnswer::default();
        take_all(request, |part| {
            answer.add(part);
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
        Status::Signal(signal) => {
            answer.killed = Some(Killed {
                signal,
                returned: device::last_returned()?,
                pins: counters::pins()?,
            });
        }
    }
    Ok(answer)
}

/// Parses the answer that the process wrote. A last line without a newline is
/// incomplete, because the process died, and is ignored.
fn collect(output: &str) -> Result<FrameVectorAnswer, Failure> {
    let mut answer = FrameVectorAnswer::default();
    let lines = output.split_inclusive('\n');
    for line in lines.filter_map(|line| line.strip_suffix('\n')) {
        let part = serde_json::from_str(line)
            .map_err(|error| Failure::new(format!("no answer: {error}: {line}")))?;
        match part {
            AnswerPart::Failed { message, errno } => return Err(Failure { message, errno }),
            part => answer.add(part),
        }
    }
    Ok(answer)
}

/// Runs the process that makes the calls of the script on standard input, and
/// writes the outcome of each before it makes the next.
pub fn main() -> ExitCode {
    let request = match serde_json::from_reader(io::stdin().lock()) {
        Ok(request) => request,
        Err(error) => {
            eprintln!("no script: {error}");
            return ExitCode::from(2);
        }
    };
    let taken = take_all(&request, tell).or_else(|failure| {
        tell(AnswerPart::Failed {
            message: failure.message,
            errno: failure.errno,
        })
    });
    match taken {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{}", failure.message);
            ExitCode::from(2)
        }
    }
}

/// Lays out memory, makes the calls, and cleans up; calls `tell` with the
/// outcome of each call before the next one.
fn take_all(
    request: &FrameVector,
    mut tell: impl FnMut(AnswerPart) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let device = Device::open()?;
    let mut range = Range::new(request, &device)?;
    let mut caller = Caller {
        device: &device,
        range: &range,
        asked: 0,
        tracked: Vec::new(),
        twin: None,
    };
    for step in &request.steps {
        tell(AnswerPart::Step(caller.take(step)?))?;
    }
    drop(caller);
    // The pins are released first: pinned memory must not be unmapped.
    drop(device);
    match range.finish()? {
        Some(filled) => tell(AnswerPart::Filled(filled)),
        None => Ok(()),
    }
}

fn tell(part: AnswerPart) -> Result<(), Failure> {
    let line = serde_json::to_string(&part)
        .map_err(|error| Failure::new(format!("tell an answer: {error}")))?;
    let written = writeln!(io::stdout().lock(), "{line}");
    written.map_err(|error| Failure::io("tell an answer", error))
}

/// The caller of the frame vector's functions.
struct Caller<'a> {
    device: &'a Device,
    range: &'a Range,
    /// The first page of the last get.
    asked: u32,
    /// The PFNs that the vector held last.
    tracked: Vec<u64>,
    /// The child that shares the memory.
    twin: Option<Twin>,
}

/// What a call of the probe returned, with the vector afterwards, or its error number.
type Called = Result<(i32, Option<Vector>), i32>;

impl Caller<'_> {
    /// Executes a step, and returns its outcome.
    fn take(&mut self, step: &Step) -> Result<Outcome, Failure> {
        let (free_order, call) = match *step {
            Step::CreateFragmented { frames, singles } => {
                self.create_fragmented(frames, singles)?
            }
            _ => (counters::free_order()?, self.make(step)?),
        };
        let frames = self.device.frames()?;
        let last = self.range.pages().min(self.asked + SHOWN as u32);
        let process = (self.asked..last)
            .map(|page| self.range.pfn(page))
            .collect::<Result<Vec<_>, _>>()?;
        if !frames.is_empty() {
            self.tracked.clone_from(&frames);
        }
        let looked_at = match self.tracked.is_empty() {
            true => &process,
            false => &self.tracked,
        };
        let pages = looked_at
            .iter()
            .map(|&pfn| self.device.page(pfn))
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
            accounted: counters::accounted()?,
            free_order,
        })
    }

    /// Makes a vector while no free block of memory is large, and `singles` single pages are
    /// free. Returns the largest order with a free block just before the call, too.
    ///
    /// A processor may give back a block that it had kept to itself when all others have
    /// been taken: then the vector is destroyed, and made once more without that block.
    fn create_fragmented(&self, frames: u32, singles: u32) -> Result<(u32, Called), Failure> {
        self.fragment(singles)?;
        for _ in 0..AGAIN {
            let created = self.create(frames)?;
            if created.0 < LARGE || created.1.is_err() {
                return Ok(created);
            }
            let _ = self.device.call(Request::Destroy, 0, 0, 0);
            self.fragment(1)?;
        }
        self.create(frames)
    }

    fn create(&self, frames: u32) -> Result<(u32, Called), Failure> {
        let free_order = counters::free_order()?;
        Ok((free_order, self.device.call(Request::Create, 0, frames, 0)))
    }

    /// Leaves no free block of memory that is large, and `singles` single pages.
    fn fragment(&self, singles: u32) -> Result<(), Failure> {
        let hoard = |singles| self.device.call(Request::Hoard, 0, singles, 0);
        hoard(singles)
            .map_err(|errno| Failure::io("hoard", io::Error::from_raw_os_error(errno)))?;
        // Other code frees memory meanwhile, so hoarding is repeated.
        for _ in 0..AGAIN {
            if counters::free_order()? < LARGE {
                break;
            }
            // Where that fails the outcome tells of the block.
            let _ = hoard(1);
        }
        Ok(())
    }

    /// Makes the call of a step; returns its return value, and the vector
    /// afterwards.
    fn make(&mut self, step: &Step) -> Result<Called, Failure> {
        let (device, range) = (self.device, self.range);
        let plain = |request| device.call(request, 0, 0, 0);
        Ok(match *step {
            Step::Create { frames } | Step::CreateFragmented { frames, .. } => {
                device.call(Request::Create, 0, frames, 0)
            }
            Step::Get {
                page,
                offset,
                frames,
                flags,
            } => {
                self.asked = page;
                let address = range.address(page) + u64::from(offset);
                device.call(Request::Get, address, frames, flags)
            }
            Step::GetAgain { page, frames } => {
                self.asked = page;
                device.call(Request::GetAgain, range.address(page), frames, WRITE)
            }
            Step::GetAt { address, frames } => device.call(Request::Get, address, frames, WRITE),
            Step::Pages => plain(Request::Pages),
            Step::Pfns => plain(Request::Pfns),
            Step::ToPages => plain(Request::ToPages),
            Step::ToPfns => plain(Request::ToPfns),
            Step::Put => plain(Request::Put),
            Step::Destroy => plain(Request::Destroy),
            Step::Fill { ref pages } => device.fill(&self.pfns(pages)?),
            Step::Poison => plain(Request::Poison),
            Step::Abandon => plain(Request::Abandon),
            Step::Release => plain(Request::Release),
            Step::Touch => {
                range.touch(SHOWN as u32);
                Ok((0, None))
            }
            Step::Fork => {
                let twin = Twin::start().map_err(|error| Failure::io("fork", error))?;
                self.twin = Some(twin);
                Ok((0, None))
            }
            Step::Limit => {
                limit().map_err(|error| Failure::io("give up locked memory", error))?;
                let locked = range
                    .lock()
                    .map_or_else(|error| error.raw_os_error(), |()| None);
                Ok((-locked.unwrap_or(0), None))
            }
        })
    }

    /// Returns the PFNs of pages of the range.
    fn pfns(&self, pages: &[u32]) -> Result<Vec<u64>, Failure> {
        let pfn = |page: &u32| match self.range.pfn(*page)? {
            0 => Err(Failure::new(format!("page {page} has no PFN to fill in"))),
            pfn => Ok(pfn),
        };
        pages.iter().map(pfn).collect()
    }
}

/// Gives up the right of this process to lock memory: sets the limit to zero,
/// and drops the capability.
fn limit() -> io::Result<()> {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(Resource::Memlock, none)?;
    let mut own = capabilities(None)?;
    own.effective.remove(CapabilitySet::IPC_LOCK);
    own.permitted.remove(CapabilitySet::IPC_LOCK);
    set_capabilities(None, own)?;
    Ok(())
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
