//! What the outcome and pins oracles ask of a schedule: that its steps came in its
//! order, each buffer was where it had to be after each of them, and was pinned as long
//! as the card had it.
//!
//! The sources are V4L2's page of struct v4l2_buffer (V4L2_BUF_FLAG_QUEUED and
//! V4L2_BUF_FLAG_DONE) and videobuf2, which keeps the memory of a buffer that was
//! dequeued until it is queued with other memory, or freed.

use super::super::observation::Observation;
use super::evidence::CellEvidence;
use crate::agent::cell::evidence::{CountersSeen, Moment, StepSeen};
use crate::agent::cell::schedule::{Act, Schedule, Step, letter};
use crate::rig::matrix::objection::{Objections, Severity};
use crate::wire::buffer::{BUF_FLAG_DONE, BUF_FLAG_QUEUED};

/// Where a buffer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Dequeued,
    Queued,
    Done,
}

impl State {
    /// Returns where a buffer is after that act was the last.
    const fn after(act: Option<Act>) -> Self {
        match act {
            None | Some(Act::Dequeue) => Self::Dequeued,
            Some(Act::Queue | Act::Dma) => Self::Queued,
            Some(Act::Done) => Self::Done,
        }
    }

    /// Returns where the driver says that it is.
    const fn told(flags: u32) -> Self {
        match (flags & BUF_FLAG_DONE != 0, flags & BUF_FLAG_QUEUED != 0) {
            (true, _) => Self::Done,
            (false, true) => Self::Queued,
            (false, false) => Self::Dequeued,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Dequeued => "the application's",
            Self::Queued => "queued",
            Self::Done => "done",
        }
    }
}

/// What came last to each buffer.
type Acts = [Option<Act>; 2];

/// Returns what was seen after each step, with what had come to the buffers by then. A
/// step in another place than the schedule has it ends the list.
fn made(evidence: &CellEvidence<'_>, order: Schedule) -> Vec<(StepSeen, Acts)> {
    let mut acts = [None; 2];
    let steps = order.course().zip(&evidence.answer.steps);
    let in_order = steps.take_while(|(step, seen)| *step == seen.step);
    let with_acts = in_order.map(|(step, seen)| {
        if let Some(Step { buffer, act }) = step {
            acts[buffer] = Some(act);
        }
        (*seen, acts)
    });
    with_acts.collect()
}

/// Objects to steps that are not all there in their order, and to a buffer that is not
/// where it must be after one: what comes of that step is told, and not of those after
/// it.
pub fn judge(evidence: &CellEvidence<'_>, objections: &mut Objections) {
    let Some(order) = evidence.schedule.map(|schedule| schedule.order) else {
        return;
    };
    let made = made(evidence, order);
    let answer = evidence.answer;
    let went_on = answer.failed.is_none()
        && !matches!(
            evidence.observation,
            Observation::Refused(_) | Observation::Hung
        );
    let wanted = order.course().count();
    if made.len() < answer.steps.len() || (went_on && made.len() < wanted) {
        let all: String = answer.steps.iter().map(|seen| letter(seen.step)).collect();
        let what = format!("the order was to be {order}, and was {all}");
        objections.push(Severity::DataLost, what);
    }
    for (seen, acts) in made {
        for (buffer, (flags, act)) in seen.flags.into_iter().zip(acts).enumerate() {
            let (is, must) = (State::told(flags), State::after(act));
            if is != must {
                // The process may use a buffer that the card still has.
                let severity = match must {
                    State::Queued => evidence.trespass(),
                    State::Dequeued | State::Done => Severity::DataLost,
                };
                let what = format!(
                    "after {} of {order} {} is {}, and must be {}",
                    letter(seen.step),
                    evidence.flow.name_of(Some(order), buffer),
                    is.name(),
                    must.name()
                );
                return objections.push(severity, what);
            }
        }
    }
}

/// Objects to fewer pinned pages than those of the buffers that the card has, and to more
/// than those of all that were queued so far. Pinhole's own driver has these pinned, as
/// videobuf2 has it; another may unpin what the card has done with.
pub fn pins(evidence: &CellEvidence<'_>, objections: &mut Objections) {
    let Some(order) = evidence.schedule.map(|schedule| schedule.order) else {
        return;
    };
    let answer = evidence.answer;
    let before = answer.counters_at(Moment::LaidOut);
    let Some(before) = before.and_then(CountersSeen::pinned) else {
        return;
    };
    let pages = [0, 1].map(|buffer| {
        let memory = answer.of_buffer(buffer).memory;
        memory.map_or(0, |memory| memory.pages() as i64)
    });
    let of = |is_in: &dyn Fn(usize) -> bool| -> i64 {
        let buffers = (0..2).filter(|buffer| is_in(*buffer));
        buffers.map(|buffer| pages[buffer]).sum()
    };
    for (seen, acts) in made(evidence, order) {
        let Some(pinned) = seen.pinned else { continue };
        let queued = of(&|buffer| acts[buffer].is_some());
        let least = match evidence.pinning {
            Some(_) => queued,
            None => of(&|buffer| State::after(acts[buffer]) == State::Queued),
        };
        let grown = pinned.saturating_sub(before);
        let severity = match grown {
            _ if grown < least => evidence.trespass(),
            _ if grown > queued => Severity::Leaked,
            _ => continue,
        };
        let what = format!(
            "after {} of {order} {grown} pages are pinned, and {least} must be",
            letter(seen.step)
        );
        return objections.push(severity, what);
    }
}

