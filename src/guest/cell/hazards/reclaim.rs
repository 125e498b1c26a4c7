//! Hazards in which the kernel reclaims pages.

use std::fs;
use std::path::Path;

use rustix::mount::{MountFlags, mount};

use super::context::HazardContext;
use super::mappings;
use crate::guest::cell::span::check;
use crate::guest::cell::{Stop, setup};

/// Mount point of the cgroup hierarchy.
const CGROUPS: &str = "/sys/fs/cgroup";
/// Directory of a cell's cgroup; there is one at a time.
const CGROUP: &str = "/sys/fs/cgroup/cell";

pub fn page_out(context: &mut HazardContext<'_>) -> Result<(), Stop> {
    mappings::advise(context, "madvise MADV_PAGEOUT", libc::MADV_PAGEOUT);
    Ok(())
}

/// Tells the kernel that it may drop the pages, and asks it to.
pub fn free(context: &mut HazardContext<'_>) -> Result<(), Stop> {
    mappings::advise(context, "madvise MADV_FREE", libc::MADV_FREE);
    page_out(context)
}

/// Takes the swap away, with whatever is in it of the buffer's pages, and gives it
/// back.
pub fn swap_off_and_on(context: &mut HazardContext<'_>) -> Result<(), Stop> {
    context.writer.call("swapoff", setup::swap_off)?;
    Ok(context.writer.call("swapon", setup::swap_on)?)
}

pub fn drop_caches(context: &mut HazardContext<'_>) -> Result<(), Stop> {
    rustix::fs::sync();
    let drop = || fs::write("/proc/sys/vm/drop_caches", "3");
    Ok(context.writer.call("drop_caches", drop)?)
}

pub fn write_back(context: &mut HazardContext<'_>) -> Result<(), Stop> {
    let pages = context.layout.buffer.pages();
    let _ = context.writer.call("msync", || {
        // SAFETY: the call changes neither contents nor mappings.
        check(unsafe { libc::msync(pages.start as *mut _, pages.len, libc::MS_SYNC) })
    });
    rustix::fs::sync();
    Ok(())
}

/// Moves this process into a memory cgroup, which is charged for the memory
/// that it lays out.
pub fn enter_cgroup() -> Result<(), Stop> {
    if !Path::new(CGROUPS).join("cgroup.controllers").exists() {
        mount("cgroup2", CGROUPS, "cgroup2", MountFlags::empty(), c"")
            .map_err(|error| Stop::Impossible(format!("mount cgroup2: {error}")))?;
    }
    setup::knob(&format!("{CGROUPS}/cgroup.subtree_control"), "+memory")?;
    fs::create_dir_all(CGROUP)?;
    setup::knob(&format!("{CGROUP}/memory.high"), "max")?;
    setup::knob(&format!("{CGROUP}/cgroup.procs"), "0")
}

/// Makes the kernel reclaim as much as possible from the cgroup.
pub fn press(context: &mut HazardContext<'_>) -> Result<(), Stop> {
    /// More memory than the cgroup has.
    const ALL: &str = "256M";
    let before = charged()?;
    let reclaim = format!("{CGROUP}/memory.reclaim");
    if Path::new(&reclaim).exists() {
        // EAGAIN means that the kernel reclaimed less than requested, which is
        // expected.
        let ask = || fs::write(&reclaim, ALL);
        let _ = context.writer.call("memory.reclaim", ask);
    } else {
        // Before Linux 5.19 a lower limit makes the kernel reclaim the memory
        // above it before the write returns. The kernel then slows this process
        // down until the limit is high again.
        let high = format!("{CGROUP}/memory.high");
        context
            .writer
            .call("memory.high", || fs::write(&high, "0"))?;
        fs::write(&high, "max")?;
    }
    let after = charged()?;
    context
        .writer
        .note(format!("the cgroup had {before} bytes, then {after}"));
    Ok(())
}

fn charged() -> Result<u64, Stop> {
    let text = fs::read_to_string(format!("{CGROUP}/memory.current"))?;
    text.trim()
        .parse()
        .map_err(|error| Stop::Failed(format!("memory.current: {error}")))
}
