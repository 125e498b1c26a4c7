//! What was exchanged, as lines for a report.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Lines that are kept; the first ones go first.
const LINES: usize = 200;

/// Bytes of a message that are written out.
const BYTES: usize = 128;

/// The exchange between a driver and a device, shared by all that speak.
#[derive(Debug, Clone, Default)]
pub struct Log(Option<Arc<Mutex<VecDeque<String>>>>);

impl Log {
    /// Returns a log that keeps what is noted; the default one does not.
    pub fn new() -> Self {
        Self(Some(Arc::default()))
    }

    /// Notes a line, which is made only if it is kept.
    pub fn note(&self, line: impl FnOnce() -> String) {
        if let Some(mut lines) = self.lines() {
            if lines.len() == LINES {
                lines.pop_front();
            }
            lines.push_back(line());
        }
    }

    /// Takes the lines.
    pub fn take(&self) -> Vec<String> {
        let lines = self.lines();
        lines.map_or_else(Vec::new, |mut lines| lines.drain(..).collect())
    }

    fn lines(&self) -> Option<MutexGuard<'_, VecDeque<String>>> {
        let lines = self.0.as_ref()?;
        Some(lines.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Returns bytes as hexadecimal words, cut to a length that people look at.
pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (number, byte) in bytes.iter().take(BYTES).enumerate() {
        if number > 0 && number % 4 == 0 {
            text.push(' ');
        }
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    if bytes.len() > BYTES {
        let _ = write!(text, " ... ({} bytes)", bytes.len());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_long_exchange_is_kept() {
        let log = Log::new();
        for number in 0..LINES + 3 {
            log.clone().note(|| number.to_string());
        }
        let lines = log.take();
        assert_eq!((lines.len(), lines[0].as_str()), (LINES, "3"));
        assert!(log.take().is_empty());
        let silent = Log::default();
        silent.note(|| unreachable!());
        assert!(silent.take().is_empty());
    }

    #[test]
    fn bytes_are_words_of_four_and_not_too_many() {
        assert_eq!(hex(&[3, 0, 0, 0, 0xff]), "03000000 ff");
        assert!(hex(&[0; 130]).ends_with("0000 ... (130 bytes)"));
        assert_eq!(hex(&[]), "");
    }
}
