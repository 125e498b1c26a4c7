//! The checks that a kernel makes of itself, if it was built to.
//!
//! The host asks for them when a guest is up ([`Checks`]), and again after
//! every report in the kernel's log: some checks turn themselves off with their
//! first report and would then miss all later errors.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::cell::instruments::LeakSeen;
use super::cell::table;

table! {
    /// A check, named after the kernel's configuration option that builds it
    /// in.
    Check:
    Kasan = "KASAN", "no memory is used that was freed, or is not there";
    Kcsan = "KCSAN", "nobody writes what another accesses at the same time without saying so";
    Lockdep = "PROVE_LOCKING", "locks are taken in one order, and kept from the interrupts that take them";
    AtomicSleep = "DEBUG_ATOMIC_SLEEP", "nobody waits where waiting is not allowed";
    DmaApi = "DMA_API_DEBUG", "what is mapped for DMA is unmapped once, as it was mapped";
    Kmemleak = "DEBUG_KMEMLEAK", "no memory is lost";
    IdlePages = "IDLE_PAGE_TRACKING", "which pages are accessed, and which are not";
}

impl Check {
    /// Returns a symbol of /proc/kallsyms that exists only in a kernel with the
    /// check.
    pub const fn symbol(self) -> &'static str {
        match self {
            Self::Kasan => "kasan_report",
            Self::Kcsan => "kcsan_report_known_origin",
            Self::Lockdep => "lockdep_softirqs_on",
            Self::AtomicSleep => "__might_sleep",
            Self::DmaApi => "debug_dma_map_sg",
            Self::Kmemleak => "kmemleak_alloc",
            Self::IdlePages => "page_idle_bitmap_read",
        }
    }
}

/// Request for the checks that the kernel has, and whether they still work.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checks {}

/// The kernel's checks, and its taint flags.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChecksAnswer {
    /// The checks that the kernel has; false for one that has turned itself
    /// off.
    pub on: BTreeMap<Check, bool>,
    /// /proc/sys/kernel/tainted
    /// (Documentation/admin-guide/tainted-kernels.rst).
    pub tainted: u64,
    /// The kernel's clock, in which it reports when leaked memory was
    /// allocated; `None` if the kernel does not show it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jiffies: Option<u64>,
}

/// Request to use nearly all free memory once, so that the kernel looks at the
/// poison of pages that were freed (`page_poison`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sweep {}

/// What was used.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SweepAnswer {
    /// Number of bytes.
    pub bytes: u64,
}

/// Request to scan for memory that the kernel allocated and leaked
/// (Documentation/dev-tools/kmemleak.rst). A leak is reported once.
///
/// The agent makes two scans, of some seconds each. kmemleak does not report
/// objects younger than five seconds, so the agent waits until all that was
/// allocated before the request is older.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leaks {}

/// The leaks that the scan found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaksAnswer {
    /// The objects to which nothing refers.
    pub leaks: Vec<LeakSeen>,
    /// Number of further objects that are not listed.
    #[serde(default)]
    pub more: u64,
    /// Duration of the scan in milliseconds.
    pub elapsed_ms: u64,
}
