//! What the agent saw while it ran a cell.
//!
//! Everything here is as the kernel gave it. Addresses are the process's own;
//! page frames are numbers of 4 KiB pages of guest-physical memory.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::instruments::{IdleMoment, IdleSeen, LeakSeen, MappingsSeen};
pub use super::moment::Moment;
use super::pagemap;
use crate::agent::kernel_log::{LogAnswer, LogRecord};
use crate::agent::status::Status;
use crate::dma::Digest;

/// What was seen of a cell, in the order in which it was seen where that
/// matters.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CellAnswer {
    /// Why the kind or the hazard cannot be set up on this kernel, in a
    /// sentence; what was seen until then is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub impossible: Option<String>,
    /// Something that should work failed, and the cell went no further: a
    /// failure of the rig or the device, not an expected refusal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    /// How the cell's process ended.
    pub ended: Ended,
    /// Time that the cell took, in milliseconds.
    pub elapsed_ms: u64,
    /// The memory, once it was laid out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
    /// System calls on the device and on the memory.
    pub calls: Vec<CallSeen>,
    /// The pages behind the buffer.
    pub pages: Vec<PagesSeen>,
    /// Counters of /proc/vmstat.
    pub counters: Vec<CountersSeen>,
    /// Frames that were dequeued.
    pub frames: Vec<FrameSeen>,
    /// What the process read where no frame is to be dequeued.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub contents: Vec<ContentsSeen>,
    /// The bytes around the buffer, after the last frame.
    pub canaries: Vec<CanarySeen>,
    /// The DMA mappings of the card's device, where the kernel tells of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mappings: Vec<MappingsSeen>,
    /// Which pages are idle, where the kernel tells.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub idle: Vec<IdleSeen>,
    /// Memory that the kernel allocated in the cell and lost; nothing where
    /// nobody looked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaks: Option<Vec<LeakSeen>>,
    /// The kernel's clock when the cell began, by which what it lost is known
    /// to be the cell's; nothing where the kernel does not show it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jiffies: Option<u64>,
    /// Failures that were injected into a call.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub injected: Vec<InjectedSeen>,
    /// What the hazard did, and what came of it.
    pub notes: Vec<String>,
    /// The kernel log since the cell began.
    pub log: Vec<LogRecord>,
    /// Part of the log was overwritten before it was read.
    #[serde(default)]
    pub log_lost: bool,
    /// The sequence number up to which the cell's process has told of the log
    /// itself, where it has.
    #[serde(skip)]
    pub log_told: Option<u64>,
}

impl CellAnswer {
    /// The first call of that name, as it was seen.
    pub fn call(&self, name: &str) -> Option<&CallSeen> {
        self.calls.iter().find(|call| call.name == name)
    }

    /// The pages as they were at that moment.
    pub fn pages_at(&self, moment: Moment) -> Option<&PagesSeen> {
        self.pages.iter().find(|pages| pages.moment == moment)
    }

    /// The counters as they were at that moment.
    pub fn counters_at(&self, moment: Moment) -> Option<&CountersSeen> {
        self.counters.iter().find(|seen| seen.moment == moment)
    }

    /// The card's DMA mappings as they were at that moment.
    pub fn mappings_at(&self, moment: Moment) -> Option<&MappingsSeen> {
        self.mappings.iter().find(|seen| seen.moment == moment)
    }

    /// The idle pages as they were at that moment.
    pub fn idle_at(&self, moment: IdleMoment) -> Option<&IdleSeen> {
        self.idle.iter().find(|seen| seen.moment == moment)
    }

    /// Adds a piece of evidence.
    pub fn add(&mut self, evidence: Evidence) {
        match evidence {
            Evidence::Impossible(why) => self.impossible = Some(why),
            Evidence::Failed(why) => self.failed = Some(why),
            Evidence::Memory(memory) => self.memory = Some(memory),
            Evidence::Call(call) => self.calls.push(call),
            Evidence::Pages(pages) => self.pages.push(pages),
            Evidence::Counters(counters) => self.counters.push(counters),
            Evidence::Frame(frame) => self.frames.push(frame),
            Evidence::Contents(contents) => self.contents.push(contents),
            Evidence::Canary(canary) => self.canaries.push(canary),
            Evidence::Mappings(mappings) => self.mappings.push(mappings),
            Evidence::Idle(idle) => self.idle.push(idle),
            Evidence::Injected(injected) => self.injected.push(injected),
            Evidence::Log(log) => {
                self.log_told = Some(log.next);
                self.add_log(log);
            }
            Evidence::Note(note) => self.notes.push(note),
        }
    }

