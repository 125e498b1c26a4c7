//! The hazard of NUMA balancing, by which the kernel moves pages to the node of the
//! processor that uses them (`task_numa_work()` in kernel/sched/fair.c).
//!
//! Every now and then it takes a process's access to its pages away
//! (`change_prot_numa()`), sees from the faults which processor uses each
//! (`do_numa_page()`), and moves those of another node. It passes by private pages that
//! somebody pins (`change_pte_range()` in mm/mprotect.c, since Linux 5.17 and stable kernels
//! of then), and newer kernels by any that are pinned (`folio_can_map_prot_numa()` in
//! mm/mempolicy.c). Where it takes the access away nevertheless, as it was seen to do of
//! shared memory on 6.12, the move fails: the page has more references than mappings
//! (`folio_migrate_mapping()` in mm/migrate.c).
//!
//! The memory is laid out on the node that the processors are not of. Other memory beside it,
//! which nobody pins, tells that the kernel has looked, and that it moves what it can.

use std::fs;
use std::io;
use std::path::Path;
use std::thread;

use crate::agent::cell::PAGE;
use crate::agent::cell::evidence::Moment;

use super::context::HazardContext;
use super::migration;
use crate::guest::cell::patience::{self, FRAME_LIMIT};
use crate::guest::cell::span::{self, MemoryAccess, Span, check};
use crate::guest::cell::{Stop, borrowed, pagemap};

/// Switch of NUMA balancing.
const SWITCH: &str = "/proc/sys/kernel/numa_balancing";

/// Where it is told how often and how much of a process to look at: since Linux 5.13, and
/// before. The name of a setting of [`HASTE`] follows.
const SETTINGS: [&str; 2] = [
    "/sys/kernel/debug/sched/numa_balancing/",
    "/proc/sys/kernel/numa_balancing_",
];

/// The settings: milliseconds of its own time after which a process is looked at first,
/// and then again, and MiB of it that are looked at each time. With many of these the
/// kernel would look seldom (`task_scan_min()`).
const HASTE: [(&str, &str); 4] = [
    ("scan_delay_ms", "1"),
    ("scan_period_min_ms", "1"),
    ("scan_period_max_ms", "20"),
    ("scan_size_mb", "64"),
];

/// Length of the memory that is there to be moved.
const BYSTANDER: usize = 8 * PAGE;

/// What the kernel counts, in /proc/vmstat: pages to which it took the access away, and
/// pages that it moved.
const COUNTED: [&str; 2] = ["numa_pte_updates", "numa_pages_migrated"];

/// Checks that the kernel has NUMA balancing and a node to move to, and has memory laid
/// out on the other node than that of this processor from now on.
pub fn prepare() -> Result<(), Stop> {
    migration::check_nodes()?;
    if !Path::new(SWITCH).exists() {
        return Err(Stop::Impossible(format!(
            "this kernel has no NUMA balancing: there is no {SWITCH}"
        )));
    }
    Ok(prefer(Some(1 - processors_node()?.min(1)))?)
}

/// Has the kernel look at the process while it uses the memory, until it has looked at
/// all of it twice and moved what nobody pins.
pub fn balance(context: &mut HazardContext<'_>) -> Result<(), Stop> {
    let bystander = span::anonymous(BYSTANDER)?;
    context.access.write(bystander.start, &[1; BYSTANDER])?;
    // Memory that is told where to be is not moved, nor a page that a processor has yet to
    // put into the lists of reclaim.
    prefer(None)?;
    context.writer.must("move_pages", migration::fill_lists)?;
    let buffer = context.layout.buffer.pages();
    let before = pagemap::look(Moment::Queued, context.layout.buffer)?;
    let counted = counters()?;
    hurry()?;
    let access = context.access;
    let used = || {
        // The kernel passes by the pages of a single thread that are where it runs, and
        // a new one begins with the new settings.
        thread::scope(|scope| {
            let user = scope.spawn(|| use_until_moved(access, buffer, bystander));
            user.join()
                .unwrap_or_else(|_| Err(io::Error::other("the thread failed")))
        })
    };
    context.writer.must("NUMA balancing", used)?;
    let now = counters()?;
    let after = pagemap::look(Moment::AfterHazard, context.layout.buffer)?;
    span::unmap(bystander)?;
    let pages = before.frames().zip(after.frames());
    let moved = pages.filter(|(before, after)| before.is_some() && before != after);
    let (moved, all) = (moved.count(), buffer.len / PAGE);
    let grown = counted.zip(now).map(|(then, now)| {
        let [marked, migrated] = [0, 1].map(|number| now[number].saturating_sub(then[number]));
        format!("took the access to {marked} pages away and moved {migrated}; it ")
    });
    let grown = grown.unwrap_or_default();
    let note = format!("NUMA balancing {grown}moved {moved} of the buffer's {all} pages");
    context.writer.note(note);
    Ok(())
}

