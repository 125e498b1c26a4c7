//! Ranges of this process's address space, and the system calls on them.
//!
//! Rust never borrows the memory of a cell: it may vanish, move, or be written
//! to by a device at any time. The code only uses its addresses, and only the
//! kernel accesses the memory: if nothing is mapped there, the kernel returns
//! an error.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::fs::FileExt;

use crate::agent::cell::PAGE;
use rustix::fs::MemfdFlags;

/// A range of addresses, mapped or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// First address.
    pub start: usize,
    /// Length in bytes.
    pub len: usize,
}

impl Span {
    /// Returns a range of `len` bytes from `start` on.
    pub fn new(start: usize, len: usize) -> Self {
        Self { start, len }
    }

    /// Returns the address after the last one, which may have wrapped.
    pub fn end(self) -> usize {
        self.start.wrapping_add(self.len)
    }

    /// Returns the whole pages that the range touches.
    pub fn pages(self) -> Self {
        let start = self.start / PAGE * PAGE;
        let len = (self.start - start + self.len).next_multiple_of(PAGE);
        Self { start, len }
    }

    /// Returns the addresses at each length of a page from its first byte on.
    pub fn page_addresses(self) -> impl Iterator<Item = usize> {
        (self.start..self.end()).step_by(PAGE)
    }

    /// Returns part of the range, whose address may have wrapped.
    pub fn part(self, from: usize, len: usize) -> Self {
        debug_assert!(from + len <= self.len);
        Self::new(self.start.wrapping_add(from), len)
    }

    /// Returns the range in pieces, none of which crosses a page boundary.
    fn pieces(self) -> impl Iterator<Item = Self> {
        let mut left = self;
        std::iter::from_fn(move || {
            let len = (PAGE - left.start % PAGE).min(left.len);
            let piece = Self::new(left.start, len);
            left = Self::new(left.start.wrapping_add(len), left.len - len);
            (len > 0).then_some(piece)
        })
    }
}

/// Maps memory at an address chosen by the kernel; mmap(2).
pub fn map(len: usize, prot: i32, flags: i32) -> io::Result<Span> {
    mmap(0, len, prot, flags, None, 0)
}

/// Maps anonymous memory that can be read and written.
pub fn anonymous(len: usize) -> io::Result<Span> {
    map(
        len,
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
    )
}

/// Maps a file from `offset` on, at an address chosen by the kernel.
pub fn map_file(
    len: usize,
    prot: i32,
    flags: i32,
    file: BorrowedFd<'_>,
    offset: usize,
) -> io::Result<Span> {
    mmap(0, len, prot, flags, Some(file), offset)
}

/// Maps memory or a file at the address of `span`, which belongs to the cell.
pub fn map_at(
    span: Span,
    prot: i32,
    flags: i32,
    file: Option<BorrowedFd<'_>>,
    offset: usize,
) -> io::Result<Span> {
    mmap(
        span.start,
        span.len,
        prot,
        flags | libc::MAP_FIXED,
        file,
        offset,
    )
}

fn mmap(
    at: usize,
    len: usize,
    prot: i32,
    flags: i32,
    file: Option<BorrowedFd<'_>>,
    offset: usize,
) -> io::Result<Span> {
    let fd = file.map_or(-1, |file| file.as_raw_fd());
    // SAFETY: a new mapping does not affect existing memory; MAP_FIXED is only
    // used on ranges of the cell, into which Rust holds no reference.
    let start = unsafe { libc::mmap(at as *mut _, len, prot, flags, fd, offset as i64) };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    Ok(Span::new(start as usize, len))
}

/// Unmaps a range of the cell; munmap(2).
pub fn unmap(span: Span) -> io::Result<()> {
    // SAFETY: the range belongs to the cell; Rust holds no reference into it.
    check(unsafe { libc::munmap(span.start as *mut _, span.len) })
}

/// Moves a mapping of the cell to the address of `new`, a mapping of the same
/// length that this replaces; mremap(2).
pub fn remap(old: Span, new: Span) -> io::Result<()> {
    mremap(old, new, 0)
}

