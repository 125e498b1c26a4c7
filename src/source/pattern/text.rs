//! Text in the picture, in the 8 by 8 bitmap font of `font8x8`: unchanged at
//! the font's own size, taller and with smooth edges at larger sizes.

use std::fmt;

use font8x8::UnicodeFonts;

use super::canvas::{Ink, Row, Run};

/// Number of rows of a bitmap glyph, and its maximal number of columns.
const CELL: usize = 8;
/// Ratio of the height to the width of the font's dots.
const TALLER: f32 = 1.4;
/// The scale from which on a glyph is smooth and tall; below, it is the bitmap.
const SMOOTH: f32 = 1.5;

/// A few words in an inline buffer, so that making them allocates nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Words {
    bytes: [u8; Self::MOST],
    len: usize,
}

impl Words {
    /// Number of characters that fit.
    pub const MOST: usize = 24;

    /// Formats `arguments`; cuts the result to the buffer.
    pub fn of(arguments: fmt::Arguments<'_>) -> Self {
        let mut words = Self::default();
        // The writer below never fails.
        let _ = fmt::Write::write_fmt(&mut words, arguments);
        words
    }

    /// Returns the last `count` characters.
    pub fn tail(self, count: usize) -> Self {
        let len = self.len.min(count);
        let mut tail = Self {
            len,
            ..Self::default()
        };
        tail.bytes[..len].copy_from_slice(&self.bytes[self.len - len..self.len]);
        tail
    }

    /// Returns the characters, which are ASCII.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl fmt::Write for Words {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            if let Some(place) = self.bytes.get_mut(self.len) {
                *place = byte;
                self.len += 1;
            }
        }
        Ok(())
    }
}

/// Returns the columns of its cell that a character takes, as `(first, count)`.
/// Digits take all of it, so that a number does not jitter; the others take
/// what they need and one more on either side.
fn columns(character: u8) -> (i32, usize) {
    if character.is_ascii_digit() {
        return (0, CELL);
    }
    let used = bitmap(character).iter().fold(0, |used, row| used | row);
    if used == 0 {
        return (0, CELL / 2);
    }
    let (before, after) = (used.trailing_zeros(), used.leading_zeros());
    (before as i32 - 1, CELL + 2 - (before + after) as usize)
}

/// Returns the height of text of that scale, in pixels.
pub fn height_of(scale: f32) -> usize {
    if scale < SMOOTH {
        CELL
    } else {
        (CELL as f32 * TALLER * scale).round() as usize
    }
}

/// Returns the number of columns that words take at scale 1.
pub fn columns_of(words: &[u8]) -> usize {
    words.iter().map(|c| columns(*c).1).sum()
}

/// Returns the rows of a character, the leftmost column in the lowest bit.
fn bitmap(character: u8) -> [u8; CELL] {
    font8x8::BASIC_FONTS
        .get(character.into())
        .unwrap_or_default()
}

/// One character, prepared for drawing line by line.
#[derive(Debug)]
struct Glyph {
    character: u8,
    width: usize,
    runs: Vec<Run>,
    /// Index in `runs` at which each line begins, and that at which the last
    /// ends.
    lines: Vec<usize>,
}

/// Some characters at one size.
#[derive(Debug)]
pub struct Face {
    height: usize,
    glyphs: Vec<Glyph>,
}

impl Face {
    /// Makes the characters of `wanted`, `scale` times as wide as in the font.
    /// The smallest size is the font's own.
    pub fn new(wanted: &[u8], scale: f32) -> Self {
        let scale = if scale < SMOOTH { 1.0 } else { scale };
        let height = height_of(scale);
        let mut glyphs: Vec<Glyph> = Vec::new();
        for &character in wanted {
            if glyphs.iter().all(|glyph| glyph.character != character) {
                glyphs.push(Glyph::new(character, scale, height));
            }
        }
        Self { height, glyphs }
    }

    /// Returns the height of the text, in pixels.
    pub fn height(&self) -> i32 {
        self.height as i32
    }

    fn glyph(&self, character: u8) -> Option<&Glyph> {
        self.glyphs.iter().find(|g| g.character == character)
    }

