//! Points about calls that wait for a fault, and changes of the memory
//! meanwhile.

use super::point::{CREATE, Point, get, steps};
use crate::agent::frame_vector::{FrameVector, Kind, Meanwhile, Pages, Step};
use crate::rig::frame_vector::answer::Answer;
use crate::rig::frame_vector::observation::Observation;

/// Memory of which the call has pinned a part when it has to wait.
const WAIT_MIDWAY: [(Kind, u32); 3] =
    [(Kind::Touched, 4), (Kind::Userfault, 1), (Kind::Touched, 3)];

/// The half that is pinned by then.
const FIRST: Pages = Pages { first: 0, count: 4 };

/// The half that is pinned later.
const LAST: Pages = Pages { first: 4, count: 4 };

/// Questions about waiting.
pub const ALL: &[Point] = &[
    Point {
        name: "userfaultfd",
        question: "Memory that another thread fills while the call waits?",
        script: userfault,
        answer: |seen| {
            let filled = seen.filled();
            Answer::Filled {
                got: seen.got(1),
                pages: filled.pages,
                intact: filled.intact,
            }
        },
        provokes: None,
    },
    Point {
        name: "mmap-lock",
        question: "Can another thread map memory while the call waits for a fault?",
        script: userfault,
        answer: |seen| match seen.filled().mapped {
            0 => Answer::NoWait(Some(seen.got(1))),
            count => Answer::Mapped(count),
        },
        provokes: None,
    },
    Point {
        name: "signal",
        question: "Does a signal that is handled interrupt the wait?",
        script: || meanwhile(&[(Kind::Userfault, 8)], Meanwhile::Signal),
        answer: |seen| Answer::Signalled {
            got: seen.got(1),
            handled: seen.filled().signals,
        },
        provokes: None,
    },
    Point {
        name: "kill",
        question: "Does SIGKILL end the wait, before anything is pinned?",
        script: || meanwhile(&[(Kind::Userfault, 8)], Meanwhile::Kill),
        answer: ended,
        provokes: None,
    },
    Point {
        name: "kill-midway",
        question: "And after a part is pinned: what is returned, and what stays pinned?",
        script: || settled(Meanwhile::Kill),
        answer: ended,
        provokes: None,
    },
    Point {
        name: "unmap-ahead",
        question: "Another thread unmaps what comes next while the call waits?",
        script: || {
            let areas = [(Kind::Userfault, 1), (Kind::Touched, 7)];
            meanwhile(&areas, Meanwhile::Unmap(LAST))
        },
        answer: |seen| Answer::Got(seen.got(1)),
        provokes: None,
    },
    Point {
        name: "protect-ahead",
        question: "Or makes it read-only?",
        script: || {
            let areas = [(Kind::Userfault, 1), (Kind::Touched, 7)];
            meanwhile(&areas, Meanwhile::Protect(LAST))
        },
        answer: |seen| Answer::Got(seen.got(1)),
        provokes: None,
    },
    Point {
        name: "unmap-behind",
        question: "Another thread unmaps what is pinned already while the call waits?",
        script: || settled(Meanwhile::Unmap(FIRST)),
        answer: |seen| kept(seen, 3),
        provokes: None,
    },
    Point {
        name: "unmap-movable-behind",
        question: "And if that was in ZONE_MOVABLE?",
        script: || meanwhile(&WAIT_MIDWAY, Meanwhile::Unmap(FIRST)),
        answer: |seen| kept(seen, 1),
        provokes: None,
    },
    written_after(
        "discard-behind",
        "Or has it forgotten (MADV_DONTNEED), and the program writes to it again?",
        || {
            let mut script = settled(Meanwhile::Discard(FIRST));
            script.steps.insert(4, Step::Touch);
            script
        },
    ),
    written_after(
        "fork-midway",
        "Another thread forks while the call waits, and the program writes after it?",
        || {
            let mut script = settled(Meanwhile::Fork);
            script.steps.insert(4, Step::Touch);
            script
        },
    ),
    written_after(
        "fork-then-read",
        "Memory that is shared with a child, for reading, and the program writes after it?",
        || {
            let calls = [Step::Fork, get(8, false), Step::Touch, Step::Put];
            steps(&[(Kind::Touched, 8)], &[&[CREATE][..], &calls].concat())
        },
    ),
];

fn userfault() -> FrameVector {
    steps(&[(Kind::Userfault, 8)], &[CREATE, get(8, true), Step::Put])
}

/// Returns a script with a call that has to wait for its memory, and an action
/// meanwhile.
fn meanwhile(areas: &[(Kind, u32)], what: Meanwhile) -> FrameVector {
    FrameVector {
        meanwhile: Some(what),
        ..steps(areas, &[CREATE, get(8, true), Step::Put])
    }
}

/// Returns the same script for memory whose first half need not be moved out of
/// `ZONE_MOVABLE` any more, because it was pinned before.
fn settled(what: Meanwhile) -> FrameVector {
    FrameVector {
        steps: vec![CREATE, get(4, true), Step::Put, get(8, true), Step::Put],
        ..meanwhile(&WAIT_MIDWAY, what)
    }
}

/// Returns the result of a step's call, and the pins after it and after the put
/// in the next step.
fn kept(seen: &Observation<'_>, index: usize) -> Answer {
    Answer::Kept {
        got: seen.got(index),
        pins: seen.pins_until_put(index),
    }
}

/// Returns how a call ended during which its process should be killed.
fn ended(seen: &Observation<'_>) -> Answer {
    let Some(killed) = seen.killed() else {
        return Answer::NoWait(seen.last(is_get).map(|get| seen.got(get)));
    };
    Answer::Killed {
        returned: killed.returned,
        pins: killed.pins as i64 - seen.outcome(0).pins as i64,
    }
}

fn is_get(step: &Step) -> bool {
    matches!(step, Step::Get { .. })
}

/// Returns a point about whether the pinned pages are the process's after it
/// has written to its memory.
const fn written_after(
    name: &'static str,
    question: &'static str,
    script: fn() -> FrameVector,
) -> Point {
    Point {
        name,
        question,
        script,
        answer: |seen| {
            let got = seen.last(is_get);
            let written = seen.last(|step| *step == Step::Touch);
            let (Some(got), Some(written)) = (got, written) else {
                return Answer::NotTried;
            };
            let after = seen.outcome(written);
            let own = after.frames.iter().zip(&after.process);
            Answer::Written {
                got: seen.got(got),
                own: own.filter(|(frame, own)| frame == own).count(),
                frames: after.frames.len(),
            }
        },
        provokes: None,
    }
}
