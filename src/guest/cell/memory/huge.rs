//! Huge pages of hugetlb.

use std::fs;
use std::io;
use std::os::fd::AsFd;

use crate::agent::cell::evidence::Moment;
use crate::agent::cell::{GIGANTIC_PAGE, HUGE_PAGE, PAGE};
use libc::{
    MAP_ANONYMOUS, MAP_HUGE_1GB, MAP_HUGETLB, MAP_PRIVATE, MAP_SHARED, PROT_READ, PROT_WRITE,
};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

use super::layout::{Layout, Want, fill};
use crate::guest::cell::span::{self, MemoryAccess, Span};
use crate::guest::cell::{Stop, borrowed, pagemap};
use crate::guest::modules;

/// Returns the length in bytes of the huge pages in which a buffer lies that is across
/// the border in their middle.
pub fn across_len(want: Want) -> usize {
    2 * (PAGE + want.pages() / 2 + PAGE).next_multiple_of(HUGE_PAGE)
}

/// Lays out a buffer across pages of hugetlb.
pub fn hugetlb(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    let flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB;
    let len = across_len(want);
    let whole = span::map(len, PROT_READ | PROT_WRITE, flags).map_err(none_left)?;
    across(whole, want, access)
}

/// Lays out a buffer across pages of hugetlb whose struct pages are those of the first
/// of its small pages, for the most part: the kernel has freed the rest (HVO,
/// mm/hugetlb_vmemmap.c).
///
/// The setting is for pages that are made while it is on. Those are the first of their
/// node's free pages, and so the first that are taken; they and the setting are as before
/// when the process has ended.
pub fn optimised(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    const SWITCH: &str = "/proc/sys/vm/hugetlb_optimize_vmemmap";
    const COUNT: &str = "/proc/sys/vm/nr_hugepages";
    if !fs::exists(SWITCH)? {
        return Err(Stop::Impossible(
            "this kernel keeps all struct pages of hugetlb, as all do before Linux 5.19".into(),
        ));
    }
    if modules::release().starts_with("6.12.") {
        return Err(Stop::Impossible(
            "Linux 6.12 finds pages in a bad state when it frees such pages of hugetlb, \
             whoever has made them (update_and_free_pages_bulk() in mm/hugetlb.c)"
                .into(),
        ));
    }
    // They are spread over all nodes, of which the process takes its own's.
    let more = across_len(want) / HUGE_PAGE * nodes()?;
    let count: usize = number_in(&fs::read_to_string(COUNT)?)?;
    borrowed::set(SWITCH, "1")?;
    let before = struct_pages()?;
    borrowed::set(COUNT, &(count + more).to_string())?;
    let made = number_in(&fs::read_to_string(COUNT)?)?.saturating_sub(count);
    if made < more {
        return Err(Stop::Impossible(format!(
            "memory is too fragmented for {more} more huge pages, {made} could be made"
        )));
    }
    let layout = hugetlb(want, access)?;
    let is_so = match before.zip(struct_pages()?) {
        Some((before, after)) => before.saturating_sub(after) >= made as u64 * FREED_OF_HUGE,
        None => shares_struct_pages(&layout)?,
    };
    match is_so {
        true => Ok(layout),
        false => Err(Stop::Impossible(
            "the kernel has freed no struct pages of the new pages of hugetlb".into(),
        )),
    }
}

/// Pages of struct pages that the kernel frees of each huge page: of eight, 64 bytes for
/// each small page, it keeps one.
const FREED_OF_HUGE: u64 = 7;

/// Returns how many pages the kernel has for struct pages, in /proc/vmstat since 6.11.
fn struct_pages() -> io::Result<Option<u64>> {
    let text = fs::read_to_string("/proc/vmstat")?;
    Ok(struct_pages_in(&text))
}

fn struct_pages_in(vmstat: &str) -> Option<u64> {
    const NAMES: [&str; 2] = ["nr_memmap_pages", "nr_memmap_boot_pages"];
    let values = pagemap::parse(vmstat, &NAMES).into_values();
    values.reduce(|sum, value| sum + value)
}

/// Returns whether the 64th small page of the buffer's huge page has the flags of the
/// first, whose struct page it shares then. /proc/kpageflags shows of each struct page
/// what it holds, before Linux 6.10: that a huge page is up to date only its first does.
fn shares_struct_pages(layout: &Layout) -> Result<bool, Stop> {
    /// Struct pages in a page of them.
    const IN_A_PAGE: usize = 64;
    /// KPF_UPTODATE of linux/kernel-page-flags.h.
    const UPTODATE: u64 = 1 << 3;
    let huge = Span::new(layout.pages().start, HUGE_PAGE);
    let seen = pagemap::look(Moment::LaidOut, huge)?;
    let flags = |page: usize| seen.flags.get(page).copied().unwrap_or(0) & UPTODATE != 0;
    Ok(flags(0) && !flags(1) && flags(IN_A_PAGE))
}

