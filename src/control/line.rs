//! Splits bytes into lines of bounded length.

use super::protocol::MAX_REQUEST;

/// A line was longer than any request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLong;

/// The bytes that a client has sent and that are not processed yet.
#[derive(Debug, Default)]
pub struct Lines {
    bytes: Vec<u8>,
    /// Byte index up to which no newline was found.
    searched: usize,
    /// Whether the rest of a line that was too long is being skipped.
    skipping: bool,
    /// Whether the client has sent all its bytes.
    ended: bool,
}

impl Lines {
    /// Adds received bytes; an empty slice means the end of the input.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.ended |= bytes.is_empty();
    }

    /// Returns whether the input has ended.
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    /// Returns the next line without its newline. The last line needs no
    /// newline.
    pub fn next(&mut self) -> Option<Result<Vec<u8>, TooLong>> {
        loop {
            let end = self.bytes[self.searched..]
                .iter()
                .position(|&byte| byte == b'\n')
                .map(|at| self.searched + at);
            let Some(end) = end else {
                self.searched = self.bytes.len();
                if self.skipping || self.searched > MAX_REQUEST {
                    self.clear();
                    let was_skipping = std::mem::replace(&mut self.skipping, true);
                    return (!was_skipping).then_some(Err(TooLong));
                }
                let rest = self.ended && !self.bytes.is_empty();
                return rest.then(|| {
                    self.searched = 0;
                    Ok(std::mem::take(&mut self.bytes))
                });
            };
            let rest = self.bytes.split_off(end + 1);
            let mut line = std::mem::replace(&mut self.bytes, rest);
            line.pop();
            self.searched = 0;
            if std::mem::take(&mut self.skipping) {
                continue;
            }
            return Some(if line.len() > MAX_REQUEST {
                Err(TooLong)
            } else {
                Ok(line)
            });
        }
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.searched = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(lines: &mut Lines) -> Vec<Result<Vec<u8>, TooLong>> {
        std::iter::from_fn(|| lines.next()).collect()
    }

    #[test]
    fn lines_come_whole_however_they_are_cut() {
        for cut in 1..12 {
            let mut lines = Lines::default();
            let mut found = Vec::new();
            for piece in b"one\n\ntwo\nthree".chunks(cut) {
                lines.push(piece);
                found.extend(all(&mut lines));
            }
            lines.push(b"");
            assert!(lines.is_ended());
            found.extend(all(&mut lines));
            let expected = ["one", "", "two", "three"].map(|line| Ok(line.as_bytes().to_vec()));
            assert_eq!(found, expected, "cut every {cut}");
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_one_error_and_little_memory() {
        let mut lines = Lines::default();
        let mut found = Vec::new();
        for _ in 0..100 {
            lines.push(&[b'x'; 16 * 1024]);
            found.extend(all(&mut lines));
            assert!(lines.bytes.capacity() <= 4 * MAX_REQUEST);
        }
        lines.push(b"x\nnext\n");
        found.extend(all(&mut lines));
        assert_eq!(found, [Err(TooLong), Ok(b"next".to_vec())]);
        // The whole line arrives at once.
        lines.push(&[b'y'; MAX_REQUEST + 1]);
        lines.push(b"\nnext\n");
        assert_eq!(all(&mut lines), [Err(TooLong), Ok(b"next".to_vec())]);
        lines.push(&[b'z'; MAX_REQUEST]);
        lines.push(b"\n");
        assert_eq!(all(&mut lines), [Ok(vec![b'z'; MAX_REQUEST])]);
    }
}
