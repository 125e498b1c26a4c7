//! The expected outcome of a cell whose hazard happens while QBUF pins: the first half
//! of the buffer is pinned, and the kernel waits for a page of the other, without the
//! mmap lock (`handle_userfault()` of fs/userfaultfd.c). Then it looks at the mapping
//! anew (`__get_user_pages()` of mm/gup.c), and the driver gives back a half that
//! has come to nothing.

use super::{Expectation, FORCED, KEEPS_LOCK, keeps_lock, output, refused};
use crate::agent::cell::{Flow, Hazard, Kind};
use crate::rig::kernel::Version;
use crate::rig::matrix::name::CellName;
use crate::rig::matrix::observation::Observation;

/// Returns the expectation of a cell on a kernel of that version.
pub fn expect(cell: &CellName, kernel: Version) -> Expectation {
    use Hazard::*;
    if keeps_lock(kernel) {
        return refused(cell, KEEPS_LOCK);
    }
    let reads = cell.flow == Flow::Output;
    // Force is for private mappings.
    let by_force = reads && output::by_force(kernel) && cell.kind != Kind::MemfdShared;
    let data = Expectation::data(cell.flow);
    match cell.hazard {
        Execve | Exit | Sigkill => Expectation::of(
            &[Observation::TakenBack],
            Some("the process ends while the kernel waits for a page, which ends the wait"),
        ),
        Munmap | Mremap => refused(
            cell,
            "the second half is not there any more when the pin comes to it",
        ),
        MprotectReadOnly | MprotectNone if by_force => Expectation {
            reason: Some(FORCED),
            ..data
        },
        MprotectReadOnly if reads && !output::by_force(kernel) => data,
        MprotectReadOnly | MprotectNone => refused(
            cell,
            "the right to the second half is gone when the pin comes to it",
        ),
        _ => data,
    }
}

#[cfg(test)]
mod tests {
    use crate::rig::matrix::expectation::tests::expected;

    #[test]
    fn a_pin_gets_the_rest_of_its_pages_or_none() {
        // From 5.12 to 6.2 a pin does not wait for a page.
        let waits = |came| [came, "EFAULT", came, came];
        for (name, came) in [
            ("anon-touched/munmap:during-pin", "EFAULT"),
            ("memfd-shared/mremap:during-pin", "EFAULT"),
            ("heap/mprotect-read-only:during-pin", "EFAULT"),
            ("heap/fork-child-exits:during-pin", "data"),
            ("anon-touched/sigkill:during-pin", "taken back"),
            ("output/anon-touched/mprotect-read-only:during-pin", "data"),
            ("output/memfd-shared/mprotect-none:during-pin", "EFAULT"),
        ] {
            assert_eq!(expected(name), waits(came), "{name}");
        }
        let shared = expected("output/memfd-shared/mprotect-read-only:during-pin");
        assert_eq!(shared, ["EFAULT", "EFAULT", "data", "data"]);
        let private = expected("output/heap/mprotect-none:during-pin");
        assert_eq!(private, ["data", "EFAULT", "EFAULT", "EFAULT"]);
    }
}
