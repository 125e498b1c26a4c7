//! The cache: `$XDG_CACHE_HOME/pinhole/KIND/NAME/KEY`.
//!
//! An entry is a directory that exists completely or not at all. A process
//! builds it as `KEY.partial` beside its final place, flushes it to disk, and
//! renames it. The building process holds a lock on `KEY.lock`, and so do the
//! programs that it started, which have the lock as their standard input: a
//! second process waits until all of them are gone. A `KEY.partial` found under
//! the lock therefore belongs to a dead build, and is removed.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FlockOperation, flock, fsync, syncfs};
use rustix::io::Errno;
use twox_hash::XxHash3_128;

use super::{Context, Error, Result};
use crate::vm::interrupt;
use crate::vm::progress::Progress;

/// Interval between two attempts to take a lock that another process holds.
const LOCK_RETRY: Duration = Duration::from_millis(200);

/// Returns the key of an entry: a digest of a text that describes all its
/// ingredients.
pub fn key(made_of: &str) -> String {
    format!("{:032x}", XxHash3_128::oneshot(made_of.as_bytes()))[..16].to_owned()
}

/// The place of an entry in the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Kind of the entry: `tree`, `guest`, `driver`, `frame-vector-probe`,
    /// `qemu`, `clients`.
    pub kind: &'static str,
    /// Name of its owner, readable in the directory.
    pub name: String,
    /// Digest of its ingredients; see [`key`].
    pub key: String,
}

/// The files and lock of a build.
#[derive(Debug)]
pub struct Workspace<'a> {
    /// An empty directory that becomes the entry.
    pub dir: &'a Path,
    /// File for programs' output; it outlives the build.
    pub log: &'a Path,
    /// The lock on the entry, for the standard input of started programs.
    pub lock: &'a File,
}

/// The cache of the user.
#[derive(Debug, Clone)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// Opens the cache under `$XDG_CACHE_HOME`, or `~/.cache` if that is unset
    /// or not absolute (XDG Base Directory Specification).
    pub fn open() -> Result<Self> {
        let absolute = |name| {
            std::env::var_os(name)
                .map(PathBuf::from)
                .filter(|p| p.is_absolute())
        };
        let base = absolute("XDG_CACHE_HOME")
            .or_else(|| absolute("HOME").map(|home| home.join(".cache")))
            .ok_or(Error::NoCache)?;
        Ok(Self::at(base.join("pinhole")))
    }

    /// Returns a cache in a given directory.
    pub fn at(root: PathBuf) -> Self {
        Self { root }
    }

    /// Returns the directory of the cache.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the directory of all entries of a kind and name, whatever their
    /// key.
    pub fn shelf(&self, kind: &str, name: &str) -> PathBuf {
        self.root.join(kind).join(name)
    }

    /// Returns the entry's directory, if it exists.
    pub fn get(&self, entry: &Entry) -> Option<PathBuf> {
        Some(self.path(entry)).filter(|path| path.is_dir())
    }

    /// Returns the entry's directory; calls `build` to make it if it does not
    /// exist.
    pub fn ensure(
        &self,
        entry: &Entry,
        progress: &Progress,
        build: impl FnOnce(&Workspace<'_>) -> Result<()>,
    ) -> Result<PathBuf> {
        let path = self.path(entry);
        if path.is_dir() {
            return Ok(path);
        }
        let lock = self.lock(entry, progress)?;
        // Another process may have built it while this one waited.
        if path.is_dir() {
            return Ok(path);
        }
        let partial = Partial(path.with_extension("partial"));
        partial.clear()?;
        fs::create_dir(&partial.0).context("create", &partial.0)?;
        let log = self.fresh_log(&format!("{}-{}", entry.kind, entry.name))?;
        build(&Workspace {
            dir: &partial.0,
            log: &log,
            lock: &lock,
        })?;
        if interrupt::requested() {
            return Err(Error::Interrupted);
        }
        self.publish(&partial.0, &path)?;
        Ok(path)
    }

    /// Returns the path of a log for a build with that name; no file exists
    /// there.
    pub fn fresh_log(&self, name: &str) -> Result<PathBuf> {
        let logs = self.root.join("log");
        fs::create_dir_all(&logs).context("create", &logs)?;
        let log = logs.join(format!("{name}.log"));
        // An existing file is the log of an earlier build.
        match fs::remove_file(&log) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error).context("remove", &log),
            _ => Ok(log),
        }
    }

    /// Removes all entries of a kind and name, except the key `keep`; returns
    /// the disk space that this freed, in bytes.
    pub fn remove(
        &self,
        kind: &'static str,
        name: &str,
        keep: Option<&str>,
        progress: &Progress,
    ) -> Result<u64> {
        let mut freed = 0;
        for path in list(&self.shelf(kind, name))? {
            let file = path.file_name().unwrap_or_default().to_string_lossy();
            let key = file.strip_suffix(".partial").unwrap_or(&file);
            if !path.is_dir() || keep == Some(key) {
                continue;
            }
            let entry = Entry {
                kind,
                name: name.to_owned(),
                key: key.to_owned(),
            };
            let _lock = self.lock(&entry, progress)?;
            freed += disk_usage(&path);
            // The entry is renamed first and then removed, so that its place
            // never holds half of it.
            let partial = Partial(self.path(&entry).with_extension("partial"));
            if path != partial.0 {
                partial.clear()?;
                fs::rename(&path, &partial.0).context("rename", &path)?;
            }
            partial.clear()?;
        }
        Ok(freed)
    }

    fn path(&self, entry: &Entry) -> PathBuf {
        self.shelf(entry.kind, &entry.name).join(&entry.key)
    }

    /// Locks an entry; the lock is released when all processes that hold the
    /// file have closed it.
    fn lock(&self, entry: &Entry, progress: &Progress) -> Result<File> {
        let shelf = self.shelf(entry.kind, &entry.name);
        fs::create_dir_all(&shelf).context("create", &shelf)?;
        let path = shelf.join(format!("{}.lock", entry.key));
        let file = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .context("open", &path)?;
        let mut waiting = None;
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(file),
                Err(Errno::WOULDBLOCK) => {}
                Err(error) => return Err(error).context("lock", &path),
            }
            waiting.get_or_insert_with(|| {
                progress.step(format!(
                    "waiting for another pinhole that is at work on the {} of {}",
                    entry.kind, entry.name
                ))
            });
            let watch = interrupt::watch().context("watch signals for", &path)?;
            let timeout = Timespec {
                tv_sec: 0,
                tv_nsec: LOCK_RETRY.subsec_nanos().into(),
            };
            if let Ok(1) = poll(&mut [PollFd::new(&watch, PollFlags::IN)], Some(&timeout)) {
                return Err(Error::Interrupted);
            }
        }
    }

    /// Makes a complete build visible, once all of it is on disk.
    fn publish(&self, partial: &Path, path: &Path) -> Result<()> {
        let dir = File::open(partial).context("open", partial)?;
        syncfs(&dir).context("flush", partial)?;
        fs::rename(partial, path).context("rename", partial)?;
        let shelf = path.parent().unwrap_or(&self.root);
        File::open(shelf)
            .and_then(|dir| fsync(&dir).map_err(Into::into))
            .context("flush", shelf)
    }
}

