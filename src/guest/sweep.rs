//! The sweep: nearly all free memory is used once.
//!
//! A kernel that poisons freed pages (page_poison) looks at the poison of a page
//! when it gives the page away again, and not before.

use std::io;

use crate::agent::checks::SweepAnswer;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::guest::cell::span::{self, Span};
use crate::guest::failure::Failure;

const PAGE: u64 = 4096;

/// Returns how much memory in bytes is left free, so that nothing is reclaimed and nobody
/// is short of memory: the kernel's reserves are a few MiB, but more in a large guest, and
/// so are page tables.
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
    let mut parts = Vec::new();
    let used = processors.iter().try_for_each(|processor| {
        let mut one = CpuSet::new();
        one.set(*processor);
        sched_setaffinity(None, &one)?;
        parts.extend(populated(part as usize)?);
        Ok(())
    });
    // A thread for each request: what comes of the affinity ends with it.
    let bytes = parts.iter().map(|span: &Span| span.len as u64).sum();
    let unmapped = parts.into_iter().map(span::unmap);
    // All of it goes back, whatever becomes of a part.
    let unmapped = unmapped.fold(Ok(()), io::Result::and);
    unmapped.map_err(failed("give memory back"))?;
    used.map_err(failed("use free memory"))?;
    Ok(SweepAnswer { bytes })
}

/// Maps memory with its pages; nothing if none is wanted.
fn populated(bytes: usize) -> io::Result<Option<Span>> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE;
    match bytes {
        0 => Ok(None),
        _ => span::map(bytes, libc::PROT_READ | libc::PROT_WRITE, flags).map(Some),
    }
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
        let span = populated(3 << 12).unwrap().unwrap();
        assert_eq!(span.len, 3 << 12);
        span::unmap(span).unwrap();
        assert!(populated(0).unwrap().is_none());
    }
}
