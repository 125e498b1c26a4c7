//! A clause of the specification.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use super::clauses::CLAUSES;

/// How binding a clause is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// MUST, MUST NOT, SHALL, SHALL NOT.
    Must,
    /// SHOULD, SHOULD NOT, "recommended".
    Should,
    /// MAY, "may or may not": a device is free, and drivers rely on one way.
    May,
    /// A description outside the normative boxes, which a peer relies on.
    Prose,
    /// No clause at all: that a device which breaks its own does not break the
    /// guest.
    Robust,
}

impl Level {
    /// Returns whether a subject that does otherwise does not conform.
    pub fn binds(self) -> bool {
        match self {
            Self::Must | Self::Prose => true,
            Self::Should | Self::May => false,
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Must => "MUST",
            Self::Should => "SHOULD",
            Self::May => "MAY",
            Self::Prose => "prose",
            Self::Robust => "robust",
        })
    }
}

/// Which end of the transport a clause binds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// The device.
    Device,
    /// The driver.
    Driver,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Device => "device",
            Self::Driver => "driver",
        })
    }
}

/// A clause that a suite tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Clause {
    /// Its number, such as `MD-1`: M for media, G for VIRTIO in general; D for
    /// the device's conformance clauses, V for the driver's, P for prose. `DV-1`
    /// and those that follow it are ours, of devices that break clauses.
    pub id: &'static str,
    /// The end that it binds.
    pub side: Side,
    /// How binding it is.
    pub level: Level,
    /// Where it is printed: the document, the section, the heading.
    pub source: &'static str,
    /// What it says, in our words.
    pub statement: &'static str,
    /// What the suite assumes where the text says nothing, or contradicts
    /// itself.
    pub assumes: Option<&'static str>,
}

/// Returns the clauses that bind that end, in the order of the table.
pub fn of(side: Side) -> impl Iterator<Item = &'static Clause> {
    CLAUSES.iter().filter(move |clause| clause.side == side)
}

/// The number of a clause in the table.
#[derive(Clone, Copy)]
pub struct ClauseId(&'static Clause);

impl ClauseId {
    /// Returns the number of a clause that the table is known to have.
    ///
    /// # Panics
    /// The table has no such clause. The suites' tables are tested for that.
    pub fn known(id: &str) -> Self {
        match id.parse() {
            Ok(clause) => clause,
            Err(UnknownClause) => panic!("no clause {id} in the table"),
        }
    }

    /// Returns the clause.
    pub fn clause(self) -> &'static Clause {
        self.0
    }
}

/// There is no clause with this number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there is no such clause; --list prints them")]
pub struct UnknownClause;

impl FromStr for ClauseId {
    type Err = UnknownClause;

    fn from_str(id: &str) -> Result<Self, UnknownClause> {
        let found = CLAUSES
            .iter()
            .find(|clause| clause.id.eq_ignore_ascii_case(id));
        found.map(Self).ok_or(UnknownClause)
    }
}

impl PartialEq for ClauseId {
    fn eq(&self, other: &Self) -> bool {
        self.0.id == other.0.id
    }
}

impl Eq for ClauseId {}

impl fmt::Debug for ClauseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.id)
    }
}

impl fmt::Display for ClauseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.0.id)
    }
}

impl Serialize for ClauseId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.id)
    }
}
