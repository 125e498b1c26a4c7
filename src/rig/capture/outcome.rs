//! The outcome of a stream: the object that `pinhole capture --json` and `pinhole
//! play --json` print.
//!
//! Field names are stable for scripts: fields are added, never renamed.

use serde::Serialize;

use super::kprobe::GetVaddrFrames;
use super::store::Home;
use super::tool::Memory;
use super::witness::Verdict;

/// A stream's results, and the judgement on them.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// The program that ran the stream.
    pub pinhole: Pinhole,
    /// The guest's kernel.
    pub kernel: Kernel,
    /// Name of the driver, if it is not Pinhole's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// The QEMU that ran the guest.
    pub qemu: Qemu,
    /// The requested stream, and its measured rate.
    pub stream: Stream,
    /// Numbers of frames, by judgement.
    pub frames: Frames,
    /// The card's DMA.
    pub dma: Dma,
    /// Results of the pin oracle.
    pub pins: Pins,
    /// Results of the kernel log oracle.
    pub kernel_log: KernelLog,
    /// Results of the trace oracle.
    pub trace: Trace,
    /// Durations of the command's parts.
    pub timing: Timing,
    /// The judgement.
    pub verdict: Judgement,
    /// The reasons for a failed verdict, one sentence each.
    pub reasons: Vec<String>,
    /// The frames that were not verified.
    pub mismatches: Vec<Verdict>,
}

/// See [`Outcome::pinhole`].
#[derive(Debug, Clone, Serialize)]
pub struct Pinhole {
    /// Version of this program.
    pub version: &'static str,
}

/// See [`Outcome::kernel`].
#[derive(Debug, Clone, Serialize)]
pub struct Kernel {
    /// Id of the guest.
    pub id: String,
    /// Release, as `uname -r` prints it.
    pub release: String,
}

/// See [`Outcome::qemu`].
#[derive(Debug, Clone, Serialize)]
pub struct Qemu {
    /// QEMU's version, as QEMU prints it.
    pub version: String,
    /// QEMU's name of the device that carries the card.
    pub device: String,
    /// The virtio device id that the guest saw.
    pub virtio_id: u32,
    /// `kvm` or `tcg`.
    pub accelerator: String,
}

/// See [`Outcome::stream`].
#[derive(Debug, Clone, Serialize)]
pub struct Stream {
    /// How the application provided its memory.
    pub memory: Memory,
    /// Pixel format as its four characters.
    pub format: String,
    /// Pixels per line.
    pub width: u32,
    /// Lines per frame.
    pub height: u32,
    /// Requested frames per second; `None` for the rate `max`.
    pub fps_requested: Option<u32>,
    /// Measured frames per second, by the timestamps that the application got
    /// or, if it gets none (read() and write()), by the card's clock.
    pub fps_measured: Option<f64>,
    /// Error output of the streaming program, if it failed.
    pub failure: Option<String>,
    /// Where the application had the frames.
    pub store: Home,
}

/// See [`Outcome::frames`].
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Frames {
    /// Number of frames requested.
    pub requested: u32,
    /// Number of frames that the application has streamed.
    #[serde(flatten)]
    pub done: Done,
    /// Number of frames that equal what the card wrote or read, in every byte.
    pub verified: u32,
    /// Number of streamed frames that differ from what the card wrote or read.
    pub mismatched: u32,
    /// Number of sequence numbers missing up to the last frame: frames that were
    /// due while the card held no buffer, or that it was too slow to make.
    pub dropped: u32,
}

/// A number of frames that an application has streamed, in the direction of the
/// stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Done {
    /// Frames that it read, and the card wrote.
    Captured(u32),
    /// Frames that it wrote, and the card read.
    Played(u32),
}

impl Default for Done {
    fn default() -> Self {
        Self::Captured(0)
    }
}

impl Done {
    /// Returns the number.
    pub fn count(self) -> u32 {
        match self {
            Self::Captured(count) | Self::Played(count) => count,
        }
    }

    /// Returns what has been done to the frames.
    pub fn verb(self) -> &'static str {
        match self {
            Self::Captured(_) => "captured",
            Self::Played(_) => "played",
        }
    }

    /// Returns what the card did to the frames.
    pub fn verb_of_card(self) -> &'static str {
        match self {
            Self::Captured(_) => "wrote",
            Self::Played(_) => "read",
        }
    }
}

/// See [`Outcome::dma`].
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Dma {
    /// Bytes that the card wrote or read during the whole stream.
    pub bytes: u64,
    /// Number of segments in the longest scatter list.
    pub segments_max: usize,
    /// Largest number of pages that were pinned at a time while the stream ran
    /// (`nr_foll_pin_acquired` - `nr_foll_pin_released` of /proc/vmstat).
    pub pinned_pages_max: u64,
    /// Number of pages that must have been pinned at a time; 0 if that is not
    /// judged.
    pub pinned_pages_due: u64,
}

