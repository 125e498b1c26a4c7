//! A thread that turns records into lines and writes them. A slow disk, or a
//! reader that takes a few bytes at a time, does not hold up the card until
//! there is no room for one more record.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::lines;
use super::{PlaneRecord, Record, RecordSink};

/// Largest number of bytes, in memory, of the records that may wait while as
/// many are being written: four frames of 3840x2160 in single pages, or most of a
/// second of 1280x720 at 60.
const ROOM: usize = 640 << 10;

/// How long the card waits for room, or for the waiting records to be written,
/// before it gives the witness up.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long the end of the process waits for the remaining records to be
/// written.
const FAREWELL: Duration = Duration::from_millis(500);

/// Number of bytes that are written at once: a few frames' lines.
const COLLECTED: usize = 64 * 1024;

/// Largest number of frames' vectors that are kept for reuse.
const SPARE: usize = 2;

/// A file or socket to which a witness can be written.
pub trait Target: Write + Send + 'static {
    /// Truncates the target to `length` bytes, to remove the first half of a
    /// line whose second half could not be written. Does nothing if the target
    /// cannot be truncated.
    fn cut(&mut self, _length: u64) {}
}

impl Target for UnixStream {}

impl Target for File {
    fn cut(&mut self, length: u64) {
        // This fails for a file that is not regular, such as a FIFO.
        let _ = self.set_len(length);
    }
}

#[derive(Debug, Default)]
struct State {
    /// The records that wait to be written, and their size in memory.
    waiting: VecDeque<Record>,
    size: usize,
    /// Vectors of frames that are written.
    spare: Vec<Vec<PlaneRecord>>,
    /// Whether the thread is writing records taken from `waiting`.
    writes: bool,
    /// Whether the target has failed and the thread has ended; `error` keeps
    /// the error until it is reported.
    failed: bool,
    error: Option<io::Error>,
    /// Whether the card is gone and no more records come.
    closed: bool,
}

impl State {
    fn is_idle(&self) -> bool {
        self.failed || self.waiting.is_empty() && !self.writes
    }
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `is_so` holds for the state, at most for `limit`. Returns
    /// whether it holds.
    fn wait<'s>(
        &'s self,
        state: MutexGuard<'s, State>,
        limit: Duration,
        is_so: impl Fn(&State) -> bool,
    ) -> (MutexGuard<'s, State>, bool) {
        if is_so(&state) {
            return (state, true);
        }
        // What was taken and not flushed has to be written to make room.
        self.changed.notify_all();
        let (state, _) = self
            .changed
            .wait_timeout_while(state, limit, |state| !is_so(state))
            .unwrap_or_else(PoisonError::into_inner);
        let is_so = is_so(&state);
        (state, is_so)
    }
}

/// A sink whose records a thread writes to a [`Target`].
///
/// `take` takes a record or fails: after the target has failed, or if there is
/// no room within a second. `flush` wakes the thread. `finish` waits until
/// everything is written, at most for a second.
#[derive(Debug)]
pub struct Background {
    shared: Arc<Shared>,
    patience: Duration,
}

impl Background {
    /// Starts the thread that writes to `target`, which is empty.
    ///
    /// # Errors
    /// The system cannot start a thread.
    pub fn start(target: impl Target) -> io::Result<Self> {
        Self::with_patience(target, PATIENCE)
    }

    fn with_patience(mut target: impl Target, patience: Duration) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let writer = Arc::clone(&shared);
        thread::Builder::new()
            .name("witness".into())
            .spawn(move || write_all(&writer, &mut target))?;
        Ok(Self { shared, patience })
    }
}

impl RecordSink for Background {
    fn take(&mut self, record: Record) -> io::Result<Vec<PlaneRecord>> {
        let size = size(&record);
        let fits =
            |state: &State| state.failed || state.waiting.is_empty() || state.size + size <= ROOM;
        let state = self.shared.lock();
        let (mut state, fits) = self.shared.wait(state, self.patience, fits);
        check(&mut state, fits)?;
        state.size += size;
        state.waiting.push_back(record);
        if state.size > ROOM / 4 && !state.writes {
            // A card that is always busy does not flush.
            self.shared.changed.notify_all();
        }
        Ok(state.spare.pop().unwrap_or_default())
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut state = self.shared.lock();
        check(&mut state, true)?;
        // A thread that writes looks for more before it waits.
        if !state.writes && !state.waiting.is_empty() {
            self.shared.changed.notify_all();
        }
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        let state = self.shared.lock();
        let (mut state, is_idle) = self.shared.wait(state, self.patience, State::is_idle);
        check(&mut state, is_idle)
    }
}

