//! The application's side of a stream: the programs that run in the guest, and
//! the requests to the guest about them.

use std::time::{Duration, Instant};

use super::disk::{Disk, DiskError};
use super::kprobe::{self, GetVaddrFrames};
use super::spec::CaptureSpec;
use super::store::{self, Home, Store, StoreError};
use super::tool::{self, Dequeued, Memory, Program, Rate};
use super::witness::{Claim, ReportedFrame};
use crate::agent::protocol::{
    Call, Load, Log, LogRecord, Run, RunAnswer, Status, Sync, Watch, Write,
};
use crate::card::{BufferApi, Direction};
use crate::rig::plural::count;
use crate::vm::channel::{Agent, AgentError, Update};
use crate::vm::machine::Machine;
use crate::vm::progress::Progress;

/// The card's device. It is the first device because the guest loads our
/// driver before any other.
const DEVICE: &str = "/dev/video0";
/// vivid's capture device, used if buffers are imported from it.
const EXPORTER: &str = "/dev/video1";
/// Number of pinned pages (FOLL_PIN), as a difference of counters of
/// /proc/vmstat.
const PINNED: &str = "nr_foll_pin_acquired-nr_foll_pin_released";

/// How long the guest may take for a request that needs hardly any time.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why the application could not stream at all.
#[derive(Debug, thiserror::Error)]
pub enum ApplicationError {
    /// The guest failed to execute a request.
    #[error("the guest cannot {what}: {source}")]
    Agent {
        /// The attempted action.
        what: String,
        /// The agent's error.
        source: AgentError,
    },
    /// The program that configures the device failed.
    #[error("`{program}` failed in the guest ({status}): {output}")]
    Setup {
        /// The command line.
        program: String,
        /// How the program ended.
        status: String,
        /// Output of the program.
        output: String,
    },
    /// The frames cannot be stored in the guest's memory, or taken from there.
    #[error("cannot have the frames in the guest's memory: {0}")]
    Store(StoreError),
    /// The file of frames cannot be opened.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl ApplicationError {
    /// Whether the request failed because the guest has ended.
    pub fn is_gone(&self) -> bool {
        matches!(
            self,
            Self::Agent {
                source: AgentError::Closed,
                ..
            } | Self::Store(StoreError::Agent(AgentError::Closed))
        )
    }
}

/// The application's report on the stream, and the guest kernel's counters
/// meanwhile.
#[derive(Debug)]
pub struct StreamReport {
    /// Where the program had the frames.
    pub home: Home,
    /// The frames that the program captured or played.
    pub frames: Vec<ReportedFrame>,
    /// The frames' timestamps in seconds; empty for read().
    pub timestamps: Vec<f64>,
    /// The end of the program's output, if the program failed.
    pub failure: Option<String>,
    /// Number of pinned pages before, during and after the program's run;
    /// `None` if the kernel does not count them.
    pub pins: Option<Watch>,
    /// Results of the kprobe.
    pub probe: GetVaddrFrames,
    /// The kernel's log.
    pub kernel_log: Vec<LogRecord>,
}

/// Streams in the guest of `machine` as `spec` describes, into the file of
/// `disk`, or from it; `spare_mib` is the guest's memory for the frames, if it
/// has any.
///
/// # Errors
///
/// [`ApplicationError`] if the stream could not even be tried.
pub fn run(
    machine: &Machine,
    spec: &CaptureSpec,
    disk: &Disk,
    spare_mib: u32,
    progress: &Progress,
) -> Result<StreamReport, ApplicationError> {
    let agent = machine.agent();
    let home = match spare_mib {
        0 => Home::Disk,
        _ => in_memory(machine, spec, disk.room())?,
    };
    if spec.direction() == Direction::Output && home == Home::Memory {
        let step = progress.step("putting the frames into the guest");
        let limit = time_for(spec);
        let copied = store::put_in(agent, limit);
        copied.map_err(ApplicationError::Store)?;
        step.done();
    }
    prepare(agent, spec, home)?;
    let (answer, dequeued) = stream(agent, spec, home, progress)?;

    let step = progress.step("taking the results out of the guest");
    match (spec.direction(), home) {
        (Direction::Output, _) => {}
        (Direction::Capture, Home::Disk) => ask(agent, "write the frames back", Sync {})?,
        (Direction::Capture, Home::Memory) => {
            match store::take_out(machine, disk.room(), &disk.open()?) {
                // A program that failed early may not have made the file.
                Err(StoreError::Agent(AgentError::Failed { errno, .. }))
                    if errno == Some(libc::ENOENT) => {}
                taken => taken.map_err(ApplicationError::Store)?,
            }
        }
    }
    let probe = kprobe::read(agent).map_err(cannot("read the trace"))?;
    let log = ask(agent, "read its kernel log", Log { since: 0 })?;
    step.done();

    let output = format!("{}{}", answer.stdout, answer.stderr);
    let frames = match spec.memory.is_copied() {
        true => copied(spec, &output),
        false => {
            let buffers = dequeued.iter();
            buffers.map(|buffer| reported(spec, buffer)).collect()
        }
    };
    Ok(StreamReport {
        home,
        frames,
        timestamps: dequeued.iter().map(|buffer| buffer.timestamp).collect(),
        failure: failure(&answer, &output, &log.records),
        pins: answer.watch.get(PINNED).copied(),
        probe,
        kernel_log: log.records,
    })
}

