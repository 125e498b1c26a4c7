//! The oracles: checks of what must be true of every cell, whatever its kind
//! and hazard.
//!
//! Each oracle uses only the evidence, and does not depend on the others. Most judge
//! each of a cell's buffers by itself ([`buffers`]).

mod address;
mod buffers;
mod conversion;
mod data;
mod dirty;
mod evidence;
mod fences;
mod idle;
mod leaks;
mod log;
mod mappings;
mod pins;

use serde::{Deserialize, Serialize};

use self::buffers::BufferEvidence;
pub use self::evidence::CellEvidence;
use crate::agent::cell::table;
use crate::agent::checks::Check;
use crate::card::Direction;
use crate::rig::matrix::objection::{Objections, Severity, kind};
use crate::rig::matrix::observation::{Observation, Reads};

table! {
    /// An oracle.
    Oracle:
    Outcome = "outcome", "what came of the cell is what was expected of it";
    Data = "data", "what the process reads through its own mapping is what the card wrote, or the other way round";
    Address = "address", "the card's segments are the pages that the process had mapped";
    Pins = "pins", "as many pages are pinned as the buffer has, and none afterwards";
    Mappings = "mappings", "the DMA API maps the buffer's segments while it is queued, and nothing of it afterwards";
    Dirty = "dirty", "the pages that the card wrote are marked dirty when they are unpinned, and those that it read are not";
    Idle = "idle", "a page that only the card wrote to, or read, stays idle, and one that the process reads does not";
    Fences = "fences", "the bytes around the buffer are untouched, and so is one that the card only reads; nothing is written or read once the stream is off";
    Leaks = "leaks", "no memory of the kernel's is lost";
    Log = "log", "the kernel has nothing to complain of";
}

impl Oracle {
    /// Returns the check of the kernel without which the oracle has no
    /// evidence.
    pub const fn check(self) -> Option<Check> {
        match self {
            Self::Mappings => Some(Check::DmaApi),
            Self::Idle => Some(Check::IdlePages),
            Self::Leaks => Some(Check::Kmemleak),
            _ => None,
        }
    }
}

/// An objection of an oracle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The oracle that objects.
    pub oracle: Oracle,
    /// How bad it is.
    pub severity: Severity,
    /// The objection, in a sentence with the relevant numbers.
    pub what: String,
}

/// What findings with one cause have in common, as far as that can be told from
/// them: all but the numbers.
pub type Cause = (Severity, Oracle, String);

impl Finding {
    /// Returns the finding without its numbers.
    pub fn cause(&self) -> Cause {
        (self.severity, self.oracle, kind(&self.what))
    }
}

/// A function that examines the evidence, and adds its objections.
type Judge = fn(&CellEvidence<'_>, &mut Objections);

impl Oracle {
    /// Returns what the oracle asks of the whole cell.
    fn of_cell(self) -> Option<Judge> {
        match self {
            Self::Outcome => Some(outcome),
            Self::Data => Some(conversion::judge),
            Self::Pins => Some(pins::judge),
            Self::Mappings => Some(mappings::judge),
            Self::Leaks => Some(leaks::judge),
            Self::Log => Some(log::judge),
            Self::Address | Self::Dirty | Self::Idle | Self::Fences => None,
        }
    }

    /// Returns what the oracle asks of each of the cell's buffers.
    fn of_buffer(self) -> Option<Judge> {
        match self {
            Self::Outcome => Some(undisturbed),
            Self::Data => Some(data::judge),
            Self::Address => Some(address::judge),
            Self::Dirty => Some(dirty::judge),
            Self::Idle => Some(idle::judge),
            Self::Fences => Some(fences::judge),
            Self::Pins | Self::Mappings | Self::Leaks | Self::Log => None,
        }
    }

    /// Returns the oracle's objections to a cell; one to a buffer among several begins
    /// with its name.
    fn objections(self, cell: &CellEvidence<'_>, buffers: &[BufferEvidence<'_>]) -> Objections {
        let mut objections = Objections::default();
        if let Some(judge) = self.of_cell() {
            judge(cell, &mut objections);
        }
        if let Some(judge) = self.of_buffer() {
            for buffer in buffers {
                let mut of_it = Objections::default();
                judge(&buffer.evidence(cell), &mut of_it);
                for (severity, what) in of_it {
                    match buffers.len() {
                        1 => objections.push(severity, what),
                        _ => {
                            let name = buffer.end(cell).name();
                            objections.push(severity, format!("{name}: {what}"));
                        }
                    }
                }
            }
        }
        objections
    }
}

