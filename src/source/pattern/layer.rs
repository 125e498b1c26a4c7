//! A layer over the picture, turned into bytes when a stream starts.
//!
//! A frame then copies what the layer hides, blends the few bytes of its smooth
//! edges, and draws nothing. Where the picture behind the layer never changes,
//! the edges are blended when the stream starts, too.

use std::ops::Range;

use super::aligned::Aligned;
use super::canvas::{Ink, Row};
use super::painting::{Line, Painting};
use super::part::Part;
use crate::source::format::PlaneFormat;
use crate::source::layout::Layout;

/// Draws the layer's part of a row: the row, the line of the picture at which
/// it begins, and the number of lines that it covers.
pub type Drawing<'a> = &'a dyn Fn(&mut Row<'_>, u32, u32);

/// Number of bytes that are copied at once: so many that the compiler copies
/// them in a few instructions, and most edges need one chunk.
const CHUNK: usize = 64;

/// Number of bytes that are mixed at once.
const BLEND: usize = 16;

/// The layer, for every colour plane of a layout.
#[derive(Debug)]
pub struct Layer {
    /// The lines of the picture that it may cover.
    lines: Range<u32>,
    planes: Vec<Plane>,
    /// A row over 0, and one over 255; kept for their allocation.
    rows: [Vec<u8>; 2],
}

/// Its share of a colour plane.
#[derive(Debug)]
pub struct Plane {
    number: usize,
    format: &'static PlaneFormat,
    /// Even pixel, and byte, of a line at which the layer's rows begin.
    first: (u32, usize),
    /// Length of the layer's rows, in bytes.
    len: usize,
    /// Number of the plane's line that `rows` begins with.
    top: usize,
    rows: Vec<Parts>,
    /// A line of ground.
    ground: Aligned,
    chunks: Vec<Chunk>,
    blends: Vec<Blend>,
}

/// What a row consists of, in the order in which it is painted.
#[derive(Debug)]
struct Parts {
    /// Bytes of the line that become ground, over which the rest is painted.
    ground: Range<u32>,
    /// Ranges in [`Plane::chunks`] and in [`Plane::blends`].
    chunks: Range<u32>,
    blends: Range<u32>,
}

/// Bytes of a line that hide the picture, or show it if it never changes.
#[derive(Debug, Clone, Copy)]
struct Chunk {
    /// The first one in the line.
    at: u32,
    bytes: [u8; CHUNK],
}

/// Bytes of a line that are mixed with the picture, or hide it.
#[derive(Debug, Clone, Copy)]
struct Blend {
    /// The first one in the line.
    at: u32,
    /// What becomes of 0 and of 255; what lies between them becomes what lies
    /// between these. 0 and 255 leave the picture as it is.
    zero: [u8; BLEND],
    most: [u8; BLEND],
}

/// A row that is drawn.
struct Drawn<'a> {
    /// What becomes of 0 and of 255. A byte is known if it is the same in both.
    zero: &'a mut [u8],
    most: &'a mut [u8],
    /// The row's bytes in the picture, if they are the same in every frame. All
    /// that is drawn is known then.
    behind: Option<&'a [u8]>,
}

