//! Memory that is not simply present when it is accessed: swapped out, merged,
//! guarded, or filled by another thread.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, FromRawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::agent::cell::PAGE;
use crate::agent::cell::evidence::{Moment, PagesSeen};

use super::anonymous;
use super::layout::{Layout, Want, pattern};
use crate::guest::cell::span::{self, MemoryAccess, Span, check};
use crate::guest::cell::{Stop, pagemap, patience, setup};

/// How long the kernel may take to swap out or merge a buffer.
const PATIENCE: Duration = Duration::from_secs(4);

/// Lays out memory that was swapped out.
pub fn swapped(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    /// Bit of a pagemap entry: the page is in swap.
    const SWAPPED: u64 = 1 << 62;
    setup::swap()?;
    let mut layout = anonymous::touched(want, access)?;
    // The memory is read before it is swapped out; reading later would swap it
    // in.
    layout.note_canaries(access);
    layout.note_content(access);
    until(
        layout.buffer,
        "the kernel did not swap the buffer out",
        || span::advise(layout.buffer.pages(), libc::MADV_PAGEOUT),
        |seen| seen.pagemap.iter().all(|entry| entry & SWAPPED != 0),
    )?;
    Ok(layout)
}

/// Lays out memory whose pages were equal, and merged into one by KSM.
pub fn merged(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    const KSM: &str = "/sys/kernel/mm/ksm";
    /// KPF_KSM of linux/kernel-page-flags.h.
    const MERGED: u64 = 1 << 21;
    let layout = anonymous::touched(want, access)?;
    let pages = layout.buffer.pages();
    // No two cells have equal pages; otherwise a cell would find its pages
    // merged already.
    access.write(pages.start, &pattern(PAGE).repeat(pages.len / PAGE))?;
    span::advise(pages, libc::MADV_MERGEABLE)
        .map_err(|error| Stop::Impossible(format!("this kernel has no KSM: {error}")))?;
    setup::knob(&format!("{KSM}/sleep_millisecs"), "1")?;
    setup::knob(&format!("{KSM}/pages_to_scan"), "1000")?;
    setup::knob(&format!("{KSM}/run"), "1")?;
    let merged = until(
        layout.buffer,
        "KSM did not merge the buffer's pages",
        || Ok(()),
        |seen| seen.flags.iter().all(|flags| flags & MERGED != 0),
    );
    // Merged pages stay merged.
    setup::knob(&format!("{KSM}/run"), "0")?;
    merged?;
    Ok(layout)
}

/// Lays out memory with a guard region in its middle.
pub fn guarded(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    /// MADV_GUARD_INSTALL of linux/mman.h, since Linux 6.13.
    const GUARD_INSTALL: i32 = 102;
    let layout = anonymous::touched(want, access)?;
    let middle = layout
        .buffer
        .pages()
        .part(want.pages() / PAGE / 2 * PAGE, PAGE);
    span::advise(middle, GUARD_INSTALL)
        .map_err(|error| Stop::Impossible(format!("this kernel has no guard regions: {error}")))?;
    Ok(layout)
}