/// An incomplete build: removed when dropped, unless it was renamed before.
struct Partial(PathBuf);

impl Partial {
    fn clear(&self) -> Result<()> {
        match fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).context("remove", &self.0)
            }
            _ => Ok(()),
        }
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if let Err(error) = self.clear() {
            log::warn!("{error}");
        }
    }
}

/// Returns the paths in a directory, sorted; none if the directory does not
/// exist.
pub fn list(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).context("read", dir),
    };
    let mut paths = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .context("read", dir)?;
    paths.sort();
    Ok(paths)
}

/// Returns the disk space under a path in bytes. A hard link counts as often as
/// it is found; a file that cannot be read counts nothing.
pub fn disk_usage(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(meta) = fs::symlink_metadata(path) else {
        return 0;
    };
    let below = if meta.is_dir() {
        list(path)
            .unwrap_or_default()
            .iter()
            .map(|path| disk_usage(path))
            .sum()
    } else {
        0
    };
    meta.blocks() * 512 + below
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn entry(key: &str) -> Entry {
        Entry {
            kind: "tree",
            name: "guest".to_owned(),
            key: key.to_owned(),
        }
    }

    fn cache() -> (tempfile::TempDir, Cache) {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::at(dir.path().join("cache"));
        (dir, cache)
    }

    /// As `xxhsum -H2` says, and as older versions of this program did: what a
    /// user's cache has is found again.
    #[test]
    fn a_key_is_half_of_xxh3_128() {
        assert_eq!(key("qemu 1:7.2"), "9e43733cf6478274");
        assert_eq!(key(&"linux-image ".repeat(100)), "f9588a298904ea08");
    }

    #[test]
    fn a_failed_build_leaves_nothing() {
        let (_dir, cache) = cache();
        let error = cache.ensure(&entry("a"), &Progress::silent(), |workspace| {
            fs::write(workspace.dir.join("half"), "").unwrap();
            Err(Error::NoMirror)
        });
        assert!(matches!(error, Err(Error::NoMirror)));
        assert_eq!(cache.get(&entry("a")), None);
        let left = list(&cache.shelf("tree", "guest")).unwrap();
        assert!(left.iter().all(|path| path.is_file()), "{left:?}");
    }

    #[test]
    fn what_a_dead_build_left_is_not_in_the_next() {
        let (_dir, cache) = cache();
        let stale = cache.shelf("tree", "guest").join("a.partial");
        fs::create_dir_all(&stale).unwrap();
        fs::write(stale.join("stale"), "").unwrap();
        let built = cache
            .ensure(&entry("a"), &Progress::silent(), |workspace| {
                assert_eq!(list(workspace.dir).unwrap(), [""; 0].map(PathBuf::from));
                fs::write(workspace.dir.join("whole"), "").unwrap();
                Ok(())
            })
            .unwrap();
        assert_eq!(list(&built).unwrap(), [built.join("whole")]);
        assert!(!stale.exists());
    }

    #[test]
    fn one_of_many_builds() {
        let (_dir, cache) = cache();
        let builds = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    cache.ensure(&entry("a"), &Progress::silent(), |_| {
                        builds.fetch_add(1, Ordering::Relaxed);
                        Ok(())
                    })
                });
            }
        });
        assert_eq!(builds.into_inner(), 1);
    }

    #[test]
    fn removal_spares_the_key_to_keep() {
        let (_dir, cache) = cache();
        for key in ["a", "b"] {
            let build = |workspace: &Workspace<'_>| {
                fs::write(workspace.dir.join("file"), [1; 10_000]).unwrap();
                Ok(())
            };
            cache
                .ensure(&entry(key), &Progress::silent(), build)
                .unwrap();
        }
        let remove = |keep| {
            cache
                .remove("tree", "guest", keep, &Progress::silent())
                .unwrap()
        };
        assert!(remove(Some("b")) >= 10_000);
        assert_eq!(cache.get(&entry("a")), None);
        assert!(cache.get(&entry("b")).is_some());
        assert!(remove(None) >= 10_000);
        assert_eq!(remove(None), 0);
        assert_eq!(cache.get(&entry("b")), None);
    }
}
