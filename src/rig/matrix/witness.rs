//! Reads the card's witness while it is being written.

use std::borrow::Cow;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::ops::Not;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::agent::cell::evidence::FrameSeen;
use crate::agent::cell::{Flow, PAGE};
use crate::card::witness::{PlaneRecord, Record};
use crate::card::{CardKind, Direction};
use crate::rig::capture::witness::WitnessError;

/// The frames that the card wrote to a cell's buffer, or read from it; a stream is
/// single-planar.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CardFrames {
    /// The sequence number of each frame, and the record of its plane.
    frames: Vec<(u32, PlaneRecord)>,
    /// Number of frames that were written or read after the cell's stream had
    /// ended.
    late: usize,
    /// Those of the cell's further buffers, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    further: Vec<Self>,
    /// Whether nobody recorded them, and they are what the process can tell of them.
    #[serde(default, skip_serializing_if = "Not::not")]
    unwitnessed: bool,
}

impl CardFrames {
    /// Returns no frames yet, of a device that has no witness.
    pub(super) fn unwitnessed() -> Self {
        Self {
            unwitnessed: true,
            ..Self::default()
        }
    }

    /// Returns whether the device's witness has recorded them. If it has none, they
    /// have no segments.
    pub fn is_witnessed(&self) -> bool {
        !self.unwitnessed
    }

    /// Returns the frames in `records`, which begin before the streams of a cell of
    /// that flow do. If the cell has two buffers in one queue, each has its own frames.
    pub fn of(flow: Flow, has_two: bool, records: Vec<Record>) -> Self {
        let mut queues = Queues::of(flow);
        for record in records {
            match record {
                Record::StreamOn {
                    session, direction, ..
                } => queues.switch(session, direction, true),
                Record::StreamOff {
                    session, direction, ..
                } => queues.switch(session, direction, false),
                Record::Frame {
                    session,
                    direction,
                    sequence,
                    buffer,
                    planes,
                    ..
                } => {
                    let queue = queues.of_session(session, direction);
                    queue.frames.late += usize::from(!queue.on);
                    let frames = match has_two && buffer > 0 {
                        true => queue.frames.second(),
                        false => &mut queue.frames,
                    };
                    for plane in planes {
                        frames.add(sequence, plane);
                    }
                }
            }
        }
        queues.into_frames()
    }

