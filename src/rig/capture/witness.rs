//! The data oracle: the application read what the card wrote, or the card what
//! the application played.
//!
//! The card's witness has a digest for every 4 KiB of every frame. A frame that
//! the application read or played is verified if its length and each of its blocks agree
//! with the record of the same sequence number. If they do not, the oracle
//! looks for the record that the frame resembles most, because "this is frame
//! 12 again" says more than "block 3 differs".

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::card::witness::{DIGEST_BLOCK, Digest, Record};

/// Why the witness could not be read.
#[derive(Debug, thiserror::Error)]
pub enum WitnessError {
    /// The file could not be opened or read.
    #[error("cannot read the witness {path}: {source}")]
    Io {
        /// Path of the witness.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// A line is not a record.
    #[error("line {line} of the witness {path} is not a record: {source}")]
    Syntax {
        /// Path of the witness.
        path: PathBuf,
        /// Line number, counted from one.
        line: usize,
        /// The parser's error.
        source: serde_json::Error,
    },
}

/// One frame as the card wrote or read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenFrame {
    /// The card's clock at completion, in nanoseconds since STREAMON.
    pub time_ns: u64,
    /// Bytes of each plane, in order.
    plane_bytes: Vec<u32>,
    /// Number of segments in the scatter lists of all planes.
    segments: usize,
    /// Digests of each plane's blocks.
    digests: Vec<Vec<Digest>>,
}

impl WrittenFrame {
    /// Returns the number of segments into which the frame was written.
    pub fn segments(&self) -> usize {
        self.segments
    }

    /// Returns the length of the whole frame in bytes.
    pub fn bytes(&self) -> usize {
        self.plane_bytes.iter().map(|bytes| *bytes as usize).sum()
    }
}

/// The record that a frame has to agree with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// The one of the sequence number that the application got.
    Sequence(u32),
    /// The next one: no number comes back from write(), but the card reads the
    /// frames in the order in which they were written.
    Next,
    /// The one that the frame resembles most: no number comes with read().
    Likeness,
}

/// The application's report on a frame of the file, which it captured or played.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReportedFrame {
    /// The record that it has to agree with.
    pub claim: Claim,
    /// Length in bytes, if it is known; else the frame has the length of the
    /// frame that the card wrote in its place.
    pub bytes: Option<u64>,
    /// Whether its buffer came back with V4L2_BUF_FLAG_ERROR.
    pub error: bool,
}

/// The judgement on one frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Index of the frame among those captured or played, from zero.
    pub frame: u32,
    /// Sequence number, as the application got it or, if it got none, as the
    /// content suggests (read()) or the order of the frames (write()).
    pub sequence: Option<u32>,
    /// Length in bytes in the application's file.
    pub bytes: u64,
    /// Whether the length and every block agree with the witness, with a record
    /// that no frame before had, and the buffer came back without an error.
    pub verified: bool,
    /// Whether the buffer came back with V4L2_BUF_FLAG_ERROR.
    #[serde(skip_serializing_if = "is_false")]
    pub error: bool,
    /// Whether a frame before has the record of this sequence number.
    #[serde(skip_serializing_if = "is_false")]
    pub repeated: bool,
    /// Blocks of 4 KiB that differ, counted through the frame; each plane
    /// begins with a new block.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub bad_blocks: Vec<usize>,
    /// Another frame of the witness, which this one resembles more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resembles: Option<u32>,
}

fn is_false(value: &bool) -> bool {
    !value
}

/// The witness of one stream.
#[derive(Debug, Default)]
pub struct WitnessLog {
    frames: BTreeMap<u32, WrittenFrame>,
    /// Frame in which each digest occurs, by block and digest.
    by_block: HashMap<(usize, Digest), u32>,
    /// Start of the stream, in nanoseconds since the Unix epoch.
    begun_ns: u64,
    /// Whether the stream has begun and not ended.
    on: bool,
}

impl WitnessLog {
    /// Reads the last stream in the witness at `path`.
    ///
    /// # Errors
    ///
    /// [`WitnessError`] if the file cannot be read or a line is not a record.
    pub fn read(path: &Path) -> Result<Self, WitnessError> {
        let io = |source| WitnessError::Io {
            path: path.to_owned(),
            source,
        };
        let mut witness = Self::default();
        for (number, line) in BufReader::new(File::open(path).map_err(io)?)
            .lines()
            .enumerate()
        {
            let record = serde_json::from_str(&line.map_err(io)?).map_err(|source| {
                WitnessError::Syntax {
                    path: path.to_owned(),
                    line: number + 1,
                    source,
                }
            })?;
            witness.add(record);
        }
        Ok(witness)
    }

