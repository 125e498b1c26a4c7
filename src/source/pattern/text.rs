//! Text burned into the picture: the 8 by 8 bitmap font of `font8x8`, drawn
//! as it is at its own size and with its stairs rounded at larger ones.

use std::fmt;

use font8x8::UnicodeFonts;

use super::canvas::{Ink, Row};

/// Rows of a bitmap glyph, and columns at most.
const CELL: usize = 8;
/// How much finer a glyph is made before it is brought to size: three times
/// doubled.
const FINE: usize = 8;
/// Points along each side of a pixel at which the fine glyph is looked up.
const POINTS: usize = 4;

/// A few words, held in place: making them allocates nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Words {
    bytes: [u8; 24],
    len: usize,
}

impl Words {
    /// What `format_args!` makes of its arguments; what does not fit is cut.
    pub fn of(arguments: fmt::Arguments<'_>) -> Self {
        let mut words = Self::default();
        // The writer below never fails.
        let _ = fmt::Write::write_fmt(&mut words, arguments);
        words
    }

    /// The last `count` characters of them.
    pub fn tail(self, count: usize) -> Self {
        let len = self.len.min(count);
        let mut tail = Self {
            len,
            ..Self::default()
        };
        tail.bytes[..len].copy_from_slice(&self.bytes[self.len - len..self.len]);
        tail
    }

    /// The characters, which are ASCII.
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

/// Columns of its cell that a character takes, as `(first, count)`: digits
/// take all of it, so that a number does not dance; the others what they need
/// and one more.
fn columns(character: u8) -> (usize, usize) {
    if character.is_ascii_digit() {
        return (0, CELL);
    }
    let used = bitmap(character).iter().fold(0, |used, row| used | row);
    if used == 0 {
        return (0, CELL / 2);
    }
    let first = used.trailing_zeros() as usize;
    (first, CELL - used.leading_zeros() as usize - first + 1)
}

/// Columns that words take at scale 1.
pub fn columns_of(words: &Words) -> usize {
    words.as_bytes().iter().map(|c| columns(*c).1).sum()
}

/// A character's rows, the leftmost column in the lowest bit.
fn bitmap(character: u8) -> [u8; CELL] {
    font8x8::BASIC_FONTS
        .get(character.into())
        .unwrap_or_default()
}

/// One character, ready to be laid down line by line.
#[derive(Debug)]
struct Glyph {
    character: u8,
    width: usize,
    /// How much of each pixel it covers, in 255ths, row by row.
    cover: Vec<u8>,
}

/// Some characters at one size.
#[derive(Debug)]
pub struct Face {
    height: usize,
    glyphs: Vec<Glyph>,
}

impl Face {
    /// The characters of `wanted`, `scale` times their own size (1 at least).
    pub fn new(wanted: &[u8], scale: f32) -> Self {
        let scale = scale.max(1.0);
        let height = (CELL as f32 * scale).round() as usize;
        let mut glyphs: Vec<Glyph> = Vec::new();
        for &character in wanted {
            if glyphs.iter().all(|glyph| glyph.character != character) {
                glyphs.push(Glyph::new(character, scale, height));
            }
        }
        Self { height, glyphs }
    }

    /// Lines that it takes, in pixels.
    pub fn height(&self) -> i32 {
        self.height as i32
    }

    fn glyph(&self, character: u8) -> Option<&Glyph> {
        self.glyphs.iter().find(|g| g.character == character)
    }

    /// Pixels that `words` take along a line.
    pub fn width(&self, words: &Words) -> i32 {
        let widths = words.as_bytes().iter().filter_map(|c| self.glyph(*c));
        widths.map(|glyph| glyph.width as i32).sum()
    }

