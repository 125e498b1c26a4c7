//! Mappings of files: on a tmpfs, on an ext4 on a disk, on an ext4 with direct
//! access.

use std::fs::{File, OpenOptions};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use libc::{MAP_PRIVATE, MAP_SHARED, PROT_READ, PROT_WRITE};

use super::layout::{Layout, Want, pattern};
use crate::guest::cell::span::{self, MemoryAccess};
use crate::guest::cell::{Stop, setup};

/// What a process may usually do with a file that it maps.
const ACCESS: i32 = PROT_READ | PROT_WRITE;

/// Lays out a shared mapping of a file on a tmpfs.
pub fn tmpfs_shared(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    mapped(Path::new("/dev/shm"), MAP_SHARED, ACCESS, want, access)
}

/// Lays out a private mapping of such a file, to which nobody has written.
pub fn tmpfs_private(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    mapped(Path::new("/dev/shm"), MAP_PRIVATE, ACCESS, want, access)
}

/// Lays out a shared mapping of a file on an ext4, whose pages are clean.
pub fn ext4_shared(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    mapped(setup::ext4()?, MAP_SHARED, ACCESS, want, access)
}

/// Lays out a shared mapping of such a file for reading only.
pub fn read_only(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    mapped(setup::ext4()?, MAP_SHARED, PROT_READ, want, access)
}

/// Lays out a private mapping of such a file, to which nobody has written.
pub fn ext4_private(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    mapped(setup::ext4()?, MAP_PRIVATE, ACCESS, want, access)
}

/// Lays out a shared mapping of a file on an ext4 with direct access to
/// persistent memory.
pub fn dax(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    mapped(setup::dax()?, MAP_SHARED, ACCESS, want, access)
}

/// Lays out a mapping of a new file in `dir`, and reads all of it through the
/// mapping.
fn mapped(
    dir: &Path,
    flags: i32,
    rights: i32,
    want: Want,
    access: &MemoryAccess,
) -> Result<Layout, Stop> {
    let file = unnamed(dir)?;
    let len = want.with_canaries();
    file.write_all_at(&pattern(len), 0)?;
    file.sync_data()?;
    let mapping = span::map_file(len, rights, flags, file.as_fd(), 0)?;
    access.read(mapping)?;
    Ok(Layout::amid(mapping, want).keeping(file))
}

/// Creates a file without a name: it is removed with the process.
pub fn unnamed(dir: &Path) -> Result<File, Stop> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_TMPFILE)
        .open(dir)
        .map_err(|error| Stop::Impossible(format!("make a file in {}: {error}", dir.display())))
}
