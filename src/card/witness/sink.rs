//! The witness, as the card sees it.

use std::io;

use super::{Digest, PlaneRecord, Record};
use crate::card::Direction;
use crate::dma::Segment;

/// What takes the records of a card.
pub trait RecordSink: Send {
    /// Takes a record, and returns the planes of an earlier one, for their
    /// allocations, if there is one.
    ///
    /// # Errors
    /// The sink takes no record any more.
    fn take(&mut self, record: Record) -> io::Result<Vec<PlaneRecord>>;

    /// Has the records that were taken written. The card calls this while no
    /// frame is due.
    ///
    /// # Errors
    /// As [`take`](Self::take).
    fn flush(&mut self) -> io::Result<()>;

    /// Waits until they are written.
    ///
    /// # Errors
    /// As [`take`](Self::take).
    fn finish(&mut self) -> io::Result<()>;
}

/// The witness: records of what the card does, or nothing at all.
///
/// If the sink fails, the witness gives it up with one line in the log, and the
/// card continues.
pub struct Witness {
    sink: Option<Box<dyn RecordSink>>,
    /// The planes of the frame that is being written or read.
    planes: Vec<PlaneRecord>,
    /// Their number.
    count: usize,
}

impl Witness {
    /// Returns a witness that records nothing.
    pub fn off() -> Self {
        Self::with(None)
    }

    /// Returns a witness whose records `sink` takes.
    pub fn new(sink: impl RecordSink + 'static) -> Self {
        Self::with(Some(Box::new(sink)))
    }

    fn with(sink: Option<Box<dyn RecordSink>>) -> Self {
        Self {
            sink,
            planes: Vec::new(),
            count: 0,
        }
    }

    /// Prepares for a stream whose frames have `planes` memory planes.
    pub fn begin(&mut self, planes: usize) {
        self.count = planes;
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

    /// Records a frame: the segments of each of its memory planes, and the
    /// number of bytes written or read there. The frame's digests are already in
    /// [`digests`](Self::digests).
    pub fn frame(
        &mut self,
        frame: FrameTransferred,
        memory: impl Iterator<Item = (impl Iterator<Item = Segment>, u32)>,
    ) {
        if self.sink.is_none() {
            return;
        }
        for (plane, (segments, bytes)) in self.planes.iter_mut().zip(memory) {
            plane.bytes = bytes;
            plane.segments.clear();
            plane
                .segments
                .extend(segments.map(|segment| (segment.start, segment.len)));
        }
        let planes = std::mem::take(&mut self.planes);
        if let Some(planes) = self.take(Record::Frame {
            sequence: frame.sequence,
            session: frame.session,
            direction: frame.direction,
            buffer: frame.buffer,
            time_ns: frame.time_ns,
            planes,
        }) {
            self.planes = planes;
        }
        self.planes.resize_with(self.count, PlaneRecord::default);
    }

    /// Records what is not a frame.
    pub fn record(&mut self, record: Record) {
        self.take(record);
    }

    fn take(&mut self, record: Record) -> Option<Vec<PlaneRecord>> {
        let taken = self.sink.as_mut()?.take(record);
        self.unless_failed(taken)
    }

    /// Has the records written.
    pub fn flush(&mut self) {
        if let Some(sink) = &mut self.sink {
            let flushed = sink.flush();
            self.unless_failed(flushed);
        }
    }

    /// Waits until the records are written.
    pub fn finish(&mut self) {
        if let Some(sink) = &mut self.sink {
            let finished = sink.finish();
            self.unless_failed(finished);
        }
    }

    /// Gives the sink up if it has failed.
    fn unless_failed<T>(&mut self, result: io::Result<T>) -> Option<T> {
        result
            .inspect_err(|error| {
                log::error!("the witness cannot be written any more: {error}; going on without it");
                self.sink = None;
            })
            .ok()
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.flush();
    }
}

/// The frame that was written or read, its buffer, and the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameTransferred {
    /// V4L2 sequence number.
    pub sequence: u32,
    /// The session.
    pub session: u32,
    /// Of a mem-to-mem card, whether the frame was read or written.
    pub direction: Option<Direction>,
    /// Index of the buffer.
    pub buffer: u32,
    /// Nanoseconds since STREAMON.
    pub time_ns: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::card::witness::Lines;
    use std::io::Write;
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

    const FRAME: FrameTransferred = FrameTransferred {
        sequence: 3,
        session: 1,
        direction: None,
        buffer: 0,
        time_ns: 5,
    };

    /// The memory of a frame without planes.
    const NOWHERE: [(std::option::IntoIter<Segment>, u32); 0] = [];

    #[test]
    fn frames_are_lines_that_read_back() {
        let sink = Sink {
            bytes: Arc::default(),
            room: usize::MAX,
        };
        let mut witness = Witness::new(Lines::new(sink.clone()));
        witness.begin(2);
        for len in [4096, 17] {
            let segments = [64, 1 << 20].map(|start| [Segment { start, len }]);
            for plane in [0, 1] {
                let digests = witness.digests(plane).unwrap();
                digests.push(Digest(u64::from(len) + plane as u64));
            }
            witness.frame(
                FRAME,
                segments.iter().map(|list| (list.iter().copied(), len)),
            );
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
            direction: None,
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
        off.frame(FRAME, NOWHERE.into_iter());
        off.flush();
    }

    #[test]
    fn a_sink_that_fails_is_given_up() {
        let mut witness = Witness::new(Lines::new(Sink {
            bytes: Arc::default(),
            room: 10,
        }));
        witness.begin(1);
        assert!(witness.digests(0).is_some());
        witness.frame(FRAME, NOWHERE.into_iter());
        witness.flush();
        assert!(witness.digests(0).is_none());
        witness.frame(FRAME, NOWHERE.into_iter());
    }
}
