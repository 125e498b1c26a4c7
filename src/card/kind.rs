//! What a card is for: which way its frames go.

use serde::{Deserialize, Serialize};

/// The kind of a card.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum CardKind {
    /// A capture card: it writes frames into the guest's memory.
    #[default]
    Capture,
    /// An output card: it reads frames out of the guest's memory.
    Output,
}

impl CardKind {
    /// Returns whether the card is a capture card.
    pub fn is_capture(&self) -> bool {
        *self == Self::Capture
    }

    /// Returns the name, as `pinhole device --kind` takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Capture => "capture",
            Self::Output => "output",
        }
    }
}
