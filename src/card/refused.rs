//! The reasons for which the card refuses a command.

use crate::dma::DmaError;
use crate::wire::Errno;
use crate::wire::request::Truncated;

/// The reason for which a command was refused. The command has changed nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The readable part of the chain ends before the command does.
    #[error(transparent)]
    Truncated(#[from] Truncated),
    /// The writable part of the chain is too small for the response.
    #[error("the chain has no room for the answer")]
    NoRoom,
    /// The buffer's memory cannot be used.
    #[error(transparent)]
    Memory(#[from] DmaError),
    /// The command is well-formed, but the card cannot execute it now, or at
    /// all.
    #[error("{1}")]
    Because(Errno, &'static str),
}

impl Refused {
    /// Returns the error number that the driver gets.
    pub fn errno(&self) -> Errno {
        match self {
            Self::Truncated(_) | Self::NoRoom => Errno::EINVAL,
            Self::Memory(DmaError::Outside { .. }) => Errno::EFAULT,
            Self::Memory(DmaError::TooMany) => Errno::ENOMEM,
            Self::Memory(_) => Errno::EINVAL,
            Self::Because(errno, _) => *errno,
        }
    }

    /// Returns whether the command is one that no correct driver sends. The
    /// other refusals are part of how applications explore V4L2.
    pub fn is_malformed(&self) -> bool {
        !matches!(self, Self::Because(..))
    }
}

/// Refuses with EINVAL.
pub(crate) const fn invalid(reason: &'static str) -> Refused {
    Refused::Because(Errno::EINVAL, reason)
}

/// Refuses with EBUSY.
pub(crate) const fn busy(reason: &'static str) -> Refused {
    Refused::Because(Errno::EBUSY, reason)
}
