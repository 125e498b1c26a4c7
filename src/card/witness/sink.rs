//! The sink to which the witness is written.

use std::io::{self, Write};

use super::{Digest, PlaneRecord, Record};
use crate::dma::Segment;

/// Number of bytes collected before they are passed on: a few frames' worth.
const COLLECTED: usize = 64 * 1024;

/// The witness: records of what the card does, or nothing at all.
///
/// If the sink fails, the witness gives it up with one line in the log, and the
/// card continues.
pub struct Witness {
    sink: Option<Box<dyn Write + Send>>,
    /// Lines that have not been passed on.
    lines: Vec<u8>,
    /// The last frame, whose record is not written yet.
    frame: Option<FrameWritten>,
    /// The planes of that frame; kept for their allocations.
    planes: Vec<PlaneRecord>,
}

impl Witness {
    /// Returns a witness that records nothing.
    pub fn off() -> Self {
        Self::with(None)
    }

    /// Returns a witness that writes to `sink`.
    pub fn new(sink: Box<dyn Write + Send>) -> Self {
        Self::with(Some(sink))
    }

    fn with(sink: Option<Box<dyn Write + Send>>) -> Self {
        Self {
            sink,
            lines: Vec::new(),
            frame: None,
            planes: Vec::new(),
        }
    }

    /// Prepares for a stream whose frames have `planes` memory planes.
    pub fn begin(&mut self, planes: usize) {
        self.tell();
        self.planes.resize_with(planes, PlaneRecord::default);
    }

    /// Returns the place for the digests of a plane of the frame that begins
    /// now, or `None` if there is no sink.
    pub fn digests(&mut self, plane: usize) -> Option<&mut Vec<Digest>> {
        self.sink.as_ref()?;
        let digests = &mut self.planes.get_mut(plane)?.digests;
        digests.clear();
        Some(digests)
    }

    /// Notes a frame: the segments of each of its memory planes, and the number
    /// of bytes written there. The frame's digests are already in
    /// [`digests`](Self::digests). [`tell`](Self::tell) writes its record and
    /// must be called before the next frame begins.
    pub fn frame<'s>(
        &mut self,
        frame: FrameWritten,
        memory: impl Iterator<Item = (&'s [Segment], u32)>,
    ) {
        if self.sink.is_none() {
            return;
        }
        for (plane, (segments, bytes)) in self.planes.iter_mut().zip(memory) {
            plane.bytes = bytes;
            plane.segments.clear();
            plane
                .segments
                .extend(segments.iter().map(|segment| (segment.start, segment.len)));
        }
        self.frame = Some(frame);
    }

    /// Writes the record of the last frame, if it is not written yet.
    pub fn tell(&mut self) {
        let Some(frame) = self.frame.take() else {
            return;
        };
        let record = Record::Frame {
            sequence: frame.sequence,
            session: frame.session,
            buffer: frame.buffer,
            time_ns: frame.time_ns,
            planes: std::mem::take(&mut self.planes),
        };
        self.write(&record);
        if let Record::Frame { planes, .. } = record {
            self.planes = planes;
        }
    }

    /// Writes one record.
    pub fn record(&mut self, record: &Record) {
        self.tell();
        self.write(record);
    }

    fn write(&mut self, record: &Record) {
        if self.sink.is_none() {
            return;
        }
        let written = serde_json::to_writer(&mut self.lines, record);
        self.lines.push(b'\n');
        if let Err(error) = written {
            self.give_up(&error.into());
        } else if self.lines.len() >= COLLECTED {
            self.pass_on();
        }
    }

    /// Passes the collected records on to the sink.
    pub fn flush(&mut self) {
        self.tell();
        if !self.lines.is_empty() {
            self.pass_on();
        }
    }

    /// Passes the collected records on, and waits until the sink has written
    /// them.
    pub fn finish(&mut self) {
        self.flush();
        if let Some(sink) = &mut self.sink
            && let Err(error) = sink.flush()
        {
            self.give_up(&error);
        }
    }

    fn pass_on(&mut self) {
        if let Some(sink) = &mut self.sink
            && let Err(error) = sink.write_all(&self.lines)
        {
            self.give_up(&error);
        }
        self.lines.clear();
    }

    fn give_up(&mut self, error: &io::Error) {
        log::error!("the witness cannot be written any more: {error}; going on without it");
        self.sink = None;
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.flush();
    }
}

/// The frame that was written, its buffer, and the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameWritten {
    /// V4L2 sequence number.
    pub sequence: u32,
    /// The session.
    pub session: u32,
    /// Index of the buffer.
    pub buffer: u32,
    /// Nanoseconds since STREAMON.
    pub time_ns: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    /// A sink that takes `room` bytes and then fails.
    #[derive(Clone)]
    struct Sink {
        bytes: Arc<Mutex<Vec<u8>>>,
        room: usize,
    }

    impl Write for Sink {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            let mut bytes = self.bytes.lock().unwrap();
            if bytes.len() + buf.len() > self.room {
                return Err(io::ErrorKind::StorageFull.into());
            }
            bytes.extend_from_slice(buf);
            Ok(buf.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    const FRAME: FrameWritten = FrameWritten {
        sequence: 3,
        session: 1,
        buffer: 0,
        time_ns: 5,
    };

    #[test]
    fn frames_are_lines_that_read_back() {
        let sink = Sink {
            bytes: Arc::default(),
            room: usize::MAX,
        };
        let mut witness = Witness::new(Box::new(sink.clone()));
        witness.begin(2);
        for len in [4096, 17] {
            let segments = [64, 1 << 20].map(|start| [Segment { start, len }]);
            for plane in [0, 1] {
                let digests = witness.digests(plane).unwrap();
                digests.push(Digest(u64::from(len) + plane as u64));
            }
            witness.frame(FRAME, segments.iter().map(|list| (&list[..], len)));
            witness.tell();
        }
        assert!(sink.bytes.lock().unwrap().is_empty());
        witness.flush();
        let text = String::from_utf8(sink.bytes.lock().unwrap().clone()).unwrap();
        let lines: Vec<Record> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let expected = [4096, 17].map(|len| Record::Frame {
            sequence: 3,
            session: 1,
            buffer: 0,
            time_ns: 5,
            planes: [64, 1 << 20]
                .into_iter()
                .zip(0..)
                .map(|(start, plane)| PlaneRecord {
                    bytes: len,
                    segments: vec![(start, len)],
                    digests: vec![Digest(u64::from(len) + plane)],
                })
                .collect(),
        });
        assert_eq!(lines, expected);
    }

    #[test]
    fn without_a_sink_no_digest_is_wanted() {
        let mut off = Witness::off();
        assert!(off.digests(0).is_none());
        off.frame(FRAME, std::iter::empty());
        off.flush();
    }

    #[test]
    fn a_sink_that_fails_is_given_up() {
        let mut witness = Witness::new(Box::new(Sink {
            bytes: Arc::default(),
            room: 10,
        }));
        witness.begin(1);
        assert!(witness.digests(0).is_some());
        witness.frame(FRAME, std::iter::empty());
        witness.flush();
        assert!(witness.digests(0).is_none());
        witness.frame(FRAME, std::iter::empty());
    }
}
