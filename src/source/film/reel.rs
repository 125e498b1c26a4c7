//! The frames of a film, one after the other.

use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::sync::Arc;

use super::error::{Fault, FilmError};
use super::input::{Hangup, Input};
use super::y4m::{Header, MAGIC, MAX_LINE};
use crate::source::layout::Layout;
use crate::source::raster::Raster;

/// A film of uncompressed frames: with a header and marks between the frames
/// (y4m), or with nothing but frames (raw).
#[derive(Debug)]
pub struct Reel {
    input: BufReader<Input>,
    /// The last line of text, at most [`MAX_LINE`] bytes of it.
    line: Vec<u8>,
    marked: bool,
    raster: Raster,
    interval: Option<(u32, u32)>,
    /// Offset of the first frame; `None` for a pipe.
    start: Option<u64>,
    /// Number of frames read or skipped since then, for messages.
    passed: u64,
}

impl Reel {
    /// Opens a y4m film and reads its header. Waits for the header if it comes
    /// from a pipe.
    pub fn y4m(input: Input) -> Result<Self, FilmError> {
        let name = input.name().to_owned();
        let open = || {
            let mut reel = Self::new(input, true, Raster::grey(1, 1, true), None)?;
            let header = reel.read_header()?;
            if header.interlaced {
                log::warn!("{name} is interlaced; its frames are shown as if they were not");
            }
            reel.raster = header.raster;
            reel.interval = header.interval;
            reel.begin_here()?;
            Ok(reel)
        };
        open().map_err(|fault| FilmError::Broken {
            name: name.clone(),
            fault,
        })
    }

    /// Opens a film of raw frames of that layout.
    pub fn raw(
        input: Input,
        layout: &Layout,
        interval: Option<(u32, u32)>,
    ) -> Result<Self, FilmError> {
        let name = input.name().to_owned();
        let open = || {
            // The options have refused compressed formats already.
            let raster = Raster::of(layout).ok_or(Fault::Empty)?;
            if let Some(bytes) = input.length()
                && bytes % raster.bytes as u64 != 0
            {
                let frame = raster.bytes as u64;
                return Err(Fault::Length { bytes, frame });
            }
            let mut reel = Self::new(input, false, raster, interval)?;
            reel.begin_here()?;
            Ok(reel)
        };
        open().map_err(|fault| FilmError::Broken {
            name: name.clone(),
            fault,
        })
    }

    fn new(
        input: Input,
        marked: bool,
        raster: Raster,
        interval: Option<(u32, u32)>,
    ) -> Result<Self, Fault> {
        Ok(Self {
            input: BufReader::new(input),
            line: Vec::with_capacity(MAX_LINE),
            marked,
            raster,
            interval,
            start: None,
            passed: 0,
        })
    }

    /// Returns the name of the film.
    pub fn name(&self) -> &str {
        self.input.get_ref().name()
    }

    /// Returns the raster of the frames.
    pub fn raster(&self) -> &Raster {
        &self.raster
    }

    /// Returns the seconds between frames, as a fraction, if they are known.
    pub fn interval(&self) -> Option<(u32, u32)> {
        self.interval
    }

    /// Returns whether the film can be rewound.
    pub fn is_file(&self) -> bool {
        self.start.is_some()
    }

    /// Returns whether another writer may follow when the writer has ended.
    pub fn is_fifo(&self) -> bool {
        self.input.get_ref().is_fifo()
    }

    /// Returns the handle that cancels reads.
    pub fn hangup(&self) -> Arc<Hangup> {
        self.input.get_ref().hangup()
    }

    /// Waits for the next writer of a FIFO, and for the header of its film. The
    /// frames of that film must be of the same kind.
    pub fn next_writer(&mut self) -> Result<(), Fault> {
        let rest = self.input.buffer().len();
        self.input.consume(rest);
        self.input.get_mut().next_writer()?;
        self.passed = 0;
        match self.marked {
            true => {
                let header = self.read_header()?;
                self.check_same(&header)
            }
            false => Ok(()),
        }
    }

    /// Reads the header of a film.
    fn read_header(&mut self) -> Result<Header, Fault> {
        if !self.read_line()? {
            return Err(match self.line.len() {
                MAX_LINE => Fault::Header(MAX_LINE),
                _ if self.line.starts_with(MAGIC) => Fault::Header(MAX_LINE),
                0 => Fault::Empty,
                _ => Fault::NotY4m,
            });
        }
        Header::parse(&self.line)
    }

