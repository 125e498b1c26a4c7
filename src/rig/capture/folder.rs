//! The folder that a capture leaves behind: one capture at a time, and nothing
//! in it of an earlier one.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::agent::protocol::LogRecord;
use crate::rig::kernel_log;

/// Why a folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// The system refused.
    #[error("cannot {what} {path}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another capture writes there now.
    #[error("another capture is writing to {0}; name a different folder with --out")]
    InUse(PathBuf),
}

/// The folder of a capture, held for it alone until dropped.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// Holds the lock.
    _lock: File,
}

impl Folder {
    /// The names of everything that a capture leaves.
    const FILES: [&str; 7] = [
        "frames.raw",
        "report.json",
        "contact-sheet.png",
        "console.log",
        "card.log",
        "witness.jsonl",
        "kernel.log",
    ];

    /// Makes the folder if it is not there, takes it for this process, and
    /// removes what an earlier capture left in it.
    ///
    /// # Errors
    ///
    /// [`FolderError::InUse`] where another capture holds it,
    /// [`FolderError::Io`] where it cannot be made or cleared.
    pub fn claim(path: &Path) -> Result<Self, FolderError> {
        let io = |what, path: &Path| {
            let path = path.to_owned();
            move |source: io::Error| FolderError::Io { what, path, source }
        };
        fs::create_dir_all(path).map_err(io("make the folder", path))?;
        let lock = File::open(path).map_err(io("open the folder", path))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(FolderError::InUse(path.to_owned())),
            Err(error) => return Err(io("lock the folder", path)(error.into())),
        }
        for name in Self::FILES {
            let file = path.join(name);
            match fs::remove_file(&file) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(io("remove", &file)(error));
                }
                _ => {}
            }
        }
        Ok(Self {
            path: path.to_owned(),
            _lock: lock,
        })
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The raw frames, one after the other, as the application read them.
    pub fn frames(&self) -> PathBuf {
        self.path.join(Self::FILES[0])
    }

    /// The outcome as JSON.
    pub fn report(&self) -> PathBuf {
        self.path.join(Self::FILES[1])
    }

    /// Some frames as a picture.
    pub fn contact_sheet(&self) -> PathBuf {
        self.path.join(Self::FILES[2])
    }

    /// What the guest said on its console.
    pub fn console(&self) -> PathBuf {
        self.path.join(Self::FILES[3])
    }

    /// What the card said on its standard error.
    pub fn card_log(&self) -> PathBuf {
        self.path.join(Self::FILES[4])
    }

    /// Writes the guest's kernel log, from its start until the stream had
    /// ended.
    ///
    /// # Errors
    ///
    /// [`FolderError::Io`] where it cannot be written.
    pub fn write_kernel_log(&self, log: &[LogRecord]) -> Result<(), FolderError> {
        let path = self.path.join(Self::FILES[6]);
        let lines: String = log
            .iter()
            .map(|record| kernel_log::line(record) + "\n")
            .collect();
        fs::write(&path, lines).map_err(|source| FolderError::Io {
            what: "write",
            path,
            source,
        })
    }

    /// What the card says it wrote.
    pub fn witness(&self) -> PathBuf {
        self.path.join(Self::FILES[5])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_made_and_what_an_earlier_capture_left_is_gone() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a/b");
        let folder = Folder::claim(&path).unwrap();
        fs::write(folder.report(), "old").unwrap();
        fs::write(path.join("mine.txt"), "kept").unwrap();
        drop(folder);
        let folder = Folder::claim(&path).unwrap();
        assert!(!folder.report().exists());
        assert!(path.join("mine.txt").exists());
    }

    #[test]
    fn a_second_capture_is_refused_and_harms_nothing() {
        let parent = tempfile::tempdir().unwrap();
        let folder = Folder::claim(parent.path()).unwrap();
        fs::write(folder.report(), "mine").unwrap();
        let error = Folder::claim(parent.path()).unwrap_err();
        assert!(matches!(error, FolderError::InUse(_)));
        assert!(error.to_string().contains("--out"));
        assert!(folder.report().exists());
    }
}
