//! Pictures that are drawn: test patterns.
//!
//! A pattern paints whole lines. This module cuts them into the pieces that
//! the card asks for, and gives every page its [watermark].

pub mod watermark;

pub(crate) mod canvas;
pub(crate) mod text;

mod bars;
mod plate;

use super::layout::{Layout, MemoryPlane, PlaneLayout};
use super::{Begun, FrameInfo, Source};
use bars::Bars;
use watermark::Watermark;

/// The patterns that there are, by name; the first is the default.
pub const NAMES: &[&str] = &["bars"];

/// A test pattern as a source. Before [`Source::prepare`] it is black.
#[derive(Debug, Default)]
pub struct Pattern {
    picture: Option<Picture>,
}

/// A pattern made ready for one layout.
#[derive(Debug)]
struct Picture {
    bars: Bars,
    planes: Vec<PlaneLayout>,
    memory: Vec<MemoryPlane>,
    sizeimage: u32,
    mark: Watermark,
    /// The line that was painted last, of which a piece may still be wanted.
    line: Vec<u8>,
    /// Its plane and number.
    painted: Option<(usize, usize)>,
}

impl Pattern {
    /// The pattern of that name, if there is one.
    pub fn named(name: &str) -> Option<Self> {
        NAMES.contains(&name).then(Self::default)
    }
}

impl Source for Pattern {
    fn prepare(&mut self, layout: &Layout) {
        let planes: Vec<_> = layout.planes().collect();
        let longest = planes.iter().map(|plane| plane.stride).max();
        self.picture = Some(Picture {
            bars: Bars::new(layout),
            line: vec![0; longest.unwrap_or(0)],
            planes,
            memory: layout.memory_planes().collect(),
            sizeimage: layout.sizeimage,
            mark: Watermark::default(),
            painted: None,
        });
    }

    fn begin(&mut self, frame: &FrameInfo) -> Begun {
        if let Some(picture) = &mut self.picture {
            picture.bars.begin(frame);
            picture.painted = None;
            picture.mark = Watermark {
                sequence: frame.sequence,
                // Modulo 2^32, as the watermark says.
                millis: frame.wall.as_millis() as u32,
            };
        }
        Begun::Frame {
            bytes: self.picture.as_ref().map_or(0, |picture| picture.sizeimage),
        }
    }

    fn fill(&mut self, offset: usize, out: &mut [u8]) {
        match &mut self.picture {
            Some(picture) => picture.fill(offset, out),
            None => out.fill(0),
        }
    }
}

impl Picture {
    fn fill(&mut self, offset: usize, out: &mut [u8]) {
        let mut done = 0;
        while done < out.len() {
            let at = offset + done;
            let Some((plane, line, column)) = self.place(at) else {
                out[done..].fill(0);
                return;
            };
            let stride = self.planes[plane].stride;
            let len = (stride - column).min(out.len() - done);
            self.piece(plane, line, column, &mut out[done..done + len]);
            done += len;
        }
        // Pages are those of the memory that the bytes lie in.
        if let Some(plane) = self.memory.iter().rfind(|p| p.offset as usize <= offset) {
            let within = offset - plane.offset as usize;
            self.mark.apply(plane.sizeimage as usize, within, out);
        }
    }

    /// The plane, its line and the byte of that line which lie at a byte of
    /// the frame.
    fn place(&self, at: usize) -> Option<(usize, usize, usize)> {
        let number = self.planes.iter().rposition(|plane| plane.offset <= at)?;
        let plane = &self.planes[number];
        let (line, column) = (
            (at - plane.offset) / plane.stride,
            (at - plane.offset) % plane.stride,
        );
        (line < plane.lines).then_some((number, line, column))
    }

    /// Copies or paints the part of a line that begins at `column`.
    fn piece(&mut self, plane: usize, line: usize, column: usize, out: &mut [u8]) {
        let stride = self.planes[plane].stride;
        if let Some(bytes) = self.bars.ready(plane, line) {
            out.copy_from_slice(&bytes[column..column + out.len()]);
        } else if out.len() == stride {
            self.bars.paint(plane, line, out);
        } else {
            if self.painted != Some((plane, line)) {
                self.bars.paint(plane, line, &mut self.line[..stride]);
                self.painted = Some((plane, line));
            }
            out.copy_from_slice(&self.line[column..column + out.len()]);
        }
    }
}

#[cfg(test)]
mod tests;
