//! Hazards in which the kernel moves the contents to other pages, or splits and
//! merges pages.

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::agent::cell::evidence::Moment;
use crate::agent::cell::pagemap::is_out;
use crate::agent::cell::{HUGE_PAGE, PAGE, Point};

use super::context::HazardContext;
use super::mappings;
use crate::guest::cell::device_mirror::{DeviceMirror, Taking};
use crate::guest::cell::fault_fd::FaultFd;
use crate::guest::cell::memory::layout::pattern;
use crate::guest::cell::span::{self, Span, check};
use crate::guest::cell::{Stop, pagemap, setup};

const KHUGEPAGED: &str = "/sys/kernel/mm/transparent_hugepage/khugepaged";
const KSM: &str = "/sys/kernel/mm/ksm";

/// How long a kernel thread may take for two scans; it needs less than a second,
/// even in a kernel that checks itself.
const PATIENCE: Duration = Duration::from_secs(4);

/// Size of the memory that is there for the kernel's thread alone: a huge page
/// fits into it wherever it begins.
const SCRAP: usize = 4 << 20;

pub fn collapse(context: &mut HazardContext<'_>) -> Result<(), Stop> {
    /// MADV_COLLAPSE of asm-generic/mman-common.h, since Linux 6.1.
    const COLLAPSE: i32 = 25;
    let Some(range) = allow_huge_page(context) else {
        return Ok(());
    };
    let collapse = || span::advise(range, COLLAPSE);
    let _ = context.writer.call("madvise MADV_COLLAPSE", collapse);
    Ok(())
}

pub fn khugepaged(context: &mut HazardContext<'_>) -> Result<(), Stop> {
    if allow_huge_page(context).is_none() {
        return Ok(());
    }
    for (knob, value) in [
        ("alloc_sleep_millisecs", "1"),
        ("scan_sleep_millisecs", "1"),
        ("pages_to_scan", "4096"),
        ("max_ptes_none", "511"),
    ] {
        setup::knob(&format!("{KHUGEPAGED}/{knob}"), value)?;
    }
    let advice = libc::MADV_HUGEPAGE;
    scans(&format!("{KHUGEPAGED}/full_scans"), advice, context)
}

/// Allows the kernel to make the buffer's middle part of a huge page. Returns where that
/// would be; `None` if the memory must stay in small pages.
fn allow_huge_page(context: &mut HazardContext<'_>) -> Option<Span> {
    let range = huge(context.layout.buffer);
    let advise = || span::advise(range, libc::MADV_HUGEPAGE);
    let advised = context.writer.call("madvise MADV_HUGEPAGE", advise);
    advised.is_ok().then_some(range)
}

/// Returns the huge page around the middle of a buffer.
fn huge(buffer: Span) -> Span {
    let middle = buffer.start.wrapping_add(buffer.len / 2);
    Span::new(middle / HUGE_PAGE * HUGE_PAGE, HUGE_PAGE)
}

/// Changes the rights of one page of the buffer for a moment, so that a huge page is
/// mapped page by page; then has the kernel split it, to put that page alone aside.
pub fn split(context: &mut HazardContext<'_>) -> Result<(), Stop> {
    /// MADV_COLD of asm-generic/mman-common.h.
    const COLD: i32 = 20;
    let one = context.layout.buffer.pages().part(0, PAGE);
    let rights = libc::PROT_READ | libc::PROT_WRITE;
    let protect = || span::protect(one, libc::PROT_READ);
    let _ = context.writer.call("mprotect", protect);
    let _ = context
        .writer
        .call("mprotect", || span::protect(one, rights));
    let advise = || span::advise(one, COLD);
    let _ = context.writer.call("madvise MADV_COLD", advise);
    Ok(())
}

/// Returns an error if the kernel takes no pages out of use: madvise(2) would only say
/// EINVAL.
pub fn check_offlining() -> Result<(), Stop> {
    /// A file that does the same to any page; it takes MEMORY_HOTPLUG, too.
    const FILE: &str = "/sys/devices/system/memory/soft_offline_page";
    match Path::new(FILE).exists() {
        true => Ok(()),
        false => Err(Stop::Impossible(
            "this kernel takes no pages out of use (MEMORY_FAILURE, MEMORY_HOTPLUG)".into(),
        )),
    }
}

