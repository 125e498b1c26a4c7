//! Shared memory: memfds, and segments of System V.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use libc::{MAP_SHARED, PROT_READ, PROT_WRITE};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};

use super::layout::{Layout, Want, fill, pattern};
use crate::guest::cell::Stop;
use crate::guest::cell::span::{self, MemoryAccess, Span, check};

/// Lays out a shared mapping of a memfd.
pub fn memfd(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    let file = memfd_create("cell", MemfdFlags::CLOEXEC)?;
    let len = want.with_canaries();
    ftruncate(&file, len as u64)?;
    let mapping = span::map_file(len, PROT_READ | PROT_WRITE, MAP_SHARED, file.as_fd(), 0)?;
    fill(access, mapping)?;
    Ok(Layout::amid(mapping, want))
}

/// Lays out a shared mapping of a memfd that was sealed first: nobody can map it for
/// writing, or write to it, any more.
pub fn sealed(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = File::from(memfd_create("cell", flags)?);
    let mapping = seal(&file, want.with_canaries(), access)?;
    Ok(Layout::amid(mapping, want))
}

/// Fills a memfd with `len` bytes, seals it against writing, and maps it; the pages are
/// in the process then.
pub fn seal(memfd: &File, len: usize, access: &MemoryAccess) -> io::Result<Span> {
    memfd.write_all_at(&pattern(len), 0)?;
    fcntl_add_seals(memfd, SealFlags::FUTURE_WRITE)?;
    let mapping = span::map_file(len, PROT_READ, MAP_SHARED, memfd.as_fd(), 0)?;
    access.read(mapping)?;
    Ok(mapping)
}

/// Lays out a segment of System V shared memory. It is removed at once, and so
/// lives as long as its mapping.
pub fn sysv(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    let len = want.with_canaries();
    // SAFETY: the call takes no pointers.
    let id = unsafe { libc::shmget(libc::IPC_PRIVATE, len, libc::IPC_CREAT | 0o600) };
    check(id).map_err(|error| Stop::Impossible(format!("no System V memory: {error}")))?;
    // SAFETY: the kernel chooses an address at which nothing is.
    let start = unsafe { libc::shmat(id, std::ptr::null(), 0) } as usize;
    let attached = match start {
        usize::MAX => Err(io::Error::last_os_error()),
        start => Ok(Span::new(start, len)),
    };
    // SAFETY: removing the segment takes no structure.
    check(unsafe { libc::shmctl(id, libc::IPC_RMID, std::ptr::null_mut()) })?;
    let mapping = attached?;
    fill(access, mapping)?;
    Ok(Layout::amid(mapping, want))
}