/// Returns all objections of the oracles, the worst first. For a cell that could not be set up,
/// only the effects of the attempt on the kernel are judged.
pub fn judge(evidence: &CellEvidence<'_>) -> Vec<Finding> {
    let asked = match evidence.answer.impossible {
        None => Oracle::ALL,
        Some(_) => &[Oracle::Leaks, Oracle::Log],
    };
    let buffers = BufferEvidence::of(evidence);
    let mut findings = Vec::new();
    for oracle in asked {
        let objections = oracle.objections(evidence, &buffers).into_iter();
        findings.extend(objections.map(|(severity, what)| Finding {
            oracle: *oracle,
            severity,
            what,
        }));
    }
    findings.sort_by_key(|finding: &Finding| finding.severity);
    findings
}

fn outcome(evidence: &CellEvidence<'_>, objections: &mut Objections) {
    if let Some(why) = &evidence.answer.failed {
        objections.push(
            Severity::DataLost,
            format!("the cell could not be run to its end: {why}"),
        );
    }
    let expected = &evidence.expectation.outcomes;
    if !expected.contains(&evidence.observation) {
        let told: Vec<_> = expected.iter().map(ToString::to_string).collect();
        objections.push(
            severity(evidence.observation, expected),
            format!(
                "it came to \"{}\", expected was \"{}\"",
                evidence.observation,
                told.join("\" or \"")
            ),
        );
    }
    let failing = &evidence.expectation.failing;
    failing.judge(&evidence.answer.injected, objections);
}

/// Objects to a buffer of a second file that is not what it would be without the
/// first; what comes of the first file is the cell's outcome.
fn undisturbed(evidence: &CellEvidence<'_>, objections: &mut Objections) {
    let expected = &evidence.expectation.outcomes;
    let of_second = evidence.flow.ends()[evidence.number].file > 0;
    if of_second && !expected.contains(&evidence.observation) {
        objections.push(
            severity(evidence.observation, expected),
            format!("it came to \"{}\"", evidence.observation),
        );
    }
}

