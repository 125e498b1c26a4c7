//! Points about what calls return, pin and leave behind.

use super::point::{CREATE, Point, flags, get, steps};
use crate::agent::frame_vector::{Kind, Step, WRITE};
use crate::rig::frame_vector::answer::{Answer, Viewed};
use crate::rig::frame_vector::observation::{Observation, pinned};

/// Number of references that a pin of a small page counts
/// (`GUP_PIN_COUNTING_BIAS`).
const PIN: i32 = 1024;

/// Questions about calls.
pub const ALL: &[Point] = &[
    Point {
        name: "no-frames",
        question: "What does a call for 0 frames return?",
        script: || steps(&[(Kind::Touched, 4)], &[CREATE, get(0, true)]),
        answer: |seen| Answer::Got(seen.got(1)),
        provokes: None,
    },
    Point {
        name: "above-allocation",
        question: "What of more frames than were allocated, twice?",
        script: || {
            let create = Step::Create { frames: 4 };
            let calls = [create, get(8, true), Step::Put, get(8, true), Step::Put];
            steps(&[(Kind::Touched, 8)], &calls)
        },
        answer: |seen| Answer::Twice {
            first: seen.got(1),
            second: seen.got(3),
            warnings: seen.warnings_of("get_vaddr_frames"),
        },
        provokes: Some("get_vaddr_frames"),
    },
    Point {
        name: "put-unpins",
        question: "Does put release the pins, and a second put no more?",
        script: || {
            let calls = [CREATE, get(8, true), Step::Put, Step::Put];
            steps(&[(Kind::Touched, 8)], &calls)
        },
        answer: |seen| Answer::Put {
            pins: [1, 2, 3].map(|step| seen.pins_between(0, step)),
            pages: pinned(seen.outcome(2)),
        },
        provokes: None,
    },
    Point {
        name: "destroy-unpins",
        question: "Does destroy release the pins?",
        script: || {
            let calls = [CREATE, get(8, true), Step::Abandon, Step::Release];
            steps(&[(Kind::Touched, 8)], &calls)
        },
        answer: |seen| Answer::Destroyed {
            pages: pinned(seen.outcome(2)),
            pins: seen.pins_between(0, 2),
            unpinned: pinned(seen.outcome(3)),
        },
        provokes: Some("frame_vector.c"),
    },
    Point {
        name: "put-after-failure",
        question: "What does a get that fails leave, and what does put make of it?",
        script: || {
            let calls = [CREATE, get(4, true), Step::Put];
            steps(&[(Kind::Hole, 4)], &calls)
        },
        answer: |seen| Answer::Failed {
            got: seen.got(1),
            flags: flags(seen, 1),
            pins: seen.pins_between(0, 2),
        },
        provokes: None,
    },
    Point {
        name: "get-after-failure",
        question: "Can the vector be used again without put, after a get has failed?",
        script: || {
            let second = Step::Get {
                page: 4,
                offset: 0,
                frames: 4,
                flags: WRITE,
            };
            let areas = [(Kind::Hole, 4), (Kind::Touched, 4)];
            steps(&areas, &[CREATE, get(4, true), second, Step::Put])
        },
        answer: |seen| Answer::Again {
            first: seen.got(1),
            second: seen.got(2),
            pins: seen.pins_until_put(2),
        },
        provokes: None,
    },
    Point {
        name: "get-twice",
        question: "What of a second get without a put between?",
        script: || {
            let again = Step::GetAgain { page: 4, frames: 4 };
            let calls = [CREATE, get(4, true), again, Step::Put, Step::Release];
            steps(&[(Kind::Touched, 8)], &calls)
        },
        answer: |seen| Answer::Over {
            first: seen.got(1),
            second: seen.got(2),
            pins: [1, 2, 3, 4].map(|step| seen.pins_between(0, step)),
        },
        provokes: None,
    },
    Point {
        name: "put-spares-pfns",
        question: "Does put leave PFNs alone that were not pinned?",
        script: || {
            let fill = fill(&[0]);
            steps(&[(Kind::Touched, 1)], &[CREATE, fill, Step::Put])
        },
        answer: |seen| {
            // Other short-term users of the page add fewer references than a
            // pin.
            let pins = |step: usize| seen.outcome(step).pages[0].references.div_euclid(PIN);
            Answer::Spared {
                page: pins(2) - pins(0),
                kernel: seen.pins_between(0, 2),
                frames: seen.outcome(2).vector.map_or(0, |vector| vector.frames),
            }
        },
        provokes: None,
    },
    Point {
        name: "no-struct-page",
        question: "What is frame_vector_pages() of PFNs without struct page?",
        script: || {
            let calls = [CREATE, fill(&[0, 1, 2, 3]), Step::Pages, Step::Put];
            steps(&[(Kind::Bar, 4)], &calls)
        },
        answer: |seen| Answer::Viewed(viewed(seen, 2)),
        provokes: None,
    },
    Point {
        name: "mixed-pfns",
        question: "And of PFNs with and without, one after another?",
        script: || {
            let areas = [(Kind::Touched, 2), (Kind::Bar, 2)];
            let calls = [
                CREATE,
                fill(&[0, 2, 1, 3]),
                Step::Pages,
                Step::ToPages,
                Step::Put,
            ];
            steps(&areas, &calls)
        },
        answer: |seen| Answer::Converted {
            viewed: viewed(seen, 2),
            returned: seen.outcome(3).returned,
        },
        provokes: None,
    },
    Point {
        name: "there-and-back",
        question: "Pages as PFNs and back: the same?",
        script: || {
            let views = [Step::ToPfns, Step::ToPages, Step::Pfns, Step::Pages];
            let calls = [&[CREATE, get(8, true)][..], &views, &[Step::Put]].concat();
            steps(&[(Kind::Touched, 8)], &calls)
        },
        answer: |seen| {
            let is_pfns = |step| {
                seen.outcome(step)
                    .vector
                    .is_some_and(|vector| vector.is_pfns)
            };
            let same = (2..6).all(|step| seen.outcome(step).frames == seen.outcome(1).frames);
            let turns = [2, 3, 4, 5].map(is_pfns) == [true, false, true, false];
            Answer::ThereAndBack {
                same: same && turns,
                after: pinned(seen.outcome(6)),
            }
        },
        provokes: None,
    },
    Point {
        name: "put-as-pfns",
        question: "Does put release pages that are viewed as PFNs?",
        script: || {
            let calls = [CREATE, get(8, true), Step::Pfns, Step::Put];
            steps(&[(Kind::Touched, 8)], &calls)
        },
        answer: |seen| Answer::AsPfns {
            before: pinned(seen.outcome(2)),
            after: pinned(seen.outcome(3)),
        },
        provokes: None,
    },
];

fn fill(pages: &[u32]) -> Step {
    Step::Fill {
        pages: pages.to_vec(),
    }
}

/// Returns the result of `frame_vector_pages()` in a step, and whether the PFNs
/// that were filled in by the step before are still there.
fn viewed(seen: &Observation<'_>, index: usize) -> Viewed {
    let outcome = seen.outcome(index);
    Viewed {
        errno: (outcome.returned < 0).then_some(-outcome.returned),
        still: outcome.vector.is_some_and(|vector| vector.is_pfns)
            && seen.outcome(index - 1).frames == outcome.frames,
    }
}
