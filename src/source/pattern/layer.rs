//! A layer over the picture, turned into bytes when a stream starts.
//!
//! A frame then copies what the layer hides, blends the few bytes of its smooth
//! edges, and draws nothing.

use std::ops::Range;

use super::canvas::{Ink, Row};
use crate::source::format::PlaneFormat;
use crate::source::layout::Layout;

/// Draws the layer's part of a row: the row, the line of the picture at which
/// it begins, and the number of lines that it covers.
pub type Drawing<'a> = &'a dyn Fn(&mut Row<'_>, u32, u32);

/// The shortest stretch of ground that is worth a span of its own, in bytes.
const SHORTEST: usize = 64;

/// The layer, for every colour plane of a layout.
#[derive(Debug)]
pub struct Layer {
    /// The lines of the picture that the layer may cover.
    lines: Range<u32>,
    planes: Vec<Plane>,
    /// A row; kept for its allocation.
    row: Vec<u8>,
}

#[derive(Debug)]
struct Plane {
    format: &'static PlaneFormat,
    /// Even pixel, and byte, of a line at which the layer's rows begin.
    first: (u32, usize),
    /// Length of the layer's rows, in bytes.
    len: usize,
    /// Number of the plane's line that `rows` begins with.
    top: usize,
    rows: Vec<Parts>,
    spans: Vec<Span>,
    blends: Vec<Blend>,
    /// What the spans copy: a row of ground, then everything else.
    bytes: Vec<u8>,
}

/// Ends of the ranges of a row in `spans` and in `blends`; they begin where
/// those of the row before end.
#[derive(Debug, Clone, Copy, Default)]
struct Parts {
    spans: usize,
    blends: usize,
}

/// Bytes of a line that hide the picture.
#[derive(Debug, Clone, Copy)]
struct Span {
    /// First byte in the line, and the byte after the last.
    start: usize,
    end: usize,
    /// Index of the first one in [`Plane::bytes`].
    from: usize,
}

/// A byte of a line that is mixed with the picture.
#[derive(Debug, Clone, Copy)]
struct Blend {
    at: usize,
    /// What becomes of 0 and of 255; what lies between them becomes what lies
    /// between these.
    zero: u8,
    most: u8,
}

impl Layer {
    /// Makes the layer that `drawings` draw in these columns and lines of the
    /// picture, whose pixels are mostly of the colour `ground`. There may be
    /// several drawings, which differ in what hides the picture; the first one
    /// is shown, until [`redraw`](Self::redraw) shows another.
    pub fn new(
        layout: &Layout,
        columns: Range<i32>,
        lines: Range<u32>,
        ground: Ink,
        drawings: &[Drawing<'_>],
    ) -> Self {
        let columns = (columns.start.max(0) & !1) as u32
            ..(columns.end.max(0) as u32)
                .next_multiple_of(2)
                .min(layout.width);
        let lines = lines.start..lines.end.min(layout.height);
        let mut longest = 0;
        let planes = layout.planes().map(|plane| {
            let format = plane.format;
            let byte = |pixel: u32| (pixel / format.pixels) as usize * format.samples.len();
            let len = byte(columns.end.max(columns.start)) - byte(columns.start);
            longest = longest.max(len);
            let mut made = Plane {
                format,
                first: (columns.start, byte(columns.start)),
                len,
                top: lines.start.div_ceil(format.lines) as usize,
                rows: Vec::new(),
                spans: Vec::new(),
                blends: Vec::new(),
                bytes: vec![0; len],
            };
            Row::new(&mut made.bytes, format).fill(0, i32::MAX, ground);
            for line in made.top as u32..lines.end.div_ceil(format.lines) {
                made.add(line * format.lines, drawings);
            }
            made.bytes.shrink_to_fit();
            made
        });
        let planes = planes.collect();
        Self {
            lines,
            planes,
            row: vec![0; longest],
        }
    }

    /// Returns whether the layer may cover line `y` of the picture.
    pub fn touches(&self, y: u32) -> bool {
        self.lines.contains(&y)
    }

    /// Shows what another of the layer's drawings draws in these lines of the
    /// picture.
    pub fn redraw(&mut self, lines: Range<u32>, drawing: Drawing<'_>) {
        let lines = lines.start.max(self.lines.start)..lines.end.min(self.lines.end);
        for plane in &mut self.planes {
            let row = &mut self.row[..plane.len];
            let covered = plane.format.lines;
            for line in lines.start.div_ceil(covered)..lines.end.div_ceil(covered) {
                row.fill(0);
                plane.draw(row, line * covered, drawing);
                let (spans, _) = plane.parts(line as usize);
                for span in &plane.spans[spans] {
                    // What is ground is so in every drawing.
                    if span.from >= plane.len {
                        let first = plane.first.1;
                        plane.bytes[span.from..][..span.end - span.start]
                            .copy_from_slice(&row[span.start - first..span.end - first]);
                    }
                }
            }
        }
    }

    /// Paints a part of line `line` of a colour plane: `out`, from byte
    /// `column` on. `behind` paints the picture behind the layer in the same
    /// way, wherever it is not hidden.
    pub fn paint(
        &self,
        plane: usize,
        line: usize,
        column: usize,
        out: &mut [u8],
        mut behind: impl FnMut(usize, &mut [u8]),
    ) {
        let plane = &self.planes[plane];
        let (spans, blends) = plane.parts(line);
        let end = column + out.len();
        let mut at = column;
        for span in &plane.spans[spans] {
            let (start, stop) = (span.start.max(column), span.end.min(end));
            if start < stop {
                if at < start {
                    behind(at, &mut out[at - column..start - column]);
                }
                let from = span.from + (start - span.start);
                out[start - column..stop - column]
                    .copy_from_slice(&plane.bytes[from..][..stop - start]);
                at = stop;
            }
        }
        if at < end {
            behind(at, &mut out[at - column..]);
        }
        for blend in &plane.blends[blends] {
            if let Some(byte) = blend.at.checked_sub(column).and_then(|at| out.get_mut(at)) {
                *byte = blend.over(*byte);
            }
        }
    }
}

impl Plane {
    fn draw(&self, row: &mut [u8], y: u32, drawing: Drawing<'_>) {
        let mut row = Row::from(row, self.format, self.first.0 as i32);
        drawing(&mut row, y, self.format.lines);
    }

    /// Adds the row that begins at line `y` of the picture.
    fn add(&mut self, y: u32, drawings: &[Drawing<'_>]) {
        // A byte that is the same over 0 and over 255 hides the picture.
        let over = |value: u8, drawing| {
            let mut row = vec![value; self.len];
            self.draw(&mut row, y, drawing);
            row
        };
        let (zero, most) = (over(0, drawings[0]), over(255, drawings[0]));
        let others: Vec<_> = drawings[1..].iter().map(|d| over(0, *d)).collect();
        let hides = |at: usize| zero[at] == most[at];
        let is_ground = |at: usize| {
            let mut rows = std::iter::once(&zero).chain(&others);
            rows.all(|row| row[at] == self.bytes[at])
        };
        let while_in = |from: usize, end: usize, holds: &dyn Fn(usize) -> bool| {
            (from..end).find(|at| !holds(*at)).unwrap_or(end)
        };
        let (first, mut at) = (self.first.1, 0);
        let mut spans = Vec::<(Range<usize>, bool)>::new();
        while at < self.len {
            if !hides(at) {
                if (zero[at], most[at]) != (0, 255) {
                    self.blends.push(Blend {
                        at: first + at,
                        zero: zero[at],
                        most: most[at],
                    });
                }
                at += 1;
                continue;
            }
            let hidden = while_in(at, self.len, &hides);
            while at < hidden {
                let ground = while_in(at, hidden, &is_ground);
                let is_span = ground - at >= SHORTEST || ground - at == hidden - at;
                let end = match is_span {
                    true => ground,
                    false => while_in(ground, hidden, &|at| !is_ground(at)),
                };
                match spans.last_mut() {
                    Some((last, false)) if !is_span && last.end == at => last.end = end,
                    _ => spans.push((at..end, is_span)),
                }
                at = end;
            }
        }
        for (range, is_ground) in spans {
            let from = match is_ground {
                true => range.start,
                false => {
                    self.bytes.extend_from_slice(&zero[range.clone()]);
                    self.bytes.len() - range.len()
                }
            };
            self.spans.push(Span {
                start: first + range.start,
                end: first + range.end,
                from,
            });
        }
        self.rows.push(Parts {
            spans: self.spans.len(),
            blends: self.blends.len(),
        });
    }

    /// Returns the ranges of a line of the plane in `spans` and in `blends`.
    fn parts(&self, line: usize) -> (Range<usize>, Range<usize>) {
        let Some(row) = line.checked_sub(self.top) else {
            return (0..0, 0..0);
        };
        let Some(end) = self.rows.get(row) else {
            return (0..0, 0..0);
        };
        let start = match row {
            0 => Parts::default(),
            row => self.rows[row - 1],
        };
        (start.spans..end.spans, start.blends..end.blends)
    }
}

impl Blend {
    fn over(self, old: u8) -> u8 {
        let [old, zero, most] = [old, self.zero, self.most].map(u32::from);
        // Both shares add up to 255 at most, and so does the sum of each.
        ((zero * (255 - old) + most * old + 127) / 255) as u8
    }
}
