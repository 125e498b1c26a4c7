//! The file of a sink, which ends with a whole frame.

use std::fs;
use std::io::{self, Seek, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Largest number of bytes that are written at once. Between two writes the
/// thread sees that it is to stop.
const AT_ONCE: usize = 1 << 20;

/// How long a full file is waited for before the thread sees that it is to stop.
const MOMENT: Duration = Duration::from_millis(20);

/// What frames can be written to.
pub trait Target: Write + Send + 'static {
    /// Removes the last `bytes` bytes that were written: the part of a frame
    /// whose rest could not be. Does nothing if that is impossible.
    fn cut(&mut self, _bytes: u64) {}

    /// Waits until more can be written, or [`MOMENT`] has passed.
    fn wait(&mut self) {
        std::thread::sleep(MOMENT);
    }
}

impl Target for fs::File {
    fn cut(&mut self, bytes: u64) {
        // This fails for a file that is not regular, such as a FIFO.
        let begin = self.stream_position().map(|end| end.saturating_sub(bytes));
        let _ = begin.and_then(|begin| self.set_len(begin));
    }

    fn wait(&mut self) {
        let moment = Timespec {
            tv_sec: 0,
            tv_nsec: MOMENT.subsec_nanos().into(),
        };
        // An error shows at the next write.
        let _ = poll(&mut [PollFd::new(self, PollFlags::OUT)], Some(&moment));
    }
}

/// A target, and how much of the current frame is in it.
pub struct File {
    target: Box<dyn Target>,
    partial: u64,
    stop: Arc<AtomicBool>,
}

impl std::fmt::Debug for File {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("File")
            .field("partial", &self.partial)
            .field("stop", &self.stop)
            .finish_non_exhaustive()
    }
}

impl File {
    /// Makes a file of a target. When `stop` becomes true, it takes no more.
    pub fn new(target: impl Target, stop: &Arc<AtomicBool>) -> Self {
        Self {
            target: Box::new(target),
            partial: 0,
            stop: Arc::clone(stop),
        }
    }

    /// Writes a part of a frame.
    ///
    /// # Errors
    /// The target's error, or [`io::ErrorKind::TimedOut`] if the file is to take
    /// no more.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            if self.stop.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::TimedOut.into());
            }
            match self.target.write(&rest[..rest.len().min(AT_ONCE)]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    self.partial += count as u64;
                    rest = &rest[count..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Whoever else has the file may have made it non-blocking.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.target.wait(),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Says that the frame is whole.
    pub fn end_frame(&mut self) {
        self.partial = 0;
    }

    /// Cuts the file to its last whole frame.
    pub fn cut(&mut self) {
        if self.partial > 0 {
            self.target.cut(self.partial);
            self.partial = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn file(target: &fs::File) -> File {
        File::new(target.try_clone().unwrap(), &Arc::default())
    }

    fn content(mut file: fs::File) -> Vec<u8> {
        let mut all = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut all).unwrap();
        all
    }

    #[test]
    fn a_file_is_cut_to_its_last_whole_frame() {
        let mut target = tempfile::tempfile().unwrap();
        // Standard output may have been written by others before.
        target.write_all(b"before ").unwrap();
        let mut file = file(&target);
        file.write(b"frame ").unwrap();
        file.end_frame();
        file.cut();
        file.write(b"half ").unwrap();
        file.write(b"a fra").unwrap();
        file.cut();
        assert_eq!(content(target), b"before frame ");
    }

    #[test]
    fn a_file_that_is_stopped_takes_no_more() {
        let target = tempfile::tempfile().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let mut file = File::new(target.try_clone().unwrap(), &stop);
        file.write(b"frame").unwrap();
        stop.store(true, Ordering::Relaxed);
        let error = file.write(b"frame").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn a_large_frame_is_written_whole() {
        let target = tempfile::tempfile().unwrap();
        let frame: Vec<u8> = (0..3 * AT_ONCE + 5).map(|i| (i % 251) as u8).collect();
        file(&target).write(&frame).unwrap();
        assert!(content(target) == frame);
    }
}
