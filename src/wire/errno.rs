//! The errors a command is answered with.

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
    /// More than the device has room for.
    pub const ENOMEM: Self = Self(12);
    /// An address that is not in guest memory.
    pub const EFAULT: Self = Self(14);
    /// The control cannot be read, or not be written.
    pub const EACCES: Self = Self(13);
    /// Somebody else has the buffers, or they must be freed first.
    pub const EBUSY: Self = Self(16);
    /// An argument is wrong, or the command is cut short.
    pub const EINVAL: Self = Self(22);
    /// No more sessions can be opened.
    pub const EMFILE: Self = Self(24);
    /// The place for a control's payload is too small.
    pub const ENOSPC: Self = Self(28);
    /// A value that the control does not take.
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
