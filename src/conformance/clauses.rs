//! The table of the clauses that the suites test.
//!
//! Media clauses are those of VIRTIO 1.4, section 5.22 (virtio-spec, directory
//! `device-types/media`), the general ones those of `content.tex` and
//! `split-ring.tex` that the back end or the driver itself can break, as opposed
//! to the VMM or the guest's virtio core. The numbers are ours: the
//! specification has none.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use super::clause::{Clause, Level, Side};

/// The heading of the media device's section.
macro_rules! media {
    ($heading:literal) => {
        concat!("VIRTIO 1.4, 5.22 Media Device: ", $heading)
    };
}

/// The heading of a section on virtio in general.
macro_rules! general {
    ($heading:literal) => {
        concat!("VIRTIO 1.4, 2 Basic Facilities: ", $heading)
    };
}

/// Where it is not printed.
const OURS: &str = "No clause: a driver and a device that breaks clauses";

/// Defines the table, with a row for each clause.
macro_rules! clauses {
    ($($id:literal $side:ident $level:ident $source:expr, $statement:literal $(, assumes $assumes:literal)?;)*) => {
        /// All clauses, the media device's first.
        pub const CLAUSES: &[Clause] = &[$(Clause {
            id: $id,
            side: Side::$side,
            level: Level::$level,
            source: $source,
            statement: $statement,
            assumes: clauses!(@assumes $($assumes)?),
        },)*];
    };
    (@assumes) => { None };
    (@assumes $assumes:literal) => { Some($assumes) };
}

