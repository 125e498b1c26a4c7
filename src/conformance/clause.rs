//! A clause of the specification.

use std::fmt;

use serde::Serialize;

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
            Self::Must | Self::Prose | Self::Robust => true,
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
