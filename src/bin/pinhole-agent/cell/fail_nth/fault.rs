//! The kernel's fault injection, for one call at a time.
//!
//! `/proc/thread-self/fail-nth` counts down with each allocation and each copy
//! of this task and lets the one fail at which it comes to 0
//! (Documentation/fault-injection/fault-injection.rst). Which of them count is
//! for the settings in debugfs to say.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::cell::Stop;

const FAIL_NTH: &str = "/proc/thread-self/fail-nth";

/// The kernel's settings for allocations from slabs, of pages, and for copies; a
/// kernel may lack any of them.
const SLAB: &str = "/sys/kernel/debug/failslab";
const PAGES: &str = "/sys/kernel/debug/fail_page_alloc";
const COPIES: &str = "/sys/kernel/debug/fail_usercopy";

/// What is set, and what it was when the kernel booted (mm/failslab.c,
/// mm/fail_page_alloc.c, lib/fault-inject.c).
const SETTINGS: [(&str, &str, &str, &str); 8] = [
    // Allocations that may sleep, which nearly all are, fail too.
    (SLAB, "ignore-gfp-wait", "N", "Y"),
    (PAGES, "ignore-gfp-wait", "N", "Y"),
    // User memory, and single pages.
    (PAGES, "ignore-gfp-highmem", "N", "Y"),
    (PAGES, "min-order", "0", "1"),
    // A failure is told in the kernel log, with the stack.
    (SLAB, "verbose", "2", "2"),
    (PAGES, "verbose", "2", "2"),
    (COPIES, "verbose", "2", "2"),
    // Last: only those caches count that are told to.
    (SLAB, "cache-filter", "Y", "N"),
];

/// Where each cache of slabs has a directory.
const CACHES: &str = "/sys/kernel/slab";

/// How the names of caches begin that are the checkers' own, which have ways of
/// their own to do without: kmemleak notes each allocation
/// (`mem_pool_alloc()`), and dma-debug, which keeps its notes on mappings in
/// nodes of radix trees, turns itself off (`add_dma_entry()`).
const CHECKERS: [&str; 2] = ["kmemleak_", "radix_tree_node"];

/// The settings of fault injection, made for as long as this lives.
pub struct FaultSettings(());

impl FaultSettings {
    /// Makes them; those that are missing [`Fault::open`] misses.
    pub fn make() -> Self {
        let settings = Self(());
        settings.set(true);
        settings
    }

    fn set(&self, made: bool) {
        for cache in caches() {
            // One that stands for several cannot be told.
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

/// The caches of which an allocation may fail.
fn caches() -> Vec<PathBuf> {
    let entries = fs::read_dir(CACHES).into_iter().flatten().flatten();
    let names = entries.filter(|entry| {
        let name = entry.file_name();
        let mut checkers = CHECKERS.iter();
        !checkers.any(|begin| name.as_encoded_bytes().starts_with(begin.as_bytes()))
    });
    names.map(|entry| entry.path()).collect()
}

/// Lets a call of this thread fail.
pub struct Fault(File);

impl Fault {
    /// Opens the thread's own file.
    ///
    /// # Errors
    ///
    /// [`Stop::Impossible`] where the kernel cannot let allocations fail.
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

    /// Makes a call in which the `nth` allocation or copy fails, and says
    /// whether the call came to it. `call` must not allocate on its own, nor
    /// touch memory of this process for the first time: that would count.
    pub fn during<T>(&self, nth: u32, call: impl FnOnce() -> T) -> io::Result<(T, bool)> {
        let order = nth.to_string();
        self.0.write_all_at(order.as_bytes(), 0)?;
        let result = call();
        let mut left = [0; 16];
        let injected = came_to_it(self.0.read_at(&mut left, 0).map(|count| &left[..count]))?;
        // The one that is left over may be the copy of this very write.
        if self.0.write_all_at(b"0", 0).is_err() {
            self.0.write_all_at(b"0", 0)?;
        }
        Ok((result, injected))
    }
}

/// Whether the failure was injected, by what is left of the countdown. The read
/// copies to this process, so that the failure may be its own.
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
