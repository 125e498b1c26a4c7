//! Room on the host's disk, allocated before a guest is booted. QEMU stops a
//! machine whose disk cannot grow, and results that cannot be written are lost.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate, fstatvfs};
use rustix::io::Errno;

/// Why there is not enough room.
#[derive(Debug, thiserror::Error)]
pub enum RoomError {
    /// The disk has fewer free bytes.
    #[error(
        "the disk is full: {what} take {} in {}, and {} are free there; \
         name another folder with --out", megabytes(*wanted), folder.display(), megabytes(*free)
    )]
    Full {
        /// What the room is for, in the plural.
        what: &'static str,
        /// Number of bytes requested.
        wanted: u64,
        /// Number of bytes free.
        free: u64,
        /// Path of the directory.
        folder: PathBuf,
    },
    /// The system refused for another reason.
    #[error("cannot make room for {what} in {}: {source}", folder.display())]
    Io {
        /// What the room is for.
        what: &'static str,
        /// Path of the directory.
        folder: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

/// Allocates `bytes` bytes of the disk for `file`, which is empty, in `folder`,
/// for `what`. If the disk does not have as many, the file is empty again.
///
/// # Errors
///
/// [`RoomError`] if the disk does not have as many.
pub fn take(file: &File, bytes: u64, what: &'static str, folder: &Path) -> Result<(), RoomError> {
    // The free space is queried first, because a file system without enough
    // gives away what it has before it reports an error.
    let full = |free| RoomError::Full {
        what,
        wanted: bytes,
        free,
        folder: folder.to_owned(),
    };
    if let Some(free) = free(file).filter(|free| *free < bytes) {
        return Err(full(free));
    }
    let error = match fallocate(file, FallocateFlags::empty(), 0, bytes) {
        Ok(()) => return Ok(()),
        // If a file system does not support the call (NFS 3), writing zeros
        // allocates the blocks.
        Err(Errno::OPNOTSUPP) => match write_zeros(file, bytes) {
            Ok(()) => return Ok(()),
            Err(error) => error,
        },
        Err(errno) => errno.into(),
    };
    if error.kind() == io::ErrorKind::StorageFull
        && file.set_len(0).is_ok()
        && let Some(free) = free(file)
    {
        return Err(full(free));
    }
    Err(RoomError::Io {
        what,
        folder: folder.to_owned(),
        source: error,
    })
}

/// Returns the number of bytes free on a file's disk, if the disk reports it.
fn free(file: &File) -> Option<u64> {
    let disk = fstatvfs(file).ok().filter(|disk| disk.f_blocks > 0)?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

fn write_zeros(mut file: &File, bytes: u64) -> io::Result<()> {
    io::copy(&mut io::repeat(0).take(bytes), &mut file)?;
    // Some file systems report a full disk only here.
    file.sync_data()
}

/// Room that is kept for files written at the end. It is freed when this is
/// dropped, and when this process is killed.
#[derive(Debug)]
pub struct Reserve(File);

impl Reserve {
    /// Allocates `bytes` bytes of the disk of `folder` for `what`.
    ///
    /// # Errors
    ///
    /// [`RoomError`] if the disk does not have as many.
    pub fn make(folder: &Path, bytes: u64, what: &'static str) -> Result<Self, RoomError> {
        let file = tempfile::tempfile_in(folder).map_err(|source| RoomError::Io {
            what,
            folder: folder.to_owned(),
            source,
        })?;
        take(&file, bytes, what, folder)?;
        Ok(Self(file))
    }

    /// Keeps at most `bytes` bytes.
    ///
    /// # Errors
    ///
    /// The error of the file system.
    pub fn shrink(&self, bytes: u64) -> io::Result<()> {
        self.0.set_len(bytes)
    }
}

/// Returns whether the disk of `folder` has no room left, as far as it reports
/// that.
pub fn is_full(folder: &Path) -> bool {
    File::open(folder).is_ok_and(|folder| free(&folder) == Some(0))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn room_that_is_taken_is_the_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let file = File::create_new(&path).unwrap();
        take(&file, 1 << 20, "frames", folder.path()).unwrap();
        let meta = file.metadata().unwrap();
        assert_eq!(meta.len(), 1 << 20);
        assert!(meta.blocks() * 512 >= 1 << 20, "{}", meta.blocks());

        let reserve = Reserve::make(folder.path(), 1 << 20, "results").unwrap();
        assert!(reserve.0.metadata().unwrap().blocks() * 512 >= 1 << 20);
        reserve.shrink(4096).unwrap();
        assert!(reserve.0.metadata().unwrap().blocks() * 512 < 1 << 20);
        // The file has no name, so nobody has to remove it.
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn zeros_do_where_the_file_system_cannot_reserve() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        write_zeros(&File::create_new(&path).unwrap(), 100_000).unwrap();
        assert!(std::fs::read(&path).unwrap() == vec![0; 100_000]);
    }

    #[test]
    fn more_than_there_is_is_told_in_megabytes() {
        let folder = tempfile::tempdir().unwrap();
        let file = tempfile::tempfile_in(folder.path()).unwrap();
        // No disk is that large.
        let error = take(&file, 1 << 42, "frames", folder.path()).unwrap_err();
        let said = error.to_string();
        assert!(
            said.contains("frames take 4398046.5 MB in ") && said.contains(" MB are free"),
            "{said}"
        );
        assert_eq!(file.metadata().unwrap().len(), 0);
    }
}
