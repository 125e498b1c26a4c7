//! The sweep: nearly all free memory is used once.
//!
//! A kernel that poisons freed pages (page_poison) looks at the poison of a page
//! when it gives the page away again, and not before.

use std::io;
use std::os::fd::OwnedFd;

use crate::agent::checks::SweepAnswer;
use rustix::fs::{FallocateFlags, MemfdFlags, fallocate, memfd_create};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::guest::failure::Failure;

const PAGE: u64 = 4096;

/// Returns how much memory in bytes is left free, so that nothing is reclaimed and nobody
/// is short of memory: the kernel's reserves are a few MiB, but more in a large guest, and
/// so is the index of a file.
fn left(free: u64) -> u64 {
    (64 << 20).max(free / 16)
}

/// Uses free memory, and gives it back. Each processor uses a part, as each keeps
/// pages that it has freed for itself.
pub fn sweep() -> Result<SweepAnswer, Failure> {
    const MEMORY: &str = "/proc/meminfo";
    let failed = |what| move |error: io::Error| Failure::io(what, error);
    let text = std::fs::read_to_string(MEMORY).map_err(failed("read /proc/meminfo"))?;
    let free = free(&text).ok_or_else(|| Failure::new("/proc/meminfo has no MemFree"))?;
    let own = sched_getaffinity(None).map_err(|error| failed("sched_getaffinity")(error.into()))?;
    let processors: Vec<usize> = (0..CpuSet::MAX_CPU)
        .filter(|cpu| own.is_set(*cpu))
        .collect();
    let part = free.saturating_sub(left(free)) / processors.len().max(1) as u64 / PAGE * PAGE;
    // A thread for each request: what comes of the affinity ends with it. The files are
    // kept until all of them are full.
    let used = processors.iter().map(|processor| {
        let mut one = CpuSet::new();
        one.set(*processor);
        sched_setaffinity(None, &one)?;
        filled(part)
    });
    let files = used.collect::<io::Result<Vec<_>>>();
    let files = files.map_err(failed("use free memory"))?;
    Ok(SweepAnswer {
        bytes: part * files.len() as u64,
    })
}

/// Returns a file in memory that has all of its pages. Nobody reads it, so the kernel
/// need not clear them.
fn filled(bytes: u64) -> io::Result<OwnedFd> {
    let file = memfd_create("sweep", MemfdFlags::CLOEXEC)?;
    if bytes > 0 {
        fallocate(&file, FallocateFlags::empty(), 0, bytes)?;
    }
    Ok(file)
}

/// Returns the free memory in bytes in the text of /proc/meminfo.
fn free(text: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemFree:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_memory_is_read_and_its_pages_are_used() {
        let text = "MemTotal:       1000 kB\nMemFree:         120 kB\n";
        assert_eq!(free(text), Some(120 << 10));
        assert_eq!(free("MemTotal: 1 kB\n"), None);
        let stat = |bytes| rustix::fs::fstat(filled(bytes).unwrap()).unwrap();
        // In blocks of 512 bytes.
        assert!(stat(3 << 12).st_blocks >= 3 << 3);
        assert_eq!(stat(0).st_blocks, 0);
    }
}
