//! The output directory of a capture, or of frames that are played. One command
//! uses it at a time, and removes the files of an earlier one.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::agent::protocol::LogRecord;
use crate::rig::kernel_log;

/// Why a directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// The system refused an operation.
    #[error("cannot {what} {path}: {source}")]
    Io {
        /// The attempted action.
        what: &'static str,
        /// Path of the file or directory.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Another capture, or play, is writing to the directory.
    #[error("another pinhole is writing to {0}; name a different folder with --out")]
    InUse(PathBuf),
}

/// The output directory of a capture, locked until this is dropped.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// The open directory, which holds the lock.
    _lock: File,
}

impl Folder {
    /// The names of all files that a capture leaves.
    const FILES: [&str; 7] = [
        "frames.raw",
        "report.json",
        "contact-sheet.png",
        "console.log",
        "card.log",
        "witness.jsonl",
        "kernel.log",
    ];

    /// Creates the directory if it does not exist, locks it for this process,
    /// and removes the files of an earlier capture.
    ///
    /// # Errors
    ///
    /// [`FolderError::InUse`] if another capture holds the lock,
    /// [`FolderError::Io`] if the directory cannot be created or cleared.
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

    /// Returns the path of the directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the path of the raw frames, one after the other, as the
    /// application read them.
    pub fn frames(&self) -> PathBuf {
        self.path.join(Self::FILES[0])
    }

    /// Returns the path of the outcome as JSON.
    pub fn report(&self) -> PathBuf {
        self.path.join(Self::FILES[1])
    }

    /// Returns the path of a picture with some of the frames.
    pub fn contact_sheet(&self) -> PathBuf {
        self.path.join(Self::FILES[2])
    }

    /// Returns the path of the guest's console output.
    pub fn console(&self) -> PathBuf {
        self.path.join(Self::FILES[3])
    }

    /// Returns the path of the card's standard error.
    pub fn card_log(&self) -> PathBuf {
        self.path.join(Self::FILES[4])
    }

    /// Writes the guest's kernel log, from the boot to the end of the stream.
    ///
    /// # Errors
    ///
    /// [`FolderError::Io`] if it cannot be written.
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

    /// Returns the path of the card's witness.
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
