//! What a kernel checks of itself, if it was built to.
//!
//! The host asks once a guest is up ([`Checks`]), and again where something was
//! said in the kernel's log: some checks turn themselves off with their first
//! report, and all that follows would be unseen.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::cell::instruments::LeakSeen;
use super::cell::table;

table! {
    /// A check, by the option of the kernel's configuration that builds it in.
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
    /// A symbol of /proc/kallsyms that a kernel has with the check alone.
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

/// Ask which checks the kernel has, and whether they still work.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checks {}

/// What a kernel checks, and what it thinks of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChecksAnswer {
    /// The checks that it has; false for one that has turned itself off.
    pub on: BTreeMap<Check, bool>,
    /// /proc/sys/kernel/tainted
    /// (Documentation/admin-guide/tainted-kernels.rst).
    pub tainted: u64,
    /// The kernel's clock, by which it says when lost memory was allocated;
    /// nothing where it does not show it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jiffies: Option<u64>,
}

/// Have the kernel look for memory that it allocated and lost
/// (Documentation/dev-tools/kmemleak.rst). What was found is not found again.
///
/// It takes two scans, of some seconds each, and what is younger than five
/// seconds is not told: the answer waits until all that was allocated before
/// the request is older.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leaks {}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaksAnswer {
    /// The objects that nothing refers to.
    pub leaks: Vec<LeakSeen>,
    /// Objects beyond those that were told.
    #[serde(default)]
    pub more: u64,
    /// How long it took, in milliseconds.
    pub elapsed_ms: u64,
}
