//! The pieces of evidence that the agent collects while it runs a cell.
//!
//! All values are as the kernel reports them. Addresses are the process's own;
//! page frames are numbers of 4 KiB pages of guest-physical memory.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::PAGE;
use super::instruments::{IdleSeen, MappingsSeen};
pub use super::moment::Moment;
use super::pagemap;
use super::phases::Phases;
use super::picture::Picture;
use super::schedule::Step;
use crate::agent::kernel_log::LogAnswer;
use crate::agent::status::Status;
use crate::dma::Digest;

/// A piece of evidence: a line from the cell's process to the agent. Evidence
/// that was sent survives a process that is killed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)] // each is described where the answer keeps it
pub enum Evidence {
    Impossible(String),
    Failed(String),
    Memory(Memory),
    Call(CallSeen),
    Pages(PagesSeen),
    Counters(CountersSeen),
    Frame(FrameSeen),
    Return(ReturnSeen),
    Contents(ContentsSeen),
    Canary(CanarySeen),
    Mappings(MappingsSeen),
    Idle(IdleSeen),
    Injected(InjectedSeen),
    Step(StepSeen),
    Log(LogAnswer),
    Phases(Phases),
    Note(String),
    /// Evidence of the buffer of that number, counted from 0.
    Of(usize, Box<Evidence>),
}

/// How the cell's process ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ended {
    /// The process ran to its end.
    #[default]
    Finished,
    /// The process was killed because its time was up: something hung.
    TimedOut,
    /// So it was, and is still there: the kernel does not let it go.
    Stuck,
    /// The process ended in another way, which some hazards intend.
    Early(Status),
}

impl Ended {
    /// Returns whether something in it hung.
    pub fn is_hung(self) -> bool {
        matches!(self, Self::TimedOut | Self::Stuck)
    }
}

/// Location and size of the cell's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Address of the buffer's first byte.
    pub address: u64,
    /// Length of the buffer in bytes: the size of a frame.
    pub length: u64,
    /// Width of the frame, in pixels.
    pub width: u32,
    /// Height of the frame, in lines.
    pub height: u32,
    /// Whether it is given to the driver as a dma-buf, which pins nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_dmabuf: bool,
    /// Whether it is mapped by page frames (VM_PFNMAP), of which /proc/PID/pagemap shows
    /// nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_hidden: bool,
}

impl Memory {
    /// Returns how many pages the buffer touches.
    pub fn pages(&self) -> u64 {
        let page = PAGE as u64;
        (self.address % page)
            .saturating_add(self.length)
            .div_ceil(page)
    }
}

/// The name of the poll(2) call that checks, without waiting, whether a buffer
/// was returned while the card still holds it. `ETIMEDOUT` means that none was.
pub const HELD_POLL: &str = "poll while the card holds the buffer";

/// The name of the call that asks for a buffer of a stream that the system has ended by
/// going to sleep.
pub const DEAD_DQBUF: &str = "VIDIOC_DQBUF after the sleep";

/// The name of the call that makes the card hold back what comes after a cell's
/// point.
pub const HOLD: &str = "hold";

/// A system call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallSeen {
    /// Name of the call as in the manual; VIDIOC_* for ioctls.
    pub name: String,
    /// Error number, if the call failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errno: Option<i32>,
    /// Time from the start of the cell to the end of the call, in microseconds.
    pub at_us: u64,
    /// Duration of the call in microseconds.
    pub took_us: u64,
    /// Number of the queue that it was made on, that of its first buffer among the
    /// cell's; 0 as well if it is none of a queue's.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub queue: usize,
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// The pages that the buffer touches, in order; the vectors are parallel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PagesSeen {
    /// The moment of the observation.
    pub moment: Moment,
    /// Index of the buffer.
    #[serde(default, skip_serializing_if = "is_first")]
    pub buffer: u32,
    /// Raw entries of /proc/PID/pagemap
    /// (Documentation/admin-guide/mm/pagemap.rst): bit 63 present, 62 swapped,
    /// 61 file or shared, 56 mapped once, 0-54 the page frame.
    pub pagemap: Vec<u64>,
    /// /proc/kpageflags of each page; 0 for a page that is not present.
    pub flags: Vec<u64>,
    /// /proc/kpagecount of each page: how often it is mapped.
    pub count: Vec<u64>,
}