/// Returns how bad it is to come to that observation and to none of those
/// expected.
fn severity(observation: Observation, expected: &[Observation]) -> Severity {
    let written = Observation::Captured(Reads::Written);
    let is_sent = |outcome: &Observation| matches!(outcome, Observation::Sent(_));
    match observation {
        Observation::Refused(_) => Severity::WrongError,
        Observation::Hung => Severity::Slow,
        Observation::TakenBack | Observation::InError => Severity::DataLost,
        Observation::Captured(_) if expected.contains(&written) => Severity::DataLost,
        // The card was to write to other memory, or to none.
        Observation::Captured(_) => Severity::MemoryWritten,
        Observation::Sent(_) if expected.iter().any(is_sent) => Severity::DataLost,
        Observation::Sent(_) => Severity::MemoryRead,
        Observation::Converted(..) => {
            let of_each = [Direction::Output, Direction::Capture].map(|direction| {
                let expected: Vec<_> = expected.iter().map(|it| it.at(direction)).collect();
                let came = observation.at(direction);
                (!expected.contains(&came)).then(|| severity(came, &expected))
            });
            let worst = of_each.into_iter().flatten().min();
            worst.unwrap_or(Severity::DataLost)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::agent::cell::evidence::{
        CallSeen, ContentsSeen, CountersSeen, FrameSeen, HOLD, Memory, Moment, PagesSeen,
    };
    use crate::agent::cell::further::BufferSeen;
    use crate::agent::cell::{CellAnswer, Ends, Flow, Point};
    use crate::card::witness::PlaneRecord;
    use crate::dma::Digest;
    use crate::rig::kernel::Version;
    use crate::rig::matrix::expectation::{Expectation, expect};
    use crate::rig::matrix::name::Pinning;
    use crate::rig::matrix::observation::Sent;
    use crate::rig::matrix::witness::CardFrames;

    /// Returns a cell that succeeded: two pages at the start of a page, one
    /// frame.
    pub fn captured() -> (CellAnswer, CardFrames) {
        let mut card_frames = CardFrames::default();
        let digests = vec![Digest(1), Digest(2)];
        card_frames.add(
            0,
            PlaneRecord {
                bytes: 8192,
                segments: vec![(0x3000, 4096), (0x8000, 4096)],
                digests: digests.clone(),
            },
        );
        let counters = |moment, acquired, released| CountersSeen {
            moment,
            values: BTreeMap::from([
                ("nr_foll_pin_acquired".to_owned(), acquired),
                ("nr_foll_pin_released".to_owned(), released),
            ]),
        };
        let answer = CellAnswer {
            calls: vec![CallSeen {
                name: HOLD.into(),
                errno: None,
                at_us: 1,
                took_us: 1,
            }],
            memory: Some(Memory {
                address: 0x7000_0000,
                length: 8192,
                width: 128,
                height: 64,
            }),
            pages: vec![PagesSeen {
                moment: Moment::Queued,
                buffer: 0,
                pagemap: vec![1 << 63 | 3, 1 << 63 | 8],
                flags: vec![0; 2],
                count: vec![1; 2],
                cgroup: vec![0; 2],
            }],
            counters: vec![
                counters(Moment::LaidOut, 100, 100),
                counters(Moment::Queued, 102, 100),
                counters(Moment::Stopped, 102, 102),
            ],
            frames: vec![FrameSeen {
                index: 0,
                sequence: 0,
                flags: 0,
                bytesused: 8192,
                digests: digests.into_iter().map(Some).collect(),
                sent: Vec::new(),
            }],
            ..CellAnswer::default()
        };
        (answer, card_frames)
    }

    /// Returns the same cell of an output: the card has read what the process
    /// wrote, which is still there.
    pub fn sent() -> (CellAnswer, CardFrames) {
        let (mut answer, card_frames) = captured();
        let frame = &mut answer.frames[0];
        frame.sent = frame.digests.clone();
        answer.contents.push(ContentsSeen {
            moment: Moment::Filled,
            digests: frame.sent.clone(),
        });
        (answer, card_frames)
    }

    /// Returns a cell of a mem-to-mem card that succeeded: what it read in page frames
    /// 3 and 8 it wrote to 5 and 6.
    pub fn converted() -> (CellAnswer, CardFrames) {
        let (mut answer, card_frames) = sent();
        let (other, _) = captured();
        answer.further.push(BufferSeen {
            memory: other.memory,
            pages: vec![PagesSeen {
                pagemap: vec![1 << 63 | 5, 1 << 63 | 6],
                ..other.pages[0].clone()
            }],
            frames: other.frames,
            ..BufferSeen::default()
        });
        let read = card_frames.frames()[0].1.clone();
        let mut made = CardFrames::default();
        made.add(
            0,
            PlaneRecord {
                segments: vec![(0x5000, 8192)],
                ..read
            },
        );
        // Both buffers are pinned.
        let queued = &mut answer.counters[1].values;
        queued.insert("nr_foll_pin_acquired".into(), 104);
        let stopped = &mut answer.counters[2].values;
        stopped.insert("nr_foll_pin_acquired".into(), 104);
        stopped.insert("nr_foll_pin_released".into(), 104);
        (answer, card_frames.with(vec![made]))
    }

    /// Returns all objections to a cell of that flow that is expected to end with data.
    fn findings(flow: Flow, answer: &CellAnswer, card_frames: &CardFrames) -> Vec<String> {
        let expectation = Expectation::data(flow);
        let findings = judge(&evidence(flow, answer, card_frames, &expectation));
        let said = findings.into_iter();
        said.map(|one| format!("{}: {}", one.oracle, one.what))
            .collect()
    }

    #[test]
    fn both_buffers_of_a_mem_to_mem_card_are_judged() {
        let flow = Flow::M2m(Ends::Read);
        let (answer, card_frames) = converted();
        assert_eq!(findings(flow, &answer, &card_frames), [""; 0]);
        let broken = |change: &dyn Fn(&mut CellAnswer)| {
            let (mut answer, card_frames) = converted();
            change(&mut answer);
            findings(flow, &answer, &card_frames)
        };
        let pages = broken(&|answer| answer.further[0].pages[0].pagemap[1] = 1 << 63 | 9);
        assert_eq!(
            pages,
            [
                "address: CAPTURE: frame 0: page 1 of the buffer is page frame 0x9 in the process's \
                 pagemap, the card was given 0x6"
            ]
        );
        let read = broken(&|answer| answer.further[0].frames[0].digests[1] = None);
        assert_eq!(
            read,
            [
                "outcome: it came to \"part of the data\", expected was \"data\"",
                "data: CAPTURE: frame 0 differs from what the card wrote, first in the 4 KiB at \
                 byte 4096",
            ]
        );
        let pins = broken(&|answer| {
            let queued = &mut answer.counters[1].values;
            queued.insert("nr_foll_pin_acquired".into(), 102);
        });
        assert_eq!(
            pins,
            ["pins: 2 pages were pinned while 2 buffers of 4 were queued"]
        );
    }

    #[test]
    fn what_is_made_of_a_frame_is_that_frame() {
        let flow = Flow::M2m(Ends::Read);
        let (mut answer, card_frames) = converted();
        let mut made = card_frames.of_buffer(1).into_owned();
        // The card wrote something else, and the process reads just that.
        answer.further[0].frames[0].digests[0] = Some(Digest(9));
        made.add(0, {
            let (_, plane) = &made.frames()[0];
            PlaneRecord {
                digests: vec![Digest(9), plane.digests[1]],
                ..plane.clone()
            }
        });
        let other = CardFrames::default();
        let (_, plane) = made.frames()[1].clone();
        let mut one = other.clone();
        one.add(0, plane);
        let said = findings(flow, &answer, &card_frames.clone().with(vec![one]));
        assert_eq!(
            said,
            ["data: OUTPUT: the card made something else of frame 0 than it is"]
        );
        let said = findings(flow, &answer, &card_frames.with(vec![other]));
        assert!(
            said.contains(&"data: OUTPUT: the card read 1 frames, and wrote 0".to_owned()),
            "{said:?}"
        );
    }

    #[test]
    fn a_second_file_is_not_disturbed() {
        let flow = Flow::M2m(Ends::TwoFiles);
        let (mut answer, frames) = converted();
        let [read, made] = [0, 1].map(|number| frames.of_buffer(number).into_owned());
        let of_second = BufferSeen {
            memory: answer.memory,
            pages: answer.pages.clone(),
            frames: answer.frames.clone(),
            contents: answer.contents.clone(),
            canaries: Vec::new(),
        };
        let made_too = answer.further[0].clone();
        answer.further.extend([of_second, made_too]);
        for (moment, released) in [(1, 100), (2, 108)] {
            let values = &mut answer.counters[moment].values;
            values.insert("nr_foll_pin_acquired".into(), 108);
            values.insert("nr_foll_pin_released".into(), released);
        }
        let frames = frames.with(vec![made.clone(), read.clone(), made]);
        assert_eq!(findings(flow, &answer, &frames), [""; 0]);
        answer.further[2].frames.clear();
        let said = findings(flow, &answer, &frames);
        assert_eq!(
            said,
            ["outcome: CAPTURE of the second file: it came to \"taken back\""]
        );
        // The first may be taken back, and the second is not.
        answer.further[2].frames = answer.further[0].frames.clone();
        answer.frames.clear();
        answer.further[0].frames.clear();
        let expectation = expect(
            &"m2m/two-files/heap/streamoff:after-dma".parse().unwrap(),
            Version(6, 12),
        );
        let evidence = CellEvidence {
            point: Point::AfterDma,
            ..evidence(flow, &answer, &frames, &expectation)
        };
        assert_eq!(judge(&evidence), []);
    }

    /// Returns the objections of one oracle to a capture that is expected to end
    /// with data.
    pub fn objections(judge: Judge, answer: &CellAnswer, card_frames: &CardFrames) -> Vec<String> {
        let objections = objections_of(Flow::Capture, judge, answer, card_frames);
        objections.into_iter().map(|(_, what)| what).collect()
    }

    /// Returns the objections of one oracle to a cell of that direction that is
    /// expected to end with data.
    pub fn objections_of(
        flow: Flow,
        judge: Judge,
        answer: &CellAnswer,
        card_frames: &CardFrames,
    ) -> Vec<(Severity, String)> {
        let expectation = Expectation::data(flow);
        said(judge, &evidence(flow, answer, card_frames, &expectation))
    }

    /// Returns the objections of one oracle to that evidence.
    pub fn said(judge: Judge, evidence: &CellEvidence<'_>) -> Vec<(Severity, String)> {
        let mut objections = Objections::default();
        judge(evidence, &mut objections);
        objections.into_iter().collect()
    }

    /// Returns the evidence of a cell whose buffer Pinhole's own driver pinned, with
    /// its hazard before the DMA.
    pub fn evidence<'a>(
        flow: Flow,
        answer: &'a CellAnswer,
        card_frames: &'a CardFrames,
        expectation: &'a Expectation,
    ) -> CellEvidence<'a> {
        CellEvidence {
            flow,
            number: 0,
            point: Point::BeforeDma,
            cell: answer,
            answer,
            card_frames,
            observation: Observation::of(flow, answer, card_frames),
            expectation,
            bounced: false,
            pinning: Some(Pinning::FrameVector),
            names: &[],
        }
    }

    #[test]
    fn a_cell_that_went_well_has_no_findings() {
        let (answer, card_frames) = captured();
        assert_eq!(findings(Flow::Capture, &answer, &card_frames), [""; 0]);
        let (answer, card_frames) = sent();
        assert_eq!(findings(Flow::Output, &answer, &card_frames), [""; 0]);
    }

    #[test]
    fn of_what_could_not_be_set_up_the_kernel_alone_is_judged() {
        let (mut answer, card_frames) = captured();
        answer.frames.clear();
        answer.impossible = Some("no such memory".into());
        let judged = |answer: &CellAnswer| {
            let expectation = Expectation::data(Flow::Capture);
            judge(&evidence(Flow::Capture, answer, &card_frames, &expectation))
        };
        assert_eq!(judged(&answer), []);
        answer.log_lost = true;
        assert_eq!(judged(&answer)[0].oracle, Oracle::Log);
    }

    #[test]
    fn a_driver_maps_what_the_card_is_to_have_addresses_of() {
        let (answer, card_frames) = captured();
        let expectation = Expectation::data(Flow::Capture);
        let mapped = |pinning, translated| {
            let evidence = CellEvidence {
                pinning,
                ..evidence(Flow::Capture, &answer, &card_frames, &expectation)
            };
            evidence.mapped(translated)
        };
        let own = Some(Pinning::FrameVector);
        assert_eq!(mapped(own, Some(true)), Some(true));
        assert_eq!(mapped(own, Some(false)), Some(false));
        assert_eq!(mapped(Some(Pinning::Native), Some(false)), Some(true));
        assert_eq!(mapped(None, Some(false)), None);
        assert_eq!(mapped(None, Some(true)), Some(true));
        assert_eq!(mapped(own, None), None);
    }

    #[test]
    fn what_came_of_a_cell_is_as_bad_as_what_was_expected_makes_it() {
        let refused = Observation::Refused;
        let captured = Observation::Captured;
        let written = captured(Reads::Written);
        for (observation, expected, severity) in [
            (
                refused(libc::EOVERFLOW),
                refused(libc::EFAULT),
                Severity::WrongError,
            ),
            (refused(libc::EINVAL), written, Severity::WrongError),
            (Observation::TakenBack, written, Severity::DataLost),
            (captured(Reads::Other), written, Severity::DataLost),
            (written, captured(Reads::Other), Severity::MemoryWritten),
            (written, refused(libc::EFAULT), Severity::MemoryWritten),
            (Observation::Hung, written, Severity::Slow),
            (
                Observation::Sent(Sent::Other),
                Observation::Sent(Sent::Written),
                Severity::DataLost,
            ),
            (
                Observation::Sent(Sent::Written),
                refused(libc::EFAULT),
                Severity::MemoryRead,
            ),
            (
                Observation::Converted(Sent::Other, Reads::Written),
                Observation::Converted(Sent::Written, Reads::Written),
                Severity::DataLost,
            ),
            (
                Observation::Converted(Sent::Written, Reads::Written),
                Observation::Converted(Sent::Written, Reads::Other),
                Severity::MemoryWritten,
            ),
            (
                Observation::Converted(Sent::Written, Reads::Written),
                refused(libc::EFAULT),
                Severity::MemoryWritten,
            ),
        ] {
            assert_eq!(super::severity(observation, &[expected]), severity);
        }
    }

    #[test]
    fn an_outcome_that_was_not_expected_is_a_finding() {
        let (mut answer, card_frames) = captured();
        answer.frames.clear();
        assert_eq!(
            objections(outcome, &answer, &card_frames),
            ["it came to \"taken back\", expected was \"data\""]
        );
        answer.failed = Some("no device".into());
        let said = objections(outcome, &answer, &card_frames);
        assert_eq!(said[0], "the cell could not be run to its end: no device");
    }
}
