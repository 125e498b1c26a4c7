//! A question, and what the questions share.

use crate::agent::frame_vector::{Area, FrameVector, Killed, Kind, Step, WRITE};
use crate::rig::frame_vector::observation::Observation;
use crate::rig::kernel::errno_name;

/// A question about the frame vector.
#[derive(Debug)]
pub struct Point {
    /// Its name.
    pub name: &'static str,
    /// The question.
    pub question: &'static str,
    /// The memory and the calls.
    pub script: fn() -> FrameVector,
    /// Reads the answer off what came back.
    pub answer: fn(&Observation<'_>) -> String,
    /// The function that warns, if that is what is asked.
    pub provokes: Option<&'static str>,
}

impl Point {
    /// The answer in what came back, and every complaint of the kernel that the
    /// point did not provoke on purpose. A call that the probe refused is a
    /// mistake in the point.
    pub fn read(&self, seen: &Observation<'_>) -> String {
        let mut answer = match seen.killed {
            None => (self.answer)(seen),
            Some((Killed { signal, .. }, Some(Step::Get { .. })))
                if seen.on_purpose && signal == libc::SIGKILL =>
            {
                (self.answer)(seen)
            }
            Some((Killed { signal, .. }, Some(step))) => {
                let bug = seen
                    .warnings
                    .iter()
                    .any(|line| line.contains("kernel BUG at"));
                let why = if bug { "a BUG" } else { "the kernel" };
                format!("{why} ends the caller in {step:?}, by signal {signal}")
            }
            Some((Killed { signal, .. }, None)) => {
                format!("signal {signal} ends the caller after the last step")
            }
        };
        for (step, outcome) in &seen.steps {
            if let Some(number) = outcome.refused {
                answer += &format!("; the probe refused {step:?}: {}", errno_name(number));
            }
        }
        let expected = |line: &&String| {
            self.provokes
                .is_some_and(|function| line.contains(function) || is_part(line))
        };
        for line in seen.warnings.iter().filter(|line| !expected(line)) {
            answer += &format!("; the kernel said {line:?}");
        }
        answer
    }
}

/// Lines of the kernel log that belong to a warning.
fn is_part(line: &str) -> bool {
    ["Call Trace:", "Oops"]
        .iter()
        .any(|part| line.contains(part))
}

/// A vector with room for eight.
pub(super) const CREATE: Step = Step::Create { frames: 8 };

/// Gets pages from the range's first on.
pub(super) const fn get(frames: u32, write: bool) -> Step {
    Step::Get {
        page: 0,
        offset: 0,
        frames,
        flags: if write { WRITE } else { 0 },
    }
}

/// A point that is answered by what the first call after the creation got.
pub(super) const fn one_get(
    name: &'static str,
    question: &'static str,
    script: fn() -> FrameVector,
) -> Point {
    Point {
        name,
        question,
        script,
        answer: |seen| seen.got(1),
        provokes: None,
    }
}

/// A script: areas of a kind and as many pages, and calls over them.
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

/// What `frame_vector_create()` made, as the first or second step.
pub(super) fn created(seen: &Observation<'_>) -> String {
    let index = usize::from(seen.outcome(0).vector.is_none() && seen.has(1));
    match seen.outcome(index).vector {
        None => match seen.warnings_of("frame_vector_create") {
            0 => "NULL".to_owned(),
            count => format!("NULL, {count} warning"),
        },
        Some(vector) if vector.is_vmalloc => "by vmalloc()".to_owned(),
        Some(_) => "by kmalloc()".to_owned(),
    }
}

/// What the vector says of itself after a step.
pub(super) fn flags(seen: &Observation<'_>, index: usize) -> String {
    let Some(vector) = seen.outcome(index).vector else {
        return "no vector".to_owned();
    };
    let pinned = match vector.got_ref {
        true => "said to be pinned",
        false => "not said to be pinned",
    };
    let unit = if vector.is_pfns { "PFNs" } else { "pages" };
    format!("{} {unit}, {pinned}", vector.frames)
}
