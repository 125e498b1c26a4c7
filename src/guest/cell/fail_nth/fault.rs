//! The kernel's fault injection, for one call at a time.
//!
//! `/proc/thread-self/fail-nth` counts down with each allocation and each copy
//! of this task, and the one at which it reaches 0 fails
//! (Documentation/fault-injection/fault-injection.rst). The settings in debugfs
//! decide which of them count.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::guest::cell::Stop;

const FAIL_NTH: &str = "/proc/thread-self/fail-nth";

/// The kernel's settings for allocations from slabs, for allocations of pages,
/// and for copies; a kernel may lack any of them.
const SLAB: &str = "/sys/kernel/debug/failslab";
const PAGES: &str = "/sys/kernel/debug/fail_page_alloc";
const COPIES: &str = "/sys/kernel/debug/fail_usercopy";

/// The settings: directory, file, value, and the value at boot (mm/failslab.c,
/// mm/fail_page_alloc.c, lib/fault-inject.c).
const SETTINGS: [(&str, &str, &str, &str); 8] = [
    // Allocations that may sleep, as nearly all may, can fail too.
    (SLAB, "ignore-gfp-wait", "N", "Y"),
    (PAGES, "ignore-gfp-wait", "N", "Y"),
    // Allocations of user memory, and of single pages, can fail too.
    (PAGES, "ignore-gfp-highmem", "N", "Y"),
    (PAGES, "min-order", "0", "1"),
    // The kernel logs each failure with its stack.
    (SLAB, "verbose", "2", "2"),
    (PAGES, "verbose", "2", "2"),
    (COPIES, "verbose", "2", "2"),
    // This comes last: only the caches that were selected count.
    (SLAB, "cache-filter", "Y", "N"),
];

/// Directory with a directory for each slab cache.
const CACHES: &str = "/sys/kernel/slab";

/// Prefixes of the names of caches that the kernel's checkers use. These are
/// excluded, because a checker handles a failed allocation of its own: kmemleak
/// notes each allocation (`mem_pool_alloc()`), and dma-debug, which keeps its
/// notes on mappings in nodes of radix trees, turns itself off
/// (`add_dma_entry()`).
const CHECKERS: [&str; 2] = ["kmemleak_", "radix_tree_node"];

/// The settings of fault injection, in force until this is dropped.
pub struct FaultSettings(());

impl FaultSettings {
    /// Makes the settings; ignores missing files, which [`Fault::open`]
    /// reports.
    pub fn make() -> Self {
        let settings = Self(());
        settings.set(true);
        settings
    }

    fn set(&self, made: bool) {
        for cache in caches() {
            // A cache that is merged with others does not accept the setting.
            let _ = fs::write(cache.join("failslab"), if made { "1" } else { "0" });
        }
        for (dir, file, value, before) in SETTINGS {
            let value = if made { value } else { before };
            let _ = fs::write(Path::new(dir).join(file), value);
        }
    }
}

impl Drop for FaultSettings {
    fn drop(&mut self) {
        self.set(false);
    }
}

/// Returns the caches whose allocations may fail.
fn caches() -> Vec<PathBuf> {
    let entries = fs::read_dir(CACHES).into_iter().flatten().flatten();
    let names = entries.filter(|entry| {
        let name = entry.file_name();
        let mut checkers = CHECKERS.iter();
        !checkers.any(|begin| name.as_encoded_bytes().starts_with(begin.as_bytes()))
    });
    names.map(|entry| entry.path()).collect()
}

/// The fault injection of this thread.
pub struct Fault(File);

impl Fault {
    /// Opens the thread's file.
    ///
    /// # Errors
    ///
    /// [`Stop::Impossible`] if the kernel cannot make allocations fail.
    pub fn open() -> Result<Self, Stop> {
        for (path, option) in [
            (FAIL_NTH, "CONFIG_FAULT_INJECTION"),
            (SLAB, "CONFIG_FAILSLAB and CONFIG_FAULT_INJECTION_DEBUG_FS"),
            (
                PAGES,
                "CONFIG_FAIL_PAGE_ALLOC and CONFIG_FAULT_INJECTION_DEBUG_FS",
            ),
        ] {
            if !Path::new(path).exists() {
                return Err(Stop::Impossible(format!(
                    "no allocation of this kernel can be made to fail: without {option} there is no {path}"
                )));
            }
        }
        let file = OpenOptions::new().read(true).write(true).open(FAIL_NTH)?;
        Ok(Self(file))
    }

    /// Makes a call in which the `nth` allocation or copy fails, and returns
    /// whether the call reached it. `call` must not allocate memory itself, nor
    /// access memory of this process for the first time: both would count.
    pub fn during<T>(&self, nth: u32, call: impl FnOnce() -> T) -> io::Result<(T, bool)> {
        let order = nth.to_string();
        self.0.write_all_at(order.as_bytes(), 0)?;
        let result = call();
        let mut left = [0; 16];
        let injected = came_to_it(self.0.read_at(&mut left, 0).map(|count| &left[..count]))?;
        // The remaining failure may hit the copy of this write itself.
        if self.0.write_all_at(b"0", 0).is_err() {
            self.0.write_all_at(b"0", 0)?;
        }
        Ok((result, injected))
    }
}

/// Returns whether the failure was injected, according to the rest of the
/// countdown. The read copies to this process, so the failure may hit the read
/// itself.
fn came_to_it(left: io::Result<&[u8]>) -> io::Result<bool> {
    match left {
        Err(error) if error.raw_os_error() == Some(libc::EFAULT) => Ok(false),
        left => Ok(left?.trim_ascii() == b"0"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_the_countdown_tells_whether_it_failed() {
        assert!(came_to_it(Ok(b"0\n")).unwrap());
        assert!(!came_to_it(Ok(b"10\n")).unwrap());
        let fault = || io::Error::from_raw_os_error(libc::EFAULT);
        assert!(!came_to_it(Err(fault())).unwrap());
        assert!(came_to_it(Err(io::ErrorKind::NotFound.into())).is_err());
    }

    #[test]
    fn a_kernel_without_fault_injection_is_told_by_name() {
        let missing = [FAIL_NTH, SLAB, PAGES]
            .into_iter()
            .find(|path| !Path::new(path).exists());
        match (missing, Fault::open()) {
            (Some(path), Err(Stop::Impossible(why))) => assert!(why.contains(path), "{why}"),
            (None, Ok(fault)) => {
                let (result, injected) = fault.during(1_000_000, || 7).unwrap();
                assert_eq!((result, injected), (7, false));
            }
            _ => panic!("{missing:?}"),
        }
    }
}