    /// Lays line `line` (0 is the topmost) of `words` down, from pixel `x` on.
    pub fn draw(&self, row: &mut Row<'_>, x: i32, line: i32, words: &Words, ink: Ink) {
        if line < 0 || line >= self.height() {
            return;
        }
        let mut x = x;
        for glyph in words.as_bytes().iter().filter_map(|c| self.glyph(*c)) {
            let cover = &glyph.cover[line as usize * glyph.width..][..glyph.width];
            for (column, cover) in (x..).zip(cover) {
                row.blend(column, ink, *cover);
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
        let coarse = |x: usize, y: usize| x < CELL && rows[y] >> x & 1 == 1;
        let mut fine = Bitmap::new(CELL, coarse);
        while fine.side < CELL * FINE && scale >= 2.0 {
            fine = fine.doubled();
        }
        let zoom = fine.side / CELL;
        let mut cover = Vec::with_capacity(width * height);
        for y in 0..height {
            for x in 0..width {
                let points = (0..POINTS * POINTS).filter(|point| {
                    let sx = ((x * POINTS + point % POINTS) * 2 + 1) * count * zoom
                        / (2 * POINTS * width);
                    let sy = ((y * POINTS + point / POINTS) * 2 + 1) * CELL * zoom
                        / (2 * POINTS * height);
                    fine.get(first * zoom + sx, sy)
                });
                cover.push((points.count() * 255 / (POINTS * POINTS)) as u8);
            }
        }
        Self {
            character,
            width,
            cover,
        }
    }
}

/// A square of points, each set or not.
struct Bitmap {
    side: usize,
    points: Vec<bool>,
}

impl Bitmap {
    fn new(side: usize, point: impl Fn(usize, usize) -> bool) -> Self {
        let points = (0..side * side)
            .map(|i| point(i % side, i / side))
            .collect();
        Self { side, points }
    }

    /// Whether a point is set; none outside of the square is.
    fn get(&self, x: usize, y: usize) -> bool {
        x < self.side && y < self.side && self.points[y * self.side + x]
    }

    /// Twice as fine, by the Scale2x rule: a corner of a point takes the
    /// colour of its two neighbours there where they agree and the opposite
    /// ones do not, which turns stairs into slopes.
    fn doubled(&self) -> Self {
        Self::new(self.side * 2, |x, y| {
            let (px, py) = (x / 2, y / 2);
            let left = self.get(px.wrapping_sub(1), py);
            let right = self.get(px + 1, py);
            let above = self.get(px, py.wrapping_sub(1));
            let below = self.get(px, py + 1);
            let (beside, other_side) = if x % 2 == 0 {
                (left, right)
            } else {
                (right, left)
            };
            let (along, other_end) = if y % 2 == 0 {
                (above, below)
            } else {
                (below, above)
            };
            if beside == along && beside != other_end && along != other_side {
                beside
            } else {
                self.get(px, py)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::PixelFormat;

    #[test]
    fn at_its_own_size_a_glyph_is_the_bitmap() {
        let face = Face::new(b"7", 1.0);
        let words = Words::of(format_args!("7"));
        assert_eq!((face.width(&words), face.height()), (8, 8));
        let plane = &PixelFormat::Grey.planes()[0];
        for (line, bits) in bitmap(b'7').iter().enumerate() {
            let mut bytes = [0; 8];
            face.draw(
                &mut Row::new(&mut bytes, plane),
                0,
                line as i32,
                &words,
                Ink::grey(255),
            );
            assert_eq!(bytes, std::array::from_fn(|x| (bits >> x & 1) * 255));
        }
    }

    #[test]
    fn text_at_the_edge_and_beyond_is_cut_off() {
        let words = Words::of(format_args!("PINHOLE"));
        let face = Face::new(b"PINHOLE", 2.5);
        let plane = &PixelFormat::Yuyv.planes()[0];
        for x in [-1000, -7, 0, 15, 1000] {
            for line in [-1, 0, face.height() - 1, face.height()] {
                let mut bytes = [0; 32];
                face.draw(
                    &mut Row::new(&mut bytes, plane),
                    x,
                    line,
                    &words,
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
