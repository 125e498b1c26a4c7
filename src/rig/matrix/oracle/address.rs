//! The address oracle: the card got exactly the pages that the process had
//! behind its buffer when it queued it.

use super::super::observation::Observation;
use super::super::witness;
use super::evidence::CellEvidence;
use crate::agent::cell::PAGE;
use crate::agent::cell::evidence::{Memory, PagesSeen};
use crate::card::witness::PlaneRecord;
use crate::rig::matrix::objection::{Objections, Severity};

/// Objects to segments that are not the pages in the process's own pagemap, and
/// to a buffer that begins elsewhere in its first page or ends elsewhere in its
/// last: a card that got more memory may write more, or read more. Where the pagemap
/// shows nothing of the mapping, the segments' offset and length are judged alone. Of several
/// buffers the first frame of each is judged: for the next, the buffer was queued
/// anew, and nobody looked at its pages.
pub fn judge(evidence: &CellEvidence<'_>, objections: &mut Objections) {
    let answer = evidence.answer;
    let refused = matches!(evidence.observation, Observation::Refused(_));
    let Some(memory) = answer.memory.filter(|_| !refused && !evidence.bounced) else {
        return;
    };
    // Pages that did not exist when the buffer was queued were faulted in by
    // the pin, so the pagemap of the queued buffer shows all.
    let queued: Vec<_> = answer.queued().collect();
    match &queued[..] {
        [pages] if !evidence.expectation.many_frames => {
            for (sequence, plane) in evidence.card_frames.frames() {
                frame(evidence, (*sequence, plane), memory, pages, objections);
            }
        }
        [_, _, ..] => {
            for pages in queued {
                let frames = answer.frames.iter();
                let of_buffer = frames.filter(|seen| seen.index == pages.buffer);
                let first = of_buffer.min_by_key(|seen| seen.sequence);
                let plane = first.and_then(|seen| evidence.card_frames.frame(seen));
                if let (Some(first), Some(plane)) = (first, plane) {
                    frame(evidence, (first.sequence, plane), memory, pages, objections);
                }
            }
        }
        _ => {}
    }
}

/// Compares the memory that the card was given for a frame with its buffer's.
fn frame(
    evidence: &CellEvidence<'_>,
    (sequence, plane): (u32, &PlaneRecord),
    memory: Memory,
    pages: &PagesSeen,
    objections: &mut Objections,
) {
    let Some(&(start, _)) = plane.segments.first() else {
        let what = format!("for frame {sequence} the card {} no memory", evidence.did());
        return objections.push(Severity::DataLost, what);
    };
    let (given, wanted) = (start % PAGE as u64, memory.address % PAGE as u64);
    if given != wanted {
        objections.push(
            evidence.trespass(),
            format!(
                "the buffer begins at byte {wanted} of its page, the card was given byte {given}"
            ),
        );
    }
    let lengths = plane.segments.iter().map(|(_, length)| u64::from(*length));
    let given: u64 = lengths.sum();
    if given != memory.length {
        let severity = match given > memory.length {
            true => evidence.trespass(),
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
    if !memory.is_hidden {
        compare(evidence, (sequence, plane), pages, objections);
    }
}

fn compare(
    evidence: &CellEvidence<'_>,
    (sequence, plane): (u32, &PlaneRecord),
    pages: &PagesSeen,
    objections: &mut Objections,
) {
    let given = witness::pages(plane, usize::MAX).into_iter();
    let given: Vec<_> = given.map(|(frame, _)| frame).collect();
    let mapped: Vec<_> = pages.frames().collect();
    if given.len() != mapped.len() {
        objections.push(
            evidence.trespass(),
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
        objections.push(evidence.trespass(), format!(
            "frame {sequence}: page {page} of the buffer is {shown} in the process's pagemap, the card was given {:#x}",
            given[page]
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{captured, objections, objections_of, sent};
    use super::*;
    use crate::agent::cell::Flow;
    use crate::agent::cell::evidence::FrameSeen;

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
        answer.memory.as_mut().unwrap().is_hidden = true;
        assert_eq!(objections(judge, &answer, &card_frames), [""; 0]);
        answer.memory.as_mut().unwrap().length += 1;
        assert_eq!(objections(judge, &answer, &card_frames).len(), 1);
        answer.memory.as_mut().unwrap().length -= 1;
        answer.memory.as_mut().unwrap().is_hidden = false;
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
    fn of_several_buffers_the_first_frame_of_each_is_judged() {
        let (mut answer, mut card_frames) = captured();
        let frame = |sequence, index, address| {
            let seen = FrameSeen {
                index,
                sequence,
                ..captured().0.frames.remove(0)
            };
            let plane = PlaneRecord {
                bytes: 8192,
                segments: vec![(address, 8192)],
                digests: seen.digests.iter().copied().flatten().collect(),
            };
            (seen, plane)
        };
        // The second buffer is in page frames 5 and 6, and later in others.
        for (sequence, index, address) in [(2, 1, 0x9000), (1, 1, 0x5000)] {
            let (seen, plane) = frame(sequence, index, address);
            answer.frames.push(seen);
            card_frames.add(sequence, plane);
        }
        answer.pages.push(PagesSeen {
            buffer: 1,
            pagemap: vec![1 << 63 | 5, 1 << 63 | 6],
            ..answer.pages[0].clone()
        });
        assert_eq!(objections(judge, &answer, &card_frames), [""; 0]);
        answer.pages[1].pagemap[1] += 1;
        assert_eq!(
            objections(judge, &answer, &card_frames),
            [
                "frame 1: page 1 of the buffer is page frame 0x7 in the process's pagemap, the card was given 0x6"
            ]
        );
    }

    #[test]
    fn a_card_that_reads_has_no_others_either() {
        let (mut answer, card_frames) = sent();
        let said = |answer: &_| objections_of(Flow::Output, judge, answer, &card_frames);
        assert_eq!(said(&answer), []);
        answer.pages[0].pagemap[1] += 1;
        let what = "frame 0: page 1 of the buffer is page frame 0x9 in the process's pagemap, \
                    the card was given 0x8";
        assert_eq!(said(&answer), [(Severity::MemoryRead, what.into())]);
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
