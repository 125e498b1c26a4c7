//! v4l2-compliance, the V4L2 project's own test of drivers, and its results.
//!
//! The rig uses the one of the clients' image, so that the same version judges
//! every kernel.

mod kept;
mod peer;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::testbed::clients;
use super::testbed::{Testbed, TestbedError, TestbedSpec};
use crate::agent::protocol::Run;
use crate::card::{BufferApi, CardKind};
use crate::vm::accelerator::Accelerator;
use crate::vm::channel::{Agent, AgentError, Update};
use crate::vm::images::Catalog;
use crate::vm::progress::Progress;

pub use kept::{KeptError, keep, kept};
pub use peer::{Peer, PeerJudgement};

/// The card's device.
const CARD: &str = "/dev/video0";

/// The options that select what is streamed (v4l2-compliance(1)): all formats at
/// their smallest and largest sizes and rates, on all inputs; of a mem-to-mem device
/// all pairs of formats.
const OPTIONS: [&str; 3] = ["--streaming", "--stream-all-formats", "--stream-all-io"];

/// The guest's memory in MiB: vivid's largest frames do not fit in the usual
/// 1024.
const RAM_MIB: u32 = 2048;

/// The memory in MiB of a guest whose kernel checks itself: KASAN's shadow, and the
/// freed memory that it keeps back, come on top.
const CHECKED_RAM_MIB: u32 = 4096;

/// How long it may print nothing. It prints some hundred tests at once, of which
/// each takes seconds under TCG, and longer on a kernel that checks itself.
const SILENCE: Duration = Duration::from_secs(30 * 60);

/// How long a run may take in all.
const LIMIT: Duration = Duration::from_secs(6 * 60 * 60);

/// How long the guest may take to load a module.
const PATIENCE: Duration = Duration::from_secs(60);

/// Highest rate in frames per second that the card has during the test in an
/// emulated guest. v4l2-compliance streams at the highest rate of a device, and
/// warns about every missing frame. Of a mem-to-mem device it counts the frames that
/// were read, and looks whether it has had enough of them when it takes one that was
/// written: where another pair of frames is finished between the two, it counts past
/// the end, and never ends (captureBufs() of v4l-utils 1.30).
pub const MAX_FPS: u32 = 30;

/// The size that a mem-to-mem card has during the test in an emulated guest, and any
/// card in one whose kernel checks itself: some 300 pairs of formats at 3840x2160, or
/// all formats under KASAN, would take hours. It is one, since v4l2-compliance has a
/// device with several do without selections (testBasicSelection()).
pub const SIZE: &str = "160x120";

/// The results of v4l2-compliance for a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judgement {
    /// Version of v4l2-compliance.
    pub version: String,
    /// Number of tests.
    pub total: u32,
    /// Number of tests that succeeded.
    pub succeeded: u32,
    /// Number of tests that failed.
    pub failed: u32,
    /// Number of warnings.
    pub warnings: u32,
    /// The lines that report failures and warnings.
    pub complaints: Vec<String>,
}

impl Judgement {
    /// Returns whether there are neither failures nor warnings.
    pub fn is_clean(&self) -> bool {
        self.failed == 0 && self.warnings == 0
    }
}

/// The results for the card and for the kernel's own virtual device, in one
/// boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comparison {
    /// Name of the guest.
    pub guest: String,
    /// Release of its kernel, as `uname -r` prints it.
    pub release: String,
    /// Accelerator that ran the guest.
    pub accelerator: String,
    /// What both devices are for.
    pub kind: CardKind,
    /// V4L2 API (single-planar or multi-planar) of both devices.
    pub planes: BufferApi,
    /// Results for the card and its driver.
    pub card: Judgement,
    /// Results for the kernel's own device; `None` if it has none.
    pub peer: Option<Peer>,
}