    /// Adds what follows in the kernel's log.
    pub fn add_log(&mut self, log: LogAnswer) {
        self.log.extend(log.records);
        self.log_lost |= log.lost;
    }
}

/// A piece of evidence: a line from the cell's process to the agent. What was
/// sent is known even of a process that was killed.
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
    Contents(ContentsSeen),
    Canary(CanarySeen),
    Mappings(MappingsSeen),
    Idle(IdleSeen),
    Injected(InjectedSeen),
    Log(LogAnswer),
    Note(String),
}

/// How the cell's process ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ended {
    /// It went through to its end.
    #[default]
    Finished,
    /// It was killed because the time was up: something hung.
    TimedOut,
    /// It ended in another way, which is what some hazards want.
    Early(Status),
}

/// Where the memory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Address of the buffer's first byte.
    pub address: u64,
    /// Bytes of the buffer: those of a frame.
    pub length: u64,
    /// Width of the frame, in pixels.
    pub width: u32,
    /// Height of the frame, in lines.
    pub height: u32,
}

/// The name of the call that asks, without waiting, whether a buffer has come
/// back while the card still holds it. `ETIMEDOUT` says that none has.
pub const HELD_POLL: &str = "poll while the card holds the buffer";

/// A system call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallSeen {
    /// Its name, as the manual has it; VIDIOC_* for ioctls.
    pub name: String,
    /// The error number, if it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errno: Option<i32>,
    /// Time from the cell's start to the call's end, in microseconds.
    pub at_us: u64,
    /// Time the call took, in microseconds.
    pub took_us: u64,
}

/// The pages that the buffer touches, in order; the vectors go together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PagesSeen {
    /// When.
    pub moment: Moment,
    /// Entries of /proc/PID/pagemap
    /// (Documentation/admin-guide/mm/pagemap.rst), as they are: bit 63 present,
    /// 62 swapped, 61 file or shared, 56 mapped once, 0-54 the page frame.
    pub pagemap: Vec<u64>,
    /// Of each page that is present: /proc/kpageflags; 0 where there is none.
    pub flags: Vec<u64>,
    /// /proc/kpagecount: how often the page is mapped.
    pub count: Vec<u64>,
    /// /proc/kpagecgroup: the inode of the memory cgroup that it is charged to.
    pub cgroup: Vec<u64>,
}

impl PagesSeen {
    /// The page frames; nothing for a page that is not present.
    pub fn frames(&self) -> impl Iterator<Item = Option<u64>> {
        self.pagemap.iter().map(|entry| pagemap::frame(*entry))
    }
}

/// Counters of /proc/vmstat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountersSeen {
    /// When.
    pub moment: Moment,
    /// Those that this kernel has of the ones that matter here: of pins, of
    /// reclaim, of swap, of migration, of huge pages.
    pub values: BTreeMap<String, u64>,
}

impl CountersSeen {
    /// How many pages are pinned; nothing where the kernel does not count them.
    pub fn pinned(&self) -> Option<i64> {
        let value = |name| {
            let value: u64 = *self.values.get(name)?;
            i64::try_from(value).ok()
        };
        Some(value("nr_foll_pin_acquired")? - value("nr_foll_pin_released")?)
    }
}

/// A frame that was dequeued.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameSeen {
    /// Index of the buffer.
    pub index: u32,
    /// The frame's sequence number.
    pub sequence: u32,
    /// V4L2_BUF_FLAG_*.
    pub flags: u32,
    /// Bytes of data.
    pub bytesused: u32,
    /// Digests of each 4 KiB of the frame, counted from the buffer's start, as
    /// the process reads them through its own mapping, right after DQBUF;
    /// nothing for a block that it cannot read.
    pub digests: Vec<Option<Digest>>,
}

