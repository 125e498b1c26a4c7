//! Mappings of files: on a tmpfs, on file systems on a disk, on an overlayfs, on a
//! virtiofs, on an ext4 with direct access.

use std::fs::{self, File, OpenOptions};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use libc::{MAP_PRIVATE, MAP_SHARED, PROT_READ, PROT_WRITE};

use super::layout::{Layout, Want, pattern};
use crate::guest::cell::span::{self, MemoryAccess};
use crate::guest::cell::{Stop, disks, virtiofs};

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
    mapped(disks::ext4()?, MAP_SHARED, ACCESS, want, access)
}

/// Lays out a shared mapping of such a file for reading only.
pub fn read_only(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    mapped(disks::ext4()?, MAP_SHARED, PROT_READ, want, access)
}

/// Lays out a private mapping of such a file, to which nobody has written.
pub fn ext4_private(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    mapped(disks::ext4()?, MAP_PRIVATE, ACCESS, want, access)
}

/// Lays out a shared mapping of a file on an xfs.
pub fn xfs_shared(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    mapped(disks::xfs()?, MAP_SHARED, ACCESS, want, access)
}

/// Lays out a shared mapping of a file on a btrfs.
pub fn btrfs_shared(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    mapped(disks::btrfs()?, MAP_SHARED, ACCESS, want, access)
}

/// Lays out a shared mapping of a file that is new in the upper layer of an overlayfs.
pub fn overlayfs_shared(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    let file = removed(disks::overlayfs()?)?;
    map_new(file, MAP_SHARED, ACCESS, want, access)
}

/// Lays out a shared mapping of a file that is new on a virtiofs.
pub fn virtiofs_shared(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    let file = removed(virtiofs::directory()?)?;
    map_new(file, MAP_SHARED, ACCESS, want, access)
}

/// Lays out a shared mapping of a file on an ext4 with direct access to
/// persistent memory.
pub fn dax(want: Want, access: &MemoryAccess) -> Result<Layout, Stop> {
    mapped(disks::dax()?, MAP_SHARED, ACCESS, want, access)
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
    map_new(unnamed(dir)?, flags, rights, want, access)
}

/// Fills a new file, lays out a mapping of it, and reads all of it through that.
fn map_new(
    file: File,
    flags: i32,
    rights: i32,
    want: Want,
    access: &MemoryAccess,
) -> Result<Layout, Stop> {
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

/// Creates a file whose name is removed at once, for a file system that has no file
/// without one: overlayfs has them since Linux 6.1, and virtiofs since 6.2.
fn removed(dir: &Path) -> Result<File, Stop> {
    let path = dir.join(std::process::id().to_string());
    let mut options = OpenOptions::new();
    // A process that was killed may have left one.
    let _ = fs::remove_file(&path);
    let made = options.read(true).write(true).create_new(true).open(&path);
    let made = made.and_then(|file| fs::remove_file(&path).map(|()| file));
    made.map_err(|error| Stop::Impossible(format!("make a file in {}: {error}", dir.display())))
}