/// See [`Outcome::pins`].
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Pins {
    /// Number of pinned pages before the stream.
    pub before: u64,
    /// Number of pinned pages after the stream; if it differs, pins leaked.
    pub after: u64,
}

/// See [`Outcome::kernel_log`].
#[derive(Debug, Clone, Default, Serialize)]
pub struct KernelLog {
    /// Lines of the guest's kernel log that a kernel developer would not
    /// accept.
    pub warnings: Vec<String>,
    /// A message, if the kernel killed a process because it had no free memory.
    pub out_of_memory: Option<String>,
}

/// See [`Outcome::trace`].
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Trace {
    /// Results of the kprobe.
    pub get_vaddr_frames: GetVaddrFrames,
}

/// See [`Outcome::timing`]. All times are in milliseconds, by the host's clock.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Timing {
    /// From the start of QEMU until the guest's init introduced itself.
    pub boot_ms: u64,
    /// From the start of QEMU until the card had the first frame behind it.
    pub first_frame_ms: Option<u64>,
    /// From the start of the command until the verdict.
    pub total_ms: u64,
}

/// See [`Outcome::verdict`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Judgement {
    /// All frames are streamed and verified, and no oracle objects.
    Verified,
    /// Any other result.
    Failed,
}

impl Outcome {
    /// Sets the verdict from the oracles' results, and notes the reasons.
    pub fn judge(&mut self) {
        self.reasons.clear();
        let Frames {
            requested,
            done,
            mismatched,
            ..
        } = self.frames;
        let (count, verb) = (done.count(), done.verb());
        let mut object = |is_wrong: bool, reason: String| {
            if is_wrong {
                self.reasons.push(reason);
            }
        };
        // First, since the others follow from it.
        if let Some(why) = &self.kernel_log.out_of_memory {
            object(true, why.clone());
        }
        if let Some(failure) = &self.stream.failure {
            object(true, failure.clone());
        }
        object(
            count < requested,
            format!("{count} of {requested} frames were {verb}"),
        );
        object(
            count > requested,
            format!("{count} frames were {verb} where {requested} were asked for"),
        );
        object(
            mismatched > 0,
            format!(
                "{mismatched} of {count} frames are not what the card {}",
                done.verb_of_card()
            ),
        );
        let Dma {
            pinned_pages_max: most,
            pinned_pages_due: due,
            ..
        } = self.dma;
        object(
            count > 0 && most < due,
            format!(
                "no more than {most} pages were pinned at a time, {due} were due: pages that the \
                 card {} were not pinned",
                done.verb_of_card()
            ),
        );
        object(
            self.pins.after != self.pins.before,
            format!(
                "{} pages were pinned before the stream and {} after it",
                self.pins.before, self.pins.after
            ),
        );
        let warnings = self.kernel_log.warnings.len();
        object(
            warnings > 0,
            format!(
                "the kernel log has {warnings} warning{}",
                if warnings == 1 { "" } else { "s" }
            ),
        );
        let GetVaddrFrames { calls, short, .. } = self.trace.get_vaddr_frames;
        if self.stream.memory == Memory::Userptr {
            // Another driver may pin by another function.
            let unused = calls == 0 && self.driver.is_none();
            object(unused, "get_vaddr_frames() was never called".into());
            object(
                short > 0,
                format!("get_vaddr_frames() came back short {short} of {calls} times"),
            );
        }
        self.verdict = if self.reasons.is_empty() {
            Judgement::Verified
        } else {
            Judgement::Failed
        };
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Returns a capture of `frames` frames without any failure.
    pub(crate) fn clean(frames: u32) -> Outcome {
        Outcome {
            pinhole: Pinhole { version: "0" },
            kernel: Kernel {
                id: "trixie".into(),
                release: "6.12".into(),
            },
            driver: None,
            qemu: Qemu {
                version: "11".into(),
                device: "d".into(),
                virtio_id: 30,
                accelerator: "tcg".into(),
            },
            stream: Stream {
                memory: Memory::Userptr,
                format: "YUYV".into(),
                width: 1280,
                height: 720,
                fps_requested: Some(60),
                fps_measured: Some(59.94),
                failure: None,
                store: Home::Memory,
            },
            frames: Frames {
                requested: frames,
                done: Done::Captured(frames),
                verified: frames,
                mismatched: 0,
                dropped: 0,
            },
            dma: Dma {
                bytes: 1,
                segments_max: 450,
                pinned_pages_max: 1800,
                pinned_pages_due: 1800,
            },
            pins: Pins::default(),
            kernel_log: KernelLog::default(),
            trace: Trace {
                get_vaddr_frames: GetVaddrFrames {
                    calls: 4,
                    pages: 1800,
                    short: 0,
                },
            },
            timing: Timing::default(),
            verdict: Judgement::Failed,
            reasons: Vec::new(),
            mismatches: Vec::new(),
        }
    }

    #[test]
    fn nothing_wrong_is_verified() {
        let mut outcome = clean(60);
        outcome.judge();
        assert_eq!(
            (outcome.verdict, outcome.reasons.len()),
            (Judgement::Verified, 0)
        );
    }

    #[test]
    fn each_oracle_alone_fails_the_run() {
        let wrongs: [fn(&mut Outcome); 11] = [
            |outcome| outcome.kernel_log.out_of_memory = Some("too little".into()),
            |outcome| outcome.stream.failure = Some("it ended with signal 9".into()),
            |outcome| outcome.frames.done = Done::Captured(59),
            |outcome| outcome.frames.done = Done::Captured(61),
            |outcome| outcome.frames.mismatched = 1,
            |outcome| outcome.pins.after = 1,
            |outcome| outcome.dma.pinned_pages_max = 442,
            |outcome| outcome.kernel_log.warnings.push("WARNING: x".into()),
            |outcome| outcome.trace.get_vaddr_frames.calls = 0,
            |outcome| outcome.trace.get_vaddr_frames.short = 1,
            |outcome| {
                outcome.frames.done = Done::Captured(0);
                outcome.frames.requested = 60;
            },
        ];
        for (number, wrong) in wrongs.into_iter().enumerate() {
            let mut outcome = clean(60);
            wrong(&mut outcome);
            outcome.judge();
            assert_eq!(outcome.verdict, Judgement::Failed, "wrong {number}");
            assert_eq!(outcome.reasons.len(), 1, "{:?}", outcome.reasons);
        }
    }

    #[test]
    fn what_was_played_is_said_to_be_played() {
        let mut outcome = clean(60);
        outcome.frames.done = Done::Played(59);
        outcome.frames.mismatched = 1;
        outcome.judge();
        let said = [
            "59 of 60 frames were played",
            "1 of 59 frames are not what the card read",
        ];
        assert_eq!(outcome.reasons, said);
        let json = serde_json::to_value(outcome).unwrap();
        assert_eq!(json.pointer("/frames/played"), Some(&59.into()));
        assert_eq!(json.pointer("/frames/captured"), None);
    }

    #[test]
    fn too_little_memory_is_the_first_reason() {
        let mut outcome = clean(60);
        outcome.stream.failure = Some("it ended with signal 9".into());
        outcome.kernel_log.out_of_memory = Some("too little".into());
        outcome.judge();
        assert_eq!(outcome.reasons, ["too little", "it ended with signal 9"]);
    }

    #[test]
    fn another_driver_need_not_pin_by_get_vaddr_frames() {
        let mut outcome = clean(60);
        outcome.driver = Some("their_driver".into());
        outcome.trace.get_vaddr_frames = GetVaddrFrames::default();
        outcome.judge();
        assert_eq!(outcome.verdict, Judgement::Verified);
    }

    #[test]
    fn only_user_pointers_need_get_vaddr_frames() {
        let mut outcome = clean(60);
        outcome.stream.memory = Memory::Mmap;
        outcome.trace.get_vaddr_frames = GetVaddrFrames::default();
        outcome.judge();
        assert_eq!(outcome.verdict, Judgement::Verified);
    }

    #[test]
    fn the_object_has_what_scripts_rely_on() {
        let json = serde_json::to_value(clean(1)).unwrap();
        for path in [
            "/kernel/release",
            "/qemu/version",
            "/qemu/device",
            "/qemu/virtio_id",
            "/qemu/accelerator",
            "/stream/memory",
            "/stream/format",
            "/stream/width",
            "/stream/height",
            "/stream/fps_measured",
            "/stream/store",
            "/frames/requested",
            "/frames/captured",
            "/frames/verified",
            "/frames/mismatched",
            "/frames/dropped",
            "/dma/bytes",
            "/dma/segments_max",
            "/dma/pinned_pages_max",
            "/dma/pinned_pages_due",
            "/kernel_log/warnings",
            "/trace/get_vaddr_frames/calls",
            "/trace/get_vaddr_frames/pages",
            "/timing/boot_ms",
            "/timing/first_frame_ms",
            "/timing/total_ms",
            "/verdict",
        ] {
            assert!(json.pointer(path).is_some(), "{path}");
        }
    }
}
