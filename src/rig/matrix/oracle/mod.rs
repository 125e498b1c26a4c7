//! The oracles: what must be true of a cell, whatever its kind and hazard.
//!
//! Each looks at the evidence alone and knows nothing of the others.

mod address;
mod data;
mod dirty;
mod fences;
mod log;
mod pins;

use serde::{Deserialize, Serialize};

use super::expectation::Expectation;
use super::observation::Observation;
use super::witness::Testified;
use crate::agent::cell::{CellAnswer, table};

table! {
    /// An oracle.
    Oracle:
    Outcome = "outcome", "what came of the cell is what was expected of it";
    Data = "data", "what the process reads through its own mapping is what the card wrote";
    Address = "address", "the card's segments are the pages that the process had mapped";
    Pins = "pins", "as many pages are pinned as the buffer has, and none afterwards";
    Mappings = "mappings", "the DMA API maps the buffer's segments while it is queued, and nothing of it afterwards";
    Dirty = "dirty", "the pages that the card wrote are marked dirty when they are unpinned";
    Idle = "idle", "a page that only the card wrote to stays idle, and one that the process reads does not";
    Fences = "fences", "the bytes around the buffer are untouched, and nothing is written once the stream is off";
    Leaks = "leaks", "no memory of the kernel's is lost";
    Log = "log", "the kernel has nothing to complain of";
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Who objects.
    pub oracle: Oracle,
    /// To what, in a sentence with the numbers that matter.
    pub what: String,
}

/// All that is known of a cell.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    /// What the agent saw.
    pub answer: &'a CellAnswer,
    /// What the card wrote.
    pub testified: &'a Testified,
    /// What both come to.
    pub observation: Observation,
    /// What was expected.
    pub expectation: &'a Expectation,
    /// The card is given addresses of the DMA API, which here are those of
    /// bounce buffers and not those of the process's pages.
    pub bounced: bool,
}

/// Looks at a case, and adds what it objects to.
type Judge = fn(&Case<'_>, &mut Vec<String>);

/// Everything that the oracles object to.
pub fn judge(case: &Case<'_>) -> Vec<Finding> {
    let oracles: [(Oracle, Judge); 7] = [
        (Oracle::Outcome, outcome),
        (Oracle::Data, data::judge),
        (Oracle::Address, address::judge),
        (Oracle::Pins, pins::judge),
        (Oracle::Dirty, dirty::judge),
        (Oracle::Fences, fences::judge),
        (Oracle::Log, log::judge),
    ];
    let mut findings = Vec::new();
    for (oracle, judge) in oracles {
        let mut objections = Vec::new();
        judge(case, &mut objections);
        findings.extend(objections.into_iter().map(|what| Finding { oracle, what }));
    }
    findings
}

fn outcome(case: &Case<'_>, objections: &mut Vec<String>) {
    if let Some(why) = &case.answer.failed {
        objections.push(format!("the cell could not be run to its end: {why}"));
    }
    let expected = &case.expectation.outcomes;
    if !expected.contains(&case.observation) {
        let expected: Vec<_> = expected.iter().map(ToString::to_string).collect();
        objections.push(format!(
            "it came to \"{}\", expected was \"{}\"",
            case.observation,
            expected.join("\" or \"")
        ));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::agent::cell::evidence::{CountersSeen, FrameSeen, Memory, Moment, PagesSeen};
    use crate::card::witness::PlaneRecord;
    use crate::dma::Digest;

    /// A cell that went well: two pages at the start of a page, one frame.
    pub fn captured() -> (CellAnswer, Testified) {
        let mut testified = Testified::default();
        let digests = vec![Digest(1), Digest(2)];
        testified.add(
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
            memory: Some(Memory {
                address: 0x7000_0000,
                length: 8192,
                width: 128,
                height: 64,
            }),
            pages: vec![PagesSeen {
                moment: Moment::Queued,
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
            }],
            ..CellAnswer::default()
        };
        (answer, testified)
    }

    /// What one oracle objects to in a cell that is to end with data.
    pub fn objections(judge: Judge, answer: &CellAnswer, testified: &Testified) -> Vec<String> {
        let mut objections = Vec::new();
        let case = Case {
            answer,
            testified,
            observation: Observation::of(answer, testified),
            expectation: &Expectation::data(),
            bounced: false,
        };
        judge(&case, &mut objections);
        objections
    }

    #[test]
    fn a_cell_that_went_well_has_no_findings() {
        let (answer, testified) = captured();
        for oracle in [
            outcome,
            data::judge,
            address::judge,
            pins::judge,
            dirty::judge,
            fences::judge,
            log::judge,
        ] {
            assert_eq!(objections(oracle, &answer, &testified), [""; 0]);
        }
    }

    #[test]
    fn an_outcome_that_was_not_expected_is_a_finding() {
        let (mut answer, testified) = captured();
        answer.frames.clear();
        assert_eq!(
            objections(outcome, &answer, &testified),
            ["it came to \"taken back\", expected was \"data\""]
        );
        answer.failed = Some("no device".into());
        let said = objections(outcome, &answer, &testified);
        assert_eq!(said[0], "the cell could not be run to its end: no device");
    }
}
