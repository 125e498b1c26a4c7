//! The evidence of a cell: what the agent has collected of it.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::evidence::{
    CallSeen, CanarySeen, ContentsSeen, CountersSeen, Ended, Evidence, FrameSeen, HOLD,
    InjectedSeen, Memory, PagesSeen, ReturnSeen, StepSeen,
};
use super::instruments::{IdleMoment, IdleSeen, LeakSeen, MappingsSeen};
use super::moment::Moment;
use super::phases::Phases;
use crate::agent::kernel_log::{LogAnswer, LogRecord};
use crate::dma::Digest;

/// Most further buffers of a cell of which there is evidence; the process may be
/// anything by now.
pub const FURTHER_MAX: usize = 8;

/// The evidence of a cell. The lists are in the order of observation where the
/// order matters.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CellAnswer {
    /// The reason, in a sentence, for which this kernel cannot set up the kind
    /// or the hazard; the evidence collected before is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub impossible: Option<String>,
    /// A failure of the rig or the device, after which the cell did not
    /// continue; not an expected refusal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    /// How the cell's process ended.
    pub ended: Ended,
    /// The number of the process, if the kernel does not let it go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<i32>,
    /// Duration of the cell, in milliseconds.
    pub elapsed_ms: u64,
    /// Time in each phase; nothing of a process that died.
    #[serde(default, skip_serializing_if = "Phases::is_empty")]
    pub phases: Phases,
    /// The cell's memory, once it was laid out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
    /// System calls on the device and on the memory.
    pub calls: Vec<CallSeen>,
    /// The pages behind the buffer.
    pub pages: Vec<PagesSeen>,
    /// Counters of /proc/vmstat.
    pub counters: Vec<CountersSeen>,
    /// The dequeued frames.
    pub frames: Vec<FrameSeen>,
    /// All buffers that came back to the first one's queue, in that order, those of further
    /// buffers as well; of a device that is not Pinhole's card.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub returns: Vec<ReturnSeen>,
    /// The buffer's content at moments without a dequeued frame.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub contents: Vec<ContentsSeen>,
    /// The canaries: bytes around the buffer, read after the last frame.
    pub canaries: Vec<CanarySeen>,
    /// What was seen of further buffers; all of the above is of the first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub further: Vec<BufferSeen>,
    /// The DMA mappings of the card's device, if the kernel reports them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mappings: Vec<MappingsSeen>,
    /// Which pages are idle, if the kernel reports it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub idle: Vec<IdleSeen>,
    /// Memory that the kernel allocated during the cell and leaked; `None` if
    /// nobody scanned for leaks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaks: Option<Vec<LeakSeen>>,
    /// The kernel's clock at the start of the cell, which tells whether a leak
    /// is the cell's; `None` if the kernel does not show it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jiffies: Option<u64>,
    /// The failures that were injected into a call.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub injected: Vec<InjectedSeen>,
    /// The steps of the cell's schedule that were made, the hazard among them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<StepSeen>,
    /// Notes on what the hazard did, and on its effects.
    pub notes: Vec<String>,
    /// The kernel log since the start of the cell.
    pub log: Vec<LogRecord>,
    /// Whether part of the log was overwritten before it was read.
    #[serde(default)]
    pub log_lost: bool,
    /// Sequence number up to which the cell's process has itself reported the
    /// log, if it has.
    #[serde(skip)]
    pub log_told: Option<u64>,
}

impl CellAnswer {
    /// Returns the first call with that name.
    pub fn call(&self, name: &str) -> Option<&CallSeen> {
        self.calls.iter().find(|call| call.name == name)
    }

    /// Returns the pages of the first buffer at that moment.
    pub fn pages_at(&self, moment: Moment) -> Option<&PagesSeen> {
        self.pages.iter().find(|pages| pages.moment == moment)
    }

    /// Returns the pages of the buffers that were queued, while the card had
    /// them all.
    pub fn queued(&self) -> impl Iterator<Item = &PagesSeen> {
        let pages = self.pages.iter();
        pages.filter(|pages| pages.moment == Moment::Queued)
    }

    /// Returns whether the card was kept from giving back the buffer while it
    /// was looked at as queued.
    pub fn is_held(&self) -> bool {
        self.call(HOLD).is_some_and(|call| call.errno.is_none())
    }