fn is_first(buffer: &u32) -> bool {
    *buffer == 0
}

impl PagesSeen {
    /// Returns the page frames; `None` for a page that is not present.
    pub fn frames(&self) -> impl Iterator<Item = Option<u64>> {
        self.pagemap.iter().map(|entry| pagemap::frame(*entry))
    }
}

/// Counters of /proc/vmstat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountersSeen {
    /// The moment of the observation.
    pub moment: Moment,
    /// The relevant counters that this kernel has: of pins, reclaim, swap,
    /// migration and huge pages.
    pub values: BTreeMap<String, u64>,
}

impl CountersSeen {
    /// Returns how many pages are pinned; `None` if the kernel does not count
    /// them.
    pub fn pinned(&self) -> Option<i64> {
        let value = |name| {
            let value: u64 = *self.values.get(name)?;
            i64::try_from(value).ok()
        };
        Some(value("nr_foll_pin_acquired")? - value("nr_foll_pin_released")?)
    }
}

/// A dequeued frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameSeen {
    /// Index of the buffer.
    pub index: u32,
    /// Sequence number of the frame.
    pub sequence: u32,
    /// V4L2_BUF_FLAG_*.
    pub flags: u32,
    /// Bytes of data in the buffer.
    pub bytesused: u32,
    /// Digests of each 4 KiB of the frame, counted from the start of the
    /// buffer. The process computes them through its own mapping, right after
    /// DQBUF; `None` for a block that it cannot read.
    pub digests: Vec<Option<Digest>>,
    /// Digests of the same blocks when the buffer was queued, of a frame that
    /// the card was to read; empty if it was captured.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sent: Vec<Option<Digest>>,
    /// What the device left as it was, or wrote beyond the frame; `None` if nobody
    /// knows what the buffer held before, or it cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub touched: Option<TouchedSeen>,
}

/// Which bytes of a captured frame's buffer are what they were when it was queued.
/// The buffer held a pattern that no picture has by chance.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TouchedSeen {
    /// The first runs of bytes of the frame, below `bytesused`, that are as they were:
    /// the offset in the buffer and the length of each. A run is at least 16 bytes; of
    /// a format with lines it has no padding, and if it is not known where the lines
    /// are, a run is whole blocks of 4 KiB.
    pub left: Vec<(u64, u64)>,
    /// Number of bytes in all such runs.
    pub left_bytes: u64,
    /// The blocks of 4 KiB, by their number in the buffer, that are wholly as they were,
    /// the padding in them as well; of one in which the frame ends, that of it which is
    /// the frame's. Blocks that are all padding are not among them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blocks: Vec<u32>,
    /// The first runs of bytes at or beyond `bytesused` that have changed; none of a
    /// compressed format, whose frames' lengths differ.
    pub beyond: Vec<(u64, u64)>,
    /// Number of bytes there that have changed.
    pub beyond_bytes: u64,
}

/// When a buffer came back, of all that a stream of any device has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReturnSeen {
    /// Index of the buffer.
    pub index: u32,
    /// Sequence number of the frame.
    pub sequence: u32,
    /// V4L2_BUF_FLAG_*.
    pub flags: u32,
    /// Bytes of data in the buffer.
    pub bytesused: u32,
    /// The frame's time in microseconds.
    pub timestamp_us: u64,
}

impl FrameSeen {
    /// Returns the digests on the process's side: of what it read of a frame that
    /// was captured, or of what it wrote for the card to read.
    pub fn own(&self) -> &[Option<Digest>] {
        match self.sent.is_empty() {
            true => &self.digests,
            false => &self.sent,
        }
    }
}

/// The content of a buffer that is not dequeued. After the hazard neither the
/// process nor the card may write to it, so that later observations are equal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContentsSeen {
    /// The moment of the observation: right before the buffer was queued, if the
    /// card was to read it; after the hazard; and long after the card was
    /// released.
    pub moment: Moment,
    /// Digests as in [`FrameSeen`].
    pub digests: Vec<Option<Digest>>,
    /// Those of the same lines in the opposite order, if the card is to write them
    /// so and the process can read them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub upside_down: Vec<Option<Digest>>,
    /// What a mem-to-mem device of any driver makes of it, as it has done in memory of the
    /// driver's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made: Option<Picture>,
}

