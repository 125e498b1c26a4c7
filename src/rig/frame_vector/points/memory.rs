//! Points about kinds of memory, and how it is requested.

use super::point::{CREATE, Point, get, one_get, steps};
use crate::agent::frame_vector::{FORCE, FrameVector, HUGE_PAGES, Kind, LONGTERM, Step, WRITE};
use crate::rig::frame_vector::answer::{Answer, Whose};

/// The function that pins hugetlb pages in 6.1 if the fast path does not.
const SLOW_HUGE: &str = "follow_hugetlb_page";

/// Calls over the last pages of a huge page and the first pages of the next.
const ACROSS: [Step; 3] = [
    Step::Create { frames: 16 },
    Step::Get {
        page: HUGE_PAGES - 8,
        offset: 0,
        frames: 16,
        flags: WRITE,
    },
    Step::Put,
];

/// Questions about memory.
pub const ALL: &[Point] = &[
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
            Answer::Whose {
                got: seen.got(1),
                whose: match frames.len() {
                    1 => Whose::Zero,
                    8 => Whose::Own,
                    _ => Whose::Both,
                },
            }
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
        name: "unaligned",
        question: "A range that begins in the middle of a page?",
        script: || {
            let begin = Step::Get {
                page: 0,
                offset: 1234,
                frames: 8,
                flags: WRITE,
            };
            steps(&[(Kind::Touched, 12)], &[CREATE, begin])
        },
        answer: |seen| Answer::Got(seen.got(1)),
        provokes: None,
    },
    across_huge_pages("hugetlb", "Pages of two huge pages of hugetlb?", || {
        steps(&[(Kind::HugeTlb, 2 * HUGE_PAGES)], &ACROSS)
    }),
    across_huge_pages(
        "transparent-huge",
        "Pages of two transparent huge pages?",
        || steps(&[(Kind::TransparentHuge, 2 * HUGE_PAGES)], &ACROSS),
    ),
    Point {
        name: "movable",
        question: "Pages in ZONE_MOVABLE, where nothing that stays should be?",
        script: || steps(&[(Kind::Touched, 8)], &[CREATE, get(8, true), Step::Put]),
        answer: |seen| {
            let movable = [0, 1].map(|step| {
                let pages = seen.outcome(step).pages.iter();
                pages.filter(|page| page.movable).count()
            });
            Answer::Movable {
                got: seen.got(1),
                before: movable[0],
                after: movable[1],
            }
        },
        provokes: None,
    },
    Point {
        name: "limit",
        question: "For a process that may lock no memory (RLIMIT_MEMLOCK is 0)?",
        script: || {
            let calls = [Step::Limit, CREATE, get(8, true), Step::Put];
            steps(&[(Kind::Touched, 8)], &calls)
        },
        answer: |seen| {
            let [pinned, locked] = seen.outcome(2).accounted;
            Answer::Limited {
                refused: -seen.outcome(0).returned,
                got: seen.got(2),
                pinned,
                locked,
            }
        },
        provokes: None,
    },
    with_flags(
        "force-write",
        "A private read-only mapping, with FOLL_FORCE | FOLL_WRITE, as videobuf2 asked in 5.10?",
        || steps(&[(Kind::ReadOnly, 8)], &[CREATE, get_as(WRITE | FORCE)]),
    ),
    with_flags(
        "force-read",
        "Private memory without any access, with FOLL_FORCE alone?",
        || steps(&[(Kind::NoAccess, 8)], &[CREATE, get_as(FORCE)]),
    ),
    with_flags("longterm", "Memory, with FOLL_LONGTERM?", || {
        steps(&[(Kind::Touched, 8)], &[CREATE, get_as(WRITE | LONGTERM)])
    }),
];

const fn get_as(flags: u32) -> Step {
    Step::Get {
        page: 0,
        offset: 0,
        frames: 8,
        flags,
    }
}

/// Returns a point about flags that a kernel may not let its callers choose.
const fn with_flags(
    name: &'static str,
    question: &'static str,
    script: fn() -> FrameVector,
) -> Point {
    Point {
        name,
        question,
        script,
        answer: |seen| match seen.outcome(1).returned {
            returned if returned == -libc::EOPNOTSUPP => Answer::NoFlags,
            _ => match seen.warnings_of("pin_user_pages_locked") {
                0 => Answer::Got(seen.got(1)),
                warnings => Answer::Warned {
                    got: seen.got(1),
                    warnings,
                },
            },
        },
        provokes: Some("pin_user_pages_locked"),
    }
}

/// Returns a point about pages on both sides of the boundary between huge
/// pages.
const fn across_huge_pages(
    name: &'static str,
    question: &'static str,
    script: fn() -> FrameVector,
) -> Point {
    Point {
        name,
        question,
        script,
        answer: |seen| {
            let warnings = seen.warnings_of(SLOW_HUGE);
            let got = seen.got(1);
            if seen.outcome(1).returned < 0 {
                return Answer::Warned { got, warnings };
            }
            let pages = (HUGE_PAGES - 8..).map(|page| u64::from(page % HUGE_PAGES));
            let mut places = seen.outcome(1).frames.iter().zip(pages);
            Answer::Huge {
                got,
                in_place: places.all(|(frame, page)| frame % u64::from(HUGE_PAGES) == page),
                pins: seen.pins_until_put(1),
            }
        },
        provokes: Some(SLOW_HUGE),
    }
}
