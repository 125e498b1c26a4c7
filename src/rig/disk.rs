//! The disk that takes the frames out of the guest: a raw file, which the
//! application in the guest writes as a block device.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::PathBuf;

use super::data::{Testimony, Verdict};
use crate::vm::progress::Progress;

/// Sizes of the file are multiples of this, for the block device's sake.
const BLOCK: u64 = 4096;

/// What failed on the file of frames.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} {path}: {source}")]
pub struct DiskError {
    what: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// The file of frames.
#[derive(Debug)]
pub struct Disk {
    path: PathBuf,
    frame_bytes: u32,
}

impl Disk {
    /// Makes the file, sparse, with room for `frames` frames of `frame_bytes`
    /// bytes each.
    ///
    /// # Errors
    ///
    /// [`DiskError`] where it cannot be made.
    pub fn make(path: PathBuf, frame_bytes: u32, frames: u32) -> Result<Self, DiskError> {
        let disk = Self { path, frame_bytes };
        let room = u64::from(frame_bytes) * u64::from(frames);
        let file = File::create_new(&disk.path).map_err(|source| disk.error("make", source))?;
        file.set_len(room.next_multiple_of(BLOCK))
            .map_err(|source| disk.error("make room in", source))?;
        Ok(disk)
    }

    /// Cuts the file to the frames that were captured, one for each of
    /// `claims`, and judges each; a claim is the sequence number that the
    /// application was told, if it was told one.
    ///
    /// # Errors
    ///
    /// [`DiskError`] where the file cannot be read.
    pub fn judge(
        &self,
        claims: &[Option<u32>],
        testimony: &Testimony,
        progress: &Progress,
    ) -> Result<Vec<Verdict>, DiskError> {
        let mut file = File::options()
            .read(true)
            .write(true)
            .open(&self.path)
            .map_err(|source| self.error("open", source))?;
        let length = claims.len() as u64 * u64::from(self.frame_bytes);
        file.set_len(length)
            .map_err(|source| self.error("cut", source))?;

        let step = progress.step("comparing every byte");
        let mut content = vec![0; self.frame_bytes as usize];
        let mut verdicts = Vec::with_capacity(claims.len());
        for (frame, claim) in claims.iter().enumerate() {
            file.read_exact(&mut content)
                .map_err(|source| self.error("read", source))?;
            verdicts.push(testimony.judge(frame as u32, *claim, &content));
            step.position(frame as u64 + 1, claims.len() as u64);
        }
        step.done();
        Ok(verdicts)
    }

    fn error(&self, what: &'static str, source: io::Error) -> DiskError {
        DiskError {
            what,
            path: self.path.clone(),
            source,
        }
    }
}
