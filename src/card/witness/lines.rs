//! Records as lines of JSON, written where the card runs.

use std::io::{self, Write};

use super::{PlaneRecord, Record, RecordSink};

/// Number of bytes collected before they are passed on: a few frames' worth.
const COLLECTED: usize = 64 * 1024;

/// A sink that writes records to a writer, for a card whose time nobody counts.
#[derive(Debug)]
pub struct Lines<W> {
    writer: W,
    /// Lines that have not been passed on.
    lines: Vec<u8>,
}

impl<W> Lines<W> {
    /// Makes the sink that writes to `writer`.
    pub fn new(writer: W) -> Self {
        Self {
            writer,
            lines: Vec::new(),
        }
    }
}

/// Adds the line of a record to `lines`.
pub(super) fn add(lines: &mut Vec<u8>, record: &Record) -> io::Result<()> {
    serde_json::to_writer(&mut *lines, record)?;
    lines.push(b'\n');
    Ok(())
}

impl<W: Write + Send> RecordSink for Lines<W> {
    fn take(&mut self, record: Record) -> io::Result<Vec<PlaneRecord>> {
        add(&mut self.lines, &record)?;
        if self.lines.len() >= COLLECTED {
            self.flush()?;
        }
        Ok(record.into_planes())
    }

    fn flush(&mut self) -> io::Result<()> {
        let written = self.writer.write_all(&self.lines);
        self.lines.clear();
        written
    }

    fn finish(&mut self) -> io::Result<()> {
        self.flush()?;
        self.writer.flush()
    }
}
