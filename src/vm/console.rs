//! The guest's console: logged, remembered, and shown to a viewer.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// Number of lines that are remembered.
const LINES: usize = 200;

/// Number of bytes of a line that are remembered.
const LINE_LENGTH: usize = 1024;

/// The console of a running machine.
#[derive(Debug)]
pub struct Console {
    stream: UnixStream,
    shared: Arc<Mutex<Shared>>,
    reader: Option<JoinHandle<()>>,
}

struct Shared {
    log: Option<File>,
    viewer: Option<Box<dyn Write + Send>>,
    lines: VecDeque<String>,
    line: Vec<u8>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Console {
    /// Takes over the stream of a serial port; its output also goes to `log`.
    pub fn new(stream: UnixStream, log: Option<File>) -> io::Result<Self> {
        let shared = Arc::new(Mutex::new(Shared {
            log,
            viewer: None,
            lines: VecDeque::new(),
            line: Vec::new(),
        }));
        let reads = stream.try_clone()?;
        let keeps = Arc::clone(&shared);
        let reader = std::thread::Builder::new()
            .name("console".into())
            .spawn(move || read_all(reads, &keeps))?;
        Ok(Self {
            stream,
            shared,
            reader: Some(reader),
        })
    }

    /// Returns the last lines, at most `count`, without terminal control
    /// sequences.
    pub fn tail(&self, count: usize) -> Vec<String> {
        let shared = lock(&self.shared);
        let last = readable(&shared.line);
        let mut lines: Vec<_> = shared.lines.iter().cloned().collect();
        if !last.is_empty() {
            lines.push(last);
        }
        lines.split_off(lines.len().saturating_sub(count))
    }

    /// Writes further output also to `viewer`, as it comes.
    pub fn show_to(&self, viewer: Box<dyn Write + Send>) {
        lock(&self.shared).viewer = Some(viewer);
    }

    /// Sends keyboard input.
    pub fn type_in(&self, bytes: &[u8]) -> io::Result<()> {
        (&self.stream).write_all(bytes)
    }

    /// Returns a second handle for keyboard input.
    pub fn keyboard(&self) -> io::Result<UnixStream> {
        self.stream.try_clone()
    }

    /// Waits until all output of the machine is recorded. Only valid for a
    /// machine that has ended.
    pub fn finish(&mut self) {
        if let Some(reader) = self.reader.take() {
            // A reader that panicked has nothing more to record.
            let _ = reader.join();
        }
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        // The stream may be shut down already.
        let _ = self.stream.shutdown(Shutdown::Both);
        self.finish();
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read_all(mut stream: UnixStream, shared: &Mutex<Shared>) {
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return,
            Ok(length) => lock(shared).take(&buffer[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

impl Shared {
    fn take(&mut self, bytes: &[u8]) {
        if let Some(log) = &mut self.log
            && let Err(error) = log.write_all(bytes)
        {
            log::warn!("the console is not kept any longer: {error}");
            self.log = None;
        }
        if let Some(viewer) = &mut self.viewer
            && viewer
                .write_all(bytes)
                .and_then(|()| viewer.flush())
                .is_err()
        {
            self.viewer = None;
        }
        for &byte in bytes {
            match byte {
                b'\n' => {
                    if self.lines.len() == LINES {
                        self.lines.pop_front();
                    }
                    self.lines.push_back(readable(&self.line));
                    self.line.clear();
                }
                _ if self.line.len() < LINE_LENGTH => self.line.push(byte),
                _ => {}
            }
        }
    }
}

/// Returns the text of a line, without escape sequences (ECMA-48) and control
/// characters.
fn readable(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let mut out = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\u{1b}' => {
                if characters.next() == Some('[') {
                    // A sequence has parameters, then one character from @ to ~
                    // that ends it.
                    characters.find(|end| ('@'..='~').contains(end));
                }
            }
            '\t' => out.push(' '),
            other if other.is_control() => {}
            other => out.push(other),
        }
    }
    out.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_kept_and_the_end_is_readable() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let (ours, mut guest) = UnixStream::pair().unwrap();
        let mut console = Console::new(ours, Some(File::create(&path).unwrap())).unwrap();
        let text = "\u{1b}c\u{1b}[?7l\u{1b}[2JSeaBIOS\r\n[    0.1] Kernel panic\r\nlast";
        guest.write_all(text.as_bytes()).unwrap();
        drop(guest);
        console.finish();
        assert_eq!(std::fs::read_to_string(path).unwrap(), text);
        assert_eq!(console.tail(2), ["[    0.1] Kernel panic", "last"]);
        assert_eq!(console.tail(9)[0], "SeaBIOS");
    }

    #[test]
    fn a_line_without_end_and_many_lines_stay_bounded() {
        let (ours, mut guest) = UnixStream::pair().unwrap();
        let mut console = Console::new(ours, None).unwrap();
        for number in 0..3 * LINES {
            writeln!(guest, "{number}").unwrap();
        }
        guest.write_all(&vec![b'x'; 3 * LINE_LENGTH]).unwrap();
        drop(guest);
        console.finish();
        let lines = console.tail(usize::MAX);
        assert_eq!(lines.len(), LINES + 1);
        assert_eq!(lines[LINES].len(), LINE_LENGTH);
        assert_eq!(lines[0], (2 * LINES).to_string());
    }

    #[test]
    fn what_is_typed_arrives() {
        let (ours, mut guest) = UnixStream::pair().unwrap();
        let console = Console::new(ours, None).unwrap();
        console.type_in(b"ls\n").unwrap();
        let mut buffer = [0; 3];
        guest.read_exact(&mut buffer).unwrap();
        assert_eq!(&buffer, b"ls\n");
    }
}
