//! A guest with the card, to try things in.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use pinhole::agent::protocol::{Kill, Log, Run, RunAnswer};
use pinhole::card::witness::Record;
use pinhole::rig::capture::outcome::{Judgement, Outcome};
use pinhole::rig::capture::store::Store;
use pinhole::rig::capture::tool::{Memory, Rate};
use pinhole::rig::capture::witness::WitnessLog;
use pinhole::rig::capture::{self, CaptureSpec};
use pinhole::rig::kernel_log;
use pinhole::rig::testbed::{Testbed, TestbedSpec};
use pinhole::source::{Layout, PixelFormat};
use pinhole::vm::channel::Pending;
use pinhole::vm::machine::Machine;
use pinhole::vm::progress::Progress;

use crate::program::{self, BRIEF};

/// Longer than anything here takes on a slow machine, on a kernel that checks itself and
/// beside another such.
pub const LIMIT: Duration = Duration::from_secs(300);

/// Kernel parameters that show a use after free: freed memory is poisoned, and
/// checked when it is used again.
pub const PARANOID: &str = "slub_debug=FZP page_poison=1";

/// Builds a program of `tests/vm` that runs in any guest.
pub fn compile(name: &str, folder: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/vm/{name}.c"));
    let path = folder.join(name);
    let mut command = Command::new("cc");
    command
        .args(["-static", "-O1", "-Wall", "-Werror", "-o"])
        .arg(&path)
        .arg(source);
    let built = program::output(&mut command, BRIEF);
    assert!(built.status.success(), "{built:?}");
    path
}

/// Captures 1280x720 YUYV into MMAP buffers, and has every byte verified.
pub fn capture_mapped(testbed: TestbedSpec, frames: u32) -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    let spec = CaptureSpec {
        testbed,
        layout: Layout::new(PixelFormat::Yuyv, 1280, 720),
        frames,
        rate: Rate::Fps(30),
        memory: Memory::Mmap,
        store: Store::Auto,
        out: folder.path().to_owned(),
    };
    let outcome = capture::run(&spec, &Progress::silent()).unwrap().outcome;
    assert_eq!(outcome.verdict, Judgement::Verified, "{outcome:#?}");
    outcome
}

/// A running guest, and what its card testifies.
pub struct TestGuest {
    pub testbed: Testbed,
    folder: tempfile::TempDir,
}

/// Runs a command line in a guest's shell. A guest that is gone is known by the end
/// of its console.
pub fn shell(machine: &Machine, line: &str) -> RunAnswer {
    let run = Run {
        timeout_ms: Some(LIMIT.as_millis() as u64),
        ..Run::new(["sh", "-c", line])
    };
    let answer = machine.agent().call(run, 2 * LIMIT);
    answer.unwrap_or_else(|error| {
        let console = machine.console().tail(60).join("\n");
        panic!("{line}: {error}; the console's end:\n{console}")
    })
}

impl TestGuest {
    /// Boots a guest whose kernel command line ends in `append`.
    pub fn boot(append: &str) -> Self {
        Self::start(TestbedSpec {
            append: append.into(),
            ..TestbedSpec::default()
        })
    }

    /// Boots a guest as `spec` says, but for where the card leaves what it has
    /// to say.
    pub fn start(spec: TestbedSpec) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let spec = TestbedSpec {
            witness: Some(folder.path().join("witness")),
            card_log: Some(folder.path().join("card.log")),
            ..spec
        };
        let testbed = Testbed::start(&spec, &Progress::silent()).unwrap();
        Self { testbed, folder }
    }

    /// Runs a command line in the guest's shell.
    pub fn run(&self, line: &str) -> RunAnswer {
        shell(&self.testbed.machine, line)
    }

    /// Runs a command line that must succeed; returns all it printed.
    pub fn must(&self, line: &str) -> String {
        let answer = self.run(line);
        let said = format!("{}{}", answer.stdout, answer.stderr);
        assert!(answer.status.success(), "{line}: {}\n{said}", answer.status);
        said
    }

    /// Starts a stream without an end, and waits until frames come.
    pub fn stream(&self) -> Pending<Run> {
        let already = self.frames();
        let argv = [
            "v4l2-ctl",
            "--device",
            "/dev/video0",
            "--stream-user=4",
            "--verbose",
        ];
        let stream = self.testbed.machine.agent().start(Run::new(argv)).unwrap();
        self.wait_for_frames(already + 10);
        stream
    }

    /// Ends a stream, as Ctrl-C does.
    pub fn interrupt(&self, stream: Pending<Run>) -> RunAnswer {
        let kill = Kill {
            target: stream.id(),
            signal: 2,
        };
        self.testbed.machine.agent().call(kill, LIMIT).unwrap();
        stream.wait(LIMIT).unwrap()
    }

    /// Waits until the card has written that many frames since its start.
    pub fn wait_for_frames(&self, count: usize) {
        let begun = Instant::now();
        while self.frames() < count {
            assert!(
                begun.elapsed() < LIMIT,
                "no frame comes: {}",
                self.card_log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What the card has written in its last stream.
    pub fn witness_log(&self) -> WitnessLog {
        WitnessLog::read(&self.folder.path().join("witness")).unwrap()
    }

    /// All that the card's witness has said so far.
    pub fn records(&self) -> Vec<Record> {
        let witness = std::fs::read_to_string(self.folder.path().join("witness")).unwrap();
        // The last line may not be whole yet.
        let whole = witness.rfind('\n').map_or("", |end| &witness[..end]);
        let records = whole.lines().map(serde_json::from_str);
        records.collect::<Result<_, _>>().unwrap()
    }

    /// Frames that the card has written since its start.
    pub fn frames(&self) -> usize {
        let witness =
            std::fs::read_to_string(self.folder.path().join("witness")).unwrap_or_default();
        witness
            .lines()
            .filter(|line| line.starts_with(r#"{"event":"frame""#))
            .count()
    }

    /// Captures a few frames and lets the card's witness count them: the
    /// device works.
    pub fn still_works(&self) {
        self.must(
            "v4l2-ctl --device /dev/video0 --stream-user=4 --stream-count=10 --stream-to=/dev/null",
        );
    }

    /// Nothing in the guest's kernel is broken.
    pub fn no_splats(&self) {
        let log = self
            .testbed
            .machine
            .agent()
            .call(Log { since: 0 }, LIMIT)
            .unwrap();
        let splats = kernel_log::splats(&log.records);
        let all: Vec<_> = log.records.iter().map(kernel_log::line).collect();
        assert!(splats.is_empty(), "{splats:#?}\n{}", all.join("\n"));
    }

    fn card_log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("card.log")).unwrap_or_default()
    }
}
