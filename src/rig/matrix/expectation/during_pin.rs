//! The expected outcome of a cell whose hazard happens while QBUF pins: the first half
//! of the buffer is pinned, and the kernel waits for a page of the other, without the
//! mmap lock (`handle_userfault()` of fs/userfaultfd.c). Then it looks at the mapping
//! anew (`__get_user_pages()` of mm/gup.c), and the driver gives back a half that
//! has come to nothing.

use super::{Expectation, FORCED, KEEPS_LOCK, captures_by_force, keeps_lock, output, refused};
use crate::agent::cell::{Flow, Hazard, Kind};
use crate::rig::kernel::Version;
use crate::rig::matrix::name::CellName;
use crate::rig::matrix::observation::{Observation, Reads};

/// Returns the expectation of a cell on a kernel of that version.
pub fn expect(cell: &CellName, kernel: Version) -> Expectation {
    use Hazard::*;
    if keeps_lock(kernel) {
        return refused(cell, KEEPS_LOCK);
    }
    let reads = cell.flow == Flow::Output;
    // Force is for private mappings.
    let is_private = cell.kind != Kind::MemfdShared;
    let by_force = is_private && reads && output::by_force(kernel);
    let writes_by_force = is_private && !reads && captures_by_force(cell, kernel);
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
        MprotectReadOnly if writes_by_force => Expectation::captured(Reads::Written, FORCED),
        MprotectNone if writes_by_force => Expectation::captured(Reads::Nothing, FORCED),
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
    use super::*;
    use crate::rig::matrix::expectation::expect_of_any_driver;
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
        let of_any = |name: &str, kernel| {
            let cell: CellName = name.parse().unwrap();
            let outcomes = expect_of_any_driver(&cell, kernel).outcomes;
            outcomes.contains(&Observation::Captured(Reads::Written))
        };
        // vb2_create_framevec() writes by force before 6.2.
        let name = "heap/mprotect-read-only:during-pin";
        assert!(of_any(name, Version(5, 10)) && !of_any(name, Version(6, 12)));
        let name = "memfd-shared/mprotect-read-only:during-pin";
        assert!(!of_any(name, Version(5, 10)));
        let shared = expected("output/memfd-shared/mprotect-read-only:during-pin");
        assert_eq!(shared, ["EFAULT", "EFAULT", "data", "data"]);
        let private = expected("output/heap/mprotect-none:during-pin");
        assert_eq!(private, ["data", "EFAULT", "EFAULT", "EFAULT"]);
    }
}
