//! A change of a cell or a mutant from one run to another, and whether that is
//! worse.

use serde::Serialize;

use super::said::{Said, Standing};
use crate::rig::matrix::objection::Severity;
use crate::rig::matrix::oracle::Finding;

/// What a change means; the first concerns a reader most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Group {
    /// An oracle objects that did not, or it is not judged any more.
    Worse,
    /// No oracle objects any more that did, or it is judged now.
    Better,
    /// It came to something else that is as good, or as bad.
    Different,
    /// It was not run before.
    New,
    /// It was not run again.
    Gone,
}

impl Group {
    /// Returns the word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Worse => "worse",
            Self::Better => "better",
            Self::Different => "different",
            Self::New => "new",
            Self::Gone => "gone",
        }
    }

    /// Returns the one-line description.
    pub const fn what(self) -> &'static str {
        match self {
            Self::Worse => "an oracle objects that did not, or nothing is judged any more",
            Self::Better => "no oracle objects any more, or it is judged now",
            Self::Different => "it came to something else, which is as good or as bad",
            Self::New => "only B has it",
            Self::Gone => "only A has it",
        }
    }
}

/// What came of something in two runs; `None` if it was not run there. At least one
/// is there.
#[derive(Debug, Clone, PartialEq)]
pub struct Change<'a> {
    /// The first run.
    pub a: Option<Said<'a>>,
    /// The second run.
    pub b: Option<Said<'a>>,
}

impl<'a> Change<'a> {
    /// Returns what the change means; `None` if there is none.
    pub fn group(&self) -> Option<Group> {
        use Standing::{Bad, Good, NotJudged};
        let (a, b) = match (&self.a, &self.b) {
            (Some(a), Some(b)) => (a, b),
            (None, _) => return Some(Group::New),
            (_, None) => return Some(Group::Gone),
        };
        // An outcome may be as always in one run, and for a reason in the other.
        let is_odd = |said: &Said<'_>| said.reason.is_some();
        let differs = a.what != b.what || is_odd(a) != is_odd(b);
        let differs = differs.then_some(Group::Different);
        match (a.standing, b.standing) {
            (Good | Bad, NotJudged) | (Good | NotJudged, Bad) => Some(Group::Worse),
            (Bad | NotJudged, Good) => Some(Group::Better),
            (Good, Good) => differs,
            (NotJudged, NotJudged) => None,
            (Bad, Bad) if has_steady(&self.appeared()) => Some(Group::Worse),
            (Bad, Bad) if has_steady(&self.vanished()) => Some(Group::Better),
            // What fails each time is worse than what fails at times.
            (Bad, Bad) => match (is_flaky(a), is_flaky(b)) {
                (true, false) => Some(Group::Worse),
                (false, true) => Some(Group::Better),
                _ => differs,
            },
        }
    }

    /// Returns the objections of the second run that the first has not, the worst
    /// first.
    pub fn appeared(&self) -> Vec<&'a Finding> {
        without(self.b.as_ref(), self.a.as_ref())
    }

    /// Returns the objections of the first run that the second has not, the worst
    /// first.
    pub fn vanished(&self) -> Vec<&'a Finding> {
        without(self.a.as_ref(), self.b.as_ref())
    }
}

/// Returns whether there is an objection besides that it is flaky.
fn has_steady(objections: &[&Finding]) -> bool {
    let mut objections = objections.iter();
    objections.any(|finding| finding.severity != Severity::Flaky)
}

fn is_flaky(said: &Said<'_>) -> bool {
    let mut causes = said.objections.keys();
    causes.any(|(severity, ..)| *severity == Severity::Flaky)
}

fn without<'a>(of: Option<&Said<'a>>, other: Option<&Said<'a>>) -> Vec<&'a Finding> {
    let objections = of.into_iter().flat_map(|said| &said.objections);
    let is_known = |cause| other.is_some_and(|other| other.objections.contains_key(cause));
    objections
        .filter(|(cause, _)| !is_known(cause))
        .map(|(_, finding)| *finding)
        .collect()
}
