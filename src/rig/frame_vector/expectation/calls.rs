//! What calls return, pin and leave behind.

use super::kernel::{Expectation, FAST, Kernel};

/// The answer to the point `name`, if it is one of these.
pub fn of(name: &str, kernel: Kernel) -> Option<Expectation> {
    Some(match name {
        "no-frames" => ("0", "nothing was asked for, so nothing is wrong"),
        "above-allocation" => (
            "4 of 8 pages, pinned, both times; 1 warning",
            "clamped to what there is room for, with WARN_ON_ONCE()",
        ),
        "put-unpins" => (
            "pins: +8, +0 after put, +0 after another; the pages are not pinned",
            "put clears got_ref, so that it is safe to call again",
        ),
        "destroy-unpins" if kernel.debug_vm => (
            "a BUG ends the caller in Abandon, by signal 11",
            "destroy has VM_BUG_ON(vec->nr_frames > 0), which CONFIG_DEBUG_VM compiles in",
        ),
        "destroy-unpins" => (
            "pinned after destroy (+8 pins), not pinned after unpin_user_pages()",
            "destroy frees the vector and nothing else: who forgets put leaks the pins",
        ),
        "put-after-failure" if kernel.version < FAST => (
            "EFAULT; 0 pages, not said to be pinned; pins: +0 after put",
            "where nothing is mapped the vector is left as it was",
        ),
        "put-after-failure" => (
            "EFAULT; 0 pages, said to be pinned; pins: +0 after put",
            "got_ref is set before the result is looked at; put releases no frames then",
        ),
        "get-after-failure" => (
            "EFAULT, then 4 of 4 pages, pinned; pins: +4, +0 after put",
            "a call begins anew, whatever the vector held",
        ),
        "get-twice" => (
            "4 of 4 pages, pinned, then 4 of 4 pages, pinned; pins: +4, +8, +4 after put, +0 after unpin_user_pages()",
            "the second call overwrites what the first has pinned, which nobody knows of any more",
        ),
        "put-spares-pfns" => (
            "the page has +0 pins, the kernel +0; 0 frames left",
            "got_ref is not set, so there is nothing to release",
        ),
        "no-struct-page" => (
            "ERR_PTR(-EINVAL), still the PFNs",
            "PFNs without struct page cannot be converted",
        ),
        "mixed-pfns" => (
            "ERR_PTR(-EINVAL), still the PFNs; frame_vector_to_pages() is -EINVAL",
            "pfn_valid() is asked of all before the first is converted",
        ),
        "there-and-back" => (
            "the same, not pinned after put",
            "the conversion is in place and loses nothing",
        ),
        "put-as-pfns" => (
            "pinned as PFNs, not pinned after put",
            "put converts them back first",
        ),
        _ => return None,
    })
}