/// Moves the pages of a mapping, and leaves an empty one in its place; otherwise as
/// [`remap`].
pub fn remap_leaving(old: Span, new: Span) -> io::Result<()> {
    mremap(old, new, libc::MREMAP_DONTUNMAP)
}

fn mremap(old: Span, new: Span, flags: i32) -> io::Result<()> {
    let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED | flags;
    let (from, to) = (old.start as *mut _, new.start as *mut libc::c_void);
    // SAFETY: both ranges belong to the cell; Rust holds no reference into
    // them.
    let start = unsafe { libc::mremap(from, old.len, new.len, flags, to) };
    match start == libc::MAP_FAILED {
        true => Err(io::Error::last_os_error()),
        false => Ok(()),
    }
}

/// Changes the protection of a range of the cell; mprotect(2).
pub fn protect(span: Span, prot: i32) -> io::Result<()> {
    // SAFETY: as for unmap().
    check(unsafe { libc::mprotect(span.start as *mut _, span.len, prot) })
}

/// Gives the kernel advice on a range of the cell; madvise(2).
pub fn advise(span: Span, advice: i32) -> io::Result<()> {
    // SAFETY: as for unmap().
    check(unsafe { libc::madvise(span.start as *mut _, span.len, advice) })
}

/// Locks a range into memory; mlock(2).
pub fn lock(span: Span) -> io::Result<()> {
    // SAFETY: the call changes neither contents nor mappings.
    check(unsafe { libc::mlock(span.start as *const _, span.len) })
}

/// Unlocks a range; munlock(2).
pub fn unlock(span: Span) -> io::Result<()> {
    // SAFETY: the call changes neither contents nor mappings.
    check(unsafe { libc::munlock(span.start as *const _, span.len) })
}

/// Returns whether the mapping that a range begins in is of page frames without struct
/// pages (VM_PFNMAP).
pub fn is_page_frames(span: Span) -> bool {
    std::fs::read_to_string("/proc/self/smaps").is_ok_and(|smaps| has_page_frames(&smaps, span))
}

/// Returns the same by the text of /proc/self/smaps, in which the flags of such a mapping
/// contain "pf".
fn has_page_frames(smaps: &str, span: Span) -> bool {
    let is_its_head = |line: &&str| {
        let range = line
            .split(' ')
            .next()
            .and_then(|range| range.split_once('-'));
        let at = |number| usize::from_str_radix(number, 16).ok();
        let range = range.and_then(|(from, to)| Some(at(from)?..at(to)?));
        range.is_some_and(|range| range.contains(&span.start))
    };
    let mut lines = smaps.lines().skip_while(|line| !is_its_head(line));
    let flags = lines.find_map(|line| line.strip_prefix("VmFlags:"));
    flags.is_some_and(|flags| flags.split_whitespace().any(|flag| flag == "pf"))
}

/// Converts the return value of a system call to a result.
pub fn check(result: i32) -> io::Result<()> {
    match result {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Access to memory through the kernel, which faults pages in as a direct
/// access would, and returns an error where that would cause a signal.
#[derive(Debug)]
pub struct MemoryAccess(File);

impl MemoryAccess {
    /// Creates the file through which the bytes pass.
    pub fn new() -> io::Result<Self> {
        let file = rustix::fs::memfd_create("cell", MemfdFlags::CLOEXEC)?;
        Ok(Self(File::from(file)))
    }

    /// Returns the bytes of a range; fails if part of it cannot be read.
    pub fn read(&self, span: Span) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; span.len];
        let mut at = 0;
        for piece in span.pieces() {
            let (fd, from) = (self.0.as_raw_fd(), piece.start as *const _);
            // SAFETY: the kernel checks the address, and reads plain bytes,
            // whoever else writes to them.
            let count = unsafe { libc::pwrite(fd, from, piece.len, 0) };
            whole(count, piece.len)?;
            self.0.read_exact_at(&mut bytes[at..at + piece.len], 0)?;
            at += piece.len;
        }
        Ok(bytes)
    }

    /// Writes bytes to memory from `start` on.
    pub fn write(&self, start: usize, bytes: &[u8]) -> io::Result<()> {
        let mut at = 0;
        for piece in Span::new(start, bytes.len()).pieces() {
            self.0.write_all_at(&bytes[at..at + piece.len], 0)?;
            let (fd, to) = (self.0.as_raw_fd(), piece.start as *mut _);
            // SAFETY: the kernel checks the address; the range belongs to the
            // cell, and Rust holds no reference into it.
            let count = unsafe { libc::pread(fd, to, piece.len, 0) };
            whole(count, piece.len)?;
            at += piece.len;
        }
        Ok(())
    }
}

