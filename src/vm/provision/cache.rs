//! The cache: `$XDG_CACHE_HOME/pinhole/KIND/NAME/KEY`.
//!
//! An entry is a directory that is there whole or not at all: it is built as
//! `KEY.partial` beside its place, flushed to disk, and renamed. Who builds
//! holds a lock on `KEY.lock`, and so do the programs it started, which have
//! the lock as their standard input: a second process waits until all of them
//! are gone. A `KEY.partial` found under the lock is therefore a dead build's,
//! and is removed.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FlockOperation, flock, fsync, syncfs};
use rustix::io::Errno;
use xxhash_rust::xxh3::xxh3_128;

use super::{Context, Error, Result};
use crate::vm::interrupt;
use crate::vm::progress::Progress;

/// How often a lock that another process holds is tried again.
const LOCK_RETRY: Duration = Duration::from_millis(200);

/// The key of something: a digest of a text that says all it is made of.
pub fn key(made_of: &str) -> String {
    format!("{:032x}", xxh3_128(made_of.as_bytes()))[..16].to_owned()
}

/// Where a thing is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What it is: `tree`, `guest`, `driver`, `frame-vector-probe`, `qemu`,
    /// `clients`.
    pub kind: &'static str,
    /// Whose it is, for a reader of the directory.
    pub name: String,
    /// What it is made of; see [`key`].
    pub key: String,
}

/// What a build gets to work with.
#[derive(Debug)]
pub struct Workspace<'a> {
    /// An empty directory that becomes the entry.
    pub dir: &'a Path,
    /// Where programs' output goes; it outlives the build.
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
    /// The cache under `$XDG_CACHE_HOME`, or `~/.cache` where that is unset or
    /// not absolute (XDG Base Directory Specification).
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

    /// A cache at a place of one's own.
    pub fn at(root: PathBuf) -> Self {
        Self { root }
    }

    /// The directory of the cache.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// All that is kept of a kind under a name, whatever its key.
    pub fn shelf(&self, kind: &str, name: &str) -> PathBuf {
        self.root.join(kind).join(name)
    }

    /// The entry's directory, if it is there.
    pub fn get(&self, entry: &Entry) -> Option<PathBuf> {
        Some(self.path(entry)).filter(|path| path.is_dir())
    }

    /// The entry's directory; built by `build` if it is not there.
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

    /// Where to log what is built under a name; nothing is there yet.
    pub fn fresh_log(&self, name: &str) -> Result<PathBuf> {
        let logs = self.root.join("log");
        fs::create_dir_all(&logs).context("create", &logs)?;
        let log = logs.join(format!("{name}.log"));
        // What is there is of an earlier build.
        match fs::remove_file(&log) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error).context("remove", &log),
            _ => Ok(log),
        }
    }

    /// Removes everything of a kind under a name, but for the key `keep`;
    /// returns how many bytes of disk that gave back.
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
            // First out of sight, then away: never half of it in its place.
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

    /// The lock on an entry; freed when the file is closed by all who have it.
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

    /// Makes a whole build visible, once all of it is on disk.
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

/// A build that is not whole: removed when dropped, unless renamed by then.
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

/// The paths in a directory, sorted; none if there is no such directory.
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

/// Bytes of disk under a path, hard links counted as often as they are met;
/// what cannot be read counts nothing.
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