/// A canary: bytes beside the buffer that nobody may write to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CanarySeen {
    /// Place of the canary.
    pub place: Place,
    /// Address of the first byte.
    pub address: u64,
    /// Length in bytes.
    pub length: u64,
    /// State of the canary.
    pub state: CanaryState,
}

/// Place of a canary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// Directly before the buffer: the rest of its first page, and the page
    /// before that.
    Before,
    /// Directly after the buffer: the rest of its last page, and the page after
    /// that.
    After,
}

/// State of a canary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CanaryState {
    /// No byte has changed.
    Intact,
    /// Some bytes have changed.
    Changed {
        /// Address of the first changed byte.
        first: u64,
        /// Number of changed bytes.
        bytes: u64,
    },
    /// The process cannot read the canary (any more) through its own mapping.
    Unreadable,
}

/// What was seen right after a step of a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepSeen {
    /// The step; `None` for the hazard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<Step>,
    /// Time from the start of the cell, in microseconds.
    pub at_us: u64,
    /// V4L2_BUF_FLAG_* of the first and the second buffer (VIDIOC_QUERYBUF).
    pub flags: [u32; 2],
    /// Number of pinned pages, as of [`CountersSeen::pinned`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pinned: Option<i64>,
}

/// A failure that was injected into a call
/// (Documentation/fault-injection/fault-injection.rst).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InjectedSeen {
    /// Which of the call's allocations and copies failed, counted from 1.
    pub nth: u32,
    /// The failed operation, as the kernel names it: `failslab`,
    /// `fail_page_alloc` or `fail_usercopy`. `None` if the kernel does not name
    /// it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// The functions on the kernel's stack, the innermost first, from the one
    /// that asked whether to fail to the system call.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stack: Vec<String>,
    /// Error number of the call; `None` if the call did not fail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errno: Option<i32>,
    /// Problems after the call other than a failed call, a sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aftermath: Vec<String>,
    /// Change in the number of pinned pages after all was closed; `None` if the
    /// kernel does not count them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pinned: Option<i64>,
}

/// Prefixes of the names of functions that allocate or copy for their callers.
/// The callers distinguish one failure from another.
const SERVANTS: [&str; 36] = [
    "___",
    "__alloc",
    "__copy",
    "__do_kmalloc",
    "__do_kvmalloc",
    "__folio_alloc",
    "__get_free",
    "__kmalloc",
    "__kmem",
    "__kvmalloc",
    "__slab",
    "__vmalloc",
    "_copy",
    "alloc_pages",
    "alloc_slab",
    "allocate_slab",
    "copy_from_user",
    "copy_to_user",
    "folio_alloc",
    "get_free_pages",
    "get_zeroed",
    "kmalloc",
    "kmem_cache",
    "kmemdup",
    "krealloc",
    "kstrdup",
    "kstrndup",
    "kvasprintf",
    "kvmalloc",
    "kzalloc",
    "memdup_user",
    "new_slab",
    "should_fail",
    "strncpy_from",
    "vma_alloc",
    "vmemdup",
];

impl InjectedSeen {
    /// Returns the functions that allocated or copied, and their callers: the
    /// functions on the stack from the first that is not an allocator.
    pub fn callers(&self) -> &[String] {
        let serves = |name: &&String| {
            let mut begins = SERVANTS.iter();
            begins.any(|begin| name.starts_with(begin))
        };
        &self.stack[self.stack.iter().take_while(serves).count()..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_known_by_who_asked() {
        let mut failure = InjectedSeen::default();
        assert!(failure.callers().is_empty());
        failure.stack = [
            "should_failslab",
            "__kmalloc_cache_noprof",
            "pinhole_cmd_alloc [pinhole]",
            "pinhole_session_call [pinhole]",
        ]
        .map(str::to_owned)
        .into();
        assert_eq!(
            failure.callers(),
            [
                "pinhole_cmd_alloc [pinhole]",
                "pinhole_session_call [pinhole]"
            ]
        );
        assert!(SERVANTS.is_sorted());
    }
}