/// What the buffer held where it is not dequeued any more: after the hazard
/// the card must not write to it, so that what is read later is the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContentsSeen {
    /// When: after the hazard, and when the card has long been let go.
    pub moment: Moment,
    /// As those of a frame.
    pub digests: Vec<Option<Digest>>,
}

/// Bytes beside the buffer that nobody may write to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CanarySeen {
    /// Where they are.
    pub place: Place,
    /// Address of the first.
    pub address: u64,
    /// How many they are.
    pub length: u64,
    /// What has become of them.
    pub state: CanaryState,
}

/// Where a canary is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// Right before the buffer: the rest of its first page, and the page
    /// before that.
    Before,
    /// Right after it: the rest of its last page, and the page after that.
    After,
}

/// What has become of a canary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CanaryState {
    /// Every byte is as it was.
    Intact,
    /// Bytes have changed.
    Changed {
        /// Address of the first that has.
        first: u64,
        /// How many have.
        bytes: u64,
    },
    /// It cannot be read (any more) through the process's own mapping.
    Unreadable,
}

/// A failure that was injected into a call
/// (Documentation/fault-injection/fault-injection.rst).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InjectedSeen {
    /// Which of the call's allocations and copies failed, from 1 on.
    pub nth: u32,
    /// What failed, as the kernel names it: `failslab`, `fail_page_alloc` or
    /// `fail_usercopy`. Nothing where it does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// Where: the functions on the kernel's stack, the innermost first, from
    /// the one that asked whether to fail to the system call.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stack: Vec<String>,
    /// The error number of the call; nothing if it did not fail for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errno: Option<i32>,
    /// What went wrong afterwards, without a failure: each a sentence.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aftermath: Vec<String>,
    /// Pages that were pinned after all was closed, more than before; nothing
    /// where the kernel does not count them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pinned: Option<i64>,
}

/// Beginnings of the names of functions that allocate or copy for others: who
/// asked them is what tells one failure from another.
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
    /// Who allocated or copied, and on whose behalf: functions on the stack
    /// from the first that is no allocator.
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

    #[test]
    fn the_log_is_added_to() {
        let log = |sequence, lost| LogAnswer {
            records: vec![LogRecord {
                sequence,
                level: 6,
                facility: 0,
                time_us: 1,
                text: "x".into(),
            }],
            next: sequence + 1,
            lost,
        };
        let mut answer = CellAnswer::default();
        answer.add(Evidence::Log(log(7, true)));
        assert_eq!(answer.log_told, Some(8));
        answer.add_log(log(8, false));
        assert_eq!((answer.log.len(), answer.log_lost), (2, true));
    }

    #[test]
    fn evidence_is_one_line_and_reads_back() {
        let mut answer = CellAnswer::default();
        for evidence in [
            Evidence::Note("a\nb".into()),
            Evidence::Pages(PagesSeen {
                moment: Moment::Queued,
                pagemap: vec![1 << 63 | 0x1234, 0],
                flags: vec![1, 0],
                count: vec![1, 0],
                cgroup: vec![0, 0],
            }),
            Evidence::Canary(CanarySeen {
                place: Place::After,
                address: 0x7fff_0000,
                length: 5,
                state: CanaryState::Changed {
                    first: 0x7fff_0001,
                    bytes: 2,
                },
            }),
        ] {
            let line = serde_json::to_string(&evidence).unwrap();
            assert!(!line.contains('\n'), "{line}");
            answer.add(serde_json::from_str(&line).unwrap());
            assert_eq!(
                serde_json::from_str::<Evidence>(&line).unwrap(),
                evidence,
                "{line}"
            );
        }
        let frames: Vec<_> = answer.pages_at(Moment::Queued).unwrap().frames().collect();
        assert_eq!(frames, [Some(0x1234), None]);
        assert_eq!(answer.notes, ["a\nb"]);
        let text = serde_json::to_string(&answer).unwrap();
        assert_eq!(serde_json::from_str::<CellAnswer>(&text).unwrap(), answer);
    }
}
