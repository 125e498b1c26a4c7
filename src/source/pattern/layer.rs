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

/// Returns the length of the shortest stretch of ground that is worth a span of
/// its own, in rows of that length; both in bytes. A span takes time, and what
/// is kept in its stead takes memory, of which long rows need most.
const fn shortest_span(row: usize) -> usize {
    if row < 4096 { 256 } else { 64 }
}

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

/// A row's ranges in [`Plane::spans`] and in [`Plane::blends`].
#[derive(Debug)]
struct Parts {
    spans: Range<usize>,
    blends: Range<usize>,
}

/// Bytes of a line that hide the picture.
#[derive(Debug, Clone, Copy)]
struct Span {
    /// First byte in the line, and the byte after the last.
    start: u32,
    end: u32,
    /// Index of the first one in [`Plane::bytes`].
    from: u32,
}

/// A byte of a line that is mixed with the picture.
#[derive(Debug, Clone, Copy)]
struct Blend {
    at: u32,
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
            let byte = |pixel: u32| format.bytes(pixel as i32) as usize;
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
                let Some(parts) = plane.row(line as usize) else {
                    continue;
                };
                for span in &plane.spans[parts.spans.clone()] {
                    let (start, end, from) = span.places();
                    // What is ground is so in every drawing.
                    if from >= plane.len {
                        let first = plane.first.1;
                        plane.bytes[from..][..end - start]
                            .copy_from_slice(&row[start - first..end - first]);
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
        let Some(row) = plane.row(line) else {
            return behind(column, out);
        };
        let (mut at, mut rest) = (column, &mut *out);
        for span in &plane.spans[row.spans.clone()] {
            let (start, end, from) = span.places();
            if end <= at {
                continue;
            }
            if start > at {
                let gap = (start - at).min(rest.len());
                let (gap, later) = rest.split_at_mut(gap);
                behind(at, gap);
                at += gap.len();
                rest = later;
            }
            if rest.is_empty() {
                break;
            }
            let (hidden, later) = rest.split_at_mut((end - at).min(rest.len()));
            hidden.copy_from_slice(&plane.bytes[from + (at - start)..][..hidden.len()]);
            at += hidden.len();
            rest = later;
        }
        if !rest.is_empty() {
            behind(at, rest);
        }
        for blend in &plane.blends[row.blends.clone()] {
            if let Some(byte) = out.get_mut((blend.at as usize).wrapping_sub(column)) {
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
                        // A line has 16 KiB at most.
                        at: (first + at) as u32,
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
                let is_span = ground - at >= shortest_span(self.len) || ground - at == hidden - at;
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
            // A line has 16 KiB at most, and what is not ground a few MiB.
            self.spans.push(Span {
                start: (first + range.start) as u32,
                end: (first + range.end) as u32,
                from: from as u32,
            });
        }
        let last = self.rows.last();
        let (spans, blends) = last.map_or((0, 0), |row| (row.spans.end, row.blends.end));
        self.rows.push(Parts {
            spans: spans..self.spans.len(),
            blends: blends..self.blends.len(),
        });
    }

    /// Returns the row for a line of the plane, if there is one.
    fn row(&self, line: usize) -> Option<&Parts> {
        self.rows.get(line.checked_sub(self.top)?)
    }
}

impl Span {
    /// Returns `start`, `end` and `from`.
    fn places(self) -> (usize, usize, usize) {
        (self.start as usize, self.end as usize, self.from as usize)
    }
}

impl Blend {
    fn over(self, old: u8) -> u8 {
        let [old, zero, most] = [old, self.zero, self.most].map(u32::from);
        // Both shares add up to 255 at most, and so does the sum of each.
        ((zero * (255 - old) + most * old + 127) / 255) as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::PixelFormat;

    const GROUND: Ink = Ink::grey(16);

    fn drawable() -> impl Iterator<Item = PixelFormat> {
        PixelFormat::ALL.into_iter().filter(|f| !f.is_compressed())
    }

    /// Draws a smooth disc, with a spot that may be lit and a smaller disc whose
    /// rim lies on that of the first.
    fn draw(row: &mut Row<'_>, y: u32, lines: u32, lit: bool) {
        let below = y as f32 + lines as f32 / 2.0 - 40.0;
        row.disc(61.3, below, 30.4, Ink::grey(255));
        row.disc(61.3, below, 29.9, GROUND);
        let spot = if lit { Ink::rgb(255, 176, 0) } else { GROUND };
        if (30..34).contains(&y) {
            row.fill(50, 55, spot);
        }
    }

    fn layer(layout: &Layout) -> Layer {
        let drawing = |lit| move |row: &mut Row<'_>, y, lines| draw(row, y, lines, lit);
        let drawings: [Drawing<'_>; 2] = [&drawing(false), &drawing(true)];
        Layer::new(layout, 30..92, 9..72, GROUND, &drawings)
    }

    /// Compares every line of the layer, painted in pieces, with what is drawn,
    /// over a picture of other bytes for each line.
    fn compare(layer: &Layer, layout: &Layout, lit: impl Fn(u32) -> bool) {
        for (number, plane) in layout.planes().enumerate() {
            for line in 0..plane.lines {
                let y = line as u32 * plane.format.lines;
                let picture: Vec<u8> = (0..plane.stride)
                    .map(|x| (x * 37 + line * 11) as u8)
                    .collect();
                let mut drawn = picture.clone();
                if layer.touches(y) {
                    let row = &mut Row::new(&mut drawn, plane.format);
                    draw(row, y, plane.format.lines, lit(y));
                }
                for piece in [1, 7, 64, plane.stride] {
                    let mut painted = vec![0xee; plane.stride];
                    for (start, out) in (0..).step_by(piece).zip(painted.chunks_mut(piece)) {
                        layer.paint(number, line, start, out, |column, out| {
                            out.copy_from_slice(&picture[column..][..out.len()]);
                        });
                    }
                    let differ = painted.iter().zip(&drawn).map(|(a, b)| a.abs_diff(*b));
                    // A mixture is rounded once, and what is drawn each time.
                    assert!(
                        differ.max().is_none_or(|most| most <= 1),
                        "{}, line {line}, in pieces of {piece}",
                        layout.format
                    );
                }
            }
        }
    }

    #[test]
    fn what_is_painted_is_what_was_drawn() {
        for format in drawable() {
            let layout = Layout::new(format, 128, 80);
            compare(&layer(&layout), &layout, |_| false);
        }
    }

    #[test]
    fn another_drawing_is_shown_in_the_lines_that_are_redrawn() {
        for format in drawable() {
            let layout = Layout::new(format, 128, 80);
            let mut layer = layer(&layout);
            let lit = |row: &mut Row<'_>, y, lines| draw(row, y, lines, true);
            layer.redraw(32..400, &lit);
            compare(&layer, &layout, |y| y >= 32);
        }
    }

    #[test]
    fn the_ground_is_kept_once() {
        let layout = Layout::new(PixelFormat::Grey, 1920, 1080);
        let fill = |row: &mut Row<'_>, _: u32, _: u32| row.fill(100, 1800, GROUND);
        let layer = Layer::new(&layout, 100..1800, 100..900, GROUND, &[&fill]);
        assert_eq!(layer.planes[0].bytes.len(), 1700);
        assert_eq!(layer.planes[0].spans.len(), 800);
    }

    #[test]
    fn a_layer_beyond_the_picture_is_cut_off() {
        for format in drawable() {
            let layout = Layout::new(format, 18, 18);
            let fill = |row: &mut Row<'_>, _: u32, _: u32| row.fill(-50, 50, GROUND);
            let layer = Layer::new(&layout, -50..50, 0..50, GROUND, &[&fill]);
            for (number, plane) in layout.planes().enumerate() {
                let mut out = vec![0xee; plane.stride];
                layer.paint(number, plane.lines - 1, 0, &mut out, |_, _| panic!("a gap"));
                assert!(out.iter().all(|byte| *byte != 0xee));
            }
        }
    }
}
