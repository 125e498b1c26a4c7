//! The address oracle: the card got exactly the pages that the process had
//! behind its buffer when it queued it.

use super::super::observation::Observation;
use super::super::witness;
use super::evidence::CellEvidence;
use crate::agent::cell::PAGE;
use crate::agent::cell::evidence::{Moment, PagesSeen};
use crate::card::witness::PlaneRecord;
use crate::rig::matrix::objection::{Objections, Severity};

/// Objects to segments that are not the pages in the process's own pagemap, and
/// to a buffer that begins elsewhere in its first page or ends elsewhere in its
/// last: a card that got more memory may write more. With several buffers the
/// oracle is silent, because it does not know which pages belong to which.
pub fn judge(evidence: &CellEvidence<'_>, objections: &mut Objections) {
    // Pages that did not exist when the buffer was queued were faulted in by
    // the pin, so the pagemap of the queued buffer shows all.
    let (Some(memory), Some(pages)) = (
        evidence.answer.memory,
        evidence.answer.pages_at(Moment::Queued),
    ) else {
        return;
    };
    let refused = matches!(evidence.observation, Observation::Refused(_));
    if refused || evidence.expectation.many_frames || evidence.bounced {
        return;
    }
    for (sequence, plane) in evidence.card_frames.frames() {
        let Some(&(start, _)) = plane.segments.first() else {
            objections.push(
                Severity::DataLost,
                format!("frame {sequence} was written to no memory"),
            );
            continue;
        };
        let (given, wanted) = (start % PAGE as u64, memory.address % PAGE as u64);
        if given != wanted {
            objections.push(Severity::MemoryWritten, format!(
                "the buffer begins at byte {wanted} of its page, the card was given byte {given}"
            ));
        }
        let lengths = plane.segments.iter().map(|(_, length)| u64::from(*length));
        let given: u64 = lengths.sum();
        if given != memory.length {
            let severity = match given > memory.length {
                true => Severity::MemoryWritten,
                false => Severity::DataLost,
            };
            objections.push(
                severity,
                format!(
                    "the buffer has {} bytes, the card was given {given}",
                    memory.length
                ),
            );
        }
        compare(*sequence, plane, pages, objections);
    }
}

fn compare(sequence: u32, plane: &PlaneRecord, pages: &PagesSeen, objections: &mut Objections) {
    let given = witness::pages(plane, usize::MAX).into_iter();
    let given: Vec<_> = given.map(|(frame, _)| frame).collect();
    let mapped: Vec<_> = pages.frames().collect();
    if given.len() != mapped.len() {
        objections.push(
            Severity::MemoryWritten,
            format!(
                "the buffer lies in {} pages, the card was given {}",
                mapped.len(),
                given.len()
            ),
        );
    }
    let differs = |(given, mapped): (&u64, &Option<u64>)| Some(*given) != *mapped;
    if let Some(page) = given.iter().zip(&mapped).position(differs) {
        let shown = match mapped[page] {
            Some(frame) => format!("page frame {frame:#x}"),
            None => "nothing".to_owned(),
        };
        objections.push(Severity::MemoryWritten, format!(
            "frame {sequence}: page {page} of the buffer is {shown} in the process's pagemap, the card was given {:#x}",
            given[page]
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{captured, objections};
    use super::*;

    #[test]
    fn the_card_has_the_pages_of_the_process() {
        let (mut answer, card_frames) = captured();
        assert_eq!(objections(judge, &answer, &card_frames), [""; 0]);
        answer.pages[0].pagemap[1] += 1;
        assert_eq!(
            objections(judge, &answer, &card_frames),
            [
                "frame 0: page 1 of the buffer is page frame 0x9 in the process's pagemap, the card was given 0x8"
            ]
        );
        answer.pages[0].pagemap.push(1 << 63);
        answer.pages[0].pagemap[1] = 0;
        assert_eq!(
            objections(judge, &answer, &card_frames),
            [
                "the buffer lies in 3 pages, the card was given 2",
                "frame 0: page 1 of the buffer is nothing in the process's pagemap, the card was given 0x8"
            ]
        );
    }

    #[test]
    fn the_offset_in_the_first_page_counts() {
        let (mut answer, card_frames) = captured();
        answer.memory.as_mut().unwrap().address += 100;
        assert_eq!(
            objections(judge, &answer, &card_frames),
            ["the buffer begins at byte 100 of its page, the card was given byte 0"]
        );
    }

    #[test]
    fn the_card_has_no_byte_more_and_none_less() {
        let (mut answer, card_frames) = captured();
        let memory = answer.memory.as_mut().unwrap();
        memory.length -= 100;
        assert_eq!(
            objections(judge, &answer, &card_frames),
            ["the buffer has 8092 bytes, the card was given 8192"]
        );
    }
}