impl Layer {
    /// Makes the layer that `drawings` draw in these columns and lines of the
    /// picture, whose pixels are mostly of the colour `ground`. There may be
    /// several drawings, which differ in what hides the picture; the first one
    /// is shown, until [`redraw`](Self::redraw) shows another. If the layer is
    /// always painted over the same `painting`, that is given.
    pub fn new(
        layout: &Layout,
        columns: Range<i32>,
        lines: Range<u32>,
        ground: Ink,
        drawings: &[Drawing<'_>],
        painting: Option<&dyn Painting>,
    ) -> Self {
        let columns = (columns.start.max(0) & !1) as u32
            ..(columns.end.max(0) as u32)
                .next_multiple_of(2)
                .min(layout.width);
        let lines = lines.start..lines.end.min(layout.height);
        let place = |format: &PlaneFormat| {
            let byte = |pixel: u32| format.bytes(pixel as i32) as usize;
            byte(columns.start)..byte(columns.end.max(columns.start))
        };
        let longest = layout.planes().map(|plane| place(plane.format).len()).max();
        let row = || vec![0; longest.unwrap_or(0)];
        let mut rows: Vec<_> = drawings.iter().map(|_| [row(), row()]).collect();
        let planes = layout.planes().enumerate().map(|(number, plane)| {
            let format = plane.format;
            let mut line = Aligned::new(plane.stride);
            Row::new(&mut line, format).fill(0, i32::MAX, ground);
            let mut made = Plane {
                number,
                format,
                first: (columns.start, place(format).start),
                len: place(format).len(),
                top: lines.start.div_ceil(format.lines) as usize,
                rows: Vec::new(),
                ground: line,
                chunks: Vec::new(),
                blends: Vec::new(),
            };
            for line in made.top as u32..lines.end.div_ceil(format.lines) {
                made.add(&mut rows, line * format.lines, drawings, painting);
            }
            made.chunks.shrink_to_fit();
            made.blends.shrink_to_fit();
            made
        });
        let planes = planes.collect();
        Self {
            lines,
            planes,
            rows: [row(), row()],
        }
    }

    /// Shows what another of the layer's drawings draws in these lines of the
    /// picture. The painting is the one that the layer was made with.
    pub fn redraw(
        &mut self,
        lines: Range<u32>,
        drawing: Drawing<'_>,
        painting: Option<&dyn Painting>,
    ) {
        let lines = lines.start.max(self.lines.start)..lines.end.min(self.lines.end);
        for plane in &mut self.planes {
            let covered = plane.format.lines;
            for line in lines.start.div_ceil(covered)..lines.end.div_ceil(covered) {
                let drawn = plane.draw(&mut self.rows, line * covered, drawing, painting);
                let Some(row) = plane.row(line as usize) else {
                    continue;
                };
                let (chunks, blends) = (row.chunks(), row.blends());
                for chunk in &mut plane.chunks[chunks] {
                    *chunk = Chunk::of(&drawn, chunk.at as usize - plane.first.1, plane.first.1);
                }
                for blend in &mut plane.blends[blends] {
                    *blend = Blend::of(&drawn, blend.at as usize - plane.first.1, plane.first.1);
                }
            }
        }
    }

    /// Returns the layer's share of a colour plane.
    pub fn plane(&self, plane: usize) -> &Plane {
        &self.planes[plane]
    }
}

impl Plane {
    /// Paints a part of line `line`: `picture`, and the layer's share over it.
    #[inline(always)]
    pub fn paint_over(&self, line: usize, picture: Line<'_>, part: &mut Part<'_>) {
        let Some(row) = self.row(line) else {
            return picture.write(part, 0..0);
        };
        picture.write(part, row.ground());
        self.paint_row(row, part);
        for blend in &self.blends[row.blends()] {
            // What was just written is read again much later than what was not.
            match (
                part.chunk(blend.at as usize),
                picture.chunk(blend.at as usize),
            ) {
                (Some(place), Some(behind)) => *place = blend.over(behind),
                _ => blend.lay(part),
            }
        }
    }

    /// Paints the layer's share of a part of line `line` over what is in it.
    #[inline(always)]
    pub fn paint(&self, line: usize, part: &mut Part<'_>) {
        if let Some(row) = self.row(line) {
            self.paint_row(row, part);
            for blend in &self.blends[row.blends()] {
                blend.lay(part);
            }
        }
    }

    /// Paints what hides the picture.
    #[inline(always)]
    fn paint_row(&self, row: &Parts, part: &mut Part<'_>) {
        let ground = row.ground();
        part.put(ground.start, &self.ground[ground]);
        for chunk in &self.chunks[row.chunks()] {
            match part.chunk(chunk.at as usize) {
                Some(place) => *place = chunk.bytes,
                None => part.put(chunk.at as usize, &chunk.bytes),
            }
        }
    }