/// Reads a byte of each page over and over, until all of the process was looked at twice
/// and the bystander's pages are on this processor's node.
fn use_until_moved(access: &MemoryAccess, buffer: Span, bystander: Span) -> io::Result<()> {
    let first = looks()?;
    let pages: Vec<usize> = bystander.page_addresses().collect();
    patience::wait_until(patience::of(FRAME_LIMIT), || {
        touch(access, buffer);
        touch(access, bystander);
        let node = processors_node()?;
        let nodes = migration::nodes(&pages)?;
        Ok(looks()? >= first + 2 && nodes.iter().all(|of_page| *of_page == node))
    })
}

/// Reads a byte of each page; some of them the process may not read.
fn touch(access: &MemoryAccess, span: Span) {
    for page in span.page_addresses() {
        let _ = access.read(Span::new(page, 1));
    }
}

/// Returns how often the kernel has looked at all of this process.
fn looks() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/self/sched")?;
    looks_in(&text).ok_or_else(|| io::Error::other(format!("/proc/self/sched has no {LOOKS}")))
}

/// The counter's name in /proc/PID/sched (`sched_show_numa()`).
const LOOKS: &str = "mm->numa_scan_seq";

fn looks_in(sched: &str) -> Option<u64> {
    let line = sched.lines().find_map(|line| line.strip_prefix(LOOKS))?;
    line.trim_start_matches([' ', ':']).trim().parse().ok()
}

/// Returns what the kernel has counted ([`COUNTED`]); `None` if it counts no events
/// (CONFIG_VM_EVENT_COUNTERS).
fn counters() -> io::Result<Option<[u64; 2]>> {
    let text = fs::read_to_string("/proc/vmstat")?;
    Ok(counters_in(&text))
}

fn counters_in(vmstat: &str) -> Option<[u64; 2]> {
    let values = pagemap::parse(vmstat, &COUNTED);
    let [marked, moved] = COUNTED.map(|name| values.get(name).copied());
    Some([marked?, moved?])
}

/// Returns the node of the processor that this thread runs on; getcpu(2). With
/// `numa=fake=2` all processors are of node 0.
fn processors_node() -> io::Result<i32> {
    let mut node = 0u32;
    // SAFETY: the second argument is a word to write to, the others may be null.
    let done = unsafe {
        libc::syscall(
            libc::SYS_getcpu,
            std::ptr::null_mut::<u32>(),
            &raw mut node,
            std::ptr::null_mut::<u32>(),
        )
    };
    check(done as i32)?;
    Ok(node as i32)
}

/// Has new pages come from that node where it has some, or from wherever the processor
/// is; set_mempolicy(2).
fn prefer(node: Option<i32>) -> io::Result<()> {
    /// MPOL_DEFAULT and MPOL_PREFERRED of linux/mempolicy.h.
    const DEFAULT: i32 = 0;
    const PREFERRED: i32 = 1;
    let mask = node.map(|node| 1u64 << node);
    let (mode, mask, nodes) = match &mask {
        Some(mask) => (PREFERRED, std::ptr::from_ref(mask), 64),
        None => (DEFAULT, std::ptr::null(), 0),
    };
    // SAFETY: the mask is one word for 64 nodes, or not there.
    let done = unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, mask, nodes) };
    check(done as i32)
}

/// Switches NUMA balancing on, and has it look often, as long as this process lives.
fn hurry() -> Result<(), Stop> {
    let is_there = |root: &&&str| Path::new(&format!("{root}{}", HASTE[0].0)).exists();
    let root = SETTINGS.iter().find(is_there).ok_or_else(|| {
        Stop::Impossible("NUMA balancing cannot be told how often to look".into())
    })?;
    for (name, value) in HASTE {
        borrowed::set(&format!("{root}{name}"), value)?;
    }
    borrowed::set(SWITCH, "1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_counts_is_read_if_it_does() {
        let text = "nr_mlock 0\nnuma_pte_updates 7\nnuma_hint_faults 3\nnuma_pages_migrated 5\n";
        assert_eq!(counters_in(text), Some([7, 5]));
        assert_eq!(counters_in("nr_mlock 0\nnuma_pte_updates 7\n"), None);
        let text = "nr_switches    :   1\nmm->numa_scan_seq                            :      12\n";
        assert_eq!(looks_in(text), Some(12));
        assert_eq!(looks_in("nr_switches : 1\n"), None);
    }
}
