//! The oracles: checks of what must be true of every cell, whatever its kind
//! and hazard.
//!
//! Each oracle uses only the evidence, and does not depend on the others.

mod address;
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

pub use self::evidence::CellEvidence;
use crate::agent::cell::table;
use crate::agent::checks::Check;
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
    fn judge(self) -> Judge {
        match self {
            Self::Outcome => outcome,
            Self::Data => data::judge,
            Self::Address => address::judge,
            Self::Pins => pins::judge,
            Self::Mappings => mappings::judge,
            Self::Dirty => dirty::judge,
            Self::Idle => idle::judge,
            Self::Fences => fences::judge,
            Self::Leaks => leaks::judge,
            Self::Log => log::judge,
        }
    }
}

/// Returns all objections of the oracles, the worst first. For a cell that could not be set up,
/// only the effects of the attempt on the kernel are judged.
pub fn judge(evidence: &CellEvidence<'_>) -> Vec<Finding> {
    let asked = match evidence.answer.impossible {
        None => Oracle::ALL,
        Some(_) => &[Oracle::Leaks, Oracle::Log],
    };
    let mut findings = Vec::new();
    for oracle in asked {
        let mut objections = Objections::default();
        oracle.judge()(evidence, &mut objections);
        let objections = objections.into_iter();
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
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::agent::cell::evidence::{
        CallSeen, ContentsSeen, CountersSeen, FrameSeen, HOLD, Memory, Moment, PagesSeen,
    };
    use crate::agent::cell::{CellAnswer, Point};
    use crate::card::CardKind;
    use crate::card::witness::PlaneRecord;
    use crate::dma::Digest;
    use crate::rig::matrix::expectation::Expectation;
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

    /// Returns the objections of one oracle to a capture that is expected to end
    /// with data.
    pub fn objections(judge: Judge, answer: &CellAnswer, card_frames: &CardFrames) -> Vec<String> {
        let objections = objections_of(CardKind::Capture, judge, answer, card_frames);
        objections.into_iter().map(|(_, what)| what).collect()
    }

    /// Returns the objections of one oracle to a cell of that direction that is
    /// expected to end with data.
    pub fn objections_of(
        direction: CardKind,
        judge: Judge,
        answer: &CellAnswer,
        card_frames: &CardFrames,
    ) -> Vec<(Severity, String)> {
        let expectation = Expectation::data(direction);
        said(
            judge,
            &evidence(direction, answer, card_frames, &expectation),
        )
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
        direction: CardKind,
        answer: &'a CellAnswer,
        card_frames: &'a CardFrames,
        expectation: &'a Expectation,
    ) -> CellEvidence<'a> {
        CellEvidence {
            direction,
            point: Point::BeforeDma,
            answer,
            card_frames,
            observation: Observation::of(answer, card_frames),
            expectation,
            bounced: false,
            pinning: Some(Pinning::FrameVector),
            names: &[],
        }
    }

    #[test]
    fn a_cell_that_went_well_has_no_findings() {
        let (answer, card_frames) = captured();
        for oracle in Oracle::ALL {
            assert_eq!(
                objections(oracle.judge(), &answer, &card_frames),
                [""; 0],
                "{oracle}"
            );
        }
        let (answer, card_frames) = sent();
        for oracle in Oracle::ALL {
            let said = objections_of(CardKind::Output, oracle.judge(), &answer, &card_frames);
            assert_eq!(said, [], "{oracle}");
        }
    }

    #[test]
    fn of_what_could_not_be_set_up_the_kernel_alone_is_judged() {
        let (mut answer, card_frames) = captured();
        answer.frames.clear();
        answer.impossible = Some("no such memory".into());
        let judged = |answer: &CellAnswer| {
            let expectation = Expectation::data(CardKind::Capture);
            judge(&evidence(
                CardKind::Capture,
                answer,
                &card_frames,
                &expectation,
            ))
        };
        assert_eq!(judged(&answer), []);
        answer.log_lost = true;
        assert_eq!(judged(&answer)[0].oracle, Oracle::Log);
    }

    #[test]
    fn a_driver_maps_what_the_card_is_to_have_addresses_of() {
        let (answer, card_frames) = captured();
        let expectation = Expectation::data(CardKind::Capture);
        let mapped = |pinning, translated| {
            let evidence = CellEvidence {
                pinning,
                ..evidence(CardKind::Capture, &answer, &card_frames, &expectation)
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
