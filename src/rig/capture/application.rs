//! The application's side of a capture: what is run in the guest, and what the
//! guest is asked about it.

use std::time::{Duration, Instant};

use super::kprobe::{self, GetVaddrFrames};
use super::spec::CaptureSpec;
use super::tool::{self, Dequeued, Memory, Rate};
use super::witness::ReportedFrame;
use crate::agent::protocol::{Call, Load, Log, LogRecord, Run, RunAnswer, Sync, Watch, Write};
use crate::card::BufferApi;
use crate::vm::channel::{Agent, AgentError, Update};
use crate::vm::progress::Progress;

/// The capture device; our driver is loaded before any other.
const DEVICE: &str = "/dev/video0";
/// vivid's capture device, where buffers are imported from it.
const EXPORTER: &str = "/dev/video1";
/// The disk that takes the frames out of the guest.
const DISK: &str = "/dev/vda";
/// Pages that are pinned (FOLL_PIN), as a difference of counters of
/// /proc/vmstat.
const PINNED: &str = "nr_foll_pin_acquired-nr_foll_pin_released";

/// How long the guest may take for what takes no time to speak of.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why the application could not stream at all.
#[derive(Debug, thiserror::Error)]
pub enum ApplicationError {
    /// The guest did not do as it was told.
    #[error("the guest cannot {what}: {source}")]
    Agent {
        /// What it was to do.
        what: String,
        /// Why not.
        source: AgentError,
    },
    /// The program that sets the device up failed.
    #[error("`{program}` failed in the guest ({status}): {output}")]
    Setup {
        /// The command line.
        program: String,
        /// How it ended.
        status: String,
        /// What it printed.
        output: String,
    },
}

/// What the application saw, and what the guest's kernel counted meanwhile.
#[derive(Debug)]
pub struct StreamReport {
    /// Each frame that was written out.
    pub frames: Vec<ReportedFrame>,
    /// The frames' timestamps in seconds; nothing for read().
    pub timestamps: Vec<f64>,
    /// The end of what the program printed, if it failed.
    pub failure: Option<String>,
    /// Pinned pages before, while, and after the program ran; nothing from a
    /// kernel that does not count them.
    pub pins: Option<Watch>,
    /// What the kprobe saw.
    pub probe: GetVaddrFrames,
    /// The kernel's log.
    pub kernel_log: Vec<LogRecord>,
}

/// Streams in the guest behind `agent` as `spec` says.
///
/// # Errors
///
/// [`ApplicationError`] where the stream could not even be tried.
pub fn run(
    agent: &Agent,
    spec: &CaptureSpec,
    progress: &Progress,
) -> Result<StreamReport, ApplicationError> {
    prepare(agent, spec)?;
    let (answer, dequeued) = stream(agent, spec, progress)?;

    let step = progress.step("taking the frames out of the guest");
    ask(agent, "write the frames back", Sync {})?;
    let probe = kprobe::read(agent).map_err(cannot("read the trace"))?;
    let log = ask(agent, "read its kernel log", Log { since: 0 })?;
    step.done();

    let output = format!("{}{}", answer.stdout, answer.stderr);
    let frames = match spec.memory {
        // One more than were asked for is wrong already; what the guest says
        // must not decide how much memory is taken here.
        Memory::Read => {
            let layout = &spec.layout;
            let copied = tool::copied(&output, layout.format.is_compressed());
            let frame = ReportedFrame {
                sequence: None,
                bytes: (!layout.format.is_compressed()).then_some(layout.sizeimage.into()),
            };
            vec![frame; copied.min(spec.frames.saturating_add(1)) as usize]
        }
        _ => dequeued
            .iter()
            .map(|buffer| ReportedFrame {
                sequence: Some(buffer.sequence),
                bytes: Some(buffer.bytes),
            })
            .collect(),
    };
    Ok(StreamReport {
        frames,
        timestamps: dequeued.iter().map(|buffer| buffer.timestamp).collect(),
        failure: failure(&answer, &output),
        pins: answer.watch.get(PINNED).copied(),
        probe,
        kernel_log: log.records,
    })
}

/// Runs the program that streams, to its end, and collects the buffers that it
/// dequeued and wrote out.
fn stream(
    agent: &Agent,
    spec: &CaptureSpec,
    progress: &Progress,
) -> Result<(RunAnswer, Vec<Dequeued>), ApplicationError> {
    let step = progress.step(format!("capturing {} frames", spec.frames));
    let limit = time_for(spec);
    let run = Run {
        timeout_ms: Some(limit.as_millis() as u64),
        watch: vec![PINNED.to_owned()],
        stream: true,
        ..Run::new(tool::stream(
            DEVICE,
            spec.memory,
            EXPORTER,
            &spec.layout,
            spec.frames,
            DISK,
        ))
    };
    let failed = |source| cannot("run the program that streams")(source);
    let mut dequeued = Vec::new();
    let deadline = Instant::now() + limit + PATIENCE;
    let pending = agent.start(run).map_err(failed)?;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match pending.next(left).map_err(failed)? {
            Update::Line(line) => {
                let buffer = tool::dequeued(&line.text.text()).filter(Dequeued::is_written);
                dequeued.extend(buffer);
                step.position(dequeued.len() as u64, spec.frames.into());
            }
            Update::Done(answer) => {
                step.done();
                return Ok((answer, dequeued));
            }
        }
    }
}

/// Everything before the first buffer is queued.
fn prepare(agent: &Agent, spec: &CaptureSpec) -> Result<(), ApplicationError> {
    // The frames leave through the page cache: let it hold them, rather than
    // make the application wait for the disk while frames come in.
    for knob in ["dirty_ratio", "dirty_background_ratio"] {
        let write = Write {
            path: format!("/proc/sys/vm/{knob}"),
            text: "90".into(),
            append: false,
        };
        ask(agent, "set up its page cache", write)?;
    }
    let fps = spec.rate.fps().unwrap_or(Rate::FASTEST);
    set_up(agent, tool::configure(DEVICE, &spec.layout, Some(fps)))?;
    if spec.memory == Memory::Dmabuf {
        // One capture device without sound or others to tell apart.
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
        // A multi-planar vivid refuses every rate, and needs none.
        set_up(agent, tool::configure(EXPORTER, &spec.layout, None))?;
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

/// Time that the stream may take before something is wrong: emulated guests
/// are slow, and so are the machines that test them.
fn time_for(spec: &CaptureSpec) -> Duration {
    let at_rate = f64::from(spec.frames) / f64::from(spec.rate.fps().unwrap_or(30));
    Duration::from_secs(60) + Duration::from_secs_f64(at_rate * 10.0)
}

/// The end of the output of a program that failed, or was killed because its
/// time was up.
fn failure(answer: &RunAnswer, output: &str) -> Option<String> {
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

/// The last two lines of `output` that say anything, as one.
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
