//! SIGBUS: guest memory that disappears.
//!
//! Guest memory is a file of the front end, which can truncate it at any time,
//! or have no room for a page of it. A thread that accesses such a page gets a
//! SIGBUS (mmap(2)). This costs the connection, not the daemon: the handler
//! maps a page of zeros in place of the missing one, so that the thread
//! continues, and the connection ends as soon as the worker checks
//! [`take_lost`].

use std::cell::Cell;
use std::io;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::Once;

use libc::{c_int, c_void, siginfo_t};

/// Sizes of the pages that guest memory can be made of: base pages, and those
/// of hugetlbfs, which cannot be replaced in part. On a machine with other
/// sizes a SIGBUS has its default effect.
const PAGE_SIZES: [usize; 5] = [4 << 10, 16 << 10, 64 << 10, 2 << 20, 1 << 30];

thread_local! {
    /// Whether this thread has accessed memory that had disappeared. The
    /// variable has no destructor and a constant initial value, so that a
    /// signal handler may use it.
    static LOST: Cell<bool> = const { Cell::new(false) };
}

static INSTALLED: Once = Once::new();

/// Installs a SIGBUS handler, with which the process survives the loss of guest
/// memory.
///
/// # Errors
/// The system refuses the handler.
pub fn survive() -> io::Result<()> {
    let mut result = Ok(());
    INSTALLED.call_once(|| {
        let handler: extern "C" fn(c_int, *mut siginfo_t, *mut c_void) = replace;
        // SAFETY: all zeros is a valid sigaction.
        let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
        action.sa_sigaction = handler as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        // SAFETY: the handler makes only calls that a signal handler may make.
        if unsafe { libc::sigaction(libc::SIGBUS, &action, ptr::null_mut()) } != 0 {
            result = Err(io::Error::last_os_error());
        }
    });
    result
}

/// Returns whether this thread has accessed memory that had disappeared since
/// the last call.
pub fn take_lost() -> bool {
    LOST.take()
}

/// The SIGBUS handler: maps zeros in place of a missing page. It calls only
/// mmap(2) and sigaction(2), takes no lock, and preserves errno.
extern "C" fn replace(signal: c_int, info: *mut siginfo_t, _context: *mut c_void) {
    // SAFETY: errno is this thread's own.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: as above.
    let before = unsafe { *errno };
    // SAFETY: the kernel passes a valid `siginfo_t` to a handler with
    // SA_SIGINFO.
    let info = unsafe { &*info };
    // SAFETY: the kernel sets the address for SIGBUS.
    let address = unsafe { info.si_addr() } as usize;
    // The handler cannot repair any other fault, such as failed memory.
    if info.si_code == libc::BUS_ADRERR && put_zeros(address) {
        LOST.set(true);
    } else {
        // The fault happens again, and the default action ends the process.
        // SAFETY: SIG_DFL is a valid handler.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    // SAFETY: as above.
    unsafe { *errno = before };
}

/// Replaces the page that contains `address` by zeros. Returns whether that
/// succeeded.
fn put_zeros(address: usize) -> bool {
    for size in PAGE_SIZES {
        let page = address & !(size - 1);
        // SAFETY: the call replaces a page of a file that was just found to be
        // missing, so it cannot hold anyone's data. The kernel refuses with
        // EINVAL if the pages are larger; after any other error no larger size
        // is tried.
        let mapped = unsafe {
            libc::mmap(
                page as *mut c_void,
                size,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if mapped != libc::MAP_FAILED {
            return true;
        }
        if io::Error::last_os_error().raw_os_error() != Some(libc::EINVAL) {
            return false;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{MemfdFlags, memfd_create};
    use std::fs::File;
    use vm_memory::{Bytes, FileOffset, GuestAddress, GuestMemoryMmap};

    #[test]
    fn memory_whose_file_shrinks_reads_as_zeros_and_is_told_of() {
        survive().unwrap();
        let file = File::from(memfd_create("guest", MemfdFlags::CLOEXEC).unwrap());
        file.set_len(0x4000).unwrap();
        let offset = FileOffset::new(file.try_clone().unwrap(), 0);
        let ranges = [(GuestAddress(0), 0x4000, Some(offset))];
        let memory = GuestMemoryMmap::<()>::from_ranges_with_files(ranges).unwrap();
        memory.write_slice(&[7; 0x4000], GuestAddress(0)).unwrap();
        assert!(!take_lost());
        file.set_len(0x1000).unwrap();
        let mut bytes = [1; 0x4000];
        memory.read_slice(&mut bytes, GuestAddress(0)).unwrap();
        assert!(bytes[..0x1000].iter().all(|byte| *byte == 7));
        assert!(bytes[0x1000..].iter().all(|byte| *byte == 0));
        memory.write_slice(&[9; 0x2000], GuestAddress(0)).unwrap();
        assert!(take_lost() && !take_lost());
    }
}
