//! An ioctl of the driver, as who answers it sees it.

use std::cell::RefCell;

use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

/// `ENOTTY`: what a device says that does not know an ioctl.
pub const ENOTTY: u32 = 25;
/// `EINVAL`.
pub const EINVAL: u32 = 22;
/// `ENOSPC`: a control's value does not fit.
pub const ENOSPC: u32 = 28;

/// Longest piece of guest memory that is read at once.
const PIECE_MAX: u32 = 64 << 10;

/// How the answer to an ioctl is given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Delivery {
    /// All of it.
    #[default]
    Whole,
    /// Its header, which is all that is written.
    Header,
    /// All of it is written, and the device says that so many bytes were.
    Used(u32),
}

/// An ioctl as it came, and the answer to it.
pub struct Ioctl<'a> {
    /// Its number.
    pub code: u32,
    /// The session that it is for.
    pub session: u32,
    /// Its payload, scatter entries included.
    pub request: &'a [u8],
    /// The answer's payload, as long as the driver has room for, and the
    /// request's up to there.
    pub reply: Vec<u8>,
    /// How it is given.
    pub delivery: Delivery,
    pub(super) memory: &'a GuestMemoryMmap,
    pub(super) faults: RefCell<Vec<String>>,
}

impl Ioctl<'_> {
    /// Records what the driver did wrong.
    pub fn fault(&self, what: impl Into<String>) {
        let what = format!("ioctl {}: {}", self.code, what.into());
        self.faults.borrow_mut().push(what);
    }

    /// Returns the bytes of the request, if it has so many.
    pub fn bytes(&self, at: usize, length: usize) -> Option<&[u8]> {
        self.request.get(at..at.checked_add(length)?)
    }

    /// Returns the little-endian number at an offset of the request; 0, and a fault,
    /// behind its end.
    pub fn u32(&self, at: usize) -> u32 {
        let bytes = self.bytes(at, 4).and_then(|bytes| bytes.try_into().ok());
        bytes.map_or_else(
            || {
                self.fault(format!(
                    "has {} bytes of payload, and none at {at}",
                    self.request.len()
                ));
                0
            },
            u32::from_le_bytes,
        )
    }

    /// As [`Ioctl::u32`], of eight bytes.
    pub fn u64(&self, at: usize) -> u64 {
        u64::from(self.u32(at)) | u64::from(self.u32(at + 4)) << 32
    }

    /// Puts bytes into the answer, as far as the driver has room for them.
    pub fn put(&mut self, at: usize, bytes: &[u8]) {
        let room = self.reply.len();
        match self.reply.get_mut(at..at + bytes.len()) {
            Some(place) => place.copy_from_slice(bytes),
            None => self.fault(format!(
                "has room for {room} bytes of payload, and none at {at}"
            )),
        }
    }

    /// Returns the memory that the scatter entry at an offset of the request
    /// describes: its address and length.
    pub fn entry(&self, at: usize) -> (u64, u32) {
        (self.u64(at), self.u32(at + 8))
    }

    /// Reads guest memory; nothing, and a fault, where there is none.
    pub fn read(&self, (start, length): (u64, u32)) -> Vec<u8> {
        let mut bytes = vec![0; length.min(PIECE_MAX) as usize];
        match self.memory.read_slice(&mut bytes, GuestAddress(start)) {
            Ok(()) => bytes,
            Err(error) => {
                self.fault(format!("memory at {start:#x}: {error}"));
                Vec::new()
            }
        }
    }

    /// Writes guest memory, and not beyond the length that it has.
    pub fn write(&self, (start, length): (u64, u32), bytes: &[u8]) {
        let bytes = &bytes[..bytes.len().min(length as usize)];
        if let Err(error) = self.memory.write_slice(bytes, GuestAddress(start)) {
            self.fault(format!("memory at {start:#x}: {error}"));
        }
    }
}

/// Answers an ioctl: with its reply, or with an error number.
pub type Answers = Box<dyn FnMut(&mut Ioctl<'_>) -> Result<(), u32> + Send>;
