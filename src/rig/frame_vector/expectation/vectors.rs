//! What a vector is.

use super::kernel::{Expectation, Kernel};

/// The answer to the point `name`, if it is one of these.
pub fn of(name: &str, _: Kernel) -> Option<Expectation> {
    Some(match name {
        "create-none" => ("NULL, 1 warning", "the argument is a caller's mistake"),
        "create-overflow" => (
            "NULL, each time; 1 warning",
            "above INT_MAX / sizeof(void *) / 2 the argument is a caller's mistake, told by WARN_ON_ONCE()",
        ),
        "create-most" => (
            "NULL",
            "the bound itself is no mistake, there is just no memory",
        ),
        "empty-views" => (
            "a pointer, a pointer, a pointer; 0 pages, not said to be pinned",
            "there is nothing to convert",
        ),
        "put-fresh" => (
            "pins: +0, +0; 0 pages, not said to be pinned",
            "create sets nr_frames alone; for no frames it does not matter what the flags say",
        ),
        "large-range" => (
            "by kmalloc(), 131072 of 131072 pages, pinned; pins: +131072, +0 after put",
            "one vector holds them all, in one block where there is one",
        ),
        "no-free-block" => (
            "no block: by vmalloc(), 131072 of 131072 pages, pinned",
            "kvmalloc() goes on to single pages where there is no block",
        ),
        "huge-vector" => ("by vmalloc()", "kmalloc() ends at 4 MiB"),
        _ => return None,
    })
}
