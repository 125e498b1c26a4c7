//! The observed results of a point's calls.

use super::answer::{Got, Held, Pinned};
use crate::agent::frame_vector::{
    Filled, FrameVector, FrameVectorAnswer, Killed, Meanwhile, Outcome, Step, Vector,
};

/// The results, with the steps that were requested and the kernel's complaints.
pub struct Observation<'a> {
    pub(super) steps: Vec<(&'a Step, &'a Outcome)>,
    /// How the caller was ended, and the step in which it was.
    pub(super) killed: Option<(Killed, Option<&'a Step>)>,
    /// Whether the point killed the caller on purpose.
    pub(super) on_purpose: bool,
    filled: Filled,
    pub(super) warnings: &'a [String],
}

impl<'a> Observation<'a> {
    /// Returns the observation of a script's results.
    pub fn new(
        script: &'a FrameVector,
        answer: &'a FrameVectorAnswer,
        warnings: &'a [String],
    ) -> Self {
        Self {
            steps: script.steps.iter().zip(&answer.steps).collect(),
            killed: answer
                .killed
                .map(|killed| (killed, script.steps.get(answer.steps.len()))),
            on_purpose: script.meanwhile == Some(Meanwhile::Kill),
            filled: answer.filled.unwrap_or_default(),
            warnings,
        }
    }

    /// Returns how the caller was ended, if it was.
    pub fn killed(&self) -> Option<Killed> {
        self.killed.map(|(killed, _)| killed)
    }

    /// Returns the index of the last step that satisfies `is_one`.
    pub fn last(&self, is_one: impl Fn(&Step) -> bool) -> Option<usize> {
        self.steps.iter().rposition(|(step, _)| is_one(step))
    }

    /// Returns the outcome of a step.
    pub fn outcome(&self, index: usize) -> &'a Outcome {
        self.steps[index].1
    }

    /// Returns what the thread did that filled memory.
    pub fn filled(&self) -> Filled {
        self.filled
    }

    /// Returns the number of warnings that name a function.
    pub fn warnings_of(&self, function: &str) -> usize {
        let named = |line: &&String| line.contains("WARNING:") && line.contains(function);
        self.warnings.iter().filter(named).count()
    }

    /// Returns the result of `get_vaddr_frames()` in the step `index`.
    pub fn got(&self, index: usize) -> Got {
        let (step, outcome) = self.steps[index];
        let asked = match step {
            Step::Get { frames, .. }
            | Step::GetAgain { frames, .. }
            | Step::GetAt { frames, .. } => *frames,
            _ => 0,
        };
        let returned = outcome.returned;
        let Ok(count) = u32::try_from(returned) else {
            return Got::Error {
                errno: -returned,
                frames: outcome.vector.map_or(0, |vector| vector.frames),
            };
        };
        if count == 0 {
            return Got::Nothing;
        }
        let Some(vector) = outcome.vector else {
            return Got::NoVector(count);
        };
        let mut known = outcome
            .frames
            .iter()
            .zip(&outcome.process)
            .filter(|(_, own)| **own != 0);
        let of_the_range = !matches!(step, Step::GetAt { .. });
        Got::Frames {
            count,
            asked,
            pfns: vector.is_pfns,
            held: held(&vector, outcome),
            frames: vector.frames,
            own: !of_the_range || known.all(|(frame, own)| frame == own),
        }
    }

    /// Returns the number of pins in the whole kernel after one step, less
    /// those after another.
    pub fn pins_between(&self, before: usize, after: usize) -> i64 {
        let pins = |index| self.outcome(index).pins as i64;
        pins(after) - pins(before)
    }

    /// Returns the pins after the call of a step and after the put in the next
    /// step, as a difference to those after the first step.
    pub fn pins_until_put(&self, step: usize) -> [i64; 2] {
        [step, step + 1].map(|step| self.pins_between(0, step))
    }
}

/// Compares the vector's flag about its frames with their counters.
fn held(vector: &Vector, outcome: &Outcome) -> Held {
    let counted = outcome.pages.iter().filter(|page| page.exists);
    let pinned = counted.clone().filter(|page| page.pinned).count();
    match (vector.got_ref, pinned) {
        (true, pinned) if pinned == outcome.pages.len() => Held::Pinned,
        (true, _) => Held::SaidPinned,
        (false, 0) => Held::Unpinned,
        (false, _) => Held::SaidUnpinned,
    }
}

