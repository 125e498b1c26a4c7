//! A small rectangle in front of the picture, whose place and bytes change from
//! frame to frame.

use std::ops::Range;

use super::canvas::Row;
use super::part::Part;
use crate::source::format::PlaneFormat;
use crate::source::layout::Layout;

/// The rectangle's bytes, for every colour plane of a layout.
#[derive(Debug)]
pub struct Sprite {
    planes: Vec<Plane>,
}

#[derive(Debug)]
struct Plane {
    format: &'static PlaneFormat,
    /// The plane's lines that the rectangle covers; they may lie beyond the
    /// picture.
    lines: Range<i32>,
    /// The rectangle's first pixel, and its first byte in a line.
    left: (i32, i32),
    /// Length of its rows, in bytes.
    len: usize,
    bytes: Vec<u8>,
}

/// A row of a sprite.
pub struct SpriteRow<'a> {
    /// Colour plane.
    pub plane: usize,
    /// Line of that plane.
    pub line: i32,
    /// First line of the picture that the row covers.
    pub y: i32,
    /// Number of lines of the picture that it covers.
    pub lines: u32,
    /// Its first byte in the line.
    pub column: i32,
    pub bytes: &'a mut [u8],
    left: i32,
    format: &'static PlaneFormat,
}

impl SpriteRow<'_> {
    /// Returns the row to draw on, in the picture's pixels.
    pub fn row(&mut self) -> Row<'_> {
        Row::from(self.bytes, self.format, self.left)
    }
}

impl Sprite {
    /// Makes a sprite of at most `width` by `height` pixels. It is empty.
    pub fn new(layout: &Layout, width: i32, height: i32) -> Self {
        let planes = layout.planes().map(|plane| {
            let format = plane.format;
            let rows = height as usize / format.lines as usize + 1;
            Plane {
                format,
                lines: 0..0,
                left: (0, 0),
                len: 0,
                bytes: vec![0; rows * format.bytes(even(width + 1)) as usize],
            }
        });
        Self {
            planes: planes.collect(),
        }
    }

    /// Moves the sprite to these columns, of which the first is even, and lines
    /// of the picture. What its bytes were is lost. A rectangle that is too
    /// large is cut off.
    pub fn place(&mut self, columns: Range<i32>, lines: Range<i32>) {
        for plane in &mut self.planes {
            let format = plane.format;
            let len = format.bytes(even(columns.len() as i32 + 1)) as usize;
            let (start, end) = (format.line_from(lines.start), format.line_from(lines.end));
            let most = plane.bytes.len().checked_div(len).unwrap_or(0) as i32;
            plane.left = (columns.start, format.bytes(columns.start));
            plane.len = len;
            plane.lines = start..end.max(start).min(start + most);
        }
    }

    /// Returns the sprite's rows.
    pub fn rows(&mut self) -> impl Iterator<Item = SpriteRow<'_>> {
        let planes = self.planes.iter_mut().enumerate();
        planes.flat_map(|(number, plane)| {
            let (format, left) = (plane.format, plane.left);
            let rows = plane.bytes.chunks_exact_mut(plane.len.max(1));
            plane
                .lines
                .clone()
                .zip(rows)
                .map(move |(line, bytes)| SpriteRow {
                    plane: number,
                    line,
                    y: line * format.lines as i32,
                    lines: format.lines,
                    column: left.1,
                    bytes,
                    left: left.0,
                    format,
                })
        })
    }

    /// Returns the lines of a colour plane that the sprite covers.
    pub fn lines(&self, plane: usize) -> Range<i32> {
        self.planes[plane].lines.clone()
    }

    /// Paints the sprite's share of a line of a colour plane.
    pub fn paint(&self, plane: usize, line: usize, part: &mut Part<'_>) {
        let plane = &self.planes[plane];
        let line = line as i32;
        if !plane.lines.contains(&line) {
            return;
        }
        let row = &plane.bytes[(line - plane.lines.start) as usize * plane.len..][..plane.len];
        // What begins before the line is cut off.
        let at = plane.left.1;
        if let Some(shown) = row.get(at.min(0).unsigned_abs() as usize..) {
            part.put(at.max(0) as usize, shown);
        }
    }
}

fn even(value: i32) -> i32 {
    value & !1
}
