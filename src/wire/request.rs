//! A command, parsed from the readable part of a descriptor chain.

use zerocopy::FromBytes;

use super::protocol::{
    CMD_CLOSE, CMD_IOCTL, CMD_MMAP, CMD_MUNMAP, CMD_OPEN, CloseBody, CommandHeader, IoctlBody,
};

/// A command. It borrows from the private copy of the chain's readable part,
/// which the guest cannot change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request<'a> {
    /// Opens a session.
    Open,
    /// Closes a session.
    Close {
        /// The session.
        session: u32,
    },
    /// Performs an ioctl on a session.
    Ioctl {
        /// The session.
        session: u32,
        /// The ioctl's number.
        code: u32,
        /// Everything that follows the command.
        payload: &'a [u8],
    },
    /// Maps a buffer of the card's own memory into the shared memory region.
    Mmap {
        /// What follows the header: a [`MmapBody`](super::protocol::MmapBody), if
        /// it is whole. A device without the region does not look at it.
        body: &'a [u8],
    },
    /// Undoes a mapping.
    Munmap {
        /// What follows the header: a
        /// [`MunmapBody`](super::protocol::MunmapBody), if it is whole.
        body: &'a [u8],
    },
    /// A command that VIRTIO 1.4 does not have.
    Unknown {
        /// Number of the command.
        cmd: u32,
    },
}

/// The readable part of a chain ends before the command does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the command is cut short")]
pub struct Truncated;

impl<'a> Request<'a> {
    /// Parses a command from the readable part of a chain.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Truncated> {
        let (header, rest) = CommandHeader::ref_from_prefix(bytes).map_err(|_| Truncated)?;
        Ok(match header.cmd.get() {
            CMD_OPEN => Self::Open,
            CMD_CLOSE => {
                let (body, _) = CloseBody::ref_from_prefix(rest).map_err(|_| Truncated)?;
                Self::Close {
                    session: body.session_id.get(),
                }
            }
            CMD_IOCTL => {
                let (body, payload) = IoctlBody::ref_from_prefix(rest).map_err(|_| Truncated)?;
                Self::Ioctl {
                    session: body.session_id.get(),
                    code: body.code.get(),
                    payload,
                }
            }
            CMD_MMAP => Self::Mmap { body: rest },
            CMD_MUNMAP => Self::Munmap { body: rest },
            cmd => Self::Unknown { cmd },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the words as consecutive little-endian bytes.
    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    #[test]
    fn commands_are_read() {
        assert_eq!(Request::parse(&words(&[1, 0])), Ok(Request::Open));
        assert_eq!(
            Request::parse(&words(&[2, 0, 7, 0])),
            Ok(Request::Close { session: 7 })
        );
        assert_eq!(
            Request::parse(&words(&[3, 0, 7, 4, 0x0102_0304])),
            Ok(Request::Ioctl {
                session: 7,
                code: 4,
                payload: &[4, 3, 2, 1],
            })
        );
        assert_eq!(
            Request::parse(&words(&[4, 0, 0x0102_0304])),
            Ok(Request::Mmap {
                body: &[4, 3, 2, 1]
            })
        );
        assert_eq!(
            Request::parse(&words(&[5, 0, 0x0102_0304])),
            Ok(Request::Munmap {
                body: &[4, 3, 2, 1]
            })
        );
        for cmd in [0, 6, u32::MAX] {
            assert_eq!(
                Request::parse(&words(&[cmd, 0])),
                Ok(Request::Unknown { cmd })
            );
        }
    }

    #[test]
    fn every_truncation_is_refused() {
        for whole in [
            words(&[1, 0]),
            words(&[2, 0, 7, 0]),
            words(&[3, 0, 7, 4]),
            words(&[4, 0]),
            words(&[5, 0]),
            words(&[6, 0]),
        ] {
            for length in 0..whole.len() {
                assert_eq!(Request::parse(&whole[..length]), Err(Truncated));
            }
        }
    }
}
