//! Expectations of what calls return, pin and leave behind.

use super::kernel::{Expectation, FAST, Kernel};
use crate::agent::frame_vector::Step;
use crate::rig::frame_vector::answer::{Answer, Flags, Got, Pinned, Viewed};

/// Returns the expected answer to the point `name`, if it is one of these.
pub fn of(name: &str, kernel: Kernel) -> Option<Expectation> {
    Some(match name {
        "no-frames" => (
            Answer::Got(Got::Nothing),
            "nothing was asked for, so nothing is wrong",
        ),
        "above-allocation" => (
            Answer::Twice {
                first: Got::pinned(4, 8),
                second: Got::pinned(4, 8),
                warnings: 1,
            },
            "clamped to what there is room for, with WARN_ON_ONCE()",
        ),
        "put-unpins" => (
            Answer::Put {
                pins: [8, 0, 0],
                pages: Pinned::None,
            },
            "put clears got_ref, so that it is safe to call again",
        ),
        "destroy-unpins" if kernel.debug_vm => (
            Answer::Ended {
                bug: true,
                step: Some(Step::Abandon),
                signal: libc::SIGSEGV,
            },
            "destroy has VM_BUG_ON(vec->nr_frames > 0), which CONFIG_DEBUG_VM compiles in",
        ),
        "destroy-unpins" => (
            Answer::Destroyed {
                pages: Pinned::All,
                pins: 8,
                unpinned: Pinned::None,
            },
            "destroy frees the vector and nothing else: who forgets put leaks the pins",
        ),
        "put-after-failure" if kernel.version < FAST => (
            Answer::Failed {
                got: Got::error(libc::EFAULT),
                flags: Flags::Vector {
                    frames: 0,
                    pfns: false,
                    pinned: false,
                },
                pins: 0,
            },
            "where nothing is mapped the vector is left as it was",
        ),
        "put-after-failure" => (
            Answer::Failed {
                got: Got::error(libc::EFAULT),
                flags: Flags::Vector {
                    frames: 0,
                    pfns: false,
                    pinned: true,
                },
                pins: 0,
            },
            "got_ref is set before the result is looked at; put releases no frames then",
        ),
        "get-after-failure" => (
            Answer::Again {
                first: Got::error(libc::EFAULT),
                second: Got::pinned(4, 4),
                pins: [4, 0],
            },
            "a call begins anew, whatever the vector held",
        ),
        "get-twice" => (
            Answer::Over {
                first: Got::pinned(4, 4),
                second: Got::pinned(4, 4),
                pins: [4, 8, 4, 0],
            },
            "the second call overwrites what the first has pinned, which nobody knows of any more",
        ),
        "put-spares-pfns" => (
            Answer::Spared {
                page: 0,
                kernel: 0,
                frames: 0,
            },
            "got_ref is not set, so there is nothing to release",
        ),
        "no-struct-page" => (
            Answer::Viewed(Viewed {
                errno: Some(libc::EINVAL),
                still: true,
            }),
            "PFNs without struct page cannot be converted",
        ),
        "mixed-pfns" => (
            Answer::Converted {
                viewed: Viewed {
                    errno: Some(libc::EINVAL),
                    still: true,
                },
                returned: -libc::EINVAL,
            },
            "pfn_valid() is asked of all before the first is converted",
        ),
        "there-and-back" => (
            Answer::ThereAndBack {
                same: true,
                after: Pinned::None,
            },
            "the conversion is in place and loses nothing",
        ),
        "put-as-pfns" => (
            Answer::AsPfns {
                before: Pinned::All,
                after: Pinned::None,
            },
            "put converts them back first",
        ),
        _ => return None,
    })
}