/// Returns the size of a record in memory.
fn size(record: &Record) -> usize {
    let planes = match record {
        Record::Frame { planes, .. } => &planes[..],
        _ => &[],
    };
    let lists = planes
        .iter()
        .map(|plane| size_of_val(&plane.segments[..]) + size_of_val(&plane.digests[..]));
    size_of::<Record>() + lists.sum::<usize>()
}

/// Returns the target's error if it has failed, or a timeout if the awaited
/// state was not reached.
fn check(state: &mut State, has_come: bool) -> io::Result<()> {
    if state.failed {
        let error = state.error.take();
        return Err(error.unwrap_or_else(|| io::ErrorKind::BrokenPipe.into()));
    }
    match has_come {
        true => Ok(()),
        false => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "it is taken too slowly",
        )),
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.closed = true;
        self.shared.changed.notify_all();
        // A target that takes no bytes does not get the rest.
        drop(self.shared.wait(state, FAREWELL, State::is_idle));
    }
}

/// Writes the waiting records until the card is gone or the target fails.
fn write_all(shared: &Shared, target: &mut impl Target) {
    let mut records = VecDeque::new();
    let mut output = Output {
        target,
        written: 0,
        whole: 0,
    };
    let mut bytes = Vec::new();
    loop {
        let mut state = shared.lock();
        state.writes = false;
        shared.changed.notify_all();
        while state.waiting.is_empty() && !state.closed {
            let woken = shared.changed.wait(state);
            state = woken.unwrap_or_else(PoisonError::into_inner);
        }
        if state.waiting.is_empty() {
            return;
        }
        std::mem::swap(&mut records, &mut state.waiting);
        state.size = 0;
        state.writes = true;
        // The waiting records have been taken, so there is room again.
        shared.changed.notify_all();
        drop(state);
        while let Some(record) = records.pop_front() {
            let mut result = lines::add(&mut bytes, &record);
            if bytes.len() >= COLLECTED || records.is_empty() {
                result = result.and_then(|()| output.write(&bytes));
                bytes.clear();
            }
            let planes = record.into_planes();
            let mut state = shared.lock();
            if let Err(error) = result {
                (state.failed, state.error) = (true, Some(error));
                shared.changed.notify_all();
                return;
            }
            if !planes.is_empty() && state.spare.len() < SPARE {
                state.spare.push(planes);
            }
        }
    }
}

/// A target, and how far it is written.
struct Output<'a, T> {
    target: &'a mut T,
    /// Number of bytes written, and how many of them are whole lines.
    written: u64,
    whole: u64,
}

