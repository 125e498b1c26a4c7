//! The file of frames on the host: raw, one after the other. It is the guest's
//! first disk, to which captured frames are written if its memory does not hold
//! them, and which has the frames to be played.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::PathBuf;

use super::folder::Folder;
use super::witness::{Claim, ReportedFrame, Verdict, WitnessLog};
use crate::rig::room::{self, RoomError};
use crate::vm::progress::Progress;

/// Unit of the file's size; a block device needs whole blocks.
const BLOCK: u64 = 4096;

/// Why an operation on the file of frames failed.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The host's disk has no room for the file.
    #[error(transparent)]
    Room(#[from] RoomError),
    /// The system refused an operation.
    #[error("cannot {what} {path}: {source}")]
    Io {
        /// The attempted action.
        what: &'static str,
        /// Path of the file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

/// The file of frames.
#[derive(Debug)]
pub struct Disk {
    path: PathBuf,
    frame_bytes: u32,
    room: u64,
}

impl Disk {
    /// Creates the file in `folder`, and allocates room for `frames` frames of
    /// up to `frame_bytes` bytes each.
    ///
    /// # Errors
    ///
    /// [`DiskError`] if the file cannot be created; it does not exist then.
    pub fn make(folder: &Folder, frame_bytes: u32, frames: u32) -> Result<Self, DiskError> {
        let path = folder.frames();
        let room = (u64::from(frame_bytes) * u64::from(frames)).next_multiple_of(BLOCK);
        let disk = Self {
            path,
            frame_bytes,
            room,
        };
        let file = File::create_new(&disk.path).map_err(|source| disk.error("make", source))?;
        room::take(&file, room, "the frames", folder.path()).inspect_err(|_| {
            // An empty file would only be in the way.
            let _ = fs::remove_file(&disk.path);
        })?;
        Ok(disk)
    }

    /// Returns the size of the file in bytes, as it was created.
    pub fn room(&self) -> u64 {
        self.room
    }

    /// Opens the file for reading and writing.
    ///
    /// # Errors
    ///
    /// [`DiskError`] if that is not possible.
    pub fn open(&self) -> Result<File, DiskError> {
        let file = File::options().read(true).write(true).open(&self.path);
        file.map_err(|source| self.error("open", source))
    }

    /// Truncates the file to the captured or played frames, one for each of
    /// `reports`, and judges each. A record verifies one frame only: two that claim
    /// one sequence number are not both what the card wrote or read.
    ///
    /// # Errors
    ///
    /// [`DiskError`] if the file cannot be read.
    pub fn judge(
        &self,
        reports: &[ReportedFrame],
        witness: &WitnessLog,
        progress: &Progress,
    ) -> Result<Vec<Verdict>, DiskError> {
        let file = self.open()?;
        let lengths = self.lengths(reports, witness);
        file.set_len(lengths.iter().sum())
            .map_err(|source| self.error("cut", source))?;

        let step = progress.step("comparing every byte");
        let mut content = Vec::with_capacity(self.frame_bytes as usize);
        let mut verdicts = Vec::with_capacity(reports.len());
        let mut next = witness.frames().keys().copied();
        let mut taken = BTreeSet::new();
        for (frame, (report, length)) in reports.iter().zip(lengths).enumerate() {
            content.clear();
            Read::take(&file, length)
                .read_to_end(&mut content)
                .map_err(|source| self.error("read", source))?;
            let claimed = match report.claim {
                Claim::Sequence(sequence) => Some(sequence),
                Claim::Next => next.next(),
                Claim::Likeness => None,
            };
            let mut verdict = witness.judge(frame as u32, claimed, &content);
            verdict.error = report.error;
            // A refused buffer has the number of the frame before. Frames that
            // look the same are told apart by their numbers alone.
            verdict.repeated = match (verdict.sequence, report.claim) {
                (Some(sequence), Claim::Sequence(_) | Claim::Next) if !report.error => {
                    !taken.insert(sequence)
                }
                _ => false,
            };
            verdict.verified &= !verdict.error && !verdict.repeated;
            verdicts.push(verdict);
            step.position(frame as u64 + 1, reports.len() as u64);
        }
        step.done();
        Ok(verdicts)
    }

    /// Returns the length of each frame; the frames lie one after the other.
    /// The guest's report is believed up to one byte more than a frame can
    /// have, which is wrong for sure.
    fn lengths(&self, reports: &[ReportedFrame], witness: &WitnessLog) -> Vec<u64> {
        let longest = u64::from(self.frame_bytes);
        let mut written = witness.frames().values();
        let lengths = reports.iter().map(|report| {
            let written = written.next().map(|frame| frame.bytes() as u64);
            let length = report.bytes.or(written).unwrap_or(longest);
            length.min(longest + 1)
        });
        lengths.collect()
    }

    /// Returns the error of an operation on the file.
    pub fn error(&self, what: &'static str, source: io::Error) -> DiskError {
        DiskError::Io {
            what,
            path: self.path.clone(),
            source,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::card::witness::{DIGEST_BLOCK, Digest, PlaneRecord, Record};

    /// Returns a witness of frames with those bytes.
    fn witness(frames: &[&[u8]], folder: &tempfile::TempDir) -> WitnessLog {
        let path = folder.path().join("witness");
        let lines = (0..).zip(frames).map(|(sequence, frame)| {
            let record = Record::Frame {
                sequence,
                session: 1,
                direction: None,
                buffer: 0,
                time_ns: 0,
                planes: vec![PlaneRecord {
                    bytes: frame.len() as u32,
                    segments: Vec::new(),
                    digests: frame.chunks(DIGEST_BLOCK).map(Digest::of).collect(),
                }],
            };
            serde_json::to_string(&record).unwrap() + "\n"
        });
        fs::write(&path, lines.collect::<String>()).unwrap();
        WitnessLog::read(&path).unwrap()
    }

    fn report(claim: Claim, bytes: Option<u64>) -> ReportedFrame {
        ReportedFrame {
            claim,
            bytes,
            error: false,
        }
    }

    fn judged(content: &[u8], reports: &[ReportedFrame]) -> Vec<(u64, bool)> {
        let folder = tempfile::tempdir().unwrap();
        let frames = [&[1; 5000][..], &[2; 100], &[3; 9000]];
        let witness = witness(&frames, &folder);
        let claimed = Folder::claim(folder.path()).unwrap();
        let disk = Disk::make(&claimed, 10_000, 3).unwrap();
        let path = claimed.frames();
        fs::write(&path, content).unwrap();
        let verdicts = disk.judge(reports, &witness, &Progress::silent()).unwrap();
        let left = fs::metadata(&path).unwrap().len();
        assert!(left >= verdicts.iter().map(|verdict| verdict.bytes).sum());
        verdicts.iter().map(|v| (v.bytes, v.verified)).collect()
    }

    #[test]
    fn frames_of_any_length_lie_one_after_the_other() {
        let all = [vec![1; 5000], vec![2; 100], vec![3; 9000]].concat();
        let right = [(5000, true), (100, true), (9000, true)];
        let told = [5000, 100, 9000].map(Some);
        let numbers = [0, 1, 2].map(Claim::Sequence);
        for claims in [numbers, [Claim::Next; 3], [Claim::Likeness; 3]] {
            for bytes in [told, [None; 3]] {
                let frames = claims.into_iter().zip(bytes);
                let reports: Vec<_> = frames.map(|(claim, bytes)| report(claim, bytes)).collect();
                assert_eq!(judged(&all, &reports), right, "{reports:?}");
            }
        }
    }

    #[test]
    fn what_the_guest_claims_wrongly_is_not_verified() {
        let all = [vec![1; 5000], vec![2; 100], vec![3; 9000]].concat();
        let claim = |sequence, bytes| report(Claim::Sequence(sequence), Some(bytes));
        let reports = [claim(0, 4999), claim(1, 100)];
        assert_eq!(judged(&all, &reports), [(4999, false), (100, false)]);
        let wild = [claim(0, u64::MAX), claim(2, u64::MAX)];
        assert_eq!(judged(&all, &wild), [(10_001, false), (4099 + 5902, false)]);
        assert_eq!(judged(&all[..10], &[claim(0, 0)]), [(0, false)]);
    }

    #[test]
    fn a_record_verifies_one_frame_only() {
        let twice = [[1; 5000], [1; 5000]].concat();
        let first = report(Claim::Sequence(0), Some(5000));
        assert_eq!(
            judged(&twice, &[first, first]),
            [(5000, true), (5000, false)]
        );
        // Frames without numbers may look the same.
        let alike = report(Claim::Likeness, Some(5000));
        assert_eq!(judged(&twice, &[alike; 2]), [(5000, true); 2]);
    }

    #[test]
    fn written_frames_are_what_the_card_read_in_that_order() {
        let lengths = [5000, 9000, 100].map(|bytes| report(Claim::Next, Some(bytes)));
        let swapped = [vec![1; 5000], vec![3; 9000], vec![2; 100]].concat();
        let verdicts = judged(&swapped, &lengths);
        assert_eq!(verdicts, [(5000, true), (9000, false), (100, false)]);
        // Four were written, and the card read three.
        let lengths = [5000, 100, 9000, 100].map(|bytes| report(Claim::Next, Some(bytes)));
        let more = [vec![1; 5000], vec![2; 100], vec![3; 9000], vec![2; 100]].concat();
        let verified = judged(&more, &lengths).into_iter().map(|(_, it)| it);
        assert!(verified.eq([true, true, true, false]));
    }

    #[test]
    fn a_buffer_with_an_error_is_not_verified_and_keeps_its_place() {
        let all = [vec![1; 5000], vec![1; 5000], vec![2; 100]].concat();
        let played = |sequence, bytes| report(Claim::Sequence(sequence), Some(bytes));
        let refused = ReportedFrame {
            error: true,
            ..played(0, 5000)
        };
        let verdicts = judged(&all, &[played(0, 5000), refused, played(1, 100)]);
        assert_eq!(verdicts, [(5000, true), (5000, false), (100, true)]);
        // Before the first frame its number is that of no frame.
        let verdicts = judged(&all, &[refused, played(0, 5000), played(1, 100)]);
        assert_eq!(verdicts, [(5000, false), (5000, true), (100, true)]);
    }
}