/// Returns whether the file has the frames in their own lengths, of which the
/// application tells; frames that are played have all one length, that of the
/// longest.
fn have_their_own_length(spec: &CaptureSpec) -> bool {
    spec.direction() == Direction::Capture && spec.layout.format.is_compressed()
}

/// Returns the frames that a program copied, by its `output`.
fn copied(spec: &CaptureSpec, output: &str) -> Vec<ReportedFrame> {
    let of_any_length = have_their_own_length(spec);
    let copied = tool::copied(output, of_any_length);
    let frame = ReportedFrame {
        claim: match spec.direction() {
            Direction::Capture => Claim::Likeness,
            Direction::Output => Claim::Next,
        },
        bytes: (!of_any_length).then_some(spec.layout.sizeimage.into()),
        error: false,
    };
    // One frame more than requested is wrong already. The limit keeps the guest's
    // report from deciding how much memory is allocated here.
    vec![frame; copied.min(spec.frames.saturating_add(1)) as usize]
}

/// Returns the frame of a buffer that a program dequeued.
fn reported(spec: &CaptureSpec, buffer: &Dequeued) -> ReportedFrame {
    ReportedFrame {
        claim: Claim::Sequence(buffer.sequence),
        bytes: Some(match spec.direction() {
            Direction::Capture => buffer.bytes,
            // The file has whole frames, whatever length came back.
            Direction::Output => spec.layout.sizeimage.into(),
        }),
        error: buffer.error,
    }
}

/// Returns the guest's memory as the frames' home or, if that does not work on
/// this guest and is not insisted on, the disk.
fn in_memory(machine: &Machine, spec: &CaptureSpec, room: u64) -> Result<Home, ApplicationError> {
    match Home::in_memory(machine, room) {
        Ok(home) => Ok(home),
        Err(error @ StoreError::Agent(AgentError::Closed | AgentError::Interrupted)) => {
            Err(ApplicationError::Store(error))
        }
        Err(error) if spec.store == Store::Auto => {
            log::warn!("a disk takes the frames, which makes the stream slower: {error}");
            Ok(Home::Disk)
        }
        Err(error) => Err(ApplicationError::Store(error)),
    }
}

/// Runs the streaming program to its end, and collects the buffers that it
/// dequeued and wrote.
fn stream(
    agent: &Agent,
    spec: &CaptureSpec,
    home: Home,
    progress: &Progress,
) -> Result<(RunAnswer, Vec<Dequeued>), ApplicationError> {
    let does = match spec.direction() {
        Direction::Capture => "capturing",
        Direction::Output => "playing",
    };
    let step = progress.step(format!("{does} {}", count(spec.frames as usize, "frame")));
    let limit = time_for(spec);
    let run = Run {
        timeout_ms: Some(limit.as_millis() as u64),
        watch: vec![PINNED.to_owned()],
        stream: true,
        ..Run::new(
            Program {
                direction: spec.direction(),
                device: DEVICE,
                memory: spec.memory,
                exporter: EXPORTER,
                layout: &spec.layout,
                frames: spec.frames,
                fps: spec.rate.fps(),
                file: home.path(),
            }
            .command(),
        )
    };
    let failed = |source| cannot("run the program that streams")(source);
    let mut dequeued = Vec::new();
    let deadline = Instant::now() + limit + PATIENCE;
    let pending = agent.start(run).map_err(failed)?;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match pending.next(left).map_err(failed)? {
            Update::Line(line) => {
                // Every buffer that was played had a frame of the file, with an
                // error or without.
                let has_frame =
                    |it: &Dequeued| spec.direction() == Direction::Output || it.is_written();
                dequeued.extend(tool::dequeued(&line.text.text()).filter(has_frame));
                step.position(dequeued.len() as u64, spec.frames.into());
            }
            Update::Done(answer) => {
                step.done();
                return Ok((answer, dequeued));
            }
        }
    }
}

