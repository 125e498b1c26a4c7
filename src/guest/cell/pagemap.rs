//! The page frames of memory, and the kernel's counters.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use crate::agent::cell::PAGE;
use crate::agent::cell::evidence::{CountersSeen, Moment, PagesSeen};
use crate::agent::cell::pagemap::frame;

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

/// Those that each processor counts for itself, and adds to the sum when they
/// are many or the kernel is made to.
const LATE_COUNTERS: [&str; 3] = ["nr_foll_pin_acquired", "nr_foll_pin_released", "nr_mlock"];

/// `KPF_THP` of linux/kernel-page-flags.h: the page is part of a transparent
/// huge page.
pub const THP: u64 = 1 << 22;

/// Returns the current pages of a buffer.
pub fn look(moment: Moment, span: Span) -> io::Result<PagesSeen> {
    let mut seen = PagesSeen {
        moment,
        buffer: 0,
        pagemap: entries(span)?,
        flags: Vec::new(),
        count: Vec::new(),
    };
    look_again(&mut seen)?;
    Ok(seen)
}

/// File in which the kernel reports a process's pages.
pub const PAGEMAP: &str = "/proc/self/pagemap";

/// Returns the entries of this process's pagemap for a range; entries of
/// addresses that no process can have are 0, and so are all if there is no pagemap.
pub fn entries(span: Span) -> io::Result<Vec<u64>> {
    let pages = span.pages();
    let mut bytes = vec![0; pages.len / PAGE * 8];
    let file = match File::open(PAGEMAP) {
        Err(error) if is_kept_back(&error) => None,
        file => Some(file?),
    };
    let mut at = 0;
    while let (Some(file), true) = (&file, at < bytes.len()) {
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

/// Updates the kernel's information on the page frames in `seen`. It is 0 for what the
/// kernel does not show to this process: then all page frames are 0.
pub fn look_again(seen: &mut PagesSeen) -> io::Result<()> {
    let runs = runs(shown(&seen.pagemap));
    for (path, values) in [
        ("/proc/kpageflags", &mut seen.flags),
        ("/proc/kpagecount", &mut seen.count),
    ] {
        let file = match File::open(path) {
            Err(error) if is_kept_back(&error) => None,
            file => Some(file?),
        };
        let known: Vec<_> = match &file {
            Some(file) => runs.iter().map(|run| values_of(run, file)).collect(),
            None => Vec::new(),
        };
        let value = |entry: &u64| frame(*entry).and_then(|frame| value_at(&runs, &known, frame));
        *values = seen
            .pagemap
            .iter()
            .map(|entry| value(entry).unwrap_or(0))
            .collect();
    }
    Ok(())
}

/// Returns the page frames in entries of a pagemap. The kernel shows frame 0 to who may
/// not see them; no process has it.
fn shown(pagemap: &[u64]) -> impl Iterator<Item = u64> {
    let frames = pagemap.iter().filter_map(|entry| frame(*entry));
    frames.filter(|frame| *frame != 0)
}

/// Returns whether a file of the kernel's is not there, or not for this process.
pub fn is_kept_back(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
    )
}

/// Reads the 8 bytes that a file has for each page frame in the run. The last frames
/// are left out if it has nothing of them.
fn values_of(run: &Range<u64>, file: &File) -> Vec<u64> {
    let mut bytes = vec![0; (run.end - run.start) as usize * 8];
    let count = file.read_at(&mut bytes, run.start * 8).unwrap_or(0);
    let (values, _) = bytes[..count].as_chunks();
    values
        .iter()
        .map(|value| u64::from_ne_bytes(*value))
        .collect()
}

/// Returns the value of a page frame among those of the runs.
fn value_at(runs: &[Range<u64>], values: &[Vec<u64>], frame: u64) -> Option<u64> {
    let run = runs.partition_point(|run| run.end <= frame);
    let place = frame.checked_sub(runs.get(run)?.start)?;
    values.get(run)?.get(place as usize).copied()
}

/// Returns the runs of page frames that cover all of `frames`. Frames that are
/// near one another are in one run, which also covers what is between them: to
/// read of a frame in vain takes much less than another system call.
fn runs(frames: impl Iterator<Item = u64>) -> Vec<Range<u64>> {
    /// Most frames in vain between two of a run.
    const GAP: u64 = 16;
    let mut sorted: Vec<u64> = frames.collect();
    sorted.sort_unstable();
    let mut runs: Vec<Range<u64>> = Vec::new();
    for frame in sorted {
        match runs.last_mut() {
            Some(run) if frame <= run.end.saturating_add(GAP) => {
                run.end = run.end.max(frame.saturating_add(1));
            }
            _ => runs.push(frame..frame.saturating_add(1)),
        }
    }
    runs
}

/// Returns the current counters. At moments at which no oracle counts pins the
/// kernel is not made to add up what its processors count for themselves, for
/// which each of them has to be woken; those counters are left out then, and always
/// if this process cannot make the kernel do it.
pub fn counters(moment: Moment) -> io::Result<CountersSeen> {
    let is_wanted = !matches!(moment, Moment::AfterHazard | Moment::Dequeued);
    let is_exact = is_wanted && add_up().is_ok();
    let text = std::fs::read_to_string("/proc/vmstat")?;
    let mut values = parse(&text, &COUNTERS);
    values.retain(|name, _| is_exact || !LATE_COUNTERS.contains(&name.as_str()));
    Ok(CountersSeen { moment, values })
}

/// Makes the kernel add up what its processors count for themselves, which only root
/// can.
pub fn add_up() -> io::Result<()> {
    match std::fs::read("/proc/sys/vm/stat_refresh") {
        // Some sums may be negative for a moment.
        Err(error) if error.raw_os_error() != Some(libc::EINVAL) => Err(error),
        _ => Ok(()),
    }
}

/// Returns those of the counters in a text of /proc/vmstat that have one of the names.
pub fn parse(vmstat: &str, names: &[&str]) -> BTreeMap<String, u64> {
    vmstat
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter(|(name, _)| names.contains(name))
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
    fn frames_near_one_another_are_read_at_once() {
        let of = |frames: &[u64]| -> Vec<(u64, u64)> {
            let runs = runs(frames.iter().copied());
            runs.into_iter().map(|run| (run.start, run.end)).collect()
        };
        assert_eq!(of(&[]), []);
        assert_eq!(of(&[7, 5, 5, 6]), [(5, 8)]);
        assert_eq!(of(&[5, 22, 39, 57]), [(5, 40), (57, 58)]);
        assert_eq!(of(&[u64::MAX]), [(u64::MAX, u64::MAX)]);
    }

    #[test]
    fn a_page_frame_that_is_not_shown_is_none() {
        let present = 1 << 63;
        let shown: Vec<_> = shown(&[present, present | 5, 7]).collect();
        assert_eq!(shown, [5]);
    }

    #[test]
    fn each_frame_has_the_value_at_its_place() {
        let file = tempfile::tempfile().unwrap();
        let bytes: Vec<u8> = (100..120u64).flat_map(u64::to_ne_bytes).collect();
        file.write_all_at(&bytes[..bytes.len() - 3], 0).unwrap();
        assert_eq!(values_of(&(2..4), &file), [102, 103]);
        // The last one is not whole.
        assert_eq!(values_of(&(17..30), &file), [117, 118]);
        assert!(values_of(&(50..51), &file).is_empty());
        let runs = [2..4, 17..30, 50..51];
        let values = runs.each_ref().map(|run| values_of(run, &file));
        let known = [2, 3, 17, 18].map(|frame| value_at(&runs, &values, frame));
        assert_eq!(known, [102, 103, 117, 118].map(Some));
        for frame in [0, 1, 4, 16, 19, 30, 50, 51, u64::MAX] {
            assert_eq!(value_at(&runs, &values, frame), None, "{frame}");
        }
    }

    #[test]
    fn counters_that_may_be_late_are_left_out_where_nobody_adds_them_up() {
        let names = |moment| counters(moment).unwrap().values.into_keys();
        let late = |name: &String| LATE_COUNTERS.contains(&name.as_str());
        let exact = if add_up().is_ok() { 3 } else { 0 };
        assert_eq!(names(Moment::Queued).filter(late).count(), exact);
        assert_eq!(names(Moment::Dequeued).filter(late).count(), 0);
        assert!(names(Moment::Dequeued).any(|name| name == "pgmigrate_success"));
    }

    #[test]
    fn counters_are_sorted_and_read() {
        assert!(COUNTERS.is_sorted());
        assert!(LATE_COUNTERS.iter().all(|name| COUNTERS.contains(name)));
        let values = parse("nr_foll_pin_acquired 12\nother 3\npswpin x\n", &COUNTERS);
        assert_eq!(
            values,
            BTreeMap::from([("nr_foll_pin_acquired".into(), 12)])
        );
    }
}
