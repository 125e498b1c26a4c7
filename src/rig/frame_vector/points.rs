//! The points: what is asked, how it is tried, how the answer is read.

use super::observation::{Observation, name, pinned};
use crate::agent::frame_vector::{Area, FrameVector, Kind, Step};

/// A question about the frame vector.
#[derive(Debug)]
pub struct Point {
    /// Its name.
    pub name: &'static str,
    /// The question.
    pub question: &'static str,
    /// The memory and the calls.
    pub script: fn() -> FrameVector,
    /// Reads the answer off what came back.
    pub answer: fn(&Observation<'_>) -> String,
    /// The function that warns, if that is what is asked.
    pub provokes: Option<&'static str>,
}

/// Frames of a vector for 512 MiB: 1 MiB of pointers.
const LARGE: u32 = 131_072;

/// The order of a block of memory that has room for it: what is before the
/// pointers makes it a little more than 1 MiB.
const LARGE_ORDER: u32 = 9;

/// Frames of a vector that kmalloc() has no room for at all: 6 MiB of pointers,
/// and it gives out 4 MiB at most.
const HUGE: u32 = 786_432;

/// Single pages that are left free when there is no free block: 64 MiB.
const SINGLES: u32 = 16_384;

/// References that a pin of a small page is (`GUP_PIN_COUNTING_BIAS`).
const PIN: i32 = 1024;

/// All points, in the order in which they are tried.
pub const ALL: &[Point] = &[
    Point {
        name: "create-none",
        question: "What is a vector for no frames?",
        script: || steps(&[], &[Step::Create { frames: 0 }]),
        answer: created,
        provokes: Some("frame_vector_create"),
    },
    Point {
        name: "create-overflow",
        question: "What is a vector whose size would overflow?",
        script: || steps(&[], &[Step::Create { frames: u32::MAX }]),
        answer: created,
        provokes: Some("frame_vector_create"),
    },
    Point {
        name: "no-frames",
        question: "What does a call for 0 frames return?",
        script: || steps(&[(Kind::Touched, 4)], &[CREATE, get(0, true)]),
        answer: |seen| seen.got(1),
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
        answer: |seen| {
            let (first, second) = (seen.got(1), seen.got(3));
            let warnings = seen.warnings_of("get_vaddr_frames");
            match first == second {
                true => format!("{first}, both times; {warnings} warning"),
                false => format!("{first}, then {second}; {warnings} warning"),
            }
        },
        provokes: Some("get_vaddr_frames"),
    },
    one_get(
        "touched",
        "Memory that was written to, for writing?",
        || steps(&[(Kind::Touched, 8)], &[CREATE, get(8, true)]),
    ),
    one_get(
        "untouched",
        "Memory that was never used, for writing?",
        || steps(&[(Kind::Untouched, 8)], &[CREATE, get(8, true)]),
    ),
    Point {
        name: "untouched-read",
        question: "Memory that was never used, for reading: whose pages?",
        script: || steps(&[(Kind::Untouched, 8)], &[CREATE, get(8, false)]),
        answer: |seen| {
            let mut frames = seen.outcome(1).frames.clone();
            frames.sort_unstable();
            frames.dedup();
            let whose = match frames.len() {
                1 => "the zero page",
                8 => "pages of its own",
                _ => "some of both",
            };
            format!("{}; {whose}", seen.got(1))
        },
        provokes: None,
    },
    one_get(
        "nothing-mapped",
        "A range with nothing mapped in it?",
        || steps(&[(Kind::Hole, 8)], &[CREATE, get(8, true)]),
    ),
    one_get("hole", "A hole in the middle?", || {
        let areas = [(Kind::Touched, 3), (Kind::Hole, 2), (Kind::Touched, 3)];
        steps(&areas, &[CREATE, get(8, true)])
    }),
    one_get(
        "no-access",
        "Private memory without any access (PROT_NONE)?",
        || steps(&[(Kind::NoAccess, 8)], &[CREATE, get(8, true)]),
    ),
    one_get("two-mappings", "Two mappings, both of pages?", || {
        let areas = [(Kind::Touched, 4), (Kind::Shared, 4)];
        steps(&areas, &[CREATE, get(8, true)])
    }),
    one_get(
        "pages-then-device",
        "Pages, then memory of a device?",
        || {
            let areas = [(Kind::Touched, 4), (Kind::Bar, 4)];
            steps(&areas, &[CREATE, get(8, true)])
        },
    ),
    one_get(
        "device-then-pages",
        "Memory of a device, then pages?",
        || {
            let areas = [(Kind::Bar, 4), (Kind::Touched, 4)];
            steps(&areas, &[CREATE, get(8, true)])
        },
    ),
    one_get(
        "device",
        "Memory of a device (VM_IO | VM_PFNMAP, no struct page)?",
        || steps(&[(Kind::Bar, 4)], &[CREATE, get(4, true)]),
    ),
    one_get(
        "uncounted-pages",
        "Pages in a VM_IO | VM_PFNMAP mapping?",
        || steps(&[(Kind::UncountedPages, 4)], &[CREATE, get(4, true)]),
    ),
    one_get(
        "io-pages",
        "Pages in a mapping that is VM_IO alone?",
        || steps(&[(Kind::IoPages, 4)], &[CREATE, get(4, true)]),
    ),
    one_get(
        "io-pages-read",
        "Pages in a mapping that is VM_IO alone, for reading?",
        || steps(&[(Kind::IoPages, 4)], &[CREATE, get(4, false)]),
    ),
    one_get(
        "read-only-write",
        "A private read-only mapping, for writing?",
        || steps(&[(Kind::ReadOnly, 8)], &[CREATE, get(8, true)]),
    ),
    one_get(
        "read-only-read",
        "A private read-only mapping, for reading?",
        || steps(&[(Kind::ReadOnly, 8)], &[CREATE, get(8, false)]),
    ),
    one_get(
        "shared-read-only-write",
        "A shared read-only mapping, for writing?",
        || steps(&[(Kind::SharedReadOnly, 8)], &[CREATE, get(8, true)]),
    ),
    one_get(
        "shared-read-only-read",
        "A shared read-only mapping, for reading?",
        || steps(&[(Kind::SharedReadOnly, 8)], &[CREATE, get(8, false)]),
    ),
    one_get("tmpfs-file", "A file of a tmpfs, mapped shared?", || {
        let path = "/tmp/frame-vector".to_owned();
        steps(&[(Kind::File { path }, 8)], &[CREATE, get(8, true)])
    }),
    one_get("disk", "A disk, mapped shared, for writing?", || {
        let path = "/dev/vda".to_owned();
        steps(&[(Kind::File { path }, 8)], &[CREATE, get(8, true)])
    }),
    one_get("null", "The address 0?", || {
        let (address, frames) = (0, 4);
        steps(&[], &[CREATE, Step::GetAt { address, frames }])
    }),
    one_get("kernel-address", "An address of the kernel's?", || {
        let (address, frames) = (0xffff_8880_0000_0000, 4);
        steps(&[], &[CREATE, Step::GetAt { address, frames }])
    }),
    one_get("wraps", "A range that runs past the last address?", || {
        let (address, frames) = (0xffff_ffff_ffff_f000, 4);
        steps(&[], &[CREATE, Step::GetAt { address, frames }])
    }),
    Point {
        name: "put-unpins",
        question: "Does put release the pins, and a second put no more?",
        script: || {
            let calls = [CREATE, get(8, true), Step::Put, Step::Put];
            steps(&[(Kind::Touched, 8)], &calls)
        },
        answer: |seen| {
            let pins = [1, 2, 3].map(|step| seen.pins_between(0, step));
            format!(
                "pins: {:+}, {:+} after put, {:+} after another; the pages are {}",
                pins[0],
                pins[1],
                pins[2],
                pinned(seen.outcome(2))
            )
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
        answer: |seen| {
            format!(
                "{} after destroy ({:+} pins), {} after unpin_user_pages()",
                pinned(seen.outcome(2)),
                seen.pins_between(0, 2),
                pinned(seen.outcome(3))
            )
        },
        provokes: Some("frame_vector.c"),
    },
    Point {
        name: "put-spares-pfns",
        question: "Does put leave PFNs alone that were not pinned?",
        script: || {
            let fill = Step::Fill { page: 0, frames: 1 };
            steps(&[(Kind::Touched, 1)], &[CREATE, fill, Step::Put])
        },
        answer: |seen| {
            // Whoever else holds the page for a moment adds less than a pin.
            let pins = |step: usize| seen.outcome(step).pages[0].references.div_euclid(PIN);
            let frames = seen.outcome(2).vector.map_or(0, |vector| vector.frames);
            format!(
                "the page has {:+} pins, the kernel {:+}; {frames} frames left",
                pins(2) - pins(0),
                seen.pins_between(0, 2)
            )
        },
        provokes: None,
    },
    Point {
        name: "no-struct-page",
        question: "What is frame_vector_pages() of PFNs without struct page?",
        script: || {
            let fill = Step::Fill { page: 0, frames: 4 };
            steps(&[(Kind::Bar, 4)], &[CREATE, fill, Step::Pages, Step::Put])
        },
        answer: |seen| {
            let outcome = seen.outcome(2);
            let after = match outcome.vector {
                Some(vector) if vector.is_pfns && seen.outcome(1).frames == outcome.frames => {
                    "still the PFNs"
                }
                _ => "something else",
            };
            match outcome.returned {
                returned if returned < 0 => format!("ERR_PTR(-{}), {after}", name(-returned)),
                _ => format!("pages, {after}"),
            }
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
            let text = if same && turns {
                "the same"
            } else {
                "not the same"
            };
            format!("{text}, {} after put", pinned(seen.outcome(6)))
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
        answer: |seen| {
            let (before, after) = (pinned(seen.outcome(2)), pinned(seen.outcome(3)));
            format!("{before} as PFNs, {after} after put")
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
        answer: |seen| {
            let pins = [1, 2].map(|step| seen.pins_between(0, step));
            format!(
                "{}, {}; pins: {:+}, {:+} after put",
                created(seen),
                seen.got(1),
                pins[0],
                pins[1]
            )
        },
        provokes: None,
    },
    Point {
        name: "no-free-block",
        question: "A vector for 512 MiB while no free block is large enough for it?",
        script: || {
            let hoard = Step::Hoard { singles: SINGLES };
            let create = Step::Create { frames: LARGE };
            let calls = [hoard, create, get(LARGE, true), Step::Put];
            steps(&[(Kind::Repeated, LARGE)], &calls)
        },
        answer: |seen| {
            let order = seen.outcome(0).free_order;
            let fragmented = match order {
                0..LARGE_ORDER => "no block".to_owned(),
                _ => format!("a block of order {order}"),
            };
            format!("{fragmented}: {}, {}", created(seen), seen.got(2))
        },
        provokes: None,
    },
    Point {
        name: "huge-vector",
        question: "A vector that is larger than kmalloc() can be asked for?",
        script: || steps(&[], &[Step::Create { frames: HUGE }, Step::Destroy]),
        answer: created,
        provokes: None,
    },
    Point {
        name: "userfaultfd",
        question: "Memory that another thread fills while the call waits?",
        script: userfault,
        answer: |seen| {
            let filled = seen.filled();
            format!(
                "{}; {} filled, {} intact",
                seen.got(1),
                filled.pages,
                filled.intact
            )
        },
        provokes: None,
    },
    Point {
        name: "mmap-lock",
        question: "Can another thread map memory while the call waits for a fault?",
        script: userfault,
        answer: |seen| match seen.filled().mapped {
            0 => format!("it does not wait: {}", seen.got(1)),
            count => format!("yes, {count} times"),
        },
        provokes: None,
    },
];

const CREATE: Step = Step::Create { frames: 8 };

const fn get(frames: u32, write: bool) -> Step {
    Step::Get {
        page: 0,
        frames,
        write,
    }
}

/// A point that is answered by what the first call after the creation got.
const fn one_get(name: &'static str, question: &'static str, script: fn() -> FrameVector) -> Point {
    Point {
        name,
        question,
        script,
        answer: |seen| seen.got(1),
        provokes: None,
    }
}

fn steps(areas: &[(Kind, u32)], steps: &[Step]) -> FrameVector {
    let area = |(kind, pages): &(Kind, u32)| Area {
        kind: kind.clone(),
        pages: *pages,
    };
    FrameVector {
        areas: areas.iter().map(area).collect(),
        steps: steps.to_vec(),
    }
}

fn userfault() -> FrameVector {
    steps(&[(Kind::Userfault, 8)], &[CREATE, get(8, true), Step::Put])
}

/// What `frame_vector_create()` made, as the first or second step.
fn created(seen: &Observation<'_>) -> String {
    let index = usize::from(seen.outcome(0).vector.is_none() && seen.has(1));
    match seen.outcome(index).vector {
        None => match seen.warnings_of("frame_vector_create") {
            0 => "NULL".to_owned(),
            count => format!("NULL, {count} warning"),
        },
        Some(vector) if vector.is_vmalloc => "by vmalloc()".to_owned(),
        Some(_) => "by kmalloc()".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rig::frame_vector::expectation::{Kernel, Version, of};

    #[test]
    fn every_point_has_a_name_of_its_own_and_an_expectation() {
        let mut names: Vec<_> = ALL.iter().map(|point| point.name).collect();
        for point in ALL {
            for (major, minor) in [(5, 10), (6, 1), (6, 12), (7, 3)] {
                for debug_vm in [false, true] {
                    let version = Version(major, minor);
                    let (answer, reason) = of(point.name, Kernel { version, debug_vm });
                    assert!(!answer.is_empty() && !reason.is_empty(), "{}", point.name);
                }
            }
            assert!(point.question.ends_with('?'), "{}", point.question);
        }
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
