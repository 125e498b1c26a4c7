//! The order oracle: buffers come back one after the other, each once each time that
//! it is queued.
//!
//! It needs no witness, but all buffers that came back ([`ReturnSeen`]), which are
//! kept of a device that has none. The sources are V4L2's pages of struct v4l2_buffer
//! (`sequence` counts frames, `timestamp` is when one was captured) and of
//! VIDIOC_DQBUF.

use super::evidence::CellEvidence;
use crate::agent::cell::evidence::{CallSeen, ReturnSeen};
use crate::card::Direction;
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
    let calls = calls.filter(|call| call.queue == evidence.number && call.errno.is_none());
    let queued = calls.clone().filter(|call| call.name == "VIDIOC_QBUF");
    let queued = queued.count();
    if returns.len() > queued {
        objections.push(
            evidence.trespass(),
            format!(
                "buffers were queued {queued} times and came back {} times",
                returns.len()
            ),
        );
    } else if let Some(index) = came_back_unqueued(calls, returns) {
        objections.push(
            evidence.trespass(),
            format!("buffer {index} came back, and was not queued again since it had before"),
        );
    }
}

/// Objects to a frame that a mem-to-mem device made which has a time that none had of those
/// that the device read, if it says that it takes the time from there.
pub fn copied(evidence: &CellEvidence<'_>, objections: &mut Objections) {
    let ends = evidence.ends();
    for (number, end) in ends.iter().enumerate() {
        let read = evidence.flow.number_of(end.file, Direction::Output);
        let Some(read) = read.filter(|read| *read != number) else {
            continue;
        };
        let (read, made) = (
            evidence.answer.of_buffer(read),
            evidence.answer.of_buffer(number),
        );
        // Not all buffers that were read have come back: not all times are known.
        if read.returns.len() < made.returns.len() {
            continue;
        }
        let is_copied = |seen: &&ReturnSeen| seen.flags & (TIMESTAMP | BUF_FLAG_ERROR) == COPIED;
        let is_given = |made: &ReturnSeen| {
            let mut read = read.returns.iter();
            read.any(|read| read.timestamp_us == made.timestamp_us)
        };
        let mut made = made.returns.iter().filter(is_copied);
        if let Some(made) = made.find(|made| !is_given(made)) {
            objections.push(
                Severity::DataLost,
                format!(
                    "{}: frame {} has the time {} us, which it says is copied, and no frame that \
                     the device read had",
                    end.name(),
                    made.sequence,
                    made.timestamp_us
                ),
            );
        }
    }
}

/// Returns the first buffer that came back without having been queued since it came
/// back before, if there is one and the successful calls on its queue tell.
///
/// A cell queues each buffer once before STREAMON. Later it queues a buffer when that
/// has just come back.
fn came_back_unqueued<'a>(
    calls: impl Iterator<Item = &'a CallSeen>,
    returns: &[ReturnSeen],
) -> Option<u32> {
    let mut returns = returns.iter();
    // The buffers that the process has.
    let mut out: Vec<u32> = Vec::new();
    let mut last = None;
    for call in calls {
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
    use super::super::tests::{captured, objections, objections_of};
    use super::*;
    use crate::agent::cell::answer::BufferSeen;
    use crate::agent::cell::{CellAnswer, Ends, Flow};
    use crate::rig::matrix::expectation::Expectation;

    /// Returns a cell in which that came back: sequence numbers, times and flags.
    fn cell(returns: &[(u32, u64, u32)]) -> CellAnswer {
        let (mut answer, _) = captured();
        let queued = CallSeen {
            name: "VIDIOC_QBUF".into(),
            errno: None,
            at_us: 1,
            took_us: 1,
            queue: 0,
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

    #[test]
    fn the_time_of_what_is_made_is_that_of_what_was_read() {
        let (times, other) = (
            [(0, 7, COPIED), (1, 8, COPIED)],
            [(0, 8, COPIED), (1, 9, COPIED)],
        );
        let said = |read: &[_], made: &[_]| {
            let mut answer = cell(read);
            answer.further.push(BufferSeen {
                returns: cell(made).returns,
                ..BufferSeen::default()
            });
            let flow = Flow::M2m(Ends::Read);
            let said = objections_of(flow, copied, &answer, &captured().1);
            said.into_iter().map(|(_, what)| what).collect::<Vec<_>>()
        };
        assert_eq!(said(&times, &times), [""; 0]);
        // An encoder may give them back in another order.
        assert_eq!(said(&times, &[times[1], times[0]]), [""; 0]);
        let what = "CAPTURE: frame 1 has the time 9 us, which it says is copied, and no frame that \
                    the device read had";
        assert_eq!(said(&times, &other), [what]);
        let of_its_own = other.map(|(sequence, time, _)| (sequence, time, 0x2000));
        assert_eq!(said(&times, &of_its_own), [""; 0]);
        assert_eq!(said(&times[..1], &other), [""; 0]);
    }

    #[test]
    fn each_queue_has_an_order_of_its_own() {
        let mut answer = cell(&[(0, 1, 0)]);
        answer.further.push(BufferSeen {
            returns: cell(&[(0, 1, 0), (0, 2, 0)]).returns,
            ..BufferSeen::default()
        });
        // Three are queued in the first queue, and one in the second.
        answer.calls[3].queue = 1;
        let evidence = answer.of_buffer(1);
        let (card_frames, flow) = (captured().1, Flow::M2m(Ends::Read));
        let expectation = Expectation::data(flow);
        let of_second = CellEvidence {
            number: 1,
            ..super::super::tests::evidence(flow, &evidence, &card_frames, &expectation)
        };
        let said = super::super::tests::said(judge, &of_second);
        let said: Vec<_> = said.iter().map(|(_, what)| &**what).collect();
        let twice = "buffers were queued 1 times and came back 2 times";
        assert_eq!(said, ["frame 0 came back after frame 0", twice]);
    }
}