/// Asks the kernel to move the first page's content elsewhere and to use the page no
/// more.
pub fn soft_offline(context: &mut HazardContext<'_>) -> Result<(), Stop> {
    /// MADV_SOFT_OFFLINE of asm-generic/mman-common.h.
    const SOFT_OFFLINE: i32 = 101;
    let first = context.layout.buffer.pages().part(0, PAGE);
    let offline = || span::advise(first, SOFT_OFFLINE);
    let _ = context.writer.call("madvise MADV_SOFT_OFFLINE", offline);
    Ok(())
}

/// Has a device take the pages to its own memory.
pub fn to_a_device(context: &mut HazardContext<'_>) -> Result<(), Stop> {
    let (mirror, pages) = (DeviceMirror::open()?, context.layout.pages());
    let take = || mirror.take(pages, Taking::Private);
    let must = "HMM_DMIRROR_MIGRATE_TO_DEV";
    context.writer.must(must, take)?;
    let seen = pagemap::look(Moment::LaidOut, pages)?;
    let moved = seen.pagemap.iter().filter(|entry| is_out(**entry)).count();
    let all = seen.pagemap.len();
    let note = format!("{moved} of {all} pages moved to the device");
    context.writer.note(note);
    context.layout.keep_also(mirror);
    Ok(())
}

/// Has userfaultfd(2) move the pages to another mapping, where there are none.
pub fn move_by_userfaultfd(context: &mut HazardContext<'_>) -> Result<(), Stop> {
    let old = context.layout.pages();
    let new = span::anonymous(old.len)?;
    let fault_fd = FaultFd::open()?;
    if fault_fd.register(new, FaultFd::MISSING)? & FaultFd::MOVES == 0 {
        return Err(Stop::Impossible(
            "this kernel has no UFFDIO_MOVE, before Linux 6.8".into(),
        ));
    }
    let moves = || fault_fd.move_pages(old, new);
    let _ = context.writer.call("UFFDIO_MOVE", moves);
    context.layout.keep_also(fault_fd);
    Ok(())
}

pub fn ksm(context: &mut HazardContext<'_>) -> Result<(), Stop> {
    let pages = context.layout.buffer.pages();
    if context.point == Point::BeforeDma {
        // A captured frame will overwrite this; a card that reads reads it.
        let alike = pattern(PAGE);
        for at in (0..pages.len).step_by(PAGE) {
            let part = pages.part(at, PAGE);
            let (from, to) = (
                part.start.max(context.layout.buffer.start),
                part.end().min(context.layout.buffer.end()),
            );
            let bytes = alike.get(from - part.start..to - part.start);
            let _ = context.access.write(from, bytes.unwrap_or_default());
        }
    }
    mappings::advise(context, "madvise MADV_MERGEABLE", libc::MADV_MERGEABLE);
    for (knob, value) in [
        ("sleep_millisecs", "1"),
        ("pages_to_scan", "1000"),
        ("run", "1"),
    ] {
        setup::knob(&format!("{KSM}/{knob}"), value)?;
    }
    let advice = libc::MADV_MERGEABLE;
    let scanned = scans(&format!("{KSM}/full_scans"), advice, context);
    setup::knob(&format!("{KSM}/run"), "0")?;
    scanned
}

/// Waits until a counter of whole scans has grown by two; the first scan may
/// have been in progress before.
///
/// A thread that has nothing to scan never finishes. There is nothing where the
/// cell's memory does not take `advice`, so some more memory does. It has a page:
/// khugepaged heeds no advice of memory that was never touched
/// (thp_vma_allowable_order() of include/linux/huge_mm.h).
fn scans(path: &str, advice: i32, context: &HazardContext<'_>) -> Result<(), Stop> {
    let scrap = span::anonymous(SCRAP)?;
    context.access.write(scrap.start, &[1])?;
    let _ = span::advise(scrap, advice);
    let waited = two_more(path, context);
    span::unmap(scrap)?;
    waited
}

