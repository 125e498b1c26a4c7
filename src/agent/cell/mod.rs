//! A cell of the matrix: one kind of memory, one hazard, one frame.
//!
//! The agent runs a cell ([`Cell`]) by itself, in a process of its own, and
//! answers with what it saw ([`CellAnswer`]). It judges nothing: that is for
//! oracles on the host, which also have the card's witness.
//!
//! | file | what is in it |
//! |---|---|
//! | [`kind`] | the kinds of memory |
//! | [`hazard`] | what happens to the memory, and when |
//! | [`evidence`] | what the agent saw |
//! | [`frame`] | the size of the frame that a cell asks for |
//! | [`instruments`] | what a kernel that checks itself tells |
//! | [`moment`] | when it was seen |
//! | [`pagemap`] | what an entry of a pagemap says |

/// An enumeration with a table: of each variant the name that is printed, read
/// and sent, and a line that says what it is.
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
            /// All of them, in the order of the table.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The name, as it is printed, read and sent.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// What it is, in a line.
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

pub mod evidence;
pub mod frame;
pub mod hazard;
pub mod instruments;
pub mod kind;
pub mod moment;
pub mod pagemap;

use serde::{Deserialize, Serialize};

pub use evidence::CellAnswer;
pub use frame::{FrameSize, NoSuchFrame};
pub use hazard::{Hazard, Point};
pub use kind::Kind;

/// Bytes of a page.
pub const PAGE: usize = 4096;

/// A name that is not in a table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the matrix has no {} \"{name}\"; `pinhole matrix --list --mutants` shows what it has", table.to_lowercase())]
pub struct UnknownName {
    pub(crate) table: &'static str,
    pub(crate) name: String,
}

/// Run a cell of the matrix: lay memory out, capture one frame into it by
/// USERPTR, let the hazard come in between, and tell what was seen.
///
/// The card must have the controls Hold Frames, Hold Events and Held Events
/// where the hazard is not [`Hazard::None`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cell {
    /// The kind of memory.
    pub kind: Kind,
    /// Where in its first page the buffer begins: less than [`PAGE`].
    pub offset: u32,
    /// Bytes of the frame beyond whole pages: less than [`PAGE`]. Only some
    /// have a frame ([`FrameSize::new`]).
    pub tail: u32,
    /// What happens to the memory.
    pub hazard: Hazard,
    /// When it happens.
    pub point: Point,
    /// The capture device in the guest.
    pub device: String,
    /// The time that all of it may take, in milliseconds; then its process is
    /// killed, and the answer tells how far it got.
    pub limit_ms: u64,
    /// How many times as long as usual the kernel may take for anything that
    /// is waited for: one that checks itself is slow.
    #[serde(default = "one")]
    pub patience: u32,
}

fn one() -> u32 {
    1
}

impl Cell {
    /// A cell without hazard on /dev/video0, at the start of a page, whose
    /// frame is whole pages, with half a minute to run in.
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            offset: 0,
            tail: 0,
            hazard: Hazard::None,
            point: Point::BeforeDma,
            device: "/dev/video0".into(),
            limit_ms: 30_000,
            patience: 1,
        }
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