/// Waits until the pages satisfy `reached`; calls `push` before each check.
fn until(
    buffer: Span,
    otherwise: &str,
    mut push: impl FnMut() -> io::Result<()>,
    reached: impl Fn(&PagesSeen) -> bool,
) -> Result<(), Stop> {
    let begin = Instant::now();
    loop {
        push().map_err(|error| Stop::Impossible(format!("{otherwise}: {error}")))?;
        if reached(&pagemap::look(Moment::LaidOut, buffer)?) {
            return Ok(());
        }
        if begin.elapsed() > patience::of(PATIENCE) {
            return Err(Stop::Impossible(otherwise.into()));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Lays out memory that is missing until another thread fills it.
pub fn missing(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    let mapping = span::anonymous(want.with_canaries())?;
    span::advise(mapping, libc::MADV_NOHUGEPAGE)?;
    let filled = pattern(mapping.len);
    let (first, last) = (Span::new(mapping.start, PAGE), want.pages() + PAGE);
    access.write(first.start, &filled[..PAGE])?;
    access.write(mapping.start + last, &filled[last..])?;
    let mut layout = Layout::amid(mapping, want);
    // The rest of the canaries cannot be read yet.
    layout.expect_canaries(|span| {
        let from = span.start - mapping.start;
        filled[from..from + span.len].to_vec()
    });
    let from = layout.buffer.start - mapping.start;
    layout.expect_content(&filled[from..from + want.length]);
    let registered = mapping.part(PAGE, want.pages());
    let fault_fd = FaultFd::open()?;
    fault_fd.register(registered, FaultFd::MISSING)?;
    let source = filled[PAGE..last].to_vec();
    fault_fd.serve(move |fault_fd, page| {
        let at = page - registered.start;
        fault_fd.copy(page, &source[at..at + PAGE])
    })?;
    Ok(layout)
}

/// Lays out memory that is write-protected until another thread removes the
/// protection.
pub fn write_protected(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    let layout = anonymous::touched(want, access)?;
    let pages = layout.buffer.pages();
    let fault_fd = FaultFd::open()?;
    fault_fd.register(pages, FaultFd::WRITE_PROTECTED)?;
    fault_fd.protect(pages, true)?;
    fault_fd.serve(move |fault_fd, page| fault_fd.protect(Span::new(page, PAGE), false))?;
    Ok(layout)
}

/// A userfaultfd (linux/userfaultfd.h).
struct FaultFd(File);

impl FaultFd {
    /// UFFDIO_REGISTER_MODE_MISSING.
    const MISSING: u64 = 1;
    /// UFFDIO_REGISTER_MODE_WP.
    const WRITE_PROTECTED: u64 = 2;

    fn open() -> Result<Self, Stop> {
        const API: u64 = 0xc018_aa3f;
        const VERSION: u64 = 0xaa;
        let impossible =
            |error| Stop::Impossible(format!("this kernel has no userfaultfd: {error}"));
        // SAFETY: the call takes no pointers.
        let fd = unsafe { libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC) };
        check(fd as i32).map_err(impossible)?;
        // SAFETY: the system call returned a new descriptor, which has no other
        // owner.
        let fault_fd = Self(unsafe { File::from_raw_fd(fd as i32) });
        fault_fd
            .ioctl(API, &mut [VERSION, 0, 0])
            .map_err(impossible)?;
        Ok(fault_fd)
    }

    fn register(&self, span: Span, mode: u64) -> Result<(), Stop> {
        const REGISTER: u64 = 0xc020_aa00;
        self.ioctl(REGISTER, &mut [span.start as u64, span.len as u64, mode, 0])
            .map_err(|error| {
                Stop::Impossible(format!("userfaultfd does not take the memory: {error}"))
            })
    }

    /// Protects pages against writing, or removes the protection and wakes
    /// waiting threads.
    fn protect(&self, span: Span, protect: bool) -> io::Result<()> {
        const WRITEPROTECT: u64 = 0xc018_aa06;
        let range = [span.start as u64, span.len as u64, u64::from(protect)];
        self.ioctl(WRITEPROTECT, &mut { range })
    }

    /// Fills a missing page.
    fn copy(&self, page: usize, contents: &[u8]) -> io::Result<()> {
        const COPY: u64 = 0xc028_aa03;
        let source = contents.as_ptr() as u64;
        let copied = self.ioctl(
            COPY,
            &mut [page as u64, source, contents.len() as u64, 0, 0],
        );
        match copied {
            // Two threads missed the same page, and it is already filled.
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
            other => other,
        }
    }

    fn ioctl<const N: usize>(&self, request: u64, words: &mut [u64; N]) -> io::Result<()> {
        // SAFETY: the request's structure has as many words as `words`; the
        // addresses in it are the cell's memory, or a slice that is alive.
        check(unsafe { libc::ioctl(self.0.as_raw_fd(), request, words.as_mut_ptr()) })
    }

    /// Starts a thread that handles every fault, as long as the process lives.
    fn serve(
        self,
        handle: impl Fn(&Self, usize) -> io::Result<()> + Send + 'static,
    ) -> io::Result<()> {
        let fault_fd = Arc::new(self);
        std::thread::Builder::new().spawn(move || {
            // struct uffd_msg: the address is its third word.
            let mut message = [0; 32];
            while (&fault_fd.0).read_exact(&mut message).is_ok() {
                let address = message[16..24].try_into().unwrap_or_default();
                let page = u64::from_ne_bytes(address) as usize / PAGE * PAGE;
                if let Err(error) = handle(&fault_fd, page) {
                    eprintln!("a fault at {page:#x} could not be handled: {error}");
                }
            }
        })?;
        Ok(())
    }
}
