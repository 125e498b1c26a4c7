//! The order oracle: buffers come back one after the other, each once each time that
//! it is queued.
//!
//! It needs no witness, but all buffers that came back ([`ReturnSeen`]), which are
//! kept of a device that has none. The sources are V4L2's pages of struct v4l2_buffer
//! (`sequence` counts frames, `timestamp` is when one was captured) and of
//! VIDIOC_DQBUF.

use super::evidence::CellEvidence;
use crate::agent::cell::CellAnswer;
use crate::agent::cell::evidence::ReturnSeen;
use crate::rig::matrix::objection::{Objections, Severity};
use crate::wire::buffer::BUF_FLAG_ERROR;

/// V4L2_BUF_FLAG_TIMESTAMP_MASK, and the source in which the application gives the
/// time, V4L2_BUF_FLAG_TIMESTAMP_COPY.
const TIMESTAMP: u32 = 0xe000;
const COPIED: u32 = 0x4000;

/// Objects to sequence numbers that do not grow, to times that go back, and to more
/// buffers than were queued. What a buffer in error says of its frame says nothing.
pub fn judge(evidence: &CellEvidence<'_>, objections: &mut Objections) {
    let returns = &evidence.answer.returns;
    let whole = returns.iter();
    let whole: Vec<_> = whole
        .filter(|seen| seen.flags & BUF_FLAG_ERROR == 0)
        .collect();
    let pairs = || whole.windows(2).map(|pair| (pair[0], pair[1]));
    if let Some((before, after)) = pairs().find(|(one, next)| next.sequence <= one.sequence) {
        objections.push(
            Severity::DataLost,
            format!(
                "frame {} came back after frame {}",
                after.sequence, before.sequence
            ),
        );
    }
    let goes_back = |(one, next): &(&ReturnSeen, &ReturnSeen)| {
        next.flags & TIMESTAMP != COPIED && next.timestamp_us < one.timestamp_us
    };
    if let Some((before, after)) = pairs().find(goes_back) {
        objections.push(
            Severity::DataLost,
            format!(
                "frame {} is {} us older than frame {}, which came back before it",
                after.sequence,
                before.timestamp_us - after.timestamp_us,
                before.sequence
            ),
        );
    }
    let calls = evidence.answer.calls.iter();
    let queued = calls.filter(|call| call.name == "VIDIOC_QBUF" && call.errno.is_none());
    let queued = queued.count();
    if returns.len() > queued {
        objections.push(
            evidence.trespass(),
            format!(
                "buffers were queued {queued} times and came back {} times",
                returns.len()
            ),
        );
    } else if let Some(index) = came_back_unqueued(evidence.answer) {
        objections.push(
            evidence.trespass(),
            format!("buffer {index} came back, and was not queued again since it had before"),
        );
    }
}

