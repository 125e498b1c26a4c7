//! Ioctls on a device file, one after another, whatever becomes of each: what a
//! program says that no tool says.

use serde::{Deserialize, Serialize};

use super::bytes::Bytes;

/// Request to open a device file and make ioctls on it, in a process of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ioctls {
    /// Path of the device file.
    pub device: String,
    /// What the process's memory holds before the first ioctl: payloads, and what
    /// they point to. It begins at a page, and is below 4 GiB.
    pub memory: Bytes,
    /// Pointers to put into it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pointers: Vec<Pointer>,
    /// The ioctls.
    pub calls: Vec<IoctlCall>,
    /// Time after which the process is killed, in milliseconds.
    pub limit_ms: u64,
}

/// A pointer in the memory that is to memory of the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pointer {
    /// Offset of the pointer.
    pub at: u32,
    /// Offset of what it points to.
    pub to: u32,
    /// Whether it has 32 bits.
    #[serde(default)]
    pub narrow: bool,
}

/// An ioctl.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IoctlCall {
    /// Its number, with direction and size (`_IOC()`).
    pub request: u32,
    /// Offset of its payload in the memory.
    pub at: u32,
    /// Whether it is that of a program of 32 bits (`int $0x80` on x86).
    #[serde(default)]
    pub narrow: bool,
}

/// What became of the ioctls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IoctlsAnswer {
    /// Error number of open(2); no ioctl was made then.
    pub open_errno: Option<i32>,
    /// Address of the memory.
    pub base: u64,
    /// What became of each.
    pub calls: Vec<CallAnswer>,
    /// What the memory holds after the last.
    pub memory: Bytes,
}

/// What became of an ioctl.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallAnswer {
    /// Error number, if it failed.
    pub errno: Option<i32>,
    /// Its payload afterwards.
    pub payload: Bytes,
    /// How long it took, in milliseconds.
    pub elapsed_ms: u64,
}