fn two_more(path: &str, context: &HazardContext<'_>) -> Result<(), Stop> {
    let count = || -> Result<u64, Stop> {
        let text = fs::read_to_string(path)?;
        text.trim()
            .parse()
            .map_err(|error| Stop::Failed(format!("{path}: {error}")))
    };
    let (first, begin) = (count()?, Instant::now());
    while count()? < first + 2 {
        if begin.elapsed() > PATIENCE {
            context.writer.note(format!("{path} did not grow by two"));
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// Checks that there is a node to move to.
pub fn check_nodes() -> Result<(), Stop> {
    match Path::new("/sys/devices/system/node/node1").exists() {
        true => Ok(()),
        false => Err(Stop::Impossible(
            "there is one NUMA node only, boot with numa=fake=2".into(),
        )),
    }
}

pub fn move_pages(context: &mut HazardContext<'_>) -> Result<(), Stop> {
    let pages = context.layout.buffer.pages();
    let addresses: Vec<usize> = pages.page_addresses().collect();
    let nodes = nodes(&addresses)?;
    let other: Vec<i32> = nodes.iter().map(|node| i32::from(*node == 0)).collect();
    let moved = context
        .writer
        .call("move_pages", || nodes_of(&addresses, Some(&other)));
    if let Ok((left, _)) = moved {
        let pages = addresses.len();
        context
            .writer
            .note(format!("{left} of {pages} pages did not move"));
    }
    Ok(())
}

/// Has every processor put the pages that it has faulted in into the lists of which the
/// kernel reclaims and migrates: move_pages(2) does so first, whatever there is to move
/// (`lru_cache_disable()` in mm/migrate.c, before Linux 5.14 `lru_add_drain_all()`).
pub fn fill_lists() -> io::Result<()> {
    // No process has a page there.
    nodes_of(&[0], Some(&[0])).map(drop)
}

/// Returns the node of the page at each of the addresses; a negative number is the error
/// for one without a page.
pub fn nodes(addresses: &[usize]) -> io::Result<Vec<i32>> {
    nodes_of(addresses, None).map(|(_, nodes)| nodes)
}

/// move_pages(2) on this process. Returns how many pages did not move, and the
/// node of each page if `to` is `None`.
fn nodes_of(addresses: &[usize], to: Option<&[i32]>) -> io::Result<(i64, Vec<i32>)> {
    const MOVE: i32 = 1 << 1;
    let mut status = vec![0; addresses.len()];
    // SAFETY: the arrays are as long as the count, and outlive the call.
    let left = unsafe {
        libc::syscall(
            libc::SYS_move_pages,
            0,
            addresses.len(),
            addresses.as_ptr(),
            to.map_or(std::ptr::null(), <[i32]>::as_ptr),
            status.as_mut_ptr(),
            MOVE,
        )
    };
    check(left as i32)?;
    Ok((left, status))
}

pub fn migrate(context: &mut HazardContext<'_>) -> Result<(), Stop> {
    let first = [context.layout.buffer.pages().start];
    let nodes = nodes(&first)?;
    let from = u64::from(nodes == [1]);
    let (old, new) = ([1u64 << from], [1u64 << (1 - from)]);
    let left = context.writer.call("migrate_pages", || {
        // SAFETY: each mask is one word for 64 nodes.
        let left =
            unsafe { libc::syscall(libc::SYS_migrate_pages, 0, 64, old.as_ptr(), new.as_ptr()) };
        check(left as i32).map(|()| left)
    });
    if let Ok(left) = left {
        context
            .writer
            .note(format!("{left} of the process's pages did not move"));
    }
    Ok(())
}

pub fn compact(context: &mut HazardContext<'_>) -> Result<(), Stop> {
    let compact = || fs::write("/proc/sys/vm/compact_memory", "1");
    Ok(context.writer.call("compact_memory", compact)?)
}