    /// Returns the buffer's content at that moment.
    pub fn contents_at(&self, moment: Moment) -> Option<&[Option<Digest>]> {
        let mut contents = self.contents.iter();
        let seen = contents.find(|seen| seen.moment == moment)?;
        Some(&seen.digests)
    }

    /// Returns the counters at that moment.
    pub fn counters_at(&self, moment: Moment) -> Option<&CountersSeen> {
        self.counters.iter().find(|seen| seen.moment == moment)
    }

    /// Returns the card's DMA mappings at that moment.
    pub fn mappings_at(&self, moment: Moment) -> Option<&MappingsSeen> {
        self.mappings.iter().find(|seen| seen.moment == moment)
    }

    /// Returns the idle pages at that moment.
    pub fn idle_at(&self, moment: IdleMoment) -> Option<&IdleSeen> {
        self.idle.iter().find(|seen| seen.moment == moment)
    }

    /// Adds a piece of evidence.
    pub fn add(&mut self, evidence: Evidence) {
        match evidence {
            Evidence::Impossible(why) => self.impossible = Some(why),
            Evidence::Failed(why) => self.failed = Some(why),
            Evidence::Memory(memory) => self.memory = Some(memory),
            Evidence::Call(call) => self.calls.push(call),
            Evidence::Pages(pages) => self.pages.push(pages),
            Evidence::Counters(counters) => self.counters.push(counters),
            Evidence::Frame(frame) => self.frames.push(frame),
            Evidence::Return(seen) => self.returns.push(seen),
            Evidence::Contents(contents) => self.contents.push(contents),
            Evidence::Canary(canary) => self.canaries.push(canary),
            Evidence::Mappings(mappings) => self.mappings.push(mappings),
            Evidence::Idle(idle) => self.idle.push(idle),
            Evidence::Injected(injected) => self.injected.push(injected),
            Evidence::Step(step) => self.steps.push(step),
            Evidence::Log(log) => {
                self.log_told = Some(log.next);
                self.add_log(log);
            }
            Evidence::Phases(phases) => self.phases = phases,
            Evidence::Note(note) => self.notes.push(note),
            Evidence::Of(number, evidence) => self.add_of(number, *evidence),
        }
    }

    /// Adds records of the kernel's log.
    pub fn add_log(&mut self, log: LogAnswer) {
        self.log.extend(log.records);
        self.log_lost |= log.lost;
    }

    /// Adds a piece of evidence that is of the buffer `number`, counted from 0.
    /// Evidence of a further buffer that is not of its memory is the cell's.
    pub fn add_of(&mut self, number: usize, evidence: Evidence) {
        let place = number.checked_sub(1).filter(|place| *place < FURTHER_MAX);
        let Some(place) = place else {
            return self.add(evidence);
        };
        if self.further.len() <= place {
            self.further.resize(place + 1, BufferSeen::default());
        }
        let seen = &mut self.further[place];
        match evidence {
            Evidence::Memory(memory) => seen.memory = Some(memory),
            Evidence::Pages(pages) => seen.pages.push(pages),
            Evidence::Frame(frame) => seen.frames.push(frame),
            Evidence::Contents(contents) => seen.contents.push(contents),
            Evidence::Canary(canary) => seen.canaries.push(canary),
            Evidence::Return(back) => seen.returns.push(back),
            other => self.add(other),
        }
    }

    /// Returns the evidence as if the buffer `number`, counted from 0, were the
    /// cell's first. What else there is of the cell is only in that of the first.
    pub fn of_buffer(&self, number: usize) -> Cow<'_, Self> {
        let Some(place) = number.checked_sub(1) else {
            return Cow::Borrowed(self);
        };
        let seen = self.further.get(place).cloned().unwrap_or_default();
        Cow::Owned(Self {
            ended: self.ended,
            calls: self.calls.clone(),
            counters: self.counters.clone(),
            memory: seen.memory,
            pages: seen.pages,
            frames: seen.frames,
            contents: seen.contents,
            canaries: seen.canaries,
            returns: seen.returns,
            ..Self::default()
        })
    }

    /// Returns the pages of all buffers, at every look, each with its memory.
    pub fn looks_at_buffers(&self) -> impl Iterator<Item = (Option<Memory>, &[PagesSeen])> {
        let further = self.further.iter();
        let further = further.map(|seen| (seen.memory, &seen.pages[..]));
        [(self.memory, &self.pages[..])].into_iter().chain(further)
    }
}