    fn add(&mut self, record: Record) {
        match record {
            Record::StreamOn { wall_ns, .. } => {
                *self = Self {
                    begun_ns: wall_ns,
                    on: true,
                    ..Self::default()
                }
            }
            Record::StreamOff { .. } => self.on = false,
            Record::Frame {
                sequence,
                time_ns,
                planes,
                ..
            } => {
                let mut written = WrittenFrame {
                    time_ns,
                    plane_bytes: Vec::with_capacity(planes.len()),
                    segments: planes.iter().map(|plane| plane.segments.len()).sum(),
                    digests: Vec::with_capacity(planes.len()),
                };
                let mut block = 0;
                for plane in planes {
                    for digest in &plane.digests {
                        self.by_block.insert((block, *digest), sequence);
                        block += 1;
                    }
                    written.plane_bytes.push(plane.bytes);
                    written.digests.push(plane.digests);
                }
                self.frames.insert(sequence, written);
            }
        }
    }

    /// Returns whether this is the witness of a complete stream, of which the
    /// application captured or played `captured` frames.
    pub fn is_whole(&self, captured: usize) -> bool {
        !self.on && (captured == 0 || !self.frames.is_empty())
    }

    /// Returns when the card had written or read the first frame.
    pub fn first_frame(&self) -> Option<SystemTime> {
        let (_, first) = self.frames.first_key_value()?;
        Some(
            SystemTime::UNIX_EPOCH
                + Duration::from_nanos(self.begun_ns.checked_add(first.time_ns)?),
        )
    }

    /// Returns every frame that the card wrote or read, by sequence number.
    pub fn frames(&self) -> &BTreeMap<u32, WrittenFrame> {
        &self.frames
    }

    /// Compares `content`, the frame with index `frame` of the file, planes one
    /// after the other, with the record `claimed` or, if that is `None`, with the
    /// one that it resembles most.
    pub fn judge(&self, frame: u32, claimed: Option<u32>, content: &[u8]) -> Verdict {
        let likeness = || self.most_alike(content);
        let sequence = claimed.or_else(likeness);
        let written = sequence.and_then(|sequence| self.frames.get(&sequence));
        let bad_blocks = match written {
            Some(written) => differing_blocks(written, content),
            None => (0..content.len().div_ceil(DIGEST_BLOCK)).collect(),
        };
        let whole = written.is_some_and(|written| written.bytes() == content.len());
        let verified = whole && bad_blocks.is_empty();
        let resembles = (!verified)
            .then(likeness)
            .flatten()
            .filter(|other| Some(*other) != sequence);
        Verdict {
            frame,
            sequence,
            bytes: content.len() as u64,
            verified,
            error: false,
            repeated: false,
            bad_blocks,
            resembles,
        }
    }

    /// Returns the frame that shares most blocks with `content`, at the same
    /// positions.
    fn most_alike(&self, content: &[u8]) -> Option<u32> {
        let mut votes = HashMap::<u32, u32>::new();
        for (block, bytes) in content.chunks(DIGEST_BLOCK).enumerate() {
            if let Some(sequence) = self.by_block.get(&(block, Digest::of(bytes))) {
                *votes.entry(*sequence).or_default() += 1;
            }
        }
        votes
            .into_iter()
            .max_by_key(|(sequence, votes)| (*votes, *sequence))
            .map(|(sequence, _)| sequence)
    }
}

