//! A capture from end to end, or the frames that an application plays: guest,
//! stream, oracles, verdict.
//!
//! | file | what is in it |
//! |---|---|
//! | [`application`] | the programs that run in the guest, and the requests about them |
//! | [`disk`] | the file of frames, and the disk that it is to the guest |
//! | [`folder`] | the output directory |
//! | [`kprobe`] | the trace oracle: a kprobe on `get_vaddr_frames()` |
//! | [`outcome`] | the results of a stream, and the verdict |
//! | [`psnr`] | the similarity of two pictures |
//! | [`render`] | the frames that an application plays |
//! | [`spec`] | the specification of a stream |
//! | [`store`] | where the streaming program writes the frames, or has them |
//! | [`tool`] | the programs that stream inside the guest |
//! | [`witness`] | the data oracle: the application read what the card wrote, or the other way round |

pub mod application;
pub mod disk;
pub mod folder;
pub mod kprobe;
pub mod outcome;
pub mod psnr;
pub mod render;
pub mod spec;
pub mod store;
pub mod tool;
pub mod witness;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use self::application::{ApplicationError, StreamReport};
use self::disk::{Disk, DiskError};
use self::folder::{Folder, FolderError};
use self::outcome::{Done, Outcome};
use self::render::RenderError;
pub use self::spec::CaptureSpec;
use self::store::StoreError;
use self::tool::{Memory, Rate};
use self::witness::{Verdict, WitnessError, WitnessLog, WrittenFrame};
use super::kernel_log;
use super::room::{self, Reserve, RoomError};
use super::testbed::{Finished, Testbed, TestbedError, TestbedSpec};
use crate::agent::cell::PAGE;
use crate::agent::protocol::WATCH_PERIOD_MS;
use crate::card::Direction;
use crate::card::witness::DIGEST_BLOCK;
use crate::source::{Camera, Layout};
use crate::vm::interrupt;
use crate::vm::machine::MachineError;
use crate::vm::progress::Progress;

/// The results of a stream, and its files.
#[derive(Debug)]
pub struct Capture {
    /// The verdict, and the results that it is based on.
    pub outcome: Outcome,
    /// The verdict on every frame, in order.
    pub verdicts: Vec<Verdict>,
    /// The output directory.
    pub folder: Folder,
}

