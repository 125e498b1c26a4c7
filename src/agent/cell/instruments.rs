//! What a kernel that was built to check itself tells of a cell.

use serde::{Deserialize, Serialize};

use super::moment::Moment;
use super::pagemap::frame;

/// The DMA mappings of the card's device, as `dma-api/dump` of debugfs lists
/// them (kernel/dma/debug.c), beyond those that were there before the cell:
/// virtqueues and what is in them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MappingsSeen {
    /// When.
    pub moment: Moment,
    /// Whether the card is given addresses of the DMA API
    /// (VIRTIO_F_ACCESS_PLATFORM); nothing of a device that is none of
    /// virtio's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub translated: Option<bool>,
    /// Those that were not there before the cell.
    pub mappings: Vec<Mapping>,
    /// How many there were before and are no more: a driver that was bound anew
    /// has made all of them anew.
    #[serde(default)]
    pub gone: usize,
}

/// A DMA mapping.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Mapping {
    /// How it was made, as the kernel says it: `single`, `scatter-gather`,
    /// `coherent`, `resource`; `page` before Linux 6.0.
    pub kind: String,
    /// The physical address of its first byte, which of a bounced mapping is
    /// that of the memory and not of the bounce buffer.
    pub physical: u64,
    /// Its bytes.
    pub length: u64,
    /// `DMA_FROM_DEVICE`, `DMA_TO_DEVICE` or `DMA_BIDIRECTIONAL`.
    pub direction: String,
}

impl Mapping {
    /// Whether the device may write by it.
    pub fn is_for_writing(&self) -> bool {
        ["DMA_FROM_DEVICE", "DMA_BIDIRECTIONAL"].contains(&self.direction.as_str())
    }
}

/// When idleness was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IdleMoment {
    /// Right after the pages were marked idle, before the DMA.
    Marked,
    /// The card has written the frame, and nobody has read it.
    Written,
    /// The process has read all of the frame.
    Read,
}

/// Which pages of the buffer are idle
/// (Documentation/admin-guide/mm/idle_page_tracking.rst); the vectors go
/// together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdleSeen {
    /// When.
    pub moment: IdleMoment,
    /// Entries of the pagemap, as those of
    /// [`PagesSeen`](super::evidence::PagesSeen).
    pub pagemap: Vec<u64>,
    /// Of each page, or of the first of the huge page that it is part of,
    /// whether it is idle; nothing where the kernel keeps no account: of a page
    /// that is not present, or on no LRU list.
    pub idle: Vec<Option<bool>>,
}

impl IdleSeen {
    /// Of each page its page frame and whether it is idle, where both are
    /// known.
    pub fn pages(&self) -> impl Iterator<Item = Option<(u64, bool)>> {
        let pairs = self.pagemap.iter().zip(&self.idle);
        pairs.map(|(entry, idle)| Some((frame(*entry)?, (*idle)?)))
    }
}

/// An object that the kernel allocated and that nothing refers to any more, as
/// kmemleak tells of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeakSeen {
    /// Its bytes.
    pub size: u64,
    /// The program that was running when it was allocated.
    pub comm: String,
    /// Its process; 0 is none, or an interrupt.
    pub pid: i64,
    /// When it was allocated, by the kernel's clock.
    pub jiffies: u64,
    /// Who allocated it, the innermost function first.
    pub trace: Vec<String>,
    /// Whether the same was lost when the cell was run once more, alone;
    /// nothing where it was not tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again: Option<bool>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_known_where_it_is_present_and_accounted_for() {
        let seen = IdleSeen {
            moment: IdleMoment::Marked,
            pagemap: vec![1 << 63 | 7, 1 << 63 | 8, 0],
            idle: vec![Some(true), None, Some(false)],
        };
        assert_eq!(
            seen.pages().collect::<Vec<_>>(),
            [Some((7, true)), None, None]
        );
    }

    #[test]
    fn a_device_writes_by_two_of_three_directions() {
        for (direction, writes) in [
            ("DMA_FROM_DEVICE", true),
            ("DMA_BIDIRECTIONAL", true),
            ("DMA_TO_DEVICE", false),
        ] {
            let mapping = Mapping {
                kind: "single".into(),
                physical: 0,
                length: 1,
                direction: direction.into(),
            };
            assert_eq!(mapping.is_for_writing(), writes, "{direction}");
        }
    }
}
