//! Points about vectors: their size, and their state before the first call.

use super::point::{CREATE, Point, created, flags, get, steps};
use crate::agent::frame_vector::{Kind, Step};
use crate::rig::frame_vector::answer::Answer;

/// Largest number of frames that a vector may have: `INT_MAX / sizeof(void *) /
/// 2`.
const MOST_FRAMES: u32 = 134_217_727;

/// Number of frames of a vector for 512 MiB: 1 MiB of pointers.
const LARGE: u32 = 131_072;

/// Order of a block of memory that has room for that vector: its header makes
/// it slightly larger than 1 MiB.
const LARGE_ORDER: u32 = 9;

/// Number of frames of a vector that kmalloc() cannot allocate at all: 6 MiB of
/// pointers, while kmalloc() allocates at most 4 MiB.
const HUGE: u32 = 786_432;

/// Number of single pages that are left free when there is no free block: 64
/// MiB.
const SINGLES: u32 = 16_384;

/// Questions about vectors.
pub const ALL: &[Point] = &[
    Point {
        name: "create-none",
        question: "What is a vector for no frames?",
        script: || steps(&[], &[Step::Create { frames: 0 }]),
        answer: |seen| Answer::Created(created(seen)),
        provokes: Some("frame_vector_create"),
    },
    Point {
        name: "create-overflow",
        question: "What is a vector of one frame more than may be, twice, and of most of all?",
        script: || {
            let counts = [MOST_FRAMES + 1, MOST_FRAMES + 1, u32::MAX];
            steps(&[], &counts.map(|frames| Step::Create { frames }))
        },
        answer: |seen| {
            let vectors = (0..3).filter(|step| seen.outcome(*step).vector.is_some());
            Answer::Vectors {
                count: vectors.count(),
                warnings: seen.warnings_of("frame_vector_create"),
            }
        },
        provokes: Some("frame_vector_create"),
    },
    Point {
        name: "create-most",
        question: "And of as many frames as may be, where there is no gigabyte of memory?",
        script: || {
            let frames = MOST_FRAMES;
            steps(&[], &[Step::Create { frames }])
        },
        answer: |seen| Answer::Created(created(seen)),
        // When vmalloc() fails to allocate memory, it logs its call trace.
        provokes: Some("vmalloc"),
    },
    Point {
        name: "empty-views",
        question: "Can a vector without frames be viewed both ways, and put?",
        script: || {
            let views = [Step::Pages, Step::Pfns, Step::Pages, Step::Put];
            steps(&[], &[&[CREATE][..], &views].concat())
        },
        answer: |seen| Answer::Views {
            pointers: [1, 2, 3].map(|step| seen.outcome(step).returned == 1),
            flags: flags(seen, 4),
        },
        provokes: None,
    },
    Point {
        name: "put-fresh",
        question: "Put and destroy of a new vector whose flags are what the memory held?",
        script: || {
            let calls = [CREATE, Step::Poison, Step::Put, Step::Destroy];
            steps(&[(Kind::Touched, 8)], &calls)
        },
        answer: |seen| Answer::Fresh {
            pins: [2, 3].map(|step| seen.pins_between(0, step)),
            flags: flags(seen, 2),
        },
        provokes: None,
    },
    Point {
        name: "large-range",
        question: "512 MiB in one call?",
        script: || {
            let calls = [Step::Create { frames: LARGE }, get(LARGE, true), Step::Put];
            steps(&[(Kind::Repeated, LARGE)], &calls)
        },
        answer: |seen| Answer::Large {
            created: created(seen),
            got: seen.got(1),
            pins: seen.pins_until_put(1),
        },
        provokes: None,
    },
    Point {
        name: "no-free-block",
        question: "A vector for 512 MiB while no free block is large enough for it?",
        script: || {
            let create = Step::CreateFragmented {
                frames: LARGE,
                singles: SINGLES,
            };
            let calls = [create, get(LARGE, true), Step::Put];
            steps(&[(Kind::Repeated, LARGE)], &calls)
        },
        answer: |seen| {
            let order = seen.outcome(0).free_order;
            Answer::Fragmented {
                block: (order >= LARGE_ORDER).then_some(order),
                created: created(seen),
                got: seen.got(1),
            }
        },
        provokes: None,
    },
    Point {
        name: "huge-vector",
        question: "A vector that is larger than kmalloc() can be asked for?",
        script: || steps(&[], &[Step::Create { frames: HUGE }, Step::Destroy]),
        answer: |seen| Answer::Created(created(seen)),
        provokes: None,
    },
];