/// Prepares everything before the first buffer is queued.
fn prepare(agent: &Agent, spec: &CaptureSpec, home: Home) -> Result<(), ApplicationError> {
    // The frames go to the disk through the guest's page cache. It may hold all
    // of them, so that the application does not wait for the disk while frames
    // come in.
    let knobs: &[&str] = match (spec.direction(), home) {
        (Direction::Capture, Home::Disk) => &["dirty_ratio", "dirty_background_ratio"],
        _ => &[],
    };
    for knob in knobs {
        let write = Write {
            path: format!("/proc/sys/vm/{knob}"),
            text: "90".into(),
            append: false,
        };
        ask(agent, "set up its page cache", write)?;
    }
    let fps = spec.rate.fps().unwrap_or(Rate::FASTEST);
    let argv = tool::configure(spec.direction(), DEVICE, &spec.layout, Some(fps));
    set_up(agent, argv)?;
    if spec.memory == Memory::Dmabuf {
        // vivid gets one capture device without sound and without other
        // devices.
        let planes = match spec.testbed.planes {
            BufferApi::Single => 1,
            BufferApi::Multi => 2,
        };
        let params = format!("n_devs=1 node_types=0x1 multiplanar={planes}");
        ask(
            agent,
            "load vivid",
            Load {
                module: "vivid".into(),
                params,
            },
        )?;
        // A multi-planar vivid refuses every rate, and does not need one.
        let argv = tool::configure(Direction::Capture, EXPORTER, &spec.layout, None);
        set_up(agent, argv)?;
    }
    kprobe::arm(agent).map_err(cannot("probe get_vaddr_frames()"))
}

/// Runs a program that must succeed.
fn set_up(agent: &Agent, argv: Vec<String>) -> Result<(), ApplicationError> {
    let program = argv.join(" ");
    let answer = ask(agent, &format!("run `{program}`"), Run::new(argv))?;
    if answer.status.success() {
        return Ok(());
    }
    Err(ApplicationError::Setup {
        program,
        status: answer.status.to_string(),
        output: tail(&format!("{}{}", answer.stdout, answer.stderr)),
    })
}

fn ask<C: Call>(agent: &Agent, what: &str, request: C) -> Result<C::Answer, ApplicationError> {
    agent.call(request, PATIENCE).map_err(cannot(what))
}

fn cannot(what: &str) -> impl FnOnce(AgentError) -> ApplicationError {
    let what = what.to_owned();
    move |source| ApplicationError::Agent { what, source }
}

/// Returns the time limit of the stream. It is generous: emulated guests are
/// slow, and so are the machines that test them.
fn time_for(spec: &CaptureSpec) -> Duration {
    let at_rate = f64::from(spec.frames) / f64::from(spec.rate.fps().unwrap_or(30));
    Duration::from_secs(60) + Duration::from_secs_f64(at_rate * 10.0)
}

/// Returns why the program failed: the end of its output, or that the guest's
/// kernel killed it for want of memory, whatever its last call was.
fn failure(answer: &RunAnswer, output: &str, log: &[LogRecord]) -> Option<String> {
    // mm/oom_kill.c; the text begins with the system-wide case's or a cgroup's.
    let mut records = log.iter();
    let killed = records.any(|record| record.text.contains("ut of memory: Killed process"));
    if killed && answer.status == Status::Signal(libc::SIGKILL) {
        return Some(
            "the guest ran out of memory, for which its kernel ended the program that streams: \
             --ram gives it more"
                .to_owned(),
        );
    }
    let said = tail(output);
    if answer.timed_out {
        return Some(format!("the stream took too long and was ended: {said}"));
    }
    (!answer.status.success()).then(|| {
        format!(
            "the program that streams ended with {}: {said}",
            answer.status
        )
    })
}

/// Returns the last two non-empty lines of `output`, joined.
fn tail(output: &str) -> String {
    let mut lines: Vec<_> = output
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .rev()
        .take(2)
        .collect();
    lines.reverse();
    lines.join("; ")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_guest_without_memory_is_named_in_place_of_the_programs_last_call() {
        let answer = |status| RunAnswer {
            status,
            stdout: String::new(),
            stderr: String::new(),
            truncated: false,
            timed_out: false,
            stuck: false,
            elapsed_ms: 1,
            watch: BTreeMap::new(),
        };
        let record = |text: &str| LogRecord {
            sequence: 1,
            level: 3,
            facility: 0,
            time_us: 1,
            text: text.to_owned(),
        };
        let killed = record("Out of memory: Killed process 71 (v4l2-ctl) total-vm:9");
        let last = "VIDIOC_QBUF returned 0 (Success)";
        let said = |status, log: &[LogRecord]| failure(&answer(status), last, log);
        let why = said(Status::Signal(9), std::slice::from_ref(&killed)).unwrap();
        assert!(
            why.contains("out of memory") && why.contains("--ram"),
            "{why}"
        );
        let other = said(Status::Signal(9), &[record("usb 1-1: new device")]).unwrap();
        assert!(other.contains(last), "{other}");
        assert_eq!(said(Status::Exit(0), &[killed]), None);
    }
}
