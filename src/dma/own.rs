//! Memory of the card's own, which a front end can map for its guest.
//!
//! Each piece is a memfd of whole pages, sealed against any change of its
//! length: the front end gets the file, and could otherwise cut it under the
//! card. Pages are zero until the card writes to them, and take host memory
//! from then on.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use vm_memory::{FileOffset, MmapRegion};

/// A piece of the card's own memory.
#[derive(Debug)]
pub struct OwnMemory {
    region: Arc<MmapRegion>,
    file: Arc<File>,
    length: u32,
    /// Number of mappings that the guest has of it.
    mapped: AtomicUsize,
    /// The bytes in use of its pool.
    used: Arc<AtomicU64>,
}

impl OwnMemory {
    /// Returns the length that was asked for, in bytes.
    pub fn length(&self) -> u32 {
        self.length
    }

    /// Returns the size in bytes, which is a multiple of the page size.
    pub fn size(&self) -> u64 {
        self.region.size() as u64
    }

    /// Returns the file, whose first byte is the memory's first.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Returns whether the guest has mapped it.
    pub fn is_mapped(&self) -> bool {
        self.mapped.load(Ordering::Relaxed) > 0
    }

    /// Returns the card's own mapping.
    pub(super) fn region(&self) -> Arc<MmapRegion> {
        Arc::clone(&self.region)
    }
}

impl Drop for OwnMemory {
    fn drop(&mut self) {
        self.used.fetch_sub(self.size(), Ordering::Relaxed);
    }
}

/// A mapping that the guest has. The memory exists as long as the mapping.
#[derive(Debug)]
pub struct Mapped(Arc<OwnMemory>);

impl Mapped {
    /// Notes that the guest maps `memory`.
    pub fn new(memory: Arc<OwnMemory>) -> Self {
        memory.mapped.fetch_add(1, Ordering::Relaxed);
        Self(memory)
    }

    /// Returns the memory.
    pub fn memory(&self) -> &Arc<OwnMemory> {
        &self.0
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        self.0.mapped.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Makes memory of the card's own, up to a limit. Memory counts as long as
/// anything holds it.
#[derive(Debug)]
pub struct Pool {
    limit: u64,
    used: Arc<AtomicU64>,
}

impl Pool {
    /// Returns a pool of `limit` bytes.
    pub fn new(limit: u64) -> Self {
        Self {
            limit,
            used: Arc::default(),
        }
    }

    /// Returns the bytes that are left.
    pub fn left(&self) -> u64 {
        self.limit.saturating_sub(self.used.load(Ordering::Relaxed))
    }

    /// Makes memory for `length` bytes, which are zero.
    ///
    /// # Errors
    /// The pool has too few bytes left, or the system refuses.
    pub fn make(&self, length: u32) -> io::Result<OwnMemory> {
        let size = size_of(length);
        if size > self.left() {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        // Linux knows the flag since 6.3; a host may insist on it
        // (vm.memfd_noexec).
        let file = match memfd_create("pinhole-buffer", flags | MemfdFlags::NOEXEC_SEAL) {
            Err(rustix::io::Errno::INVAL) => memfd_create("pinhole-buffer", flags),
            other => other,
        }?;
        let file = File::from(file);
        file.set_len(size)?;
        fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        let offset = FileOffset::new(file, 0);
        let file = Arc::clone(offset.arc());
        let region = MmapRegion::from_file(offset, size as usize).map_err(io::Error::other)?;
        self.used.fetch_add(size, Ordering::Relaxed);
        Ok(OwnMemory {
            region: Arc::new(region),
            file,
            length,
            mapped: AtomicUsize::new(0),
            used: Arc::clone(&self.used),
        })
    }
}

/// Returns the size of memory for `length` bytes: whole pages.
pub fn size_of(length: u32) -> u64 {
    u64::from(length).next_multiple_of(rustix::param::page_size() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;
    use std::os::unix::fs::FileExt;

    #[test]
    fn the_length_is_whole_pages_and_can_never_change() {
        let pool = Pool::new(1 << 20);
        let memory = pool.make(5000).unwrap();
        assert_eq!((memory.length(), memory.size()), (5000, 8192));
        for length in [0, 4096, 16384] {
            assert!(memory.file().set_len(length).is_err(), "{length}");
        }
        let more = fcntl_add_seals(memory.file(), SealFlags::WRITE);
        assert_eq!(more, Err(Errno::PERM));
        let mut bytes = [1; 8192];
        memory.file().read_exact_at(&mut bytes, 0).unwrap();
        assert_eq!(bytes, [0; 8192]);
    }

    #[test]
    fn memory_counts_until_nothing_holds_it() {
        let pool = Pool::new(3 * 4096);
        let first = Arc::new(pool.make(4097).unwrap());
        assert_eq!(pool.left(), 4096);
        assert!(pool.make(4097).is_err());
        let _second = pool.make(1).unwrap();
        assert!(pool.make(1).is_err());
        let mapped = Mapped::new(Arc::clone(&first));
        assert!(first.is_mapped());
        drop(first);
        assert_eq!(pool.left(), 0, "the mapping holds it");
        drop(mapped);
        assert_eq!(pool.left(), 2 * 4096);
    }
}