/// Returns the number of NUMA nodes.
fn nodes() -> io::Result<usize> {
    let Ok(entries) = fs::read_dir("/sys/devices/system/node") else {
        return Ok(1);
    };
    let mut count = 0;
    for entry in entries {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("node"));
        count += usize::from(number.is_some_and(|number| number.parse::<u32>().is_ok()));
    }
    Ok(count.max(1))
}

fn number_in(text: &str) -> Result<usize, Stop> {
    let number = text.trim().parse();
    number.map_err(|_| Stop::Failed(format!("no number of huge pages: {}", text.trim())))
}

/// Lays out a buffer in the middle of a page of hugetlb of 1 GiB, which is made for it
/// and given back when the process has ended.
pub fn gigantic(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    const COUNT: &str = "/sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages";
    /// Such a page begins where an address is divisible by its size, and is on one node,
    /// none of whose struct pages may lie there.
    const MORE: &str = "no gigabyte of memory in one piece is free: it needs a guest with more \
                        memory (--ram 5G)";
    let Ok(before) = fs::read_to_string(COUNT) else {
        return Err(Stop::Impossible(format!("there is no {COUNT}")));
    };
    let more = number_in(&before)? + 1;
    borrowed::set(COUNT, &more.to_string())?;
    if number_in(&fs::read_to_string(COUNT)?)? < more {
        return Err(Stop::Impossible(MORE.into()));
    }
    let flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_HUGE_1GB;
    let whole = span::map(GIGANTIC_PAGE, PROT_READ | PROT_WRITE, flags).map_err(none_left)?;
    let mapping = middle_of(whole, want);
    fill(access, mapping)?;
    Ok(Layout::amid(mapping, want).of_pages(GIGANTIC_PAGE))
}

/// Lays out a buffer across huge pages of a memfd.
pub fn memfd(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::HUGETLB;
    let file = memfd_create("cell", flags).map_err(|error| none_left(error.into()))?;
    let len = across_len(want);
    ftruncate(&file, len as u64)?;
    let rights = PROT_READ | PROT_WRITE;
    let whole = span::map_file(len, rights, MAP_SHARED, file.as_fd(), 0).map_err(none_left)?;
    across(whole, want, access)
}

/// Lays out a buffer in the middle of `whole`, with canaries around it.
pub fn across(whole: Span, want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    let mapping = middle_of(whole, want);
    fill(access, mapping)?;
    Ok(Layout::amid(mapping, want).of_pages(HUGE_PAGE))
}

/// Returns the mapping of a buffer and its canaries in the middle of `whole`.
pub fn middle_of(whole: Span, want: Want) -> Span {
    let from = whole.len / 2 - PAGE - want.pages() / PAGE / 2 * PAGE;
    whole.part(from, want.with_canaries())
}

/// Says that there is no huge page left.
pub fn none_left(error: io::Error) -> Stop {
    Stop::Impossible(format!(
        "there are no hugetlb pages, boot with hugepages=N: {error}"
    ))
}

#[cfg(test)]
mod tests {
    use crate::card::Direction;

    use super::*;

    #[test]
    fn what_the_kernel_has_for_struct_pages_is_read_if_it_tells() {
        let text = "nr_free_pages 1\nnr_memmap_pages 4\nnr_memmap_boot_pages 19936\n";
        assert_eq!(struct_pages_in(text), Some(19940));
        assert_eq!(struct_pages_in("nr_free_pages 1\n"), None);
    }

    #[test]
    fn a_buffer_of_any_length_is_across_the_border_in_the_middle() {
        for (length, pages) in [(64 << 10, 2), ((4 << 20) - 4 * PAGE, 2), (8 << 20, 6)] {
            let want = Want {
                offset: 0,
                length,
                roomy: false,
                direction: Direction::Capture,
            };
            let len = across_len(want);
            assert_eq!(len, pages * HUGE_PAGE, "{length}");
            let whole = span::anonymous(len).unwrap();
            let access = MemoryAccess::new().unwrap();
            let buffer = across(whole, want, &access).unwrap().buffer;
            let middle = whole.start + len / 2;
            assert_eq!(middle - buffer.start, length / 2);
            assert!(buffer.end() + PAGE <= whole.end());
            span::unmap(whole).unwrap();
        }
    }
}
