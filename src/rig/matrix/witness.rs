//! Reads the card's witness while it is being written.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::agent::cell::PAGE;
use crate::agent::cell::evidence::FrameSeen;
use crate::card::witness::{PlaneRecord, Record};
use crate::rig::capture::witness::WitnessError;

/// The frames that the card wrote or read during a cell, whose stream is
/// single-planar.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CardFrames {
    /// The sequence number of each frame, and the record of its plane.
    frames: Vec<(u32, PlaneRecord)>,
    /// Number of frames that were written or read after the cell's stream had
    /// ended.
    late: usize,
}

impl CardFrames {
    /// Returns the frames in `records`, which begin before the cell's stream
    /// does.
    pub fn of(records: Vec<Record>) -> Self {
        let mut card_frames = Self::default();
        let mut on = false;
        for record in records {
            match record {
                Record::StreamOn { .. } => on = true,
                Record::StreamOff { .. } => on = false,
                Record::Frame {
                    sequence, planes, ..
                } => {
                    card_frames.late += usize::from(!on);
                    for plane in planes {
                        card_frames.add(sequence, plane);
                    }
                }
            }
        }
        card_frames
    }

    /// Adds the record of a frame's plane.
    pub fn add(&mut self, sequence: u32, plane: PlaneRecord) {
        self.frames.push((sequence, plane));
    }

    /// Returns the record of an observed frame: the one with its sequence
    /// number. If several streams have that number, returns the one whose
    /// digests are equal, since different streams have different patterns; if
    /// none is, the first.
    pub fn frame(&self, seen: &FrameSeen) -> Option<&PlaneRecord> {
        let frames = self.frames.iter();
        let mut planes = frames
            .filter(|(number, _)| *number == seen.sequence)
            .map(|(_, plane)| plane);
        let first = planes.clone().next();
        let is_alike = |plane: &&PlaneRecord| {
            let written = plane.digests.iter().copied().map(Some);
            written.eq(seen.own().iter().copied())
        };
        planes.find(is_alike).or(first)
    }

    /// Returns all frames, in the order in which they were written or read.
    pub fn frames(&self) -> &[(u32, PlaneRecord)] {
        &self.frames
    }

    /// Returns how many frames were written or read while no stream was on; it
    /// must be 0.
    pub fn late(&self) -> usize {
        self.late
    }
}

/// Returns the page frame of each page that a plane's segments touch, in order,
/// and whether a segment begins with it; at most `most` pages. Segments that
/// meet within a page touch it once.
pub fn pages(plane: &PlaneRecord, most: usize) -> Vec<(u64, bool)> {
    let page = PAGE as u64;
    let mut pages: Vec<(u64, bool)> = Vec::new();
    let mut end_before = None;
    for &(start, length) in plane.segments.iter().filter(|(_, length)| *length > 0) {
        let end = start.saturating_add(length.into());
        let mut first = start / page;
        if end_before == Some(start) && !start.is_multiple_of(page) {
            first += 1;
        }
        let frames = first..end.div_ceil(page);
        let room = most.saturating_sub(pages.len());
        pages.extend(frames.map(|frame| (frame, frame == first)).take(room));
        end_before = Some(end);
    }
    pages
}

/// A reader of a witness that is still being written.
#[derive(Debug)]
pub struct Follower {
    path: PathBuf,
    reader: BufReader<File>,
    /// The beginning of a line whose end has not been written yet.
    partial: String,
    line: usize,
}

impl Follower {
    /// Follows the witness at `path` from its beginning.
    ///
    /// # Errors
    ///
    /// [`WitnessError::Io`] if it cannot be opened.
    pub fn open(path: &Path) -> Result<Self, WitnessError> {
        let file = File::open(path).map_err(|source| WitnessError::Io {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            path: path.to_owned(),
            reader: BufReader::new(file),
            partial: String::new(),
            line: 0,
        })
    }

    /// Returns the records that were written since the last call.
    ///
    /// # Errors
    ///
    /// [`WitnessError`] if the file cannot be read or a line is not a record.
    pub fn new_records(&mut self) -> Result<Vec<Record>, WitnessError> {
        let mut records = Vec::new();
        loop {
            let read = self.reader.read_line(&mut self.partial);
            let length = read.map_err(|source| WitnessError::Io {
                path: self.path.clone(),
                source,
            })?;
            if length == 0 || !self.partial.ends_with('\n') {
                return Ok(records);
            }
            self.line += 1;
            let record = serde_json::from_str(&self.partial);
            records.push(record.map_err(|source| WitnessError::Syntax {
                path: self.path.clone(),
                line: self.line,
                source,
            })?);
            self.partial.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::dma::Digest;

    #[test]
    fn frames_of_several_streams_are_told_apart_by_what_they_hold() {
        let plane = |digest| PlaneRecord {
            digests: vec![Digest(digest)],
            ..PlaneRecord::default()
        };
        let mut card_frames = CardFrames::default();
        card_frames.add(0, plane(7));
        card_frames.add(1, plane(8));
        card_frames.add(0, plane(9));
        let frame = |sequence, digest| FrameSeen {
            index: 0,
            sequence,
            flags: 0,
            bytesused: 1,
            digests: vec![Some(Digest(digest))],
            sent: Vec::new(),
        };
        assert_eq!(card_frames.frame(&frame(0, 9)), Some(&plane(9)));
        assert_eq!(card_frames.frame(&frame(0, 8)), Some(&plane(7)));
        assert_eq!(card_frames.frame(&frame(2, 7)), None);
        let sent = FrameSeen {
            sent: vec![Some(Digest(9))],
            ..frame(0, 8)
        };
        assert_eq!(card_frames.frame(&sent), Some(&plane(9)));
    }

    #[test]
    fn segments_are_pages() {
        let frames = |segments: &[(u64, u32)]| {
            let plane = PlaneRecord {
                segments: segments.to_vec(),
                ..PlaneRecord::default()
            };
            let pages = pages(&plane, 3).into_iter();
            pages.map(|(frame, _)| frame).collect::<Vec<_>>()
        };
        assert_eq!(frames(&[(0x1000, 4096), (0x9000, 1)]), [1, 9]);
        assert_eq!(frames(&[(0x1040, 4096)]), [1, 2]);
        // One page is given in two segments.
        assert_eq!(frames(&[(0x1040, 0x40), (0x1080, 0xf80)]), [1]);
        assert_eq!(frames(&[(0x1000, 4096), (0x2000, 4096)]), [1, 2]);
        assert_eq!(frames(&[(0x1000, 0x9000)]), [1, 2, 3]);
        assert!(frames(&[]).is_empty());
    }

    #[test]
    fn a_line_is_read_once_it_is_whole() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let mut follower = Follower::open(file.path()).unwrap();
        assert_eq!(follower.new_records().unwrap(), []);
        let line = r#"{"event":"stream-off","session":1,"frames":2,"dropped":0}"#;
        let (early, late) = line.split_at(20);
        write!(file, "{line}\n{early}").unwrap();
        assert_eq!(follower.new_records().unwrap().len(), 1);
        assert_eq!(follower.new_records().unwrap().len(), 0);
        writeln!(file, "{late}").unwrap();
        let news = follower.new_records().unwrap();
        assert!(matches!(news[..], [Record::StreamOff { frames: 2, .. }]));
        writeln!(file, "x").unwrap();
        let error = follower.new_records().unwrap_err().to_string();
        assert!(error.contains("line 3"), "{error}");
    }
}