    /// Returns the frames of the cell's buffer `number`, counted from 0.
    pub fn of_buffer(&self, number: usize) -> Cow<'_, Self> {
        match number.checked_sub(1) {
            None => Cow::Borrowed(self),
            Some(place) => Cow::Owned(self.further.get(place).cloned().unwrap_or_default()),
        }
    }

    /// Returns those of the second buffer of the same queue.
    fn second(&mut self) -> &mut Self {
        if self.further.is_empty() {
            self.further.push(Self::default());
        }
        &mut self.further[0]
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

    /// Returns these frames with those of the cell's further buffers.
    pub(super) fn with(self, further: Vec<Self>) -> Self {
        Self { further, ..self }
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

/// The queues of a cell's buffers, while the witness is read.
struct Queues {
    flow: Flow,
    /// The sessions, in the order in which they began to stream: one for each open
    /// file, if the card is a mem-to-mem card.
    sessions: Vec<u32>,
    queues: Vec<Queue>,
}

/// A queue: whether it streams, and its frames so far.
#[derive(Clone, Default)]
struct Queue {
    on: bool,
    frames: CardFrames,
}

impl Queues {
    fn of(flow: Flow) -> Self {
        Self {
            flow,
            sessions: Vec::new(),
            queues: vec![Queue::default(); flow.ends().len()],
        }
    }

    fn switch(&mut self, session: u32, direction: Option<Direction>, on: bool) {
        if on && !self.sessions.contains(&session) {
            self.sessions.push(session);
        }
        self.of_session(session, direction).on = on;
    }

    /// Returns a session's queue; the first, if the cell has no such file.
    fn of_session(&mut self, session: u32, direction: Option<Direction>) -> &mut Queue {
        let file = self.sessions.iter().position(|one| *one == session);
        let mut ends = self.flow.ends().iter();
        let place = ends.position(|end| {
            let of_file = self.flow.card() != CardKind::M2m || Some(end.file) == file;
            of_file && direction.is_none_or(|direction| direction == end.direction)
        });
        &mut self.queues[place.unwrap_or(0)]
    }

    fn into_frames(self) -> CardFrames {
        let mut queues = self.queues.into_iter().map(|queue| queue.frames);
        let mut first = queues.next().unwrap_or_default();
        first.further.extend(queues);
        first
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
    use crate::agent::cell::Ends;
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
            touched: None,
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

    /// Returns the lines of a witness.
    fn records(lines: &[&str]) -> Vec<Record> {
        let of = |line: &&str| serde_json::from_str(line).unwrap();
        lines.iter().map(of).collect()
    }

    fn on(session: u32, direction: &str) -> String {
        format!(
            r#"{{"event":"stream-on","session":{session},"wall_ns":1,"format":"GREY","width":16,
                "height":16,"card":"m2m","direction":"{direction}","bytesperline":[16],
                "sizeimage":[256]}}"#
        )
    }

    fn frame_of(session: u32, direction: &str, bytes: u32) -> String {
        format!(
            r#"{{"event":"frame","sequence":0,"session":{session},"buffer":0,"time_ns":1,
                "direction":"{direction}",
                "planes":[{{"bytes":{bytes},"segments":[],"digests":[]}}]}}"#
        )
    }

    #[test]
    fn each_buffer_has_the_frames_of_its_queue() {
        let off =
            r#"{"event":"stream-off","session":7,"direction":"output","frames":1,"dropped":0}"#;
        let lines = [
            on(7, "output"),
            on(7, "capture"),
            on(9, "output"),
            on(9, "capture"),
            frame_of(9, "output", 1),
            frame_of(7, "output", 2),
            frame_of(7, "capture", 3),
            frame_of(9, "capture", 4),
            off.to_owned(),
            frame_of(7, "output", 5),
        ];
        let lines: Vec<_> = lines.iter().map(String::as_str).collect();
        let bytes = |frames: &CardFrames, number| {
            let of_it = frames.of_buffer(number);
            let bytes = of_it.frames().iter().map(|(_, plane)| plane.bytes);
            (bytes.collect::<Vec<_>>(), of_it.late())
        };
        let two = CardFrames::of(Flow::M2m(Ends::TwoFiles), false, records(&lines));
        assert_eq!(bytes(&two, 0), (vec![2, 5], 1));
        assert_eq!(bytes(&two, 1), (vec![3], 0));
        assert_eq!(bytes(&two, 2), (vec![1], 0));
        assert_eq!(bytes(&two, 3), (vec![4], 0));
        // The first buffer may be the one that is written to.
        let one = CardFrames::of(Flow::M2m(Ends::Written), false, records(&lines[..2]));
        assert_eq!(one.frames().len(), 0);
        let lines = [lines[0], lines[1], lines[5], lines[6]];
        let one = CardFrames::of(Flow::M2m(Ends::Written), false, records(&lines));
        assert_eq!(bytes(&one, 0), (vec![3], 0));
        assert_eq!(bytes(&one, 1), (vec![2], 0));
        let text = serde_json::to_string(&one).unwrap();
        assert_eq!(serde_json::from_str::<CardFrames>(&text).unwrap(), one);
    }

    #[test]
    fn each_of_two_buffers_of_a_queue_has_its_own_frames() {
        let frame = |buffer: u32, bytes: u32| {
            frame_of(7, "capture", bytes).replace(r#""buffer":0"#, &format!(r#""buffer":{buffer}"#))
        };
        let lines = [on(7, "capture"), frame(0, 1), frame(1, 2)];
        let lines: Vec<_> = lines.iter().map(String::as_str).collect();
        let bytes = |has_two, number| {
            let frames = CardFrames::of(Flow::Capture, has_two, records(&lines));
            let of_it = frames.of_buffer(number);
            let bytes = of_it.frames().iter().map(|(_, plane)| plane.bytes);
            bytes.collect::<Vec<_>>()
        };
        assert_eq!([bytes(true, 0), bytes(true, 1)], [[1], [2]]);
        assert_eq!((bytes(false, 0), bytes(false, 1)), (vec![1, 2], vec![]));
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
