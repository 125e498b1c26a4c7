//! What came of a cell or a mutant in one run, without what differs from one run to
//! the next anyway.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Serialize, Serializer};

use crate::rig::matrix::objection::{Severity, kind};
use crate::rig::matrix::oracle::{Cause, Finding};
use crate::rig::matrix::outcome::{CellOutcome, MutantOutcome, MutantVerdict, Verdict};
use crate::rig::matrix::{CellName, Mutant};

/// The name of what was judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Name {
    /// A cell.
    Cell(CellName),
    /// A mutant of the driver.
    Mutant(Mutant),
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cell(cell) => cell.fmt(f),
            Self::Mutant(mutant) => write!(f, "mutant/{mutant}"),
        }
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What a verdict means for a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// As expected; a mutant was caught.
    Good,
    /// A finding; a mutant was missed.
    Bad,
    /// Impossible there; a mutant has no effect there, or cannot be detected.
    NotJudged,
}

/// What came of a cell or a mutant.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Said<'a> {
    /// What the verdict means.
    pub standing: Standing,
    /// What it came to, in a word or two.
    pub what: String,
    /// The reason for an unusual expectation, or for which it was not judged or a
    /// mutant was missed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'a str>,
    /// The oracles' objections, each once, the worst first.
    #[serde(skip)]
    pub objections: BTreeMap<Cause, &'a Finding>,
}

/// That by which two results are told apart.
pub type Key = (Standing, String, String);

impl<'a> Said<'a> {
    /// Returns what came of a cell.
    pub fn of_cell(cell: &'a CellOutcome) -> Self {
        let came_to = cell.observation.map(|it| it.to_string());
        let objections = cell.findings.iter();
        let objections = objections.map(|finding| match finding.severity {
            // Which of its runs came to what is another thing each time.
            Severity::Flaky => ((Severity::Flaky, finding.oracle, String::new()), finding),
            _ => (finding.cause(), finding),
        });
        Self {
            standing: match cell.verdict {
                Verdict::Expected => Standing::Good,
                Verdict::Finding => Standing::Bad,
                Verdict::Impossible => Standing::NotJudged,
            },
            what: match cell.verdict {
                Verdict::Impossible => "impossible".to_owned(),
                _ if cell.is_flaky() => "flaky".to_owned(),
                _ => came_to.unwrap_or_else(|| "no outcome".to_owned()),
            },
            reason: cell.reason.as_deref(),
            // Of those alike the first.
            objections: objections.rev().collect(),
        }
    }

    /// Returns what came of a mutant. Which oracles saw it is not told: some see it
    /// at times only.
    pub fn of_mutant(mutant: &'a MutantOutcome) -> Self {
        let (standing, what) = match mutant.verdict {
            MutantVerdict::Caught => (Standing::Good, "caught"),
            MutantVerdict::Missed => (Standing::Bad, "missed"),
            MutantVerdict::Unseen => (Standing::NotJudged, "no difference here"),
            MutantVerdict::Unwitnessed => (Standing::NotJudged, "missed, needs a witness"),
        };
        Self {
            standing,
            what: what.to_owned(),
            reason: mutant.reason.as_deref(),
            objections: BTreeMap::new(),
        }
    }

    /// Returns that by which it is told apart from others, besides objections.
    pub fn key(&self) -> Key {
        let reason = kind(self.reason.unwrap_or_default());
        (self.standing, self.what.clone(), reason)
    }
}

impl fmt::Display for Said<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.standing {
            Standing::Bad => write!(f, "✗ {}", self.what),
            Standing::Good if self.reason.is_some() => write!(f, "◆ {}", self.what),
            Standing::Good => write!(f, "✓ {}", self.what),
            Standing::NotJudged => write!(f, "– {}", self.what),
        }
    }
}
