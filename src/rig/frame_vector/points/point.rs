//! A point, and the helpers that the points share.

use std::fmt;

use crate::agent::frame_vector::{Area, FrameVector, Killed, Kind, Step, WRITE};
use crate::rig::frame_vector::answer::{Answer, Created, Flags};
use crate::rig::frame_vector::observation::Observation;
use crate::rig::kernel::errno_name;

/// A question about the frame vector.
#[derive(Debug)]
pub struct Point {
    /// Name of the point.
    pub name: &'static str,
    /// The question.
    pub question: &'static str,
    /// The memory and the calls over it.
    pub script: fn() -> FrameVector,
    /// Derives the answer from the results.
    pub answer: fn(&Observation<'_>) -> Answer,
    /// The function whose warnings the point provokes, if any.
    pub provokes: Option<&'static str>,
}

/// The answer to a point, and complaints that should not have come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// The answer.
    pub answer: Answer,
    /// Calls that the probe refused, which are mistakes in the point, and every
    /// complaint of the kernel that the point did not provoke.
    pub complaints: Vec<String>,
}

impl Reading {
    /// Returns whether the answer is `answer`, and there are no complaints.
    pub fn is(&self, answer: &Answer) -> bool {
        self.complaints.is_empty() && self.answer == *answer
    }
}

impl fmt::Display for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.answer.fmt(f)?;
        let mut complaints = self.complaints.iter();
        complaints.try_for_each(|complaint| write!(f, "; {complaint}"))
    }
}

impl Point {
    /// Derives the answer and the complaints from the results.
    pub fn read(&self, seen: &Observation<'_>) -> Reading {
        let answer = match seen.killed {
            None => (self.answer)(seen),
            Some((Killed { signal, .. }, Some(Step::Get { .. })))
                if seen.on_purpose && signal == libc::SIGKILL =>
            {
                (self.answer)(seen)
            }
            Some((Killed { signal, .. }, step)) => Answer::Ended {
                bug: seen
                    .warnings
                    .iter()
                    .any(|line| line.contains("kernel BUG at")),
                step: step.cloned(),
                signal,
            },
        };
        let refused = seen.steps.iter().filter_map(|(step, outcome)| {
            let number = outcome.refused?;
            Some(format!(
                "the probe refused {step:?}: {}",
                errno_name(number)
            ))
        });
        let expected = |line: &&String| {
            self.provokes
                .is_some_and(|function| line.contains(function) || is_part(line))
        };
        let said = seen.warnings.iter().filter(|line| !expected(line));
        Reading {
            answer,
            complaints: refused
                .chain(said.map(|line| format!("the kernel said {line:?}")))
                .collect(),
        }
    }
}

/// Returns whether a line of the kernel log continues a warning.
fn is_part(line: &str) -> bool {
    ["Call Trace:", "Oops"]
        .iter()
        .any(|part| line.contains(part))
}

/// Creates a vector with room for eight frames.
pub(super) const CREATE: Step = Step::Create { frames: 8 };

/// Gets pages from the range's first page on.
pub(super) const fn get(frames: u32, write: bool) -> Step {
    Step::Get {
        page: 0,
        offset: 0,
        frames,
        flags: if write { WRITE } else { 0 },
    }
}

/// Returns a point whose answer is the result of the first call after the
/// creation.
pub(super) const fn one_get(
    name: &'static str,
    question: &'static str,
    script: fn() -> FrameVector,
) -> Point {
    Point {
        name,
        question,
        script,
        answer: |seen| Answer::Got(seen.got(1)),
        provokes: None,
    }
}

/// Returns a script: areas of a kind and a number of pages, and calls over
/// them.
pub(super) fn steps(areas: &[(Kind, u32)], steps: &[Step]) -> FrameVector {
    let area = |(kind, pages): &(Kind, u32)| Area {
        kind: kind.clone(),
        pages: *pages,
    };
    FrameVector {
        areas: areas.iter().map(area).collect(),
        meanwhile: None,
        steps: steps.to_vec(),
    }
}

/// Returns the result of `frame_vector_create()` in the first step.
pub(super) fn created(seen: &Observation<'_>) -> Created {
    match seen.outcome(0).vector {
        None => Created::Null(seen.warnings_of("frame_vector_create")),
        Some(vector) if vector.is_vmalloc => Created::Vmalloc,
        Some(_) => Created::Kmalloc,
    }
}

/// Returns the state of the vector after a step.
pub(super) fn flags(seen: &Observation<'_>, index: usize) -> Flags {
    match seen.outcome(index).vector {
        None => Flags::NoVector,
        Some(vector) => Flags::Vector {
            frames: vector.frames,
            pfns: vector.is_pfns,
            pinned: vector.got_ref,
        },
    }
}