/// Why there are no results.
#[derive(Debug, thiserror::Error)]
pub enum ComplianceError {
    /// The guest failed to execute a request.
    #[error("the guest cannot {what}: {source}")]
    Agent {
        /// The attempted action.
        what: &'static str,
        /// The agent's error.
        source: AgentError,
    },
    /// The card or the guest could not be started or stopped.
    #[error(transparent)]
    Testbed(#[from] TestbedError),
    /// v4l2-compliance did not run to its end.
    #[error("v4l2-compliance gave no judgement on {device}; its last words: {last}")]
    NoTotal {
        /// Path of the device.
        device: String,
        /// The end of the output.
        last: String,
    },
}

/// Boots a guest, and tests the card and the kernel's own device in it.
///
/// # Errors
///
/// [`ComplianceError`] if one of them could not be tested.
pub fn compare(
    guest: &str,
    kind: CardKind,
    planes: BufferApi,
    progress: &Progress,
) -> Result<Comparison, ComplianceError> {
    let testbed = Testbed::start(&testbed(guest, kind, planes), progress)?;
    let agent = testbed.machine.agent();
    let step = progress.step(format!("judging the card on {guest}"));
    let card = judge(agent, CARD, &OPTIONS, |tests| {
        step.update(&format!("{tests} tests"));
    })?;
    let peer = peer::judge_peer(agent, kind, planes, |tests| {
        step.update(&format!("the kernel's own device, {tests} tests"));
    })?;
    step.done();
    let testbed = testbed.finish()?;
    Ok(Comparison {
        guest: testbed.guest.id,
        release: testbed.release,
        accelerator: testbed.accelerator.to_string(),
        kind,
        planes,
        card,
        peer,
    })
}

/// Returns the specification of a guest in which the card can be tested.
pub fn testbed(guest: &str, kind: CardKind, planes: BufferApi) -> TestbedSpec {
    let emulated = Accelerator::detect() == Accelerator::Tcg;
    let catalog = Catalog::builtin();
    let checks_itself = catalog.get(guest).is_ok_and(|guest| guest.config.is_some());
    let sizes: &[&str] = match emulated && (kind == CardKind::M2m || checks_itself) {
        true => &["--sizes", SIZE],
        false => &[],
    };
    TestbedSpec {
        kernel: Some(guest.to_owned()),
        ram_mib: Some(match checks_itself {
            true => CHECKED_RAM_MIB,
            false => RAM_MIB,
        }),
        max_fps: emulated.then_some(MAX_FPS),
        kind,
        planes,
        harmless: true,
        clients: true,
        card_arguments: sizes.iter().map(Into::into).collect(),
        ..TestbedSpec::default()
    }
}

/// Tests a device, in a guest that has the clients. `options` select what to
/// stream; see v4l2-compliance(1). `progress` is told the number of tests so far.
///
/// # Errors
///
/// [`ComplianceError`] if v4l2-compliance printed no results. Bad results are
/// not an error.
pub fn judge(
    agent: &Agent,
    device: &str,
    options: &[&str],
    mut progress: impl FnMut(usize),
) -> Result<Judgement, ComplianceError> {
    let failed = |source| ComplianceError::Agent {
        what: "run v4l2-compliance",
        source,
    };
    let argv = [&["v4l2-compliance", "--device", device], options].concat();
    let run = Run {
        stream: true,
        timeout_ms: Some(LIMIT.as_millis() as u64),
        ..Run::new(clients::inside(&argv))
    };
    let running = agent.start(run).map_err(failed)?;
    let mut tests = 0;
    let answer = loop {
        match running.next(SILENCE).map_err(failed)? {
            Update::Line(line) if is_test(&line.text.0) => {
                tests += 1;
                progress(tests);
            }
            Update::Line(_) => {}
            Update::Done(answer) => break answer,
        }
    };
    parse(&answer.stdout).ok_or_else(|| {
        let said = [answer.stdout.as_str(), &answer.stderr].concat();
        ComplianceError::NoTotal {
            device: device.to_owned(),
            last: format!("{} ({})", last_line(&said), answer.status),
        }
    })
}

/// Returns the last line that is not empty. Lines of progress end with a carriage return.
fn last_line(text: &str) -> &str {
    let mut lines = text.split(['\n', '\r']).rev().map(str::trim);
    lines.find(|line| !line.is_empty()).unwrap_or_default()
}

/// Returns whether a line of v4l2-compliance tells the result of a test, such as
/// `\ttest VIDIOC_G_FMT: OK`.
fn is_test(line: &[u8]) -> bool {
    let results = [": OK", ": OK (Not Supported)", ": FAIL"];
    let line = line.trim_ascii_end();
    results
        .iter()
        .any(|result| line.ends_with(result.as_bytes()))
}

/// Parses the output of v4l2-compliance. Its last line is like `Total for
/// pinhole device /dev/video0: 49, Succeeded: 49, Failed: 0, Warnings: 0`.
fn parse(text: &str) -> Option<Judgement> {
    let last = text
        .lines()
        .rev()
        .find(|line| line.starts_with("Total for "))?;
    let counts: Vec<u32> = last
        .split(", ")
        .filter_map(|part| part.rsplit_once(": ")?.1.trim().parse().ok())
        .collect();
    let [total, succeeded, failed, warnings] = counts[..] else {
        return None;
    };
    let version = text
        .lines()
        .find_map(|line| line.strip_prefix("v4l2-compliance "))?;
    // Progress lines overwrite each other with carriage returns, and a
    // complaint may follow on the same line.
    let complaints = text.split(['\n', '\r']).filter_map(|line| {
        let begins = ["fail: ", "warn: "].map(|word| line.find(word));
        let begin = begins.into_iter().flatten().min()?;
        Some(line[begin..].trim().to_owned())
    });
    Some(Judgement {
        version: version.split(',').next()?.to_owned(),
        total,
        succeeded,
        failed,
        warnings,
        complaints: complaints.collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = "\
v4l2-compliance 1.30.1, 64 bits, 64-bit time_t

Compliance test for pinhole device /dev/video0:

\t\tfail: v4l2-test-colors.cpp(110): pix.quantization > 3
\ttest VIDIOC_G_FMT: FAIL
\tVideo Capture: Frame #000\r\t\twarn: v4l2-test-buffers.cpp(438): got sequence number 3, expected 2
\r\t\tVideo Capture: Frame #004   \t\twarn: v4l2-test-buffers.cpp(438): got sequence number 9, expected 5
\ttest USERPTR (select): OK

Total for pinhole device /dev/video0: 81, Succeeded: 80, Failed: 1, Warnings: 7
";

    #[test]
    fn totals_and_complaints_are_read() {
        let judgement = parse(REPORT).unwrap();
        let counts = (judgement.total, judgement.succeeded, judgement.failed);
        assert_eq!((counts, judgement.warnings), ((81, 80, 1), 7));
        assert_eq!(judgement.version, "1.30.1");
        assert_eq!(
            judgement.complaints,
            [
                "fail: v4l2-test-colors.cpp(110): pix.quantization > 3",
                "warn: v4l2-test-buffers.cpp(438): got sequence number 3, expected 2",
                "warn: v4l2-test-buffers.cpp(438): got sequence number 9, expected 5"
            ]
        );
        assert!(!judgement.is_clean());
        let clean = REPORT.replace("Failed: 1, Warnings: 7", "Failed: 0, Warnings: 0");
        assert!(parse(&clean).unwrap().is_clean());
    }

    #[test]
    fn the_last_words_are_one_line() {
        let text =
            "\ttest MMAP: OK\n\r\tVideo Output: Frame #008   \r\tVideo Output: Frame #009   \r\n";
        assert_eq!(last_line(text), "Video Output: Frame #009");
        assert_eq!(last_line("\r\n"), "");
    }

    #[test]
    fn results_of_tests_are_told_from_what_else_is_printed() {
        let tests = REPORT.lines().filter(|line| is_test(line.as_bytes()));
        assert_eq!(tests.count(), 2);
        assert!(is_test(b"\ttest VIDIOC_G_EDID: OK (Not Supported)\n"));
    }

    #[test]
    fn a_report_that_breaks_off_is_no_judgement() {
        let broken = REPORT.split_once("Total for").unwrap().0;
        assert_eq!(parse(broken), None);
        assert_eq!(parse("Total for x: 1, Succeeded: 1"), None);
    }
}
