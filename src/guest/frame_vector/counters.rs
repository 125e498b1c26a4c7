//! The kernel's information on memory: page tables, pins, free blocks.

use crate::agent::cell::pagemap::frame;

use crate::guest::cell::pagemap;
use crate::guest::cell::span::Span;
use crate::guest::failure::Failure;
use crate::guest::watch::Sampler;

/// Returns the PFN of an address of this process, or zero if no page is present
/// (Documentation/admin-guide/mm/pagemap.rst).
pub fn pfn(address: u64) -> Result<u64, Failure> {
    let entries = pagemap::entries(Span::new(address as usize, 1))
        .map_err(|error| Failure::io("read /proc/self/pagemap", error))?;
    Ok(entries.first().copied().and_then(frame).unwrap_or(0))
}

/// Returns the number of pins in the whole kernel.
pub fn pins() -> Result<u64, Failure> {
    const PINS: &str = "nr_foll_pin_acquired-nr_foll_pin_released";
    let sampler = Sampler::new(vec![PINS.to_owned()])
        .map_err(|error| Failure::io("read /proc/vmstat", error))?;
    let seen = sampler.finish();
    Ok(seen.get(PINS).map_or(0, |watch| watch.last))
}

/// Returns the KiB that this process is charged for as pinned, and as locked.
pub fn accounted() -> Result<[u64; 2], Failure> {
    const STATUS: &str = "/proc/self/status";
    let text = std::fs::read_to_string(STATUS)
        .map_err(|error| Failure::io(format_args!("read {STATUS}"), error))?;
    let amount = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let amount = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
        amount.ok_or_else(|| Failure::new(format!("{STATUS} tells no {name}")))
    };
    Ok([amount("VmPin:")?, amount("VmLck:")?])
}

/// Returns the largest order with a free block of memory, outside of the
/// movable zone, from which the kernel allocates nothing for itself.
pub fn free_order() -> Result<u32, Failure> {
    let text = std::fs::read_to_string("/proc/buddyinfo")
        .map_err(|error| Failure::io("read /proc/buddyinfo", error))?;
    Ok(largest(&text))
}

/// Returns the largest order with a free block, in the text of /proc/buddyinfo:
/// a line for each zone, with the number of blocks of each order after its
/// name.
fn largest(text: &str) -> u32 {
    let order = |line: &str| {
        let (_, zone) = line.split_once("zone")?;
        if zone.trim_start().starts_with("Movable") {
            return None;
        }
        let counts = zone.split_whitespace().skip(1);
        counts
            .enumerate()
            .filter(|(_, count)| *count != "0")
            .map(|(order, _)| order as u32)
            .last()
    };
    text.lines().filter_map(order).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_free_block_of_any_zone_counts() {
        let text = "Node 0, zone      DMA      1      0      0\n\
                    Node 0, zone    DMA32      5      3      0\n";
        assert_eq!(largest(text), 1);
        assert_eq!(largest("Node 0, zone DMA 0 0 0\n"), 0);
        assert_eq!(largest("Node 0, zone DMA 0 0 2\n"), 2);
        let movable = "Node 0, zone DMA 0 1 0\nNode 0, zone  Movable 0 0 2\n";
        assert_eq!(largest(movable), 1);
    }

    #[test]
    fn this_process_is_accounted_for() {
        assert_eq!(accounted().unwrap()[0], 0);
    }

    #[test]
    fn memory_that_is_not_mapped_has_no_frame() {
        assert_eq!(pfn(0).unwrap(), 0);
    }
}
