//! Hazards in which others use the pages, too: a disk, an io_uring, a pipe, a
//! debugger.

use std::fs::OpenOptions;
use std::io::{self, PipeReader, PipeWriter, pipe};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::time::Duration;

use crate::agent::cell::evidence::Moment;

use super::context::HazardContext;
use crate::guest::cell::io_uring::IoUring;
use crate::guest::cell::span::{Span, check};
use crate::guest::cell::{Stop, disks, pagemap, patience};

/// Writes the pages to a file and reads them back, past the page cache: the disk
/// has them meanwhile.
pub fn direct(context: &mut HazardContext<'_>) -> Result<(), Stop> {
    let pages = context.layout.buffer.pages();
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_TMPFILE | libc::O_DIRECT)
        .open(disks::ext4()?)?;
    let (fd, address) = (file.as_raw_fd(), pages.start as *mut libc::c_void);
    let written = context.writer.call("write with O_DIRECT", || {
        // SAFETY: the kernel checks the address, and reads plain bytes.
        transferred(unsafe { libc::pwrite(fd, address, pages.len, 0) }, pages)
    });
    if written.is_ok() {
        // A refusal is evidence as well.
        let _ = context.writer.call("read with O_DIRECT", || {
            // SAFETY: the range belongs to the cell, and Rust holds no reference into
            // it; what is written to it is what it holds.
            transferred(unsafe { libc::pread(fd, address, pages.len, 0) }, pages)
        });
    }
    Ok(())
}

/// Has an io_uring pin the pages, too, and waits until it has given them back.
pub fn io_uring(context: &mut HazardContext<'_>) -> Result<(), Stop> {
    /// How long the kernel may take to give them back: it does so from a work queue.
    const LIMIT: Duration = Duration::from_secs(2);
    let ring = IoUring::new(1)
        .map_err(|error| Stop::Impossible(format!("there is no io_uring: {error}")))?;
    let buffer = context.layout.buffer;
    let before = pinned()?;
    let register = || ring.register(buffer);
    if context.writer.call("register the buffer", register).is_ok() {
        let more = pinned()?.saturating_sub(before);
        context
            .writer
            .note(format!("the io_uring pinned {more} pages"));
        context
            .writer
            .call("unregister the buffer", || ring.unregister())?;
    }
    drop(ring);
    match patience::wait_until(patience::of(LIMIT), || Ok(pinned()? <= before)) {
        Err(error) if error.raw_os_error() == Some(libc::ETIMEDOUT) => {
            context.writer.note("the io_uring keeps its pins");
            Ok(())
        }
        waited => Ok(waited?),
    }
}

/// Returns how many pins there are of all memory.
fn pinned() -> io::Result<u64> {
    let counters = pagemap::counters(Moment::Queued)?;
    let value = |name| counters.values.get(name).copied().unwrap_or_default();
    Ok(value("nr_foll_pin_acquired").saturating_sub(value("nr_foll_pin_released")))
}

/// Gives the pages to a pipe, which refers to them as long as the memory is there.
pub fn splice(context: &mut HazardContext<'_>) -> Result<(), Stop> {
    /// The most that a pipe may hold unless its user is privileged.
    const CAPACITY: i32 = 1 << 20;
    let (out, into): (PipeReader, PipeWriter) = pipe()?;
    // A smaller pipe takes fewer pages.
    // SAFETY: the call takes no pointers.
    let _ = check(unsafe { libc::fcntl(into.as_raw_fd(), libc::F_SETPIPE_SZ, CAPACITY) });
    let pages = context.layout.buffer.pages();
    let spliced = context.writer.call("vmsplice", || {
        let range = range(pages);
        let flags = libc::SPLICE_F_GIFT | libc::SPLICE_F_NONBLOCK;
        // SAFETY: the structure lives as long as the call; the kernel checks the
        // address.
        let count = unsafe { libc::vmsplice(into.as_raw_fd(), &range, 1, flags) };
        check(count as i32).map(|()| count)
    });
    if let Ok(count) = spliced {
        context.writer.note(format!("the pipe has {count} bytes"));
    }
    context.layout.keep_also((out, into));
    Ok(())
}

/// Reads the pages and writes the same bytes back, as another process would.
pub fn of_another_process(context: &mut HazardContext<'_>) -> Result<(), Stop> {
    let pages = context.layout.buffer.pages();
    let mut bytes = vec![0u8; pages.len];
    let local = range(Span::new(bytes.as_mut_ptr() as usize, bytes.len()));
    let (remote, process) = (range(pages), std::process::id() as i32);
    let read = context.writer.call("process_vm_readv", || {
        // SAFETY: the local range is the vector, which lives as long as the call; the
        // kernel checks the other one.
        let count = unsafe { libc::process_vm_readv(process, &local, 1, &remote, 1, 0) };
        transferred(count, pages)
    });
    if read.is_ok() {
        let _ = context.writer.call("process_vm_writev", || {
            // SAFETY: as above; the other range belongs to the cell, and Rust holds no
            // reference into it.
            let count = unsafe { libc::process_vm_writev(process, &local, 1, &remote, 1, 0) };
            transferred(count, pages)
        });
    }
    Ok(())
}

/// Reads the pages and writes the same bytes back through the file with which
/// debuggers do so, and which heeds no protection.
pub fn of_debugger(context: &mut HazardContext<'_>) -> Result<(), Stop> {
    let pages = context.layout.buffer.pages();
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/proc/self/mem")?;
    let mut bytes = vec![0; pages.len];
    let at = pages.start as u64;
    let read = || file.read_exact_at(&mut bytes, at);
    if context.writer.call("read /proc/PID/mem", read).is_ok() {
        let write = || file.write_all_at(&bytes, at);
        let _ = context.writer.call("write /proc/PID/mem", write);
    }
    Ok(())
}

fn range(span: Span) -> libc::iovec {
    libc::iovec {
        iov_base: span.start as *mut _,
        iov_len: span.len,
    }
}

/// Converts the return value of a call that is to transfer all of a range.
fn transferred(count: isize, all: Span) -> io::Result<()> {
    match usize::try_from(count) {
        Ok(count) if count == all.len => Ok(()),
        Ok(_) => Err(io::Error::from_raw_os_error(libc::EFAULT)),
        Err(_) => Err(io::Error::last_os_error()),
    }
}