/// Returns whether none, some or all of a step's pages are pinned.
pub fn pinned(outcome: &Outcome) -> Pinned {
    match outcome.pages.iter().filter(|page| page.pinned).count() {
        0 => Pinned::None,
        count if count == outcome.pages.len() => Pinned::All,
        _ => Pinned::Part,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::frame_vector::Page;
    use crate::rig::frame_vector::answer::Answer;
    use crate::rig::frame_vector::points::all;

    const PFNS: [u64; 4] = [7, 3, 9, 4];

    /// Returns the outcome of a call that got four pages.
    fn got_four() -> Outcome {
        Outcome {
            returned: 4,
            refused: None,
            vector: Some(Vector {
                allocated: 8,
                frames: 4,
                got_ref: true,
                is_pfns: false,
                is_vmalloc: false,
            }),
            frames: PFNS.to_vec(),
            process: PFNS.to_vec(),
            pages: PFNS.map(page).to_vec(),
            pins: 4,
            accounted: [0, 0],
            free_order: 10,
        }
    }

    fn page(pfn: u64) -> Page {
        Page {
            pfn,
            exists: true,
            references: 1025,
            pinned: true,
            movable: false,
        }
    }

    /// Returns the answer to "touched" if its call had the outcome `outcome`.
    fn answer(outcome: Outcome, warnings: &[String]) -> String {
        let point = all().find(|point| point.name == "touched").unwrap();
        let script = (point.script)();
        let seen = FrameVectorAnswer {
            steps: vec![got_four(), outcome],
            ..FrameVectorAnswer::default()
        };
        point
            .read(&Observation::new(&script, &seen, warnings))
            .to_string()
    }

    #[test]
    fn a_caller_that_is_ended_is_the_answer() {
        let point = all().find(|point| point.name == "destroy-unpins");
        let point = point.unwrap();
        let script = (point.script)();
        let seen = FrameVectorAnswer {
            steps: vec![got_four(), got_four()],
            killed: Some(killed_by(libc::SIGSEGV)),
            ..FrameVectorAnswer::default()
        };
        let bug = "kernel BUG at drivers/media/common/videobuf2/frame_vector.c:168!".to_owned();
        assert_eq!(
            point
                .read(&Observation::new(
                    &script,
                    &seen,
                    &[bug, "Oops: invalid opcode".into()]
                ))
                .to_string(),
            "a BUG ends the caller in Abandon, by signal 11"
        );
        let unexplained = point
            .read(&Observation::new(&script, &seen, &["BUG: KASAN".into()]))
            .to_string();
        assert!(
            unexplained.starts_with("the kernel ends the caller"),
            "{unexplained}"
        );
        assert!(unexplained.contains("KASAN"), "{unexplained}");
    }

    fn killed_by(signal: i32) -> Killed {
        Killed {
            signal,
            returned: -libc::EINTR,
            pins: 5,
        }
    }

    #[test]
    fn a_caller_that_is_killed_on_purpose_is_no_accident() {
        let answer = |name: &str, signal| {
            let point = all().find(|point| point.name == name).unwrap();
            let script = (point.script)();
            let seen = FrameVectorAnswer {
                steps: vec![got_four()],
                killed: Some(killed_by(signal)),
                ..FrameVectorAnswer::default()
            };
            point
                .read(&Observation::new(&script, &seen, &[]))
                .to_string()
        };
        assert_eq!(
            answer("kill", libc::SIGKILL),
            "yes, with EINTR; pins: +1 after it"
        );
        assert!(answer("kill", libc::SIGSEGV).starts_with("the kernel ends the caller"));
        assert!(answer("signal", libc::SIGKILL).starts_with("the kernel ends the caller"));
    }

    #[test]
    fn pages_that_are_pinned_and_the_process_s_are_told_as_such() {
        assert_eq!(answer(got_four(), &[]), "4 of 8 pages, pinned");
        let mut failed = got_four();
        failed.returned = -libc::EFAULT;
        assert_eq!(
            answer(failed.clone(), &[]),
            "EFAULT, but nr_frames is 4",
            "a call that fails holds nothing"
        );
        failed.vector.as_mut().unwrap().frames = 0;
        assert_eq!(answer(failed, &[]), "EFAULT");
    }

    #[test]
    fn a_vector_that_lies_is_found_out() {
        let mut unpinned = got_four();
        unpinned.pages[2].pinned = false;
        assert!(answer(unpinned, &[]).ends_with("said to be pinned and are not"));

        let mut denied = got_four();
        denied.vector.as_mut().unwrap().got_ref = false;
        assert!(answer(denied, &[]).ends_with("said not to be pinned and are"));

        let mut others = got_four();
        others.process[3] = 5;
        assert!(answer(others, &[]).ends_with("but not those of the process"));

        let mut short = got_four();
        short.vector.as_mut().unwrap().frames = 3;
        assert!(answer(short, &[]).ends_with("but nr_frames is 3"));
    }

    #[test]
    fn an_answer_is_expected_by_its_type_and_without_a_complaint() {
        let point = all().find(|point| point.name == "touched").unwrap();
        let script = (point.script)();
        let seen = FrameVectorAnswer {
            steps: vec![got_four(), got_four()],
            ..FrameVectorAnswer::default()
        };
        let expected = Answer::Got(Got::pinned(4, 8));
        let reading = point.read(&Observation::new(&script, &seen, &[]));
        assert!(reading.is(&expected), "{reading}");
        assert!(!reading.is(&Answer::Got(Got::pinned(8, 8))));
        let said = ["BUG: Bad page state".to_owned()];
        assert!(
            !point
                .read(&Observation::new(&script, &seen, &said))
                .is(&expected)
        );
    }

    #[test]
    fn what_the_kernel_complains_of_and_the_probe_refuses_is_in_the_answer() {
        let said = answer(got_four(), &["BUG: Bad page state".to_owned()]);
        assert!(
            said.contains("the kernel said \"BUG: Bad page state\""),
            "{said}"
        );
        let mut refused = got_four();
        refused.refused = Some(libc::EBUSY);
        assert!(answer(refused, &[]).contains("the probe refused"));
    }
}
