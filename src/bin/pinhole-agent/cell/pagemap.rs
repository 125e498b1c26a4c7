//! The page frames of memory, and the kernel's counters.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use pinhole::agent::cell::PAGE;
use pinhole::agent::cell::evidence::{CountersSeen, Moment, PagesSeen};
use pinhole::agent::cell::pagemap::frame;

use super::span::Span;

/// The relevant counters of /proc/vmstat.
const COUNTERS: [&str; 15] = [
    "compact_success",
    "ksm_swpin_copy",
    "nr_foll_pin_acquired",
    "nr_foll_pin_released",
    "nr_mlock",
    "pgmigrate_fail",
    "pgmigrate_success",
    "pgsteal_anon",
    "pgsteal_file",
    "pswpin",
    "pswpout",
    "thp_collapse_alloc",
    "thp_fault_alloc",
    "thp_split_page",
    "thp_split_pmd",
];

/// `KPF_THP` of linux/kernel-page-flags.h: the page is part of a transparent
/// huge page.
pub const THP: u64 = 1 << 22;

/// Returns the current pages of a buffer.
pub fn look(moment: Moment, span: Span) -> io::Result<PagesSeen> {
    let mut seen = PagesSeen {
        moment,
        pagemap: entries(span)?,
        flags: Vec::new(),
        count: Vec::new(),
        cgroup: Vec::new(),
    };
    look_again(&mut seen)?;
    Ok(seen)
}

/// File in which the kernel reports a process's pages.
pub const PAGEMAP: &str = "/proc/self/pagemap";

/// Returns the entries of this process's pagemap for a range; entries of
/// addresses that no process can have are 0.
pub fn entries(span: Span) -> io::Result<Vec<u64>> {
    let pages = span.pages();
    let mut bytes = vec![0; pages.len / PAGE * 8];
    let file = File::open(PAGEMAP)?;
    let mut at = 0;
    while at < bytes.len() {
        match file.read_at(&mut bytes[at..], (pages.start / PAGE * 8 + at) as u64) {
            Ok(0) => break,
            Ok(count) => at += count,
            // The address is beyond the end of the address space.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => break,
            Err(error) => return Err(error),
        }
    }
    let entry = |bytes: &[u8]| bytes.try_into().map(u64::from_ne_bytes).unwrap_or_default();
    Ok(bytes.chunks_exact(8).map(entry).collect())
}

/// Updates the kernel's information on the page frames in `seen`. It is 0 for
/// what the kernel does not track, such as memory cgroups without CONFIG_MEMCG.
pub fn look_again(seen: &mut PagesSeen) -> io::Result<()> {
    for (path, values) in [
        ("/proc/kpageflags", &mut seen.flags),
        ("/proc/kpagecount", &mut seen.count),
        ("/proc/kpagecgroup", &mut seen.cgroup),
    ] {
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            file => Some(file?),
        };
        let value = |entry: &u64| {
            let mut bytes = [0; 8];
            let Some(file) = &file else {
                return 0;
            };
            match frame(*entry).map(|frame| file.read_at(&mut bytes, frame * 8)) {
                Some(Ok(8)) => u64::from_ne_bytes(bytes),
                _ => 0,
            }
        };
        *values = seen.pagemap.iter().map(value).collect();
    }
    Ok(())
}

/// Returns the current counters.
pub fn counters(moment: Moment) -> io::Result<CountersSeen> {
    // Reading this file makes the kernel add up its per-processor counters.
    // Only root may read it, and some sums may be negative for a moment
    // (EINVAL).
    let _ = std::fs::read("/proc/sys/vm/stat_refresh");
    let text = std::fs::read_to_string("/proc/vmstat")?;
    Ok(CountersSeen {
        moment,
        values: parse(&text),
    })
}

fn parse(text: &str) -> BTreeMap<String, u64> {
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .filter(|(name, _)| COUNTERS.binary_search(name).is_ok())
        .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::span::{MemoryAccess, anonymous, unmap};
    use super::*;

    #[test]
    fn pages_that_were_touched_are_present() {
        let span = anonymous(3 * PAGE).unwrap();
        MemoryAccess::new()
            .unwrap()
            .write(span.start + PAGE, &[1])
            .unwrap();
        let seen = look(Moment::Queued, span.part(PAGE - 1, PAGE + 2)).unwrap();
        let present: Vec<_> = seen.frames().map(|frame| frame.is_some()).collect();
        assert_eq!(present, [false, true, false]);
        assert_eq!((seen.flags[0], seen.count[0]), (0, 0));
        unmap(span).unwrap();
    }

    #[test]
    fn addresses_that_no_process_has_are_not_present() {
        for start in [0, 0x7fff_ffff_f000, usize::MAX - PAGE + 1 - 65536] {
            let seen = look(Moment::Queued, Span::new(start, 8192)).unwrap();
            assert_eq!(seen.pagemap, [0, 0], "{start:x}");
        }
    }

    #[test]
    fn counters_are_sorted_and_read() {
        assert!(COUNTERS.is_sorted());
        let values = parse("nr_foll_pin_acquired 12\nother 3\npswpin x\n");
        assert_eq!(
            values,
            BTreeMap::from([("nr_foll_pin_acquired".into(), 12)])
        );
    }
}