    /// Draws the row that begins at line `y` of the picture in `rows`.
    fn draw<'a>(
        &self,
        rows: &'a mut [Vec<u8>; 2],
        y: u32,
        drawing: Drawing<'_>,
        painting: Option<&'a dyn Painting>,
    ) -> Drawn<'a> {
        let [zero, most] = rows.each_mut().map(|row| &mut row[..self.len]);
        for (row, value) in [(&mut *zero, 0), (&mut *most, 255)] {
            row.fill(value);
            let mut row = Row::from(row, self.format, self.first.0 as i32);
            drawing(&mut row, y, self.format.lines);
        }
        let still = painting.and_then(|painting| painting.band(self.number, y).line.still());
        let behind = still.map(|line| &line[self.first.1..][..self.len]);
        for ((zero, most), old) in zero.iter_mut().zip(&mut *most).zip(behind.unwrap_or(&[])) {
            *zero = blended(*old, *zero, *most);
            *most = *zero;
        }
        Drawn { zero, most, behind }
    }

    /// Adds the row that begins at line `y` of the picture. There is room in
    /// `rows` for a row of each drawing.
    fn add(
        &mut self,
        rows: &mut [[Vec<u8>; 2]],
        y: u32,
        drawings: &[Drawing<'_>],
        painting: Option<&dyn Painting>,
    ) {
        let drawn: Vec<_> = drawings
            .iter()
            .zip(rows)
            .map(|(drawing, rows)| self.draw(rows, y, *drawing, painting))
            .collect();
        // What is known is so in every drawing.
        let (first, row) = (self.first.1, &drawn[0]);
        let known = |at: Range<usize>| row.zero[at.clone()] == row.most[at];
        let all = |at: Range<usize>, bytes: &[u8]| {
            let bytes = &bytes[at.clone()];
            drawn.iter().all(|row| row.zero[at.clone()] == *bytes)
        };
        let ground = &self.ground[first..][..self.len];
        let is_ground = |at: Range<usize>| all(at, ground);
        let shows_picture = |at: Range<usize>| match row.behind {
            Some(behind) => all(at, behind),
            None => {
                let (zero, most) = (&row.zero[at.clone()], &row.most[at]);
                zero.iter().all(|byte| *byte == 0) && most.iter().all(|byte| *byte == 255)
            }
        };
        let is_end = |at: &usize| is_ground(*at..*at + 1) && !shows_picture(*at..*at + 1);
        // The longest stretch of ground, in which everything has to be known.
        let (mut longest, mut at) = (0..0, 0);
        while at < self.len {
            at = end_of(at..self.len, shows_picture);
            let known = at..end_of(at..self.len, known);
            if let Some(start) = known.clone().find(is_end) {
                let end = start_of(known.clone(), shows_picture);
                let last = (start..end).rfind(is_end).unwrap_or(start);
                longest = std::cmp::max_by_key(longest, start..last + 1, Range::len);
            }
            at = known.end.max(at + 1);
        }
        let before = (self.chunks.len(), self.blends.len());
        let (mut chunks, mut blends) = (Vec::new(), Vec::new());
        // Known bytes, after the last of which `at` is if it is not one of them.
        let (mut around, mut at) = (0..0, 0);
        while at < self.len {
            let done = match longest.contains(&at) {
                true => end_of(at..longest.end, is_ground),
                false if at < longest.start => end_of(at..longest.start, shows_picture),
                false => end_of(at..self.len, shows_picture),
            };
            if done > at {
                at = done;
                continue;
            }
            if at >= around.end {
                around = at..end_of(at..self.len, known);
            }
            if around.len() >= CHUNK {
                let place = at.min(around.end - CHUNK);
                chunks.push(Chunk::of(row, place, first));
                at = place + CHUNK;
            } else {
                blends.push(Blend::of(row, at, first));
                at += BLEND;
            }
        }
        self.chunks.extend(chunks);
        self.blends.extend(blends);
        // A layer has a few MiB at most.
        let range = |start: usize, end: usize| start as u32..end as u32;
        self.rows.push(Parts {
            ground: range(first + longest.start, first + longest.end),
            chunks: range(before.0, self.chunks.len()),
            blends: range(before.1, self.blends.len()),
        });
    }

    /// Returns the row for a line of the plane, if there is one.
    fn row(&self, line: usize) -> Option<&Parts> {
        self.rows.get(line.checked_sub(self.top)?)
    }
}

