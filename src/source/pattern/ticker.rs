//! Words that change from frame to frame: numbers, on a ground of one colour.

use std::ops::Range;

use super::canvas::{Ink, Row};
use super::part::Part;
use super::text::{Face, Words};
use crate::source::format::PlaneFormat;
use crate::source::layout::Layout;

/// A line of such words. The characters that it may show are drawn once; a frame
/// puts those that changed into the line, and copies the line.
#[derive(Debug)]
pub struct Ticker {
    characters: Vec<Character>,
    planes: Vec<Plane>,
    /// Pixel of the middle of the words.
    centre: i32,
    /// Pixel at which they begin; even.
    left: i32,
    /// Indices of the characters that are shown.
    shown: Vec<usize>,
}

/// A colour plane's part of the words.
#[derive(Debug)]
struct Plane {
    format: &'static PlaneFormat,
    /// The plane's lines that they cover; these may lie beyond the picture.
    lines: Range<i32>,
    /// Length of the words in bytes.
    len: usize,
    /// The words, row by row.
    bytes: Vec<u8>,
}

/// A character, drawn.
#[derive(Debug)]
struct Character {
    character: u8,
    /// Its [`even_width`].
    width: i32,
    /// Its bytes, row by row, for each colour plane.
    planes: Vec<Vec<u8>>,
}

impl Ticker {
    /// Makes the ticker that can show these `characters`, in the first of the
    /// colours on the second one, around the pixel and line `middle`. It shows
    /// nothing yet.
    pub fn new(
        layout: &Layout,
        characters: &[u8],
        scale: f32,
        (ink, ground): (Ink, Ink),
        middle: (i32, i32),
    ) -> Self {
        let face = Face::new(characters, scale);
        let top = middle.1 - face.height() / 2;
        let widest = characters.iter().map(|&c| even_width(&face, c)).max();
        let planes: Vec<_> = layout
            .planes()
            .map(|plane| {
                let format = plane.format;
                let lines = format.line_from(top)..format.line_from(top + face.height());
                // So that a frame does not allocate.
                let most = format.bytes(widest.unwrap_or(0)) as usize * Words::MOST;
                Plane {
                    format,
                    len: 0,
                    bytes: Vec::with_capacity(most * lines.len()),
                    lines,
                }
            })
            .collect();
        let drawn = |plane: &Plane, character: u8, width: i32| {
            let mut bytes = vec![0; plane.format.bytes(width) as usize * plane.lines.len()];
            let rows = bytes.chunks_exact_mut(plane.format.bytes(width).max(1) as usize);
            for (line, bytes) in plane.lines.clone().zip(rows) {
                let y = line * plane.format.lines as i32;
                let mut row = Row::new(bytes, plane.format);
                row.fill(0, width, ground);
                face.draw(&mut row, 0, y - top, &[character], ink);
            }
            bytes
        };
        let characters = characters.iter().map(|&character| {
            let width = even_width(&face, character);
            Character {
                character,
                width,
                planes: planes.iter().map(|p| drawn(p, character, width)).collect(),
            }
        });
        Self {
            characters: characters.collect(),
            planes,
            centre: middle.0,
            left: middle.0,
            // So that a frame does not allocate.
            shown: Vec::with_capacity(Words::MOST),
        }
    }

    /// Shows `words`. Characters that the ticker cannot show are left out.
    pub fn show(&mut self, words: Words) {
        let Self {
            characters,
            planes,
            shown,
            ..
        } = self;
        let place = |shown: &u8| characters.iter().position(|c| c.character == *shown);
        let words = words.as_bytes().iter().filter_map(place);
        let width: i32 = words.clone().map(|index| characters[index].width).sum();
        self.left = (self.centre - width / 2) & !1;
        let stays = |(old, new): (&usize, usize)| characters[*old].width == characters[new].width;
        let in_place =
            words.clone().count() == shown.len() && shown.iter().zip(words.clone()).all(stays);
        if !in_place {
            shown.clear();
            for plane in planes.iter_mut() {
                plane.len = plane.format.bytes(width) as usize;
                plane.bytes.clear();
                plane.bytes.resize(plane.len * plane.lines.len(), 0);
            }
        }
        let mut left = 0;
        for (at, index) in words.enumerate() {
            let character = &characters[index];
            if shown.get(at) != Some(&index) {
                for (plane, bytes) in planes.iter_mut().zip(&character.planes) {
                    plane.put(left, character.width, bytes);
                }
            }
            left += character.width;
            match shown.get_mut(at) {
                Some(known) => *known = index,
                None => shown.push(index),
            }
        }
    }

