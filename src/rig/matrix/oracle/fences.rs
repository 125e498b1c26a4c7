//! The fence oracle: what is not the buffer's is not written to.

use super::Case;
use crate::agent::cell::evidence::{CanaryState, Place};

/// Objects to bytes around the buffer that have changed, and to frames that
/// were written while no stream was on.
pub fn judge(case: &Case<'_>, objections: &mut Vec<String>) {
    for canary in &case.answer.canaries {
        if let CanaryState::Changed { first, bytes } = canary.state {
            let (place, distance) = match (canary.place, case.answer.memory) {
                (Place::Before, Some(memory)) => ("before", memory.address.abs_diff(first)),
                (Place::After, Some(memory)) => {
                    ("after", first.abs_diff(memory.address + memory.length))
                }
                (Place::Before, None) => ("before", 0),
                (Place::After, None) => ("after", 0),
            };
            objections.push(format!(
                "{bytes} bytes {place} the buffer have changed, the first at {first:#x}, {distance} bytes from it"
            ));
        }
    }
    if case.testified.late() > 0 {
        objections.push(format!(
            "the card wrote {} frames while no stream was on",
            case.testified.late()
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{captured, objections};
    use super::*;
    use crate::agent::cell::evidence::CanarySeen;

    #[test]
    fn a_changed_canary_is_told_with_its_place() {
        let (mut answer, testified) = captured();
        assert_eq!(objections(judge, &answer, &testified), [""; 0]);
        answer.canaries.push(CanarySeen {
            place: Place::After,
            address: 0x7000_2000,
            length: 4096,
            state: CanaryState::Changed {
                first: 0x7000_2003,
                bytes: 5,
            },
        });
        assert_eq!(
            objections(judge, &answer, &testified),
            ["5 bytes after the buffer have changed, the first at 0x70002003, 3 bytes from it"]
        );
        answer.canaries[0].state = CanaryState::Unreadable;
        assert_eq!(objections(judge, &answer, &testified), [""; 0]);
    }
}
