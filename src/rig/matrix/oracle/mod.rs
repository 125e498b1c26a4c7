//! The oracles: checks of what must be true of every cell, whatever its kind
//! and hazard.
//!
//! Each oracle uses only the evidence, and does not depend on the others. Most judge
//! each of a cell's buffers by itself ([`buffers`]).

mod address;
mod asleep;
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
mod missing;
mod order;
mod pieces;
mod pins;
mod steps;
#[cfg(test)]
mod tests;
mod untouched;

use serde::{Deserialize, Serialize};

use self::buffers::BufferEvidence;
pub use self::evidence::{CellEvidence, Scheduled};
pub use self::missing::missing;
use crate::agent::cell::evidence::Ended;
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
    Untouched = "untouched", "of a device without a witness: what it says it has written is not as it was, and what it does not say is";
    Order = "order", "of a device without a witness: frames come back in their order, and a buffer once each time it is queued";
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
            Self::Pins => Some(pinned),
            Self::Mappings => Some(mappings::judge),
            Self::Fences => Some(fences::beside_further),
            Self::Order => Some(order::copied),
            Self::Leaks => Some(leaks::judge),
            Self::Log => Some(log::judge),
            Self::Untouched => Some(untouched::further),
            Self::Address | Self::Dirty | Self::Idle => None,
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
            Self::Untouched => Some(untouched::judge),
            Self::Order => Some(order::judge),
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
                            let name = buffer.name(cell);
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
/// only the effects of the attempt on the kernel are judged; of a device that has no
/// witness, nothing of what that alone tells.
pub fn judge(evidence: &CellEvidence<'_>) -> Vec<Finding> {
    let asked = match evidence.answer.impossible {
        None => Oracle::ALL,
        Some(_) => &[Oracle::Leaks, Oracle::Log],
    };
    let buffers = BufferEvidence::of(evidence);
    let mut findings = Vec::new();
    let has_witness = evidence.card_frames.is_witnessed();
    let asked = asked.iter();
    for oracle in asked.filter(|oracle| has_witness || !oracle.needs_witness()) {
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
    if evidence.answer.ended == Ended::Stuck {
        objections.push(
            Severity::KernelBroken,
            "the cell's process was killed, and the kernel does not let it go",
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
    if evidence.expectation.in_pieces {
        pieces::judge(evidence, objections);
    }
    steps::judge(evidence, objections);
    asleep::judge(evidence, objections);
    let failing = &evidence.expectation.failing;
    failing.judge(&evidence.answer.injected, objections);
}

fn pinned(evidence: &CellEvidence<'_>, objections: &mut Objections) {
    pins::judge(evidence, objections);
    steps::pins(evidence, objections);
}

/// Objects to a buffer of a second file, or the second of a schedule, that is not what
/// it would be without the first; what comes of the first is the cell's outcome.
fn undisturbed(evidence: &CellEvidence<'_>, objections: &mut Objections) {
    let expected = &evidence.expectation.outcomes;
    let of_second = match evidence.schedule {
        Some(_) => evidence.number > 0,
        None => evidence.ends()[evidence.number].file > 0,
    };
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
