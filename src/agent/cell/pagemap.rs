//! The format of an entry of /proc/PID/pagemap
//! (Documentation/admin-guide/mm/pagemap.rst).

/// Returns the page frame in an entry of a pagemap, if the page is present.
pub fn frame(entry: u64) -> Option<u64> {
    const PRESENT: u64 = 1 << 63;
    const FRAME: u64 = (1 << 55) - 1;
    (entry & PRESENT != 0).then_some(entry & FRAME)
}

/// Returns whether the page is in swap, or a device has it.
pub fn is_out(entry: u64) -> bool {
    const SWAPPED: u64 = 1 << 62;
    entry & SWAPPED != 0
}