#[rustfmt::skip] // a table
clauses! {
    "MD-1" Device Must media!("Open device"),
        "A successful OPEN returns a session id that no other open session has.";
    "MD-2" Device Must media!("V4L2 ioctls"),
        "A successful ioctl with a device-writable payload has that payload in its answer, whole.";
    "MD-3" Device May media!("V4L2 ioctls"),
        "A failed ioctl that says in its payload what is wrong (error_idx of the extended controls) writes the payload, too.";
    "MD-4" Device Must media!("Pointers in V4L2 ioctls"),
        "The value of a pointer (controls, planes) is ignored, and comes back as it was given.";
    "MD-5" Device Must media!("Unsupported ioctls"),
        "A request that the device does not support is answered with ENOTTY; those that the driver answers itself (QUERYCAP, DQBUF, DQEVENT, G_JPEGCOMP, S_JPEGCOMP) always are.",
        assumes "a command with an unknown number is such a request: the text has ENOTTY for ioctls only";
    "MD-6" Device Must media!("Mapping a MMAP buffer"),
        "resp_mmap.len is the length of the buffer.";
    "MD-7" Device Must media!("Unmapping a MMAP buffer"),
        "A mapping stays valid until MUNMAP, though its buffer or its session be gone.";
    "MD-8" Device Must media!("Shared Pages"),
        "m.userptr of a buffer and of its planes comes back as it was given.";
    "MD-9" Device Must media!("Virtio Object"),
        "The placeholder for a file descriptor (m.fd, v4l2_exportbuffer.fd) is left unchanged.";
    "MD-10" Device Must media!("Device-side error"),
        "The id of a session that the device gave up is not used again until the driver has closed it.";

    "MV-1" Driver Prose media!("Command Virtqueue: Sessions"),
        "A session is opened before anything is done on it.";
    "MV-2" Driver Must media!("Close device"),
        "A session's id is not used after its CLOSE until OPEN has returned it again.";
    "MV-3" Driver Must media!("V4L2 ioctls"),
        "Structures have the 64-bit little-endian layout, also for programs of 32 bits.";
    "MV-4" Driver Must media!("V4L2 ioctls"),
        "A payload that an error came without counts as not modified.";
    "MV-5" Driver Must media!("Device-side error"),
        "After an error event the session is closed with CLOSE.",
        assumes "that is done within ten seconds, while its program lives: the text has 'as soon as possible'";
    "MV-6" Driver Must media!("Dequeue buffer"),
        "The pointers in the v4l2_buffer and the planes of a DQBUF event are ignored.";

    "MP-1" Device Prose media!("Virtqueues, Feature bits"),
        "There are two queues, commandq and eventq, and no feature bits of the device type's own.";
    "MP-2" Device Prose media!("Device configuration layout"),
        "The configuration is device_caps, device_type and card[32], a name in UTF-8, terminated unless it takes all 32 bytes; the driver cannot write it.",
        assumes "card is u8[32]: the text prints le8, a type that VIRTIO does not have";
    "MP-3" Driver Prose media!("Device Initialization"),
        "The driver reads the configuration and sets up both queues before it opens sessions.";
    "MP-4" Device Prose media!("Command Virtqueue: response header"),
        "The status of a response is 0 or a positive errno of Linux.",
        assumes "a command is answered within some seconds: the text sets no time, and an earlier draft had \"as soon as possible\"";
    "MP-5" Driver Prose media!("V4L2 ioctls"),
        "An ioctl's code is the number in its _IO* macro; its payload follows the command (_IOW), the response (_IOR), or both.";
    "MP-7" Device Prose media!("V4L2 ioctls"),
        "The payloads of an ioctl that has two (_IOWR) may lie in the same memory.";
    "MP-8" Driver Prose media!("Pointers in V4L2 ioctls"),
        "What pointers refer to follows the payload immediately, in the order of the pointers.";
    "MP-9" Driver Prose media!("Shared Pages"),
        "m.userptr is followed by a list of segments that covers exactly the buffer's length, in the readable part only.",
        assumes "addresses are guest-physical also where VIRTIO_F_ACCESS_PLATFORM was accepted and no IOMMU translates them";
    "MP-10" Device Prose media!("Shared Pages"),
        "As many segments are read as cover the buffer's length, and the list is not modified.",
        assumes "a list that covers less than the length is refused, and one that covers more may be: the text does not say";
    "MP-11" Device Must media!("Unsupported ioctls"),
        "VIDIOC_LOG_STATUS is the driver's alone, and the device does not have it.";
    "MP-12" Device Prose media!("Close device"),
        "CLOSE frees all that the session holds, its mappings excepted.",
        assumes "CLOSE is given without a writable part, and comes back with a used length of 0: it \"does not require a response\"";
    "MP-13" Device Prose media!("Mapping a MMAP buffer"),
        "A buffer is mapped into shared memory region 0, at the offset that QUERYBUF names, to be written only with MMAP_FLAG_RW.",
        assumes "frames may go through region 0: another clause has it that shared memory does not stream data";
    "MP-14" Device Prose media!("Memory types"),
        "Buffers in guest memory are V4L2_MEMORY_USERPTR, those of the device V4L2_MEMORY_MMAP, objects V4L2_MEMORY_DMABUF.";
    "MP-15" Driver Prose media!("Virtio Object"),
        "The UUIDs of objects follow the last plane, in the readable and the writable part.";
    "MP-16" Device Prose media!("Dequeue buffer"),
        "Each buffer that was queued comes back once, in an event with eight planes and no segments.",
        assumes "no buffer of a session comes back after the answer to its STREAMOFF: the text does not order the two queues";
    "MP-17" Device Should media!("Dequeue buffer"),
        "Pointers in a DQBUF event are NULL.";
    "MP-18" Device Prose media!("Emit an event"),
        "Each V4L2 event that a session subscribed to, and no other, is sent to it.",
        assumes "no event comes after the answer to UNSUBSCRIBE_EVENT: the text does not order the two queues";
    "MP-19" Device Prose media!("Device-side error"),
        "After an error event every command on the session but CLOSE is answered with an error.";
    "MP-20" Driver Prose media!("Device-side error"),
        "After an error event the session is not used any more.";

    "GD-1" Device Must general!("Device Status Field"),
        "Before DRIVER_OK the device takes no buffers and sends no used notification.",
        assumes "DRIVER_OK is the enabling of the rings (VHOST_USER_SET_VRING_ENABLE)";
    "GD-4" Device Must general!("Feature Bits"),
        "No feature is offered that needs one that is not.",
        assumes "the protocol features of vhost-user count as well: of VIRTIO's own that a media device offers none needs another";
    "GD-5" Device Should general!("Feature Bits"),
        "Any valid subset of the features is accepted.";
    "GD-6" Device Must general!("Feature Bits"),
        "No bit is offered that is reserved, another device type's, or not known.";
    "GD-7" Device Should general!("Feature Bits"),
        "Features that were accepted once are accepted again after a reset.";
    "GD-9" Device Must general!("Device Reset"),
        "After a reset the device neither notifies nor touches the queues until it is initialised again.",
        assumes "a reset is VHOST_USER_RESET_DEVICE, or GET_VRING_BASE of both rings where the back end does not have it";
    "GD-10" Device Must general!("Device Configuration Space"),
        "The configuration can be read before the features are agreed on.";
    "GD-12" Device Must general!("Virtqueue Reset: Re-enable"),
        "A queue that is set up anew is used where it then is.",
        assumes "GET_VRING_BASE and the messages that set a ring up stand for VIRTIO_F_RING_RESET, which vhost-user has no message for";
    "GD-14" Device Must general!("Reserved Feature Bits"),
        "VIRTIO_F_VERSION_1 is offered.";
    "GD-17" Device Must general!("Split Virtqueues: Message Framing"),
        "Nothing is assumed of how a message is cut into descriptors.";
    "GD-18" Device May general!("Split Virtqueues: Message Framing"),
        "A chain of as many descriptors as the queue has is taken.",
        assumes "the \"reasonable limit\" that a device may have is not below 64, a small queue's size";
    "GD-19" Device Must general!("Split Virtqueues: Descriptor Table"),
        "Nothing is written to a device-readable buffer.";
    "GD-20" Device Should general!("Split Virtqueues: Descriptor Table"),
        "What a device-writable buffer holds before makes no difference.";
    "GD-21" Device Must general!("Split Virtqueues: Descriptor Table"),
        "Nothing is written to a descriptor table.";
    "GD-22" Device Must general!("Split Virtqueues: Indirect Descriptors"),
        "The write flag of the descriptor that refers to an indirect table is ignored.";
    "GD-23" Device Must general!("Split Virtqueues: Indirect Descriptors"),
        "A chain of normal descriptors may end in an indirect table.";
    "GD-24" Device Must general!("Split Virtqueues: Used Buffer Notification Suppression"),
        "Without EVENT_IDX the device notifies if the available ring's flags are 0, and ignores used_event.";
    "GD-24b" Device Should general!("Split Virtqueues: Used Buffer Notification Suppression"),
        "Without EVENT_IDX the device does not notify if the available ring's flags are 1.";
    "GD-25" Device Must general!("Split Virtqueues: Used Buffer Notification Suppression"),
        "With EVENT_IDX the device notifies when the index passes used_event, and ignores the flags.";
    "GD-25b" Device Should general!("Split Virtqueues: Used Buffer Notification Suppression"),
        "With EVENT_IDX the device does not notify before the index passes used_event.";
    "GD-26" Device Must general!("Split Virtqueues: Used Ring"),
        "An entry of the used ring is there, with its length, before the index counts it.";
    "GD-27" Device Must general!("Split Virtqueues: Used Ring"),
        "As many bytes as the used length says have been written, from the first writable one on, before the index counts the entry.";
    "GD-28" Device Must general!("Split Virtqueues: Available Buffer Notification Suppression"),
        "The used ring's flags are 0 or 1, and 0 with EVENT_IDX; a notification without a buffer does no harm.";

    "GV-2" Driver Should general!("Device Status Field"),
        "Once DEVICE_NEEDS_RESET is set, nothing relies on requests that are in flight.";
    "GV-6" Driver Must general!("Device Configuration Space"),
        "A read of the configuration of more than 32 bits, or of several fields, is not taken as atomic.";
    "GV-7" Driver Must general!("Device Configuration Space"),
        "A configuration that is larger than it has to be is taken.";
    "GV-10" Driver Must general!("Device Cleanup"),
        "A buffer that the device has is neither changed nor taken back while the queue is live.";
    "GV-13" Driver Should general!("Reserved Feature Bits"),
        "VIRTIO_F_ACCESS_PLATFORM is accepted if it is offered.";
    "GV-15" Driver Must general!("Split Virtqueues: Message Framing"),
        "Device-writable descriptors come after the device-readable ones.";
    "GV-16" Driver Should general!("Split Virtqueues: Message Framing"),
        "A chain has no excessive number of descriptors.",
        assumes "eight, and one for each 4 KiB of the message, are not excessive: the text has no number";
    "GV-17" Driver Must general!("Split Virtqueues: Descriptor Table"),
        "A chain has no loop, and no more than 2^32 bytes.";
    "GV-21" Driver Must general!("Split Virtqueues: Used Ring"),
        "Nothing is assumed of data beyond the used length, and it is ignored.";

    "DV-1" Driver Robust OURS,
        "A device that keeps all clauses is used: programs are told what it says, and its frames are where they belong.";
    "DV-2" Driver Robust OURS,
        "Formats and controls that make no sense break neither the guest nor a program.";
    "DV-3" Driver Robust OURS,
        "Garbage for an answer, a status that is no errno and a false used length are errors that programs know.";
    "DV-4" Driver Robust OURS,
        "Events of buffers that the device does not have, or has not filled so, are not believed.";
    "DV-5" Driver Robust OURS,
        "Events without an end keep no program from its answers.";
    "DV-6" Driver Robust OURS,
        "A command that is not answered is an error within half a minute; its answer is harmless when it comes later.";
    "DV-7" Driver Robust OURS,
        "Answers that take their time are taken.";
    "DV-8" Driver Robust OURS,
        "A chain that the device gives back and was not given is an error.";
    "DV-9" Driver Robust OURS,
        "A device that opens no session costs an error.";
    "DV-10" Driver Robust OURS,
        "A device that is gone costs errors, and the driver can be taken from it.";
    "DV-11" Driver Robust OURS,
        "A session that the device gives up costs its program an error.";
}

