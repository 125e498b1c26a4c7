//! A cell of the matrix: one kind of memory, one hazard, one frame.
//!
//! The agent runs a cell ([`Cell`]) alone, in a separate process, and answers
//! with its evidence ([`CellAnswer`]). The agent judges nothing: the oracles on
//! the host do, which also have the card's witness.
//!
//! | file | what is in it |
//! |---|---|
//! | [`kind`] | the kinds of memory |
//! | [`hazard`] | the hazards, and the points at which they happen |
//! | [`evidence`] | the agent's evidence |
//! | [`frame`] | the size of the frame that a cell asks for |
//! | [`instruments`] | reports of a kernel that checks itself |
//! | [`moment`] | the moments of the observations |
//! | [`pagemap`] | the format of a pagemap entry |
//! | [`phases`] | where the time of a cell goes |
//! | [`picture`] | a frame that is known |
//! | [`schedule`] | the order in which the steps of two buffers come |
//! | [`subject`] | a device of any driver, and what a cell may do to the machine that has it |

/// Defines an enumeration from a table, which gives each variant the name that
/// is printed, parsed and sent, and a one-line description.
macro_rules! table {
    (
        $(#[$attribute:meta])*
        $type:ident: $($variant:ident = $name:literal, $what:literal;)*
    ) => {
        $(#[$attribute])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash,
            serde::Serialize, serde::Deserialize,
        )]
        pub enum $type {
            $(#[doc = $what] #[serde(rename = $name)] $variant,)*
        }

        impl $type {
            /// All variants, in the order of the table.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Returns the name that is printed, parsed and sent.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// Returns the one-line description.
            pub const fn what(self) -> &'static str {
                match self {
                    $(Self::$variant => $what,)*
                }
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.name())
            }
        }

        impl std::str::FromStr for $type {
            type Err = $crate::agent::cell::UnknownName;

            fn from_str(name: &str) -> Result<Self, Self::Err> {
                let found = Self::ALL.iter().find(|one| one.name() == name);
                found.copied().ok_or_else(|| $crate::agent::cell::UnknownName {
                    table: stringify!($type),
                    name: name.to_owned(),
                })
            }
        }
    };
}
pub(crate) use table;

pub mod answer;
pub mod evidence;
pub mod flow;
pub mod frame;
pub mod hazard;
pub mod instruments;
pub mod kind;
pub mod moment;
pub mod pagemap;
pub mod phases;
pub mod picture;
pub mod schedule;
pub mod subject;

use serde::{Deserialize, Serialize};

pub use answer::CellAnswer;
pub use flow::{End, Ends, Flow};
pub use frame::{FrameSize, NoSuchFrame};
pub use hazard::{Hazard, Point};
pub use kind::{Given, Kind};
pub use schedule::{NoSuchSchedule, Schedule};
pub use subject::{Made, Scope, Subject};

/// Size of a page in bytes.
pub const PAGE: usize = 4096;

/// Size of a huge page of x86-64 in bytes.
pub const HUGE_PAGE: usize = 2 << 20;

/// Size of a gigantic page of x86-64 in bytes, which hugetlb alone has.
pub const GIGANTIC_PAGE: usize = 1 << 30;

/// Where in a huge page the buffers begin, in bytes and but for their offset, that are to
/// be part of one.
pub const PART_OF_HUGE_PAGE: usize = HUGE_PAGE / 2;

/// A name that is not in a table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the matrix has no {} \"{name}\"; `pinhole matrix --list --mutants` shows what it has", table.to_lowercase())]
pub struct UnknownName {
    pub(crate) table: &'static str,
    pub(crate) name: String,
}

/// Request to run a cell of the matrix: to lay out memory, move one frame into
/// or out of it by USERPTR or DMABUF, let the hazard happen meanwhile, and return the
/// evidence.
///
/// The card must have the controls Hold Frames and Hold Events, and for a schedule Frames
/// to Pass and Events to Pass; of a cell without a hazard all is seen but the pins if it
/// has not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cell {
    /// Whether the card writes to the memory, or reads it, or both.
    #[serde(default, skip_serializing_if = "Flow::is_capture")]
    pub flow: Flow,
    /// The kind of memory.
    pub kind: Kind,
    /// Offset of the buffer within its first page: less than [`PAGE`].
    pub offset: u32,
    /// Bytes of the frame beyond whole pages: less than [`PAGE`]. A frame
    /// exists for some values only ([`FrameSize::new`]).
    pub tail: u32,
    /// The hazard: what happens to the memory.
    pub hazard: Hazard,
    /// The point at which the hazard happens, if there is no schedule.
    pub point: Point,
    /// The order of the steps of two buffers, and the hazard's place in it; `None` if the
    /// cell is about one frame, which has its time by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    /// The card's device in the guest.
    pub device: String,
    /// Time limit for the whole cell, in milliseconds. The agent kills the
    /// cell's process at the limit, and the answer holds the evidence so far.
    pub limit_ms: u64,
    /// Factor by which all waits for the kernel are longer than usual: a kernel
    /// that checks itself is slow.
    #[serde(default = "one")]
    pub patience: u32,
    /// How to use the device; `None` if it is Pinhole's card, whose controls tell how.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Subject>,
    /// What the cell may do to the machine.
    #[serde(default, skip_serializing_if = "Scope::is_guest")]
    pub scope: Scope,
}

/// Returns the factor of a kernel of usual speed.
pub(super) fn one() -> u32 {
    1
}

impl Cell {
    /// Returns a cell of a capture without hazard on /dev/video0, whose buffer
    /// starts at a page and whose frame is whole pages, with a limit of half a
    /// minute.
    pub fn new(kind: Kind) -> Self {
        Self {
            flow: Flow::Capture,
            kind,
            offset: 0,
            tail: 0,
            hazard: Hazard::None,
            point: Point::BeforeDma,
            schedule: None,
            device: "/dev/video0".into(),
            limit_ms: 30_000,
            patience: 1,
            subject: None,
            scope: Scope::Guest,
        }
    }

    /// Returns the cell's buffers.
    pub const fn ends(&self) -> &'static [End] {
        self.flow.ends_by(self.schedule)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_distinct_and_read_back() {
        let names: BTreeSet<_> = Kind::ALL.iter().map(|kind| kind.name()).collect();
        assert_eq!(names.len(), Kind::ALL.len());
        for kind in Kind::ALL {
            assert_eq!(kind.name().parse(), Ok(*kind));
            assert_eq!(
                serde_json::to_value(kind).unwrap(),
                serde_json::Value::from(kind.name())
            );
        }
        for hazard in Hazard::ALL {
            assert_eq!(hazard.name().parse(), Ok(*hazard));
        }
        let error = "dragon".parse::<Hazard>().unwrap_err().to_string();
        assert_eq!(
            error,
            "the matrix has no hazard \"dragon\"; \
             `pinhole matrix --list --mutants` shows what it has"
        );
    }
}