impl Parts {
    fn ground(&self) -> Range<usize> {
        self.ground.start as usize..self.ground.end as usize
    }

    fn chunks(&self) -> Range<usize> {
        self.chunks.start as usize..self.chunks.end as usize
    }

    fn blends(&self) -> Range<usize> {
        self.blends.start as usize..self.blends.end as usize
    }
}

impl Chunk {
    /// Makes it of the bytes from `at` on of a row that begins at byte `first` of
    /// the line.
    fn of(row: &Drawn<'_>, at: usize, first: usize) -> Self {
        Self {
            // A line has 16 KiB at most.
            at: (first + at) as u32,
            bytes: std::array::from_fn(|i| row.zero[at + i]),
        }
    }
}

impl Blend {
    /// Makes it of the bytes from `at` on of a row that begins at byte `first` of
    /// the line. What is behind the row's end stays as it is.
    fn of(row: &Drawn<'_>, at: usize, first: usize) -> Self {
        let (zero, most) = (&row.zero[at..], &row.most[at..]);
        Self {
            // A line has 16 KiB at most.
            at: (first + at) as u32,
            zero: std::array::from_fn(|i| zero.get(i).copied().unwrap_or(0)),
            most: std::array::from_fn(|i| most.get(i).copied().unwrap_or(255)),
        }
    }

    /// Returns what becomes of `old`.
    #[inline(always)]
    fn over(&self, mut old: [u8; BLEND]) -> [u8; BLEND] {
        for ((old, zero), most) in old.iter_mut().zip(&self.zero).zip(&self.most) {
            *old = blended(*old, *zero, *most);
        }
        old
    }

    /// Lays them over what is in a part of a line.
    fn lay(&self, part: &mut Part<'_>) {
        for i in 0..BLEND {
            if let Some([byte]) = part.chunk(self.at as usize + i) {
                *byte = blended(*byte, self.zero[i], self.most[i]);
            }
        }
    }
}

/// Returns the end of the bytes at the beginning of `range` for which `holds`
/// holds.
fn end_of(range: Range<usize>, holds: impl Fn(Range<usize>) -> bool) -> usize {
    let Range { mut start, end } = range;
    for step in [CHUNK, 1] {
        while start + step <= end && holds(start..start + step) {
            start += step;
        }
    }
    start
}

/// Returns the start of the bytes at the end of `range` for which `holds` holds.
fn start_of(range: Range<usize>, holds: impl Fn(Range<usize>) -> bool) -> usize {
    let Range { start, mut end } = range;
    for step in [CHUNK, 1] {
        while start + step <= end && holds(end - step..end) {
            end -= step;
        }
    }
    end
}

/// Returns what becomes of `old`, where 0 becomes `zero` and 255 becomes `most`.
#[inline(always)]
fn blended(old: u8, zero: u8, most: u8) -> u8 {
    let [old, zero, most] = [old, zero, most].map(u16::from);
    // Both shares add up to 255 at most, and so does the sum of each: nothing
    // wraps, but a check of it would keep the compiler from making vectors.
    let shares = zero
        .wrapping_mul(255 - old)
        .wrapping_add(most.wrapping_mul(old));
    let sum = shares.wrapping_add(127);
    // A 255th, rounded down, of what is less than 65535.
    (sum.wrapping_add(1).wrapping_add(sum >> 8) >> 8) as u8
}

#[cfg(test)]
mod tests;
