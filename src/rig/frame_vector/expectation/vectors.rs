//! Expectations of the vectors themselves.

use super::kernel::{Expectation, Kernel};
use crate::rig::frame_vector::answer::{Answer, Created, Flags, Got};

/// Returns the expected answer to the point `name`, if it is one of these.
pub fn of(name: &str, _: Kernel) -> Option<Expectation> {
    Some(match name {
        "create-none" => (
            Answer::Created(Created::Null(1)),
            "the argument is a caller's mistake",
        ),
        "create-overflow" => (
            Answer::Vectors {
                count: 0,
                warnings: 1,
            },
            "above INT_MAX / sizeof(void *) / 2 the argument is a caller's mistake, told by WARN_ON_ONCE()",
        ),
        "create-most" => (
            Answer::Created(Created::Null(0)),
            "the bound itself is no mistake, there is just no memory",
        ),
        "empty-views" => (
            Answer::Views {
                pointers: [true; 3],
                flags: Flags::Vector {
                    frames: 0,
                    pfns: false,
                    pinned: false,
                },
            },
            "there is nothing to convert",
        ),
        "put-fresh" => (
            Answer::Fresh {
                pins: [0, 0],
                flags: Flags::Vector {
                    frames: 0,
                    pfns: false,
                    pinned: false,
                },
            },
            "create sets nr_frames alone; for no frames it does not matter what the flags say",
        ),
        "large-range" => (
            Answer::Large {
                created: Created::Kmalloc,
                got: Got::pinned(131072, 131072),
                pins: [131072, 0],
            },
            "one vector holds them all, in one block where there is one",
        ),
        "no-free-block" => (
            Answer::Fragmented {
                block: None,
                created: Created::Vmalloc,
                got: Got::pinned(131072, 131072),
            },
            "kvmalloc() goes on to single pages where there is no block",
        ),
        "huge-vector" => (Answer::Created(Created::Vmalloc), "kmalloc() ends at 4 MiB"),
        _ => return None,
    })
}
