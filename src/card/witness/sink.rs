//! Where the witness is written to.

use std::io::{self, BufWriter, Write};

use super::{Digest, PlaneRecord, Record};
use crate::dma::Segment;

/// Bytes collected before they are written: a few frames' worth, so that a
/// frame costs one write, if that.
const BUFFER: usize = 64 * 1024;

/// The witness: records of what the card does, or nothing at all.
///
/// A sink that fails is given up with one line in the log; the card goes on.
pub struct Witness {
    sink: Option<BufWriter<Box<dyn Write + Send>>>,
    /// The record of the frame under way; kept for its memory.
    planes: Vec<PlaneRecord>,
}

impl Witness {
    /// No witness.
    pub fn off() -> Self {
        Self {
            sink: None,
            planes: Vec::new(),
        }
    }

    /// A witness that writes to `sink`.
    pub fn new(sink: Box<dyn Write + Send>) -> Self {
        Self {
            sink: Some(BufWriter::with_capacity(BUFFER, sink)),
            planes: vec![PlaneRecord::default()],
        }
    }

    /// Where the digests of the frame that now begins are to go; `None` if
    /// nobody wants them.
    pub fn digests(&mut self) -> Option<&mut Vec<Digest>> {
        self.sink.as_ref()?;
        let digests = &mut self.planes.first_mut()?.digests;
        digests.clear();
        Some(digests)
    }

    /// Records a frame of `bytes` bytes in `segments`, whose digests were
    /// collected in [`digests`](Self::digests).
    pub fn frame(&mut self, frame: FrameWritten, segments: &[Segment], bytes: u32) {
        if self.sink.is_none() {
            return;
        }
        let mut planes = std::mem::take(&mut self.planes);
        if let Some(plane) = planes.first_mut() {
            plane.bytes = bytes;
            plane.segments.clear();
            plane
                .segments
                .extend(segments.iter().map(|segment| (segment.start, segment.len)));
        }
        let record = Record::Frame {
            sequence: frame.sequence,
            session: frame.session,
            buffer: frame.buffer,
            time_ns: frame.time_ns,
            planes,
        };
        self.record(&record);
        if let Record::Frame { planes, .. } = record {
            self.planes = planes;
        }
    }

    /// Writes one record.
    pub fn record(&mut self, record: &Record) {
        self.attempt(|sink| {
            serde_json::to_writer(&mut *sink, record)?;
            sink.write_all(b"\n")
        });
    }

    /// Passes on what was collected.
    pub fn flush(&mut self) {
        self.attempt(|sink| {
            if sink.buffer().is_empty() {
                return Ok(());
            }
            sink.flush()
        });
    }

    fn attempt(
        &mut self,
        action: impl FnOnce(&mut BufWriter<Box<dyn Write + Send>>) -> io::Result<()>,
    ) {
        if let Some(sink) = &mut self.sink
            && let Err(error) = action(sink)
        {
            log::error!("the witness cannot be written any more: {error}; going on without it");
            // Dropping a BufWriter would try the same bytes once more.
            if let Some(sink) = self.sink.take() {
                drop(sink.into_parts());
            }
        }
    }
}

/// Which frame was written into which buffer, and when.
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
        for len in [4096, 17] {
            witness.digests().unwrap().push(Digest(u64::from(len)));
            witness.frame(FRAME, &[Segment { start: 64, len }], len);
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
            planes: vec![PlaneRecord {
                bytes: len,
                segments: vec![(64, len)],
                digests: vec![Digest(u64::from(len))],
            }],
        });
        assert_eq!(lines, expected);
    }

    #[test]
    fn without_a_sink_no_digest_is_wanted() {
        let mut off = Witness::off();
        assert!(off.digests().is_none());
        off.frame(FRAME, &[], 0);
        off.flush();
    }

    #[test]
    fn a_sink_that_fails_is_given_up() {
        let mut witness = Witness::new(Box::new(Sink {
            bytes: Arc::default(),
            room: 10,
        }));
        assert!(witness.digests().is_some());
        witness.frame(FRAME, &[], 0);
        witness.flush();
        assert!(witness.digests().is_none());
        witness.frame(FRAME, &[], 0);
    }
}