/// Why a stream could not be run. One that ran and failed is an [`Outcome`], not
/// an error.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The output directory cannot be used.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The card or the guest could not be started or stopped.
    #[error(transparent)]
    Testbed(#[from] TestbedError),
    /// The guest failed to execute a request.
    #[error(transparent)]
    Application(#[from] ApplicationError),
    /// The guest ended during the capture.
    #[error("{0}: {1}")]
    Gone(Box<ApplicationError>, MachineError),
    /// The witness is missing or malformed.
    #[error(transparent)]
    Witness(#[from] WitnessError),
    /// The frames could not be read from the disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The frames to be played could not be made.
    #[error(transparent)]
    Render(#[from] RenderError),
    /// The host has no memory for the frames.
    #[error(transparent)]
    Store(StoreError),
    /// The host's disk has no room for the other files.
    #[error(transparent)]
    Room(#[from] RoomError),
    /// Another program has filled the disk meanwhile.
    #[error("the disk is full: the card could not write its witness, {0}, to the end")]
    Full(PathBuf),
}

/// Room in bytes for the kernel log, the report and the contact sheet, with a
/// margin.
const REPORT: u64 = 2 << 20;

/// Returns the approximate upper bound for the witness and the logs that grow
/// with it, in bytes, for that many frames. Each block has a digest, and a segment
/// of its scatter list.
fn witness_bytes(spec: &CaptureSpec, frames: u32) -> u64 {
    const BLOCK_BYTES: u64 = 48;
    const FRAME_BYTES: u64 = 512;
    const LOGS: u64 = 1 << 20;
    let blocks = u64::from(spec.layout.sizeimage).div_ceil(DIGEST_BLOCK as u64);
    LOGS + u64::from(frames) * (FRAME_BYTES + blocks * BLOCK_BYTES)
}

/// Runs one capture; the card is a capture card.
///
/// # Errors
///
/// [`CaptureError`] if it could not be run at all. In any case, everything that
/// was started has ended when this returns.
pub fn run(spec: &CaptureSpec, progress: &Progress) -> Result<Capture, CaptureError> {
    stream(spec, None, progress)
}

/// Has an application play what `camera` shows; the card is an output card.
///
/// # Errors
///
/// As [`run`].
pub fn play(
    spec: &CaptureSpec,
    camera: Camera,
    progress: &Progress,
) -> Result<Capture, CaptureError> {
    stream(spec, Some(camera), progress)
}

/// Runs one stream, of the frames that `camera` shows if there is one.
fn stream(
    spec: &CaptureSpec,
    camera: Option<Camera>,
    progress: &Progress,
) -> Result<Capture, CaptureError> {
    let begun = Instant::now();
    let folder = Folder::claim(&spec.out)?;
    // A program that plays frames has read some more of them when the last one
    // is played, as many as it has buffers. Those are zeros.
    let ahead = match spec.direction() {
        Direction::Capture => 0,
        Direction::Output => tool::ahead(spec.memory, &spec.layout),
    };
    let frames = spec.frames + ahead;
    let disk = Disk::make(&folder, spec.layout.sizeimage, frames)?;
    if let Some(camera) = camera {
        // From here on the file's maker may be told to stop.
        interrupt::watch().map_err(TestbedError::Signals)?;
        let (layout, rate) = (&spec.layout, spec.rate);
        render::render(camera, layout, rate, spec.frames, &disk, progress)?;
    }
    let others = "witness, logs and report";
    let witness_bytes = witness_bytes(spec, frames);
    let reserve = Reserve::make(folder.path(), REPORT + witness_bytes, others)?;
    reserve.shrink(REPORT).map_err(|source| RoomError::Io {
        what: others,
        folder: folder.path().to_owned(),
        source,
    })?;

    let ram = spec.testbed.ram_mib;
    let spare_mib = store::spare_mib(spec.store, disk.room(), ram).map_err(CaptureError::Store)?;

    let mut testbed = Testbed::start(
        &TestbedSpec {
            spare_mib,
            console_log: Some(folder.console()),
            card_log: Some(folder.card_log()),
            witness: Some(folder.witness()),
            free_running: spec.rate == Rate::Max,
            disks: vec![folder.frames()],
            ..spec.testbed.clone()
        },
        progress,
    )?;
    let report = match application::run(&testbed.machine, spec, &disk, spare_mib, progress) {
        Err(error) if error.is_gone() => {
            let why = testbed.machine.why_ended();
            return Err(CaptureError::Gone(Box::new(error), why));
        }
        report => report?,
    };
    let testbed = testbed.finish()?;

    let witness = WitnessLog::read(&folder.witness());
    let is_whole = |witness: &WitnessLog| witness.is_whole(report.frames.len());
    if !witness.as_ref().is_ok_and(is_whole) && room::is_full(folder.path()) {
        return Err(CaptureError::Full(folder.witness()));
    }
    let witness = witness?;
    drop(reserve);
    folder.write_kernel_log(&report.kernel_log)?;
    let verdicts = disk.judge(&report.frames, &witness, progress)?;
    let outcome = conclude(spec, &testbed, report, &witness, &verdicts, begun.elapsed());
    Ok(Capture {
        outcome,
        verdicts,
        folder,
    })
}

/// Returns whether a stream with frames at these times, in seconds, lasted so long
/// that the pins were surely counted while it ran.
fn lasts(times: &[f64]) -> bool {
    const COUNTS: u64 = 10;
    let least = Duration::from_millis(COUNTS * WATCH_PERIOD_MS).as_secs_f64();
    matches!(times, [first, .., last] if last - first >= least)
}

/// Returns how many pages have to be pinned at a time: those of all buffers, which
/// the application queues before it starts the stream. A driver that is not
/// Pinhole's may unpin a buffer when it is full; half of them are then at the card
/// at some time, as it fills one after the other.
fn pages_due(spec: &CaptureSpec) -> u64 {
    if spec.memory != Memory::Userptr {
        return 0;
    }
    let planes = spec.layout.memory_planes();
    let pages = planes.map(|plane| u64::from(plane.sizeimage).div_ceil(PAGE as u64));
    let all = pages.sum::<u64>() * u64::from(tool::buffers(&spec.layout));
    match spec.testbed.driver {
        None => all,
        Some(_) => all / 2,
    }
}

/// Collects the results into an outcome, and judges it.
fn conclude(
    spec: &CaptureSpec,
    testbed: &Finished,
    report: StreamReport,
    witness: &WitnessLog,
    verdicts: &[Verdict],
    total: Duration,
) -> Outcome {
    let Layout {
        format,
        width,
        height,
        ..
    } = spec.layout;
    let written = witness.frames();
    let card_times = || {
        verdicts
            .iter()
            .filter_map(|verdict| Some(written.get(&verdict.sequence?)?.time_ns as f64 / 1e9))
    };
    let times = if report.timestamps.is_empty() {
        card_times().collect()
    } else {
        report.timestamps
    };
    let due = match &report.pins {
        Some(_) if lasts(&times) => pages_due(spec),
        _ => 0,
    };
    let verified = verdicts.iter().filter(|verdict| verdict.verified).count() as u32;
    let count = verdicts.len() as u32;
    let first_frame = witness
        .first_frame()
        .and_then(|at| at.duration_since(testbed.started).ok());
    let last = verdicts.iter().filter_map(|verdict| verdict.sequence).max();
    let mut outcome = Outcome {
        pinhole: outcome::Pinhole {
            version: env!("CARGO_PKG_VERSION"),
        },
        kernel: outcome::Kernel {
            id: testbed.guest.id.clone(),
            release: testbed.release.clone(),
        },
        driver: spec
            .testbed
            .driver
            .as_ref()
            .and_then(|_| testbed.names.first().cloned()),
        qemu: outcome::Qemu {
            version: testbed.qemu.version.clone(),
            device: testbed.qemu.device.to_owned(),
            virtio_id: testbed.qemu.virtio_id,
            accelerator: testbed.accelerator.to_string(),
        },
        stream: outcome::Stream {
            memory: spec.memory,
            format: format.name().to_owned(),
            width,
            height,
            fps_requested: spec.rate.fps(),
            fps_measured: tool::rate(&times),
            failure: report.failure,
            store: report.home,
        },
        frames: outcome::Frames {
            requested: spec.frames,
            done: match spec.direction() {
                Direction::Capture => Done::Captured(count),
                Direction::Output => Done::Played(count),
            },
            verified,
            mismatched: count - verified,
            dropped: last.map_or(0, |last| last.saturating_add(1).saturating_sub(count)),
        },
        dma: outcome::Dma {
            bytes: written.values().map(|frame| frame.bytes() as u64).sum(),
            segments_max: written
                .values()
                .map(WrittenFrame::segments)
                .max()
                .unwrap_or(0),
            pinned_pages_max: report.pins.map_or(0, |pins| pins.max),
            pinned_pages_due: due,
        },
        pins: report
            .pins
            .map_or(outcome::Pins::default(), |pins| outcome::Pins {
                before: pins.first,
                after: pins.last,
            }),
        kernel_log: outcome::KernelLog {
            warnings: kernel_log::warnings(&report.kernel_log, &testbed.names),
            out_of_memory: kernel_log::out_of_memory(&report.kernel_log, testbed.memory_mib),
        },
        trace: outcome::Trace {
            get_vaddr_frames: report.probe,
        },
        timing: outcome::Timing {
            boot_ms: testbed.boot.as_millis() as u64,
            first_frame_ms: first_frame.map(|at| at.as_millis() as u64),
            total_ms: total.as_millis() as u64,
        },
        verdict: outcome::Judgement::Failed,
        reasons: Vec::new(),
        mismatches: verdicts
            .iter()
            .filter(|verdict| !verdict.verified)
            .cloned()
            .collect(),
    };
    outcome.judge();
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rig::testbed::driver::{DriverModule, OtherDriver};
    use crate::source::PixelFormat;

    #[test]
    fn all_buffers_are_due_to_be_pinned_or_half_of_them() {
        let mut spec = CaptureSpec {
            testbed: TestbedSpec::default(),
            layout: Layout::new(PixelFormat::Yuyv, 1280, 720),
            frames: 60,
            rate: Rate::Fps(60),
            memory: Memory::Userptr,
            store: store::Store::Auto,
            out: PathBuf::new(),
        };
        assert_eq!(pages_due(&spec), 32 * 450);
        let module = DriverModule::File("their.ko".into());
        spec.testbed.driver = Some(OtherDriver::new(module, ""));
        assert_eq!(pages_due(&spec), 16 * 450);
        spec.memory = Memory::Mmap;
        assert_eq!(pages_due(&spec), 0);
    }

    #[test]
    fn a_short_stream_is_not_long_enough_to_count_pins() {
        assert!(!lasts(&[]) && !lasts(&[1.0]) && !lasts(&[1.0, 1.1, 1.19]));
        assert!(lasts(&[1.0, 1.1, 1.21]));
    }
}
