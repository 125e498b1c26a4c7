//! A thread that writes the witness. A slow disk, or a reader that takes a few
//! bytes at a time, does not hold up the card until there is no room for one
//! more record.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// Largest number of bytes that may wait while as many are being written: a
/// second of records at a high rate.
const ROOM: usize = 1 << 20;

/// How long the card waits for room, or for the waiting bytes to be written,
/// before it gives the witness up.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long the end of the process waits for the remaining bytes to be written.
const FAREWELL: Duration = Duration::from_millis(500);

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
    /// The bytes that wait to be written.
    waiting: Vec<u8>,
    /// Whether the thread is writing bytes taken from `waiting`.
    writes: bool,
    /// Whether the target has failed and the thread has ended; `error` keeps
    /// the error until it is reported.
    failed: bool,
    error: Option<io::Error>,
    /// Whether the writer is closed and no more bytes come.
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
        let (state, _) = self
            .changed
            .wait_timeout_while(state, limit, |state| !is_so(state))
            .unwrap_or_else(PoisonError::into_inner);
        let is_so = is_so(&state);
        (state, is_so)
    }
}

/// A writer whose bytes a thread writes to a [`Target`].
///
/// `write` takes all bytes or fails: after the target has failed, or if there
/// is no room within a second. `flush` waits until everything is written, at
/// most for a second.
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

impl Write for Background {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let fits = |state: &State| {
            state.failed || state.waiting.is_empty() || state.waiting.len() + bytes.len() <= ROOM
        };
        let state = self.shared.lock();
        let (mut state, fits) = self.shared.wait(state, self.patience, fits);
        check(&mut state, fits)?;
        state.waiting.extend_from_slice(bytes);
        self.shared.changed.notify_all();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let state = self.shared.lock();
        let (mut state, is_idle) = self.shared.wait(state, self.patience, State::is_idle);
        check(&mut state, is_idle)
    }
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

/// Writes the waiting bytes until the writer is closed or the target fails.
/// After a failure the target is cut to its last whole line, if it can be cut.
fn write_all(shared: &Shared, target: &mut impl Target) {
    let mut bytes = Vec::new();
    let (mut written, mut lines) = (0, 0);
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
        std::mem::swap(&mut bytes, &mut state.waiting);
        state.writes = true;
        // The waiting bytes have been taken, so there is room again.
        shared.changed.notify_all();
        drop(state);
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let error = match target.write(rest) {
                Ok(0) => io::ErrorKind::WriteZero.into(),
                Ok(count) => {
                    let (done, later) = rest.split_at(count);
                    if let Some(end) = done.iter().rposition(|byte| *byte == b'\n') {
                        lines = written + end as u64 + 1;
                    }
                    written += count as u64;
                    rest = later;
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => error,
            };
            if lines < written {
                target.cut(lines);
            }
            let mut state = shared.lock();
            (state.failed, state.error) = (true, Some(error));
            shared.changed.notify_all();
            return;
        }
        bytes.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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

    #[test]
    fn what_is_written_arrives_before_a_flush_returns() {
        let disk = Disk::default();
        let mut background = Background::start(Full(disk.clone(), usize::MAX)).unwrap();
        let mut all = Vec::new();
        for number in 0..1000 {
            let line = format!("{number}\n");
            all.extend_from_slice(line.as_bytes());
            background.write_all(line.as_bytes()).unwrap();
            if number % 100 == 0 {
                background.flush().unwrap();
                assert!(*disk.0.lock().unwrap() == all);
            }
        }
        // The remaining bytes are not lost either.
        drop(background);
        assert!(*disk.0.lock().unwrap() == all);
    }

    #[test]
    fn a_disk_that_fills_ends_with_a_whole_line() {
        for room in [0, 1, 5, 6, 7, 11, 12] {
            let disk = Disk::default();
            let mut background = Background::start(Full(disk.clone(), room)).unwrap();
            let _ = background.write(b"three\nlines\nof it\n");
            let error = background.flush().unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::StorageFull);
            let kept = disk.0.lock().unwrap();
            assert_eq!(&**kept, &b"three\nlines\n"[..room / 6 * 6], "{room}");
            assert!(background.write(b"more\n").is_err());
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
        let line = [b'x'; 64 << 10];
        let (mut longest, mut given_up) = (Duration::ZERO, false);
        for _ in 0..4 * ROOM / line.len() {
            let began = Instant::now();
            given_up = background.write(&line).is_err();
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