/// Returns the blocks of `content` that differ from `written`; blocks that only
/// one of the two has count as well.
fn differing_blocks(written: &WrittenFrame, mut content: &[u8]) -> Vec<usize> {
    let mut bad = Vec::new();
    let mut block = 0;
    for (digests, bytes) in written.digests.iter().zip(&written.plane_bytes) {
        let (plane, rest) = content.split_at((*bytes as usize).min(content.len()));
        content = rest;
        let mut blocks = plane.chunks(DIGEST_BLOCK);
        for digest in digests {
            if blocks.next().map(Digest::of) != Some(*digest) {
                bad.push(block);
            }
            block += 1;
        }
    }
    bad.extend(block..block + content.len().div_ceil(DIGEST_BLOCK));
    bad
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::card::witness::PlaneRecord;

    fn content(sequence: u8) -> Vec<u8> {
        (0..10_000u32)
            .map(|at| (at / 251) as u8 ^ sequence.wrapping_mul(37))
            .collect()
    }

    fn plane(bytes: &[u8]) -> PlaneRecord {
        PlaneRecord {
            bytes: bytes.len() as u32,
            segments: vec![(0x1000, bytes.len() as u32)],
            digests: bytes.chunks(DIGEST_BLOCK).map(Digest::of).collect(),
        }
    }

    fn witness() -> WitnessLog {
        let mut witness = WitnessLog::default();
        for sequence in 0..4 {
            witness.add(Record::Frame {
                sequence,
                session: 1,
                direction: None,
                buffer: sequence,
                time_ns: 0,
                planes: vec![plane(&content(sequence as u8))],
            });
        }
        witness
    }

    #[test]
    fn the_same_bytes_are_verified() {
        let verdict = witness().judge(0, Some(2), &content(2));
        assert!(
            verdict.verified && verdict.bad_blocks.is_empty(),
            "{verdict:?}"
        );
    }

    #[test]
    fn one_byte_changed_is_seen_in_its_block() {
        for (at, block) in [(0, 0), (4095, 0), (4096, 1), (9_999, 2)] {
            let mut bytes = content(2);
            bytes[at] ^= 1;
            let verdict = witness().judge(0, Some(2), &bytes);
            assert!(!verdict.verified);
            assert_eq!(verdict.bad_blocks, [block]);
        }
    }

    #[test]
    fn a_frame_too_short_or_too_long_is_not_verified() {
        let bytes = content(1);
        let short = witness().judge(0, Some(1), &bytes[..8192]);
        assert!(!short.verified);
        assert_eq!(short.bad_blocks, [2]);
        let long = witness().judge(0, Some(1), &[&bytes[..], &[0]].concat());
        assert!(!long.verified);
        assert_eq!(long.bad_blocks, [3]);
        assert!(!witness().judge(0, Some(1), &[]).verified);
    }

    #[test]
    fn a_stale_frame_is_recognised() {
        let verdict = witness().judge(3, Some(3), &content(1));
        assert!(!verdict.verified);
        assert_eq!(verdict.resembles, Some(1));
    }

    #[test]
    fn a_sequence_number_that_the_card_never_wrote_is_not_verified() {
        let verdict = witness().judge(0, Some(9), &content(1));
        assert!(!verdict.verified);
        assert_eq!(verdict.resembles, Some(1));
        assert_eq!(verdict.bad_blocks, [0, 1, 2]);
    }

    #[test]
    fn without_a_claim_the_content_tells_the_sequence() {
        let mut bytes = content(3);
        assert_eq!(witness().judge(0, None, &bytes).sequence, Some(3));
        bytes[5000] ^= 0x80;
        let verdict = witness().judge(0, None, &bytes);
        assert_eq!((verdict.sequence, verdict.verified), (Some(3), false));
        assert_eq!(witness().judge(0, None, &[7; 10_000]).sequence, None);
    }

    #[test]
    fn planes_follow_each_other_and_each_starts_a_block() {
        let (luma, chroma) = (content(0), content(1)[..5_001].to_vec());
        let mut witness = WitnessLog::default();
        witness.add(Record::Frame {
            sequence: 0,
            session: 1,
            direction: None,
            buffer: 0,
            time_ns: 0,
            planes: vec![plane(&luma), plane(&chroma)],
        });
        let mut bytes = [luma, chroma].concat();
        assert!(witness.judge(0, Some(0), &bytes).verified);
        bytes[10_000] ^= 1;
        assert_eq!(witness.judge(0, Some(0), &bytes).bad_blocks, [3]);
    }

    #[test]
    fn a_line_that_is_no_record_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(
            file.path(),
            "{\"event\":\"stream-off\",\"session\":1,\"frames\":1,\"dropped\":0}\n{\"ev\n",
        )
        .unwrap();
        let error = WitnessLog::read(file.path()).unwrap_err().to_string();
        assert!(error.starts_with("line 2 of the witness"), "{error}");
    }
}
