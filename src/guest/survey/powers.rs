//! What this process may see of the kernel, by trying.

use std::fs::{self, File};
use std::io;

use crate::agent::cell::PAGE;
use crate::agent::cell::evidence::Moment;
use crate::agent::cell::pagemap::frame;
use crate::agent::survey::Powers;

use crate::guest::cell::span::{self, MemoryAccess};
use crate::guest::cell::{mappings, pagemap};
use crate::guest::kmsg::Tail;

/// Tries what there is to be seen of the kernel, and of the device at `path`.
pub fn powers(path: &str) -> Powers {
    Powers {
        no_frames: frames().err(),
        no_page_flags: page_flags().err(),
        no_pin_counters: pin_counters().err(),
        no_log: log().err(),
        no_mappings: dma_mappings(path).err(),
    }
}

fn frames() -> Result<(), String> {
    let failed = |error: io::Error| format!("{}: {error}", pagemap::PAGEMAP);
    // Without the file the entries are those of pages that are not there.
    File::open(pagemap::PAGEMAP).map_err(|error| {
        format!(
            "{}, which takes a kernel with CONFIG_PROC_PAGE_MONITOR",
            failed(error)
        )
    })?;
    let page = span::anonymous(PAGE).map_err(failed)?;
    let touched = MemoryAccess::new().and_then(|access| access.write(page.start, &[1]));
    let entries = touched.and_then(|()| pagemap::entries(page));
    let _ = span::unmap(page);
    let entries = entries.map_err(failed)?;
    match entries.first().and_then(|entry| frame(*entry)) {
        Some(0) | None => Err(format!(
            "{} shows page frames to a process with CAP_SYS_ADMIN only",
            pagemap::PAGEMAP
        )),
        Some(_) => Ok(()),
    }
}

fn page_flags() -> Result<(), String> {
    for path in ["/proc/kpageflags", "/proc/kpagecount"] {
        File::open(path).map_err(|error| {
            format!("{path}: {error}; it takes root, and CONFIG_PROC_PAGE_MONITOR")
        })?;
    }
    Ok(())
}

fn pin_counters() -> Result<(), String> {
    const COUNTERS: &str = "/proc/vmstat";
    let text = fs::read_to_string(COUNTERS).map_err(|error| format!("{COUNTERS}: {error}"))?;
    if !text.contains("nr_foll_pin_acquired") {
        return Err(format!(
            "{COUNTERS} counts no pins, which takes Linux 5.7 or later"
        ));
    }
    pagemap::add_up().map_err(|error| {
        format!("/proc/sys/vm/stat_refresh: {error}; it takes root to have pins counted up")
    })
}

fn log() -> Result<(), String> {
    match Tail::open() {
        Ok(_) => Ok(()),
        Err(failure) => Err(format!(
            "{}; it takes CAP_SYSLOG, or the setting kernel.dmesg_restrict=0",
            failure.message
        )),
    }
}

fn dma_mappings(path: &str) -> Result<(), String> {
    match mappings::look(path, Moment::LaidOut) {
        Some(_) => Ok(()),
        None => Err(
            "debugfs has no list of the device's DMA mappings, which takes root, and a kernel \
             with CONFIG_DMA_API_DEBUG"
                .into(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_seen_is_what_cells_see() {
        let powers = powers("/dev/null");
        let page = span::anonymous(PAGE).unwrap();
        MemoryAccess::new()
            .unwrap()
            .write(page.start, &[1])
            .unwrap();
        let seen = pagemap::look(Moment::LaidOut, page).unwrap();
        assert_eq!(
            powers.no_frames.is_none(),
            frame(seen.pagemap[0]) != Some(0)
        );
        if powers.no_frames.is_none() {
            assert_eq!(powers.no_page_flags.is_none(), seen.flags[0] != 0);
        }
        let counters = pagemap::counters(Moment::LaidOut).unwrap();
        let pins = counters.values.contains_key("nr_foll_pin_acquired");
        assert_eq!(powers.no_pin_counters.is_none(), pins);
        // The device is none.
        let why = powers.no_mappings.unwrap();
        assert!(why.contains("CONFIG_DMA_API_DEBUG"), "{why}");
        span::unmap(page).unwrap();
    }
}