/// The evidence of a further buffer; each list is as that of the first in
/// [`CellAnswer`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct BufferSeen {
    /// Its memory, once it was laid out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
    /// The pages behind it.
    pub pages: Vec<PagesSeen>,
    /// The frames that were dequeued with it.
    pub frames: Vec<FrameSeen>,
    /// Its content at moments without a dequeued frame.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub contents: Vec<ContentsSeen>,
    /// The bytes around it.
    pub canaries: Vec<CanarySeen>,
    /// The buffers that came back to its queue, if it has one of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub returns: Vec<ReturnSeen>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::cell::evidence::{CanaryState, Place};

    #[test]
    fn the_log_is_added_to() {
        let log = |sequence, lost| LogAnswer {
            records: vec![LogRecord {
                sequence,
                level: 6,
                facility: 0,
                time_us: 1,
                text: "x".into(),
            }],
            next: sequence + 1,
            lost,
        };
        let mut answer = CellAnswer::default();
        answer.add(Evidence::Log(log(7, true)));
        assert_eq!(answer.log_told, Some(8));
        answer.add_log(log(8, false));
        assert_eq!((answer.log.len(), answer.log_lost), (2, true));
    }

    #[test]
    fn evidence_is_one_line_and_reads_back() {
        let mut answer = CellAnswer::default();
        for evidence in [
            Evidence::Note("a\nb".into()),
            Evidence::Pages(PagesSeen {
                moment: Moment::Queued,
                buffer: 0,
                pagemap: vec![1 << 63 | 0x1234, 0],
                flags: vec![1, 0],
                count: vec![1, 0],
            }),
            Evidence::Canary(CanarySeen {
                place: Place::After,
                address: 0x7fff_0000,
                length: 5,
                state: CanaryState::Changed {
                    first: 0x7fff_0001,
                    bytes: 2,
                },
            }),
        ] {
            let line = serde_json::to_string(&evidence).unwrap();
            assert!(!line.contains('\n'), "{line}");
            answer.add(serde_json::from_str(&line).unwrap());
            assert_eq!(
                serde_json::from_str::<Evidence>(&line).unwrap(),
                evidence,
                "{line}"
            );
        }
        let frames: Vec<_> = answer.pages_at(Moment::Queued).unwrap().frames().collect();
        assert_eq!(frames, [Some(0x1234), None]);
        assert_eq!(answer.notes, ["a\nb"]);
        let text = serde_json::to_string(&answer).unwrap();
        assert_eq!(serde_json::from_str::<CellAnswer>(&text).unwrap(), answer);
    }

    #[test]
    fn each_buffer_has_what_was_seen_of_it() {
        let contents = |digest| {
            Evidence::Contents(ContentsSeen {
                moment: Moment::Filled,
                digests: vec![Some(Digest(digest))],
                upside_down: Vec::new(),
                made: None,
            })
        };
        let mut answer = CellAnswer {
            ended: Ended::TimedOut,
            ..CellAnswer::default()
        };
        for number in [0, 2, usize::MAX] {
            answer.add(Evidence::Of(number, Box::new(contents(number as u64))));
        }
        answer.add(Evidence::Of(
            2,
            Box::new(Evidence::Note("no memory".into())),
        ));
        let seen = |number| {
            let of_it = answer.of_buffer(number);
            assert_eq!(of_it.ended, Ended::TimedOut);
            let contents = of_it.contents.iter();
            let digests = contents.flat_map(|seen| seen.digests.clone());
            digests.map(|digest| digest.unwrap().0).collect::<Vec<_>>()
        };
        // What is of no buffer that there could be is the cell's.
        assert_eq!(seen(0), [0, u64::MAX]);
        assert_eq!(seen(1), [0; 0]);
        assert_eq!(seen(2), [2]);
        assert_eq!(seen(3), [0; 0]);
        assert_eq!(answer.notes, ["no memory"]);
        assert_eq!(answer.looks_at_buffers().count(), 3);
        let read: CellAnswer =
            serde_json::from_str(&serde_json::to_string(&answer).unwrap()).unwrap();
        assert_eq!(read, answer);
    }
}