fn whole(count: isize, wanted: usize) -> io::Result<()> {
    match usize::try_from(count) {
        Ok(count) if count == wanted => Ok(()),
        Ok(_) => Err(io::Error::from_raw_os_error(libc::EFAULT)),
        Err(_) => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_all_that_a_range_touches() {
        let span = Span::new(0x5fff, 2);
        assert_eq!(span.pages(), Span::new(0x5000, 0x2000));
        assert_eq!(Span::new(0x5000, 1).pages(), Span::new(0x5000, 0x1000));
        let pieces: Vec<_> = Span::new(0x5fff, 0x1002).pieces().collect();
        assert_eq!(
            pieces,
            [
                Span::new(0x5fff, 1),
                Span::new(0x6000, 0x1000),
                Span::new(0x7000, 1)
            ]
        );
    }

    #[test]
    fn a_range_may_wrap() {
        let span = Span::new(usize::MAX - 4095, 3 * PAGE);
        assert_eq!(span.part(PAGE, PAGE), Span::new(0, PAGE));
        assert!(MemoryAccess::new().unwrap().read(span).is_err());
    }

    #[test]
    fn a_mapping_of_page_frames_has_their_flag() {
        let smaps = "7f0000001000-7f0000003000 rw-s 00000000 00:05 12 /dev/video0\n\
                     Size:                  8 kB\n\
                     VmFlags: rd wr sh mr mw me ms pf io de dd \n\
                     7f0000005000-7f0000007000 rw-s 00000000 00:05 12 /dev/video0\n\
                     VmFlags: rd wr sh mr mw me ms de \n";
        let is_one = |start| has_page_frames(smaps, Span::new(start, 0x1000));
        assert!(is_one(0x7f00_0000_1000) && is_one(0x7f00_0000_2fff));
        assert!(!is_one(0x7f00_0000_5000) && !is_one(0x7f00_0000_3000));
    }

    #[test]
    fn ordinary_memory_is_not_of_page_frames() {
        let mapping = anonymous(0x2000).unwrap();
        assert!(!is_page_frames(mapping));
        unmap(mapping).unwrap();
    }

    #[test]
    fn memory_is_read_and_written_and_what_is_missing_is_an_error() {
        let access = MemoryAccess::new().unwrap();
        let span = anonymous(4 * PAGE).unwrap();
        let bytes: Vec<u8> = (0..2 * PAGE + 10).map(|at| (at / 100) as u8).collect();
        access.write(span.start + 5, &bytes).unwrap();
        assert_eq!(access.read(span.part(5, bytes.len())).unwrap(), bytes);

        protect(span.part(0, PAGE), libc::PROT_NONE).unwrap();
        unmap(span.part(3 * PAGE, PAGE)).unwrap();
        let missing = |error: io::Error| assert_eq!(error.raw_os_error(), Some(libc::EFAULT));
        missing(access.read(span.part(PAGE - 1, 2)).unwrap_err());
        missing(access.read(span.part(3 * PAGE - 1, 2)).unwrap_err());
        missing(access.write(span.start, &[1]).unwrap_err());
        missing(access.read(Span::new(0, 8)).unwrap_err());
        assert_eq!(
            access.read(span.part(PAGE, 2)).unwrap(),
            &bytes[PAGE - 5..][..2]
        );
        unmap(span.part(0, 3 * PAGE)).unwrap();
    }
}