/// Returns the clauses that bind that end, in the order of the table.
pub fn of(side: Side) -> impl Iterator<Item = &'static Clause> {
    CLAUSES.iter().filter(move |clause| clause.side == side)
}

/// The number of a clause in the table.
#[derive(Clone, Copy)]
pub struct ClauseId(&'static Clause);

impl ClauseId {
    /// Returns the number of a clause that the table is known to have.
    ///
    /// # Panics
    /// The table has no such clause. The suites' tables are tested for that.
    pub fn known(id: &str) -> Self {
        match id.parse() {
            Ok(clause) => clause,
            Err(UnknownClause) => panic!("no clause {id} in the table"),
        }
    }

    /// Returns the clause.
    pub fn clause(self) -> &'static Clause {
        self.0
    }
}

/// There is no clause with this number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there is no such clause; --list prints them")]
pub struct UnknownClause;

impl FromStr for ClauseId {
    type Err = UnknownClause;

    fn from_str(id: &str) -> Result<Self, UnknownClause> {
        let found = CLAUSES
            .iter()
            .find(|clause| clause.id.eq_ignore_ascii_case(id));
        found.map(Self).ok_or(UnknownClause)
    }
}

impl PartialEq for ClauseId {
    fn eq(&self, other: &Self) -> bool {
        self.0.id == other.0.id
    }
}

impl Eq for ClauseId {}

impl fmt::Debug for ClauseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.id)
    }
}

impl fmt::Display for ClauseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.0.id)
    }
}

impl Serialize for ClauseId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.id)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_clause_has_a_number_of_its_own_and_a_sentence() {
        let numbers: BTreeSet<_> = CLAUSES.iter().map(|clause| clause.id).collect();
        assert_eq!(numbers.len(), CLAUSES.len());
        for clause in CLAUSES {
            assert_eq!(clause.id.parse(), Ok(ClauseId::known(clause.id)));
            assert!(clause.statement.ends_with('.'), "{}", clause.id);
            let third = clause.id.as_bytes()[1];
            let side = match clause.side {
                Side::Device => b'D',
                Side::Driver => b'V',
            };
            assert!([side, b'P'].contains(&third), "{}", clause.id);
        }
        assert!("MD-11".parse::<ClauseId>().is_err());
        assert_eq!("gd-1".parse(), Ok(ClauseId::known("GD-1")));
    }

    #[test]
    fn each_end_has_its_clauses() {
        let count = |side| of(side).count();
        assert_eq!(count(Side::Device) + count(Side::Driver), CLAUSES.len());
        assert!(count(Side::Device) >= 40);
    }
}