impl<T: Target> Output<'_, T> {
    /// Writes lines. If the target fails, it is cut to its last whole line, if
    /// it can be cut.
    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        let mut rest = lines;
        while !rest.is_empty() {
            let error = match self.target.write(rest) {
                Ok(0) => io::ErrorKind::WriteZero.into(),
                Ok(count) => {
                    let (done, later) = rest.split_at(count);
                    if let Some(end) = done.iter().rposition(|byte| *byte == b'\n') {
                        self.whole = self.written + end as u64 + 1;
                    }
                    self.written += count as u64;
                    rest = later;
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => error,
            };
            if self.whole < self.written {
                self.target.cut(self.whole);
            }
            return Err(error);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::card::witness::Digest;
    use std::io::Read;
    use std::time::Instant;

    /// The bytes that a test and its target share.
    #[derive(Clone, Default)]
    struct Disk(Arc<Mutex<Vec<u8>>>);

    /// A disk with room for a number of bytes.
    struct Full(Disk, usize);

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut disk = self.0.0.lock().unwrap();
            match bytes.len().min(self.1 - disk.len()) {
                0 => Err(io::ErrorKind::StorageFull.into()),
                fits => {
                    disk.extend_from_slice(&bytes[..fits]);
                    Ok(fits)
                }
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Target for Full {
        fn cut(&mut self, length: u64) {
            self.0.0.lock().unwrap().truncate(length as usize);
        }
    }

    /// A record with that many digests.
    fn record(sequence: u32, digests: usize) -> Record {
        Record::Frame {
            sequence,
            session: 1,
            direction: None,
            buffer: 0,
            time_ns: 0,
            planes: vec![PlaneRecord {
                digests: vec![Digest(u64::from(sequence)); digests],
                ..PlaneRecord::default()
            }],
        }
    }

    fn line(record: &Record) -> Vec<u8> {
        let mut line = Vec::new();
        lines::add(&mut line, record).unwrap();
        line
    }

    #[test]
    fn what_is_taken_is_written_before_the_sink_has_finished() {
        let disk = Disk::default();
        let mut background = Background::start(Full(disk.clone(), usize::MAX)).unwrap();
        let mut all = Vec::new();
        for number in 0..1000 {
            let record = record(number, number as usize % 50);
            all.extend(line(&record));
            background.take(record).unwrap();
            if number % 3 == 0 {
                background.flush().unwrap();
            }
            if number % 100 == 0 {
                background.finish().unwrap();
                assert!(*disk.0.lock().unwrap() == all);
            }
        }
        // The remaining records are not lost either.
        drop(background);
        assert!(*disk.0.lock().unwrap() == all);
    }

    #[test]
    fn the_vectors_of_a_frame_come_back() {
        let disk = Disk::default();
        let mut background = Background::start(Full(disk.clone(), usize::MAX)).unwrap();
        assert!(background.take(record(1, 100)).unwrap().is_empty());
        background.finish().unwrap();
        let planes = background.take(record(2, 3)).unwrap();
        assert_eq!(planes[0].digests.len(), 100);
    }

    #[test]
    fn a_disk_that_fills_ends_with_a_whole_line() {
        let records = [record(1, 0), record(2, 1), record(3, 2)];
        let lines = records.each_ref().map(line);
        let two = lines[0].len() + lines[1].len();
        for (room, whole) in [
            (0, 0),
            (1, 0),
            (lines[0].len() - 1, 0),
            (lines[0].len(), 1),
            (lines[0].len() + 1, 1),
            (two - 1, 1),
            (two, 2),
            (two + lines[2].len() - 1, 2),
        ] {
            let disk = Disk::default();
            let mut background = Background::start(Full(disk.clone(), room)).unwrap();
            for record in records.clone() {
                let _ = background.take(record);
            }
            let error = background.finish().unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::StorageFull);
            let kept = disk.0.lock().unwrap();
            assert!(**kept == lines[..whole].concat(), "{room}");
            assert!(background.take(record(4, 0)).is_err());
        }
    }

    #[test]
    fn a_file_is_cut_to_its_last_whole_line() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"a line\nhalf a l").unwrap();
        file.cut(7);
        assert_eq!(file.metadata().unwrap().len(), 7);
    }

    /// A reader that takes a byte now and then never keeps a single write
    /// waiting for long, and still keeps the card waiting for ever.
    #[test]
    fn a_reader_that_takes_a_little_at_a_time_is_given_up() {
        let patience = Duration::from_millis(100);
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut background = Background::with_patience(ours, patience).unwrap();
        let reader = thread::spawn(move || {
            let mut bytes = 0;
            while theirs.read(&mut [0; 16]).is_ok_and(|count| count > 0) {
                bytes += 1;
                if bytes > 500 {
                    break;
                }
                thread::sleep(Duration::from_millis(1));
            }
        });
        let record = record(1, 4096);
        let (mut longest, mut given_up) = (Duration::ZERO, false);
        for _ in 0..4 * ROOM / size(&record) {
            let began = Instant::now();
            given_up = background.take(record.clone()).is_err();
            longest = longest.max(began.elapsed());
            if given_up {
                break;
            }
        }
        assert!(given_up, "it is waited for");
        assert!(longest >= patience);
        drop(background);
        reader.join().unwrap();
    }
}