    /// Returns the width of `words`, in pixels.
    pub fn width(&self, words: &[u8]) -> i32 {
        let widths = words.iter().filter_map(|c| self.glyph(*c));
        widths.map(|glyph| glyph.width as i32).sum()
    }

    /// Draws line `line` (0 is the topmost) of `words`, from pixel `x` on.
    pub fn draw(&self, row: &mut Row<'_>, x: i32, line: i32, words: &[u8], ink: Ink) {
        if line < 0 || line >= self.height() {
            return;
        }
        let mut x = x;
        for glyph in words.iter().filter_map(|c| self.glyph(*c)) {
            let line = line as usize;
            for run in &glyph.runs[glyph.lines[line]..glyph.lines[line + 1]] {
                row.lay(x, run, ink);
            }
            x += glyph.width as i32;
        }
    }
}

impl Glyph {
    fn new(character: u8, scale: f32, height: usize) -> Self {
        let (first, count) = columns(character);
        let width = (count as f32 * scale).round() as usize;
        let rows = bitmap(character);
        let dot = |x: i32, y: i32| match rows.get(y as usize) {
            Some(row) if (0..CELL as i32).contains(&x) => f32::from(row >> x & 1),
            _ => 0.0,
        };
        // The dots are samples of a smooth shape. Its edge lies where their
        // bilinear interpolation is one half, and is made one pixel wide. At
        // the font's own size every pixel is a dot.
        let cover = |x: usize, y: usize| {
            let x = (x as f32 + 0.5) * count as f32 / width as f32 - 0.5 + first as f32;
            let y = (y as f32 + 0.5) * CELL as f32 / height as f32 - 0.5;
            let (left, top) = (x.floor(), y.floor());
            let (right, low) = (x - left, y - top);
            let (left, top) = (left as i32, top as i32);
            let line = |y| dot(left, y) * (1.0 - right) + dot(left + 1, y) * right;
            let value = line(top) * (1.0 - low) + line(top + 1) * low;
            (((value - 0.5) * scale + 0.5) * 255.0).round() as u8
        };
        let (mut runs, mut lines) = (Vec::<Run>::new(), vec![0]);
        for y in 0..height {
            for x in 0..width {
                let (cover, start) = (cover(x, y), x as i32);
                let (before, end) = (lines[y], start + 1);
                match runs[before..].last_mut() {
                    _ if cover == 0 => {}
                    Some(run) if run.end == start && run.cover == cover => run.end = end,
                    _ => runs.push(Run { start, end, cover }),
                }
            }
            lines.push(runs.len());
        }
        Self {
            character,
            width,
            runs,
            lines,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::PixelFormat;

    #[test]
    fn at_its_own_size_a_glyph_is_the_bitmap() {
        let face = Face::new(b"7", 1.0);
        assert_eq!((face.width(b"7"), face.height()), (8, 8));
        let plane = &PixelFormat::Grey.planes()[0];
        for (line, bits) in bitmap(b'7').iter().enumerate() {
            let mut bytes = [0; 8];
            face.draw(
                &mut Row::new(&mut bytes, plane),
                0,
                line as i32,
                b"7",
                Ink::grey(255),
            );
            assert_eq!(bytes, std::array::from_fn(|x| (bits >> x & 1) * 255));
        }
    }

    #[test]
    fn text_at_the_edge_and_beyond_is_cut_off() {
        let face = Face::new(b"PINHOLE", 2.5);
        let plane = &PixelFormat::Yuyv.planes()[0];
        for x in [-1000, -7, 0, 15, 1000] {
            for line in [-1, 0, face.height() - 1, face.height()] {
                let mut bytes = [0; 32];
                face.draw(
                    &mut Row::new(&mut bytes, plane),
                    x,
                    line,
                    b"7",
                    Ink::grey(255),
                );
            }
        }
    }

    #[test]
    fn words_that_do_not_fit_are_cut() {
        let words = Words::of(format_args!("{:030}", 1));
        assert_eq!(words.as_bytes(), [b'0'; 24]);
        let number = Words::of(format_args!("{:06}", 12_345));
        assert_eq!(number.tail(2).as_bytes(), b"45");
        assert_eq!(number.tail(99).as_bytes(), b"012345");
    }
}