    /// Refuses another film whose frames differ in size, sampling or rate,
    /// because the card has been prepared for these.
    fn check_same(&self, other: &Header) -> Result<(), Fault> {
        match other.raster == self.raster && other.interval == self.interval {
            true => Ok(()),
            false => Err(Fault::Another),
        }
    }

    /// Notes that the first frame begins at the current position.
    fn begin_here(&mut self) -> io::Result<()> {
        self.input.get_mut().has_begun();
        if self.input.get_ref().length().is_some() {
            self.start = Some(self.input.stream_position()?);
        }
        Ok(())
    }

    /// Goes back to the first frame of a file.
    pub fn rewind(&mut self) -> Result<(), Fault> {
        if let Some(start) = self.start {
            self.input.seek(SeekFrom::Start(start))?;
            self.passed = 0;
        }
        Ok(())
    }

    /// Reads the next frame; returns whether there was one.
    pub fn read(&mut self, frame: &mut [u8]) -> Result<bool, Fault> {
        if !self.read_mark()? {
            return Ok(false);
        }
        let mut length = 0;
        while length < frame.len() {
            match self.input.read(&mut frame[length..]) {
                Ok(0) => return self.end_within(length as u64),
                Ok(more) => length += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.passed += 1;
        Ok(true)
    }

    /// Skips the next frame; returns whether there was one.
    pub fn skip(&mut self) -> Result<bool, Fault> {
        if !self.read_mark()? {
            return Ok(false);
        }
        let bytes = self.raster.bytes as u64;
        let end = match self.start {
            Some(_) => self.input.stream_position()?.checked_add(bytes),
            None => None,
        };
        if end.is_some_and(|end| self.input.get_ref().length() >= Some(end)) {
            // `bytes` is at most 3 * 8192^2.
            self.input.seek_relative(bytes as i64)?;
        } else {
            let passed = io::copy(&mut self.input.by_ref().take(bytes), &mut io::sink())?;
            if passed < bytes {
                return self.end_within(passed);
            }
        }
        self.passed += 1;
        Ok(true)
    }

    /// Returns the result of a read that ended after `bytes` bytes of a frame:
    /// an error, or, between two raw frames, `false`.
    fn end_within(&self, bytes: u64) -> Result<bool, Fault> {
        match bytes {
            0 if !self.marked => Ok(false),
            _ => Err(Fault::CutOff(self.passed)),
        }
    }

    /// Reads the mark before a frame, if the film has marks; returns whether
    /// there is another frame. Skips blank lines, and the header of another
    /// film where files were concatenated.
    fn read_mark(&mut self) -> Result<bool, Fault> {
        if !self.marked {
            return Ok(true);
        }
        loop {
            let whole = self.read_line()?;
            match self.line.as_slice() {
                [] if !whole => return Ok(false),
                b"FRAME" | [b'F', b'R', b'A', b'M', b'E', b' ', ..] if whole => return Ok(true),
                line if self.passed > 0 && is_blank(line) => {}
                line if whole && is_header(line) => {
                    let header = Header::parse(line)?;
                    self.check_same(&header)?;
                }
                line if !whole && line.len() < MAX_LINE => {
                    return Err(Fault::CutOff(self.passed));
                }
                _ => return Err(Fault::Mark(self.passed)),
            }
        }
    }

    /// Reads a line of text without its newline; returns whether it had one.
    fn read_line(&mut self) -> io::Result<bool> {
        self.line.clear();
        let mut bounded = self.input.by_ref().take(MAX_LINE as u64);
        bounded.read_until(b'\n', &mut self.line)?;
        let whole = self.line.last() == Some(&b'\n');
        if whole {
            self.line.pop();
        }
        Ok(whole)
    }
}

/// Returns whether a line is blank: white space, or zeros with which the file
/// was padded.
fn is_blank(line: &[u8]) -> bool {
    line.iter()
        .all(|byte| byte.is_ascii_whitespace() || *byte == 0)
}

fn is_header(line: &[u8]) -> bool {
    line.split(|byte| *byte == b' ').next() == Some(MAGIC)
}
