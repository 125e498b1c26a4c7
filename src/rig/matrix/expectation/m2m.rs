//! The expected outcome of a cell of a mem-to-mem card: each of its buffers is pinned
//! and used as one of a card that does nothing but read, or nothing but write.

use super::Expectation;
use crate::agent::cell::{Ends, Flow, Hazard, Kind};
use crate::card::Direction;
use crate::rig::matrix::name::CellName;
use crate::rig::matrix::observation::Observation;

/// Returns the expectation of a cell, made of those of the cells of its two ends,
/// which `of` returns.
pub fn of(ends: Ends, cell: &CellName, of: impl Fn(&CellName) -> Expectation) -> Expectation {
    let (read, written) = (
        of(&one_end(ends, cell, Direction::Output)),
        of(&one_end(ends, cell, Direction::Capture)),
    );
    // The buffer that the cell is about is queued first; a refusal ends the cell.
    let (first, second) = match Flow::M2m(ends).subject() {
        Direction::Output => (&read, &written),
        Direction::Capture => (&written, &read),
    };
    let refused = [first, second].into_iter().find(|one| is_refused(one));
    let outcomes = both(&read.outcomes, &written.outcomes);
    let reason = match refused {
        Some(refused) => refused.reason,
        None => first.reason.or(second.reason),
    };
    Expectation {
        holds_pins: read.holds_pins || written.holds_pins,
        leaves_clean: written.leaves_clean,
        leaks_dmabuf: read.leaks_dmabuf || written.leaks_dmabuf,
        ..Expectation::of(&outcomes, reason)
    }
}

/// Returns the cell of a card that has nothing but that end. The hazard is to the
/// memory of the kind, whatever end that is; the other end has plain memory, to which
/// nothing happens but that its stream ends, too.
fn one_end(ends: Ends, cell: &CellName, direction: Direction) -> CellName {
    let flow = match direction {
        Direction::Output => Flow::Output,
        Direction::Capture => Flow::Capture,
    };
    let is_plain = match ends {
        Ends::Read | Ends::Written => Flow::M2m(ends).subject() != direction,
        Ends::Adjacent | Ends::Turned | Ends::InPlace | Ends::TwoFiles => false,
    };
    let mut one = CellName { flow, ..*cell };
    if is_plain {
        one.kind = Kind::AnonTouched;
        if one.hazard.leaves_a_stream() {
            one.hazard = Hazard::None;
        }
    }
    one
}

fn is_refused(expectation: &Expectation) -> bool {
    let mut outcomes = expectation.outcomes.iter();
    outcomes.all(|outcome| matches!(outcome, Observation::Refused(_)))
}

/// Returns what can come of both ends together. If one is refused or taken back, no
/// frame is made.
pub fn both(read: &[Observation], written: &[Observation]) -> Vec<Observation> {
    let mut outcomes = Vec::new();
    for (read, written) in read
        .iter()
        .flat_map(|read| written.iter().map(move |written| (*read, *written)))
    {
        let outcome = match (read, written) {
            (Observation::Sent(sent), Observation::Captured(reads)) => {
                Observation::Converted(sent, reads)
            }
            (Observation::Sent(_), ended) | (ended, _) => ended,
        };
        if !outcomes.contains(&outcome) {
            outcomes.push(outcome);
        }
    }
    outcomes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rig::kernel::Version;
    use crate::rig::matrix::expectation::expect_of_any_driver;
    use crate::rig::matrix::expectation::tests::expected;

    #[test]
    fn each_end_is_as_that_of_a_card_of_its_own() {
        for kind in Kind::ALL {
            let read = expected(&format!("m2m/read/{kind}"));
            assert_eq!(read, expected(&format!("output/{kind}")), "{kind}");
            let written = expected(&format!("m2m/written/{kind}"));
            assert_eq!(written, expected(&kind.to_string()), "{kind}");
        }
        assert_eq!(expected("m2m/read/ext4-shared"), ["data"; 4]);
        let disk = ["data", "data", "EFAULT", "EFAULT"];
        assert_eq!(expected("m2m/written/ext4-shared"), disk);
    }

    #[test]
    fn one_buffer_that_is_both_must_be_fit_for_both() {
        let name = "m2m/in-place/read-only";
        assert_eq!(expected(name), ["EFAULT", "data", "EFAULT", "EFAULT"]);
        let name = "m2m/adjacent/prot-none";
        let by_force = ["EFAULT", "zeros, unreadable", "EFAULT", "EFAULT"];
        assert_eq!(expected(name), by_force);
    }

    #[test]
    fn a_hazard_to_one_end_is_none_to_the_other() {
        assert_eq!(expected("m2m/read/heap/munmap"), ["data"; 4]);
        assert_eq!(expected("m2m/written/heap/munmap"), ["unreadable"; 4]);
        let writes = "m2m/read/heap/fork-parent-writes";
        assert_eq!(expected(writes), ["later data"; 4]);
        let writes = "m2m/written/heap/fork-parent-writes";
        assert_eq!(expected(writes), ["data"; 4]);
        for ends in Ends::ALL {
            let ended = format!("m2m/{ends}/heap/streamoff");
            assert_eq!(expected(&ended), ["taken back"; 4]);
        }
        assert_eq!(expected("m2m/read/heap/suspend"), ["taken back"; 4]);
    }

    #[test]
    fn another_driver_may_do_at_each_end_what_it_may_do_with_one() {
        let any = |name: &str| {
            let cell: CellName = name.parse().unwrap();
            let outcomes = expect_of_any_driver(&cell, Version(6, 12)).outcomes;
            let said = outcomes.iter().map(ToString::to_string);
            said.collect::<Vec<_>>().join(" or ")
        };
        let name = "m2m/read/anon-forked/fork-parent-writes";
        assert_eq!(any(name), "later data or data");
        let refused = "EFAULT or EINVAL or ENOMEM or EOPNOTSUPP";
        assert_eq!(any("m2m/written/hole"), refused);
    }
}
