//! The points: what is asked, how it is tried, how the answer is read.

mod calls;
mod memory;
mod vectors;
mod waits;

use super::observation::Observation;
use crate::agent::frame_vector::{Area, FrameVector, Kind, Step, WRITE};

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

/// All points, in the order in which they are tried. What breaks up the guest's
/// memory comes last.
pub fn all() -> impl Iterator<Item = &'static Point> {
    [calls::ALL, memory::ALL, waits::ALL, vectors::ALL]
        .into_iter()
        .flatten()
}

const CREATE: Step = Step::Create { frames: 8 };

const fn get(frames: u32, write: bool) -> Step {
    Step::Get {
        page: 0,
        offset: 0,
        frames,
        flags: if write { WRITE } else { 0 },
    }
}

/// A point that is answered by what the first call after the creation got.
const fn one_get(name: &'static str, question: &'static str, script: fn() -> FrameVector) -> Point {
    Point {
        name,
        question,
        script,
        answer: |seen| seen.got(1),
        provokes: None,
    }
}

fn steps(areas: &[(Kind, u32)], steps: &[Step]) -> FrameVector {
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
fn created(seen: &Observation<'_>) -> String {
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
fn flags(seen: &Observation<'_>, index: usize) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rig::frame_vector::expectation::{Kernel, of};
    use crate::rig::kernel::Version;

    #[test]
    fn every_point_has_a_name_of_its_own_and_an_expectation() {
        let mut names: Vec<_> = all().map(|point| point.name).collect();
        for point in all() {
            for (major, minor) in [(5, 10), (6, 1), (6, 12), (7, 3)] {
                for debug_vm in [false, true] {
                    let version = Version(major, minor);
                    let (answer, reason) = of(point.name, Kernel { version, debug_vm });
                    assert!(!answer.is_empty() && !reason.is_empty(), "{}", point.name);
                }
            }
            assert!(point.question.ends_with('?'), "{}", point.question);
        }
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
