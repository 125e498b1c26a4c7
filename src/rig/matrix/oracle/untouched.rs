//! The untouched oracle: a device has written what it says it has written, and
//! nothing else of the buffer.
//!
//! It needs no witness. The process had a pattern in the buffer that no picture has by
//! chance, and looks which of it is left ([`TouchedSeen`]).

use super::evidence::CellEvidence;
use crate::agent::cell::evidence::{FrameSeen, Memory, TouchedSeen};
use crate::rig::matrix::objection::{Objections, Severity};
use crate::wire::buffer::BUF_FLAG_ERROR;

/// Objects to bytes of a frame that are as they were, and to bytes behind it that are
/// not. A frame in error may have any. Where other data is expected than what the
/// device wrote, the process may see pages that the device never had.
pub fn judge(evidence: &CellEvidence<'_>, objections: &mut Objections) {
    if !evidence.expects_data() {
        return;
    }
    frames(&evidence.answer.frames, evidence.answer.memory, objections);
}

/// Objects to the same in further buffers of the queue, whose memory nothing happens
/// to.
pub fn further(evidence: &CellEvidence<'_>, objections: &mut Objections) {
    for (_, seen) in evidence.further() {
        frames(&seen.frames, seen.memory, objections);
    }
}

fn frames(frames: &[FrameSeen], memory: Option<Memory>, objections: &mut Objections) {
    for frame in frames {
        if let (Some(touched), 0) = (&frame.touched, frame.flags & BUF_FLAG_ERROR) {
            let length = memory.map(|memory| memory.length);
            judge_frame(frame, touched, length, objections);
        }
    }
}

fn judge_frame(
    frame: &FrameSeen,
    touched: &TouchedSeen,
    length: Option<u64>,
    objections: &mut Objections,
) {
    let mut object = |what| objections.push(Severity::DataLost, what);
    let FrameSeen {
        sequence,
        bytesused,
        ..
    } = frame;
    if *bytesused == 0 {
        object(format!(
            "frame {sequence} came back with no bytes, and not in error"
        ));
    }
    if let Some(length) = length.filter(|length| u64::from(*bytesused) > *length) {
        object(format!(
            "frame {sequence} came back with {bytesused} bytes in a buffer of {length}"
        ));
    }
    if touched.left_bytes > 0 {
        object(format!(
            "{} of the {bytesused} bytes of frame {sequence} are as they were before{}",
            touched.left_bytes,
            first(&touched.left),
        ));
    }
    if touched.beyond_bytes > 0 {
        object(format!(
            "{} bytes behind the {bytesused} of frame {sequence} have changed{}",
            touched.beyond_bytes,
            first(&touched.beyond),
        ));
    }
}

/// Returns where the first run is; nothing if there is none.
fn first(runs: &[(u64, u64)]) -> String {
    runs.first().map_or_else(String::new, |(at, length)| {
        format!(", the first {length} at byte {at}")
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{captured, evidence, objections, said};
    use super::*;
    use crate::agent::cell::Flow;
    use crate::agent::cell::answer::BufferSeen;
    use crate::rig::kernel::Version;
    use crate::rig::matrix::expectation::expect;
    use crate::rig::matrix::witness::CardFrames;

    #[test]
    fn what_a_device_says_it_has_written_it_has() {
        let (mut answer, card_frames) = captured();
        let mut said = |bytesused, touched| {
            let frame = &mut answer.frames[0];
            (frame.bytesused, frame.touched) = (bytesused, touched);
            objections(judge, &answer, &card_frames)
        };
        assert_eq!(said(8192, None), [""; 0]);
        assert_eq!(said(8192, Some(TouchedSeen::default())), [""; 0]);
        let left = TouchedSeen {
            left: vec![(4096, 64), (8000, 16)],
            left_bytes: 80,
            ..TouchedSeen::default()
        };
        assert_eq!(
            said(8192, Some(left)),
            ["80 of the 8192 bytes of frame 0 are as they were before, the first 64 at byte 4096"]
        );
        let beyond = TouchedSeen {
            beyond: vec![(8000, 3)],
            beyond_bytes: 3,
            ..TouchedSeen::default()
        };
        assert_eq!(
            said(8000, Some(beyond)),
            ["3 bytes behind the 8000 of frame 0 have changed, the first 3 at byte 8000"]
        );
        assert_eq!(
            said(0, Some(TouchedSeen::default())),
            ["frame 0 came back with no bytes, and not in error"]
        );
        assert_eq!(
            said(8193, Some(TouchedSeen::default())),
            ["frame 0 came back with 8193 bytes in a buffer of 8192"]
        );
        // Nobody wonders at what is in a frame in error.
        answer.frames[0].flags = BUF_FLAG_ERROR;
        assert_eq!(objections(judge, &answer, &card_frames), [""; 0]);
    }

    #[test]
    fn further_buffers_are_written_to_as_well() {
        let (mut answer, card_frames) = captured();
        let mut further = BufferSeen {
            memory: answer.memory,
            frames: answer.frames.clone(),
            ..BufferSeen::default()
        };
        further.frames[0].touched = Some(TouchedSeen {
            left_bytes: 16,
            ..TouchedSeen::default()
        });
        answer.further.push(further);
        assert_eq!(
            objections(super::further, &answer, &card_frames),
            ["16 of the 8192 bytes of frame 0 are as they were before"]
        );
        assert_eq!(objections(judge, &answer, &card_frames), [""; 0]);
    }

    #[test]
    fn pages_that_the_device_never_had_are_left_as_they_were() {
        let (mut answer, _) = captured();
        answer.frames[0].touched = Some(TouchedSeen {
            left: vec![(0, 8192)],
            left_bytes: 8192,
            ..TouchedSeen::default()
        });
        let card_frames = CardFrames::without_witness(Flow::Capture, &answer, None);
        let count = |cell: &str| {
            let expectation = expect(&cell.parse().unwrap(), Version(6, 12));
            said(
                judge,
                &evidence(Flow::Capture, &answer, &card_frames, &expectation),
            )
            .len()
        };
        assert_eq!((count("heap"), count("heap/munmap-mmap")), (1, 0));
    }
}
