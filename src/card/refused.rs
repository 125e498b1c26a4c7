//! Why a command was refused.

use crate::dma::DmaError;
use crate::wire::Errno;
use crate::wire::request::Truncated;

/// A command was refused, and has changed nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The readable part of the chain ends too early.
    #[error(transparent)]
    Truncated(#[from] Truncated),
    /// The writable part of the chain is too small for the answer.
    #[error("the chain has no room for the answer")]
    NoRoom,
    /// The buffer's memory cannot be used.
    #[error(transparent)]
    Memory(#[from] DmaError),
    /// A well-formed command that the card cannot obey now, or at all.
    #[error("{1}")]
    Because(Errno, &'static str),
}

impl Refused {
    /// What the driver is told.
    pub fn errno(&self) -> Errno {
        match self {
            Self::Truncated(_) | Self::NoRoom => Errno::EINVAL,
            Self::Memory(DmaError::Outside { .. }) => Errno::EFAULT,
            Self::Memory(DmaError::TooMany) => Errno::ENOMEM,
            Self::Memory(_) => Errno::EINVAL,
            Self::Because(errno, _) => *errno,
        }
    }

    /// Whether no driver in its right mind sends such a command; the others
    /// are part of how V4L2 is explored.
    pub fn is_malformed(&self) -> bool {
        !matches!(self, Self::Because(..))
    }
}

/// Refuses with EINVAL.
pub(super) const fn invalid(reason: &'static str) -> Refused {
    Refused::Because(Errno::EINVAL, reason)
}

/// Refuses with EBUSY.
pub(super) const fn busy(reason: &'static str) -> Refused {
    Refused::Because(Errno::EBUSY, reason)
}