    /// Returns the lines of a colour plane that the words cover.
    pub fn lines(&self, plane: usize) -> Range<i32> {
        self.planes[plane].lines.clone()
    }

    /// Paints the words' share of a line of a colour plane.
    pub fn paint(&self, plane: usize, line: usize, part: &mut Part<'_>) {
        let plane = &self.planes[plane];
        let line = line as i32;
        if !plane.lines.contains(&line) {
            return;
        }
        let row = (line - plane.lines.start) as usize;
        let words = &plane.bytes[row * plane.len..][..plane.len];
        // What begins before the line is cut off.
        let at = plane.format.bytes(self.left);
        if let Some(shown) = words.get(at.min(0).unsigned_abs() as usize..) {
            part.put(at.max(0) as usize, shown);
        }
    }
}

impl Plane {
    /// Puts a character of that width, drawn row by row, into the words, `left`
    /// pixels after their beginning.
    fn put(&mut self, left: i32, width: i32, character: &[u8]) {
        let (start, len) = (self.format.bytes(left), self.format.bytes(width));
        let (start, len) = (start as usize, len.max(1) as usize);
        let rows = self.bytes.chunks_exact_mut(self.len.max(1));
        for (row, drawn) in rows.zip(character.chunks_exact(len)) {
            row[start..][..len].copy_from_slice(drawn);
        }
    }
}

/// Returns the distance from a character to the next one, in pixels: even, so
/// that the pixels that share their chroma belong to one character.
fn even_width(face: &Face, character: u8) -> i32 {
    (face.width(&[character]) + 1) & !1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::PixelFormat;

    fn ticker(layout: &Layout) -> Ticker {
        let inks = (Ink::rgb(255, 176, 0), Ink::grey(16));
        Ticker::new(layout, b"0123456789:", 1.7, inks, (101, 33))
    }

    /// Returns the picture with nothing but the words.
    fn picture(ticker: &Ticker, layout: &Layout) -> Vec<u8> {
        let mut bytes = vec![0; layout.sizeimage as usize];
        for (number, plane) in layout.planes().enumerate() {
            let lines = bytes[plane.offset..].chunks_mut(plane.stride);
            for (line, out) in lines.take(plane.lines).enumerate() {
                let (one, other) = out.split_at_mut(plane.stride / 3);
                ticker.paint(number, line, &mut Part::new(0, one));
                ticker.paint(number, line, &mut Part::new(plane.stride / 3, other));
            }
        }
        bytes
    }

    fn words(text: &str) -> Words {
        Words::of(format_args!("{text}"))
    }

    #[test]
    fn words_that_change_are_as_those_that_are_shown_first() {
        for format in PixelFormat::ALL.into_iter().filter(|f| !f.is_compressed()) {
            let layout = Layout::new(format, 200, 60);
            let mut changed = ticker(&layout);
            let mut seen: Vec<Vec<u8>> = Vec::new();
            // Digits, the number of characters, and which ones are narrow.
            for text in ["09:59", "10:00", "1:000", "999999", "1000000", "7", ""] {
                changed.show(words(text));
                let now = picture(&changed, &layout);
                let mut first = ticker(&layout);
                first.show(words(text));
                assert!(now == picture(&first, &layout), "{format}: {text}");
                assert!(!seen.contains(&now), "{format}: {text}");
                seen.push(now);
            }
        }
    }

    #[test]
    fn words_at_the_edge_and_too_many_are_cut_off() {
        for format in [PixelFormat::Yuyv, PixelFormat::Nv12, PixelFormat::Rgb3] {
            let layout = Layout::new(format, 32, 32);
            let mut ticker = ticker(&layout);
            ticker.show(words("012345678901234567890123"));
            picture(&ticker, &layout);
        }
    }
}
