//! Room on the host's disk, made sure of before a guest is booted: QEMU stops
//! a machine whose disk cannot grow, and results that nobody can write down
//! were for nothing.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate, fstatvfs};
use rustix::io::Errno;

/// Why there is no room.
#[derive(Debug, thiserror::Error)]
pub enum RoomError {
    /// The disk has less than that.
    #[error(
        "the disk is full: {what} take {} in {}, and {} are free there; \
         name another folder with --out", megabytes(*wanted), folder.display(), megabytes(*free)
    )]
    Full {
        /// What for, in the plural.
        what: &'static str,
        /// Bytes that it takes.
        wanted: u64,
        /// Bytes that there are.
        free: u64,
        /// Where.
        folder: PathBuf,
    },
    /// The system refused for another reason.
    #[error("cannot make room for {what} in {}: {source}", folder.display())]
    Io {
        /// What for.
        what: &'static str,
        /// Where.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

/// Takes `bytes` bytes of the disk for `file`, which is empty, in `folder`, for
/// `what`. The file is empty again where there are not so many.
///
/// # Errors
///
/// [`RoomError`] where it does not have them.
pub fn take(file: &File, bytes: u64, what: &'static str, folder: &Path) -> Result<(), RoomError> {
    // Asked first, for a file system that has not so much gives away what it has
    // before it says so.
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
        // A file system that cannot do it (NFS 3): what is written is there.
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

/// Bytes that there are on a file's disk, if it says.
fn free(file: &File) -> Option<u64> {
    let disk = fstatvfs(file).ok().filter(|disk| disk.f_blocks > 0)?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

fn write_zeros(mut file: &File, bytes: u64) -> io::Result<()> {
    io::copy(&mut io::repeat(0).take(bytes), &mut file)?;
    // Some say only now that they have no room.
    file.sync_data()
}

/// Room that is kept for what is written at the end. It is free when this is
/// dropped, and when this process is killed.
#[derive(Debug)]
pub struct Reserve(File);

impl Reserve {
    /// Keeps `bytes` bytes of the disk of `folder` for `what`.
    ///
    /// # Errors
    ///
    /// [`RoomError`] where there are not so many.
    pub fn make(folder: &Path, bytes: u64, what: &'static str) -> Result<Self, RoomError> {
        let file = tempfile::tempfile_in(folder).map_err(|source| RoomError::Io {
            what,
            folder: folder.to_owned(),
            source,
        })?;
        take(&file, bytes, what, folder)?;
        Ok(Self(file))
    }

    /// Keeps no more than `bytes` bytes.
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub fn shrink(&self, bytes: u64) -> io::Result<()> {
        self.0.set_len(bytes)
    }
}

/// Whether the disk of `folder` has no room left, as far as it says.
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
        // It has no name that anybody would have to remove.
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
        // No disk is as large.
        let error = take(&file, 1 << 42, "frames", folder.path()).unwrap_err();
        let said = error.to_string();
        assert!(
            said.contains("frames take 4398046.5 MB in ") && said.contains(" MB are free"),
            "{said}"
        );
        assert_eq!(file.metadata().unwrap().len(), 0);
    }
}
