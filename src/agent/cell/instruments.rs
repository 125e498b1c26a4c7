//! The reports of a kernel that was built to check itself.

use serde::{Deserialize, Serialize};

use super::moment::Moment;
use super::pagemap::frame;
use crate::card::Direction;

/// The DMA mappings of the card's device, as `dma-api/dump` of debugfs lists
/// them (kernel/dma/debug.c), without those that existed before the cell:
/// virtqueues and the buffers in them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MappingsSeen {
    /// The moment of the observation.
    pub moment: Moment,
    /// Whether the card gets addresses of the DMA API
    /// (VIRTIO_F_ACCESS_PLATFORM); `None` for a device that is not a virtio
    /// device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub translated: Option<bool>,
    /// The mappings that did not exist before the cell.
    pub mappings: Vec<Mapping>,
    /// Number of mappings that existed before and do not any more; a driver
    /// that was bound again has replaced all of them.
    #[serde(default)]
    pub gone: usize,
}

/// A DMA mapping.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Mapping {
    /// Kind of the mapping in the kernel's words: `single`, `scatter-gather`,
    /// `coherent`, `resource`; `page` before Linux 6.0.
    pub kind: String,
    /// Physical address of the first byte; for a bounced mapping, that of the
    /// memory and not of the bounce buffer.
    pub physical: u64,
    /// Length in bytes.
    pub length: u64,
    /// `DMA_FROM_DEVICE`, `DMA_TO_DEVICE` or `DMA_BIDIRECTIONAL`.
    pub direction: String,
}

impl Mapping {
    /// Returns whether a card can move frames that way through the mapping.
    pub fn suits(&self, way: Direction) -> bool {
        let direction = match way {
            Direction::Capture => "DMA_FROM_DEVICE",
            Direction::Output => "DMA_TO_DEVICE",
        };
        [direction, "DMA_BIDIRECTIONAL"].contains(&self.direction.as_str())
    }
}

/// The moment at which idle pages were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IdleMoment {
    /// Right after the pages were marked idle, before the DMA.
    Marked,
    /// The card has written the frame, or read it, and the process has not read
    /// it yet.
    Written,
    /// The process has read all of the frame.
    Read,
}

/// Which pages of the buffer are idle
/// (Documentation/admin-guide/mm/idle_page_tracking.rst); the vectors are
/// parallel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdleSeen {
    /// The moment of the observation.
    pub moment: IdleMoment,
    /// Entries of the pagemap, as in [`PagesSeen`](super::evidence::PagesSeen).
    pub pagemap: Vec<u64>,
    /// For each page, or for the first page of its huge page, whether it is
    /// idle; `None` if the kernel does not track the page, because it is not
    /// present or not on an LRU list.
    pub idle: Vec<Option<bool>>,
}

impl IdleSeen {
    /// Returns for each page its page frame and whether it is idle, if both are
    /// known.
    pub fn pages(&self) -> impl Iterator<Item = Option<(u64, bool)>> {
        let pairs = self.pagemap.iter().zip(&self.idle);
        pairs.map(|(entry, idle)| Some((frame(*entry)?, (*idle)?)))
    }
}

/// An object that the kernel allocated and to which nothing refers any more, as
/// kmemleak reports it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeakSeen {
    /// Size in bytes.
    pub size: u64,
    /// The program that was running when the object was allocated.
    pub comm: String,
    /// Process of that program; 0 means none, or an interrupt.
    pub pid: i64,
    /// Time of the allocation, by the kernel's clock.
    pub jiffies: u64,
    /// Call trace of the allocation, the innermost function first.
    pub trace: Vec<String>,
    /// Whether the same object leaked when the cell was run once more, alone;
    /// `None` if that was not tried.
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
    fn a_card_has_the_use_of_two_of_three_directions() {
        for (direction, writes, reads) in [
            ("DMA_FROM_DEVICE", true, false),
            ("DMA_BIDIRECTIONAL", true, true),
            ("DMA_TO_DEVICE", false, true),
        ] {
            let mapping = Mapping {
                kind: "single".into(),
                physical: 0,
                length: 1,
                direction: direction.into(),
            };
            assert_eq!(mapping.suits(Direction::Capture), writes, "{direction}");
            assert_eq!(mapping.suits(Direction::Output), reads, "{direction}");
        }
    }
}