/// Returns the first buffer that came back without having been queued since it came
/// back before, if there is one and the evidence tells.
///
/// A cell queues each buffer once before STREAMON. Later it queues a buffer when that
/// has just come back.
fn came_back_unqueued(answer: &CellAnswer) -> Option<u32> {
    let mut returns = answer.returns.iter();
    // The buffers that the process has.
    let mut out: Vec<u32> = Vec::new();
    let mut last = None;
    for call in answer.calls.iter().filter(|call| call.errno.is_none()) {
        match &*call.name {
            // Nobody knows which one it is that is queued then.
            "VIDIOC_QBUF" if out.is_empty() => {}
            "VIDIOC_QBUF" => {
                let again = last.take()?;
                out.retain(|index| *index != again);
            }
            "VIDIOC_DQBUF" => {
                let index = returns.next()?.index;
                if out.contains(&index) {
                    return Some(index);
                }
                out.push(index);
                last = Some(index);
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::tests::{captured, objections};
    use super::*;
    use crate::agent::cell::evidence::CallSeen;

    /// Returns a cell in which that came back: sequence numbers, times and flags.
    fn cell(returns: &[(u32, u64, u32)]) -> CellAnswer {
        let (mut answer, _) = captured();
        let queued = CallSeen {
            name: "VIDIOC_QBUF".into(),
            errno: None,
            at_us: 1,
            took_us: 1,
        };
        answer.calls = vec![queued; 4];
        let returns = returns.iter().zip([0, 1].into_iter().cycle());
        let returns = returns.map(|((sequence, timestamp_us, flags), index)| ReturnSeen {
            index,
            sequence: *sequence,
            flags: *flags,
            bytesused: 8192,
            timestamp_us: *timestamp_us,
        });
        answer.returns = returns.collect();
        answer
    }

    fn said(answer: &CellAnswer) -> Vec<String> {
        objections(judge, answer, &captured().1)
    }

    #[test]
    fn frames_come_back_in_order() {
        assert_eq!(said(&cell(&[])), [""; 0]);
        assert_eq!(said(&cell(&[(0, 10, 0), (3, 20, 0), (4, 20, 0)])), [""; 0]);
        assert_eq!(
            said(&cell(&[(0, 10, 0), (1, 20, 0), (1, 30, 0), (0, 40, 0)])),
            ["frame 1 came back after frame 1"]
        );
        assert_eq!(
            said(&cell(&[(0, 10, 0), (1, 50, 0), (2, 30, 0)])),
            ["frame 2 is 20 us older than frame 1, which came back before it"]
        );
        // Who gives the time himself has it back.
        assert_eq!(said(&cell(&[(0, 10, COPIED), (1, 5, COPIED)])), [""; 0]);
        let in_error = (0, 0, BUF_FLAG_ERROR);
        assert_eq!(said(&cell(&[(0, 10, 0), in_error, (1, 20, 0)])), [""; 0]);
    }

    #[test]
    fn a_buffer_comes_back_once_each_time_it_is_queued() {
        let mut answer = cell(&[(0, 1, 0), (1, 2, 0), (2, 3, 0), (3, 4, BUF_FLAG_ERROR)]);
        assert_eq!(said(&answer), [""; 0]);
        answer.calls[0].errno = Some(libc::EINVAL);
        assert_eq!(
            said(&answer),
            ["buffers were queued 3 times and came back 4 times"]
        );
    }

    /// Returns a cell with those successful calls in which those buffers came back.
    fn called(calls: &str, indices: &[u32]) -> CellAnswer {
        let returns: Vec<_> = (0..)
            .map(|at| (at, u64::from(at), 0))
            .take(indices.len())
            .collect();
        let mut answer = cell(&returns);
        for (seen, index) in answer.returns.iter_mut().zip(indices) {
            seen.index = *index;
        }
        let one = answer.calls[0].clone();
        let calls = calls.split(' ').map(|name| CallSeen {
            name: format!("VIDIOC_{name}"),
            ..one.clone()
        });
        answer.calls = calls.collect();
        answer
    }

    #[test]
    fn a_buffer_does_not_come_back_in_the_place_of_another() {
        let begin = "QBUF QBUF STREAMON DQBUF";
        let of = |calls: &str, indices: &[u32]| said(&called(&format!("{begin} {calls}"), indices));
        assert_eq!(of("DQBUF", &[0, 1]), [""; 0]);
        assert_eq!(of("QBUF DQBUF QBUF DQBUF", &[1, 1, 0]), [""; 0]);
        assert_eq!(of("QBUF DQBUF QBUF DQBUF", &[1, 0, 0]), [""; 0]);
        let twice = "buffer 0 came back, and was not queued again since it had before";
        assert_eq!(of("DQBUF", &[0, 0]), [twice]);
        assert_eq!(of("QBUF DQBUF DQBUF", &[1, 0, 0]), [twice]);
        // Where it is not known which one was queued, nothing is said.
        assert_eq!(of("QBUF QBUF DQBUF", &[0, 0]), [""; 0]);
    }
}