#[cfg(test)]
mod tests {
    use super::super::evidence::Scheduled;
    use super::super::tests::{captured, evidence, said};
    use super::*;
    use crate::agent::cell::answer::BufferSeen;
    use crate::agent::cell::{CellAnswer, Flow};
    use crate::rig::matrix::expectation::Expectation;
    use crate::rig::matrix::name::Pinning;

    const ORDER: &str = "qQ!dDrRxX";

    /// Returns the evidence of two buffers of two pages, step by step.
    fn scheduled() -> CellAnswer {
        let (mut answer, _) = captured();
        let (other, _) = captured();
        answer.further.push(BufferSeen {
            memory: other.memory,
            frames: other.frames,
            ..BufferSeen::default()
        });
        let (queued, done) = (BUF_FLAG_QUEUED, BUF_FLAG_DONE);
        let flags = [
            [queued, 0],
            [queued, queued],
            [queued, queued],
            [queued, queued],
            [queued, queued],
            [done, queued],
            [done, done],
            [0, done],
            [0, 0],
        ];
        let order: Schedule = ORDER.parse().unwrap();
        let steps = order.course().zip(flags).zip([2, 4, 4, 4, 4, 4, 4, 4, 4]);
        let steps = steps.map(|((step, flags), pinned)| StepSeen {
            step,
            at_us: 1,
            flags,
            pinned: Some(pinned),
        });
        answer.steps = steps.collect();
        answer
    }

    /// Returns what one of the two says of it.
    fn objections(
        judge: fn(&CellEvidence<'_>, &mut Objections),
        answer: &CellAnswer,
        pinning: Option<Pinning>,
    ) -> Vec<(Severity, String)> {
        let (_, card_frames) = captured();
        let expectation = Expectation::data(Flow::Capture);
        let evidence = CellEvidence {
            schedule: Some(Scheduled {
                order: ORDER.parse().unwrap(),
                second: &expectation,
            }),
            pinning,
            ..evidence(Flow::Capture, answer, &card_frames, &expectation)
        };
        said(judge, &evidence)
    }

    const OWN: Option<Pinning> = Some(Pinning::FrameVector);

    #[test]
    fn the_steps_come_in_their_order_and_each_is_seen() {
        let answer = scheduled();
        assert_eq!(objections(judge, &answer, OWN), []);
        let mut turned = answer.clone();
        turned.steps.swap(3, 4);
        let what = "the order was to be qQ!dDrRxX, and was qQ!DdrRxX";
        let said = [(Severity::DataLost, what.to_owned())];
        assert_eq!(objections(judge, &turned, OWN), said);
        let mut shorter = answer.clone();
        shorter.steps.truncate(2);
        assert_eq!(objections(judge, &shorter, OWN).len(), 1);
        // Why it ended there is said already.
        shorter.failed = Some("d could not be made".into());
        assert_eq!(objections(judge, &shorter, OWN), []);
    }

    #[test]
    fn a_buffer_is_where_the_schedule_has_it() {
        let mut answer = scheduled();
        answer.steps[1].flags[0] = BUF_FLAG_DONE;
        let what = "after Q of qQ!dDrRxX the first buffer is done, and must be queued";
        let said = [(Severity::MemoryWritten, what.to_owned())];
        assert_eq!(objections(judge, &answer, OWN), said);
        let mut answer = scheduled();
        answer.steps[7].flags[1] = 0;
        let what = "after x of qQ!dDrRxX the second buffer is the application's, and must be done";
        let said = [(Severity::DataLost, what.to_owned())];
        assert_eq!(objections(judge, &answer, OWN), said);
    }

    #[test]
    fn a_buffer_is_pinned_as_long_as_the_card_has_it() {
        let at_100 = |change: &dyn Fn(&mut CellAnswer)| {
            let mut answer = scheduled();
            change(&mut answer);
            [OWN, None].map(|pinning| {
                let said = objections(pins, &answer, pinning).into_iter();
                said.map(|(_, what)| what).collect::<Vec<_>>().join("; ")
            })
        };
        assert_eq!(at_100(&|_| {}), [""; 2]);
        // The second lost its pins when the first came back.
        let lost = at_100(&|answer| answer.steps[5].pinned = Some(1));
        let what = |least| format!("after r of qQ!dDrRxX 1 pages are pinned, and {least} must be");
        assert_eq!(lost, [what(4), what(2)]);
        // The first lost its own, as another driver may have it.
        let given = at_100(&|answer| answer.steps[5].pinned = Some(2));
        let own = "after r of qQ!dDrRxX 2 pages are pinned, and 4 must be";
        assert_eq!(given, [own, ""]);
        let more = at_100(&|answer| answer.steps[0].pinned = Some(3));
        let own = "after q of qQ!dDrRxX 3 pages are pinned, and 2 must be";
        assert_eq!(more, [own; 2]);
        // Whatever a guest says is a number.
        let wild = at_100(&|answer| {
            let acquired = answer.counters[0].values.get_mut("nr_foll_pin_acquired");
            *acquired.unwrap() += 1;
            answer.steps[0].pinned = Some(i64::MIN);
        });
        assert!(
            wild.iter().all(|said| said.contains(" pages are pinned")),
            "{wild:?}"
        );
        // An older kernel does not count them.
        assert_eq!(at_100(&|answer| answer.steps[5].pinned = None), [""; 2]);
    }
}
