//! The errors with which the card answers a command.

use std::fmt;

/// A Linux error number, as the `status` of a response and the `errno` of an
/// error event carry it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Errno(pub u32);

impl Errno {
    /// The session was declared dead by an error event.
    pub const ENODEV: Self = Self(19);
    /// The hardware failed.
    pub const EIO: Self = Self(5);
    /// The request needs more than the device has room for.
    pub const ENOMEM: Self = Self(12);
    /// An address is not in guest memory.
    pub const EFAULT: Self = Self(14);
    /// The control cannot be read, or cannot be written.
    pub const EACCES: Self = Self(13);
    /// Another session owns the buffers, or they must be freed first.
    pub const EBUSY: Self = Self(16);
    /// An argument is wrong, or the command is truncated.
    pub const EINVAL: Self = Self(22);
    /// No more sessions can be opened.
    pub const EMFILE: Self = Self(24);
    /// The memory for a control's payload is too small.
    pub const ENOSPC: Self = Self(28);
    /// The value is outside the control's range.
    pub const ERANGE: Self = Self(34);
    /// The device has no such command.
    pub const ENOTTY: Self = Self(25);
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match *self {
            Self::ENODEV => "ENODEV",
            Self::EIO => "EIO",
            Self::ENOMEM => "ENOMEM",
            Self::EFAULT => "EFAULT",
            Self::EACCES => "EACCES",
            Self::EBUSY => "EBUSY",
            Self::EINVAL => "EINVAL",
            Self::EMFILE => "EMFILE",
            Self::ENOSPC => "ENOSPC",
            Self::ERANGE => "ERANGE",
            Self::ENOTTY => "ENOTTY",
            Self(other) => return write!(f, "errno {other}"),
        })
    }
}
