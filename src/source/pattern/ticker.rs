//! Words that change from frame to frame: numbers, on a ground of one colour.

use super::canvas::{Ink, Row};
use super::sprite::Sprite;
use super::text::{Face, Words};
use crate::source::layout::Layout;

/// A line of such words. The characters that it may show are drawn once, and a
/// frame copies those that have changed.
#[derive(Debug)]
pub struct Ticker {
    characters: Vec<Character>,
    /// Pixel of the middle of the words.
    centre: i32,
    /// First line of the words.
    top: i32,
    height: i32,
    words: Words,
    sprite: Sprite,
}

/// A character, drawn.
#[derive(Debug)]
struct Character {
    character: u8,
    /// Distance to the next one, in pixels; even, so that the pixels that share
    /// their chroma belong to one character.
    width: i32,
    /// Its bytes: rows of all planes, as the sprite has them.
    bytes: Vec<u8>,
}

impl Ticker {
    /// Makes the ticker that can show `most` of these `characters`, in the first
    /// of the colours on the second one, around the pixel and line `middle`. It
    /// shows nothing yet.
    pub fn new(
        layout: &Layout,
        characters: &[u8],
        most: usize,
        scale: f32,
        (ink, ground): (Ink, Ink),
        middle: (i32, i32),
    ) -> Self {
        let face = Face::new(characters, scale);
        let height = face.height();
        let top = middle.1 - height / 2;
        let characters: Vec<_> = characters
            .iter()
            .map(|&character| {
                let width = (face.width(&[character]) + 1) & !1;
                let mut sprite = Sprite::new(layout, width, height);
                sprite.place(0..width, top..top + height);
                let mut bytes = Vec::new();
                for mut row in sprite.rows() {
                    let y = row.y;
                    let mut canvas: Row<'_> = row.row();
                    canvas.fill(0, width, ground);
                    face.draw(&mut canvas, 0, y - top, &[character], ink);
                    bytes.extend_from_slice(row.bytes);
                }
                Character {
                    character,
                    width,
                    bytes,
                }
            })
            .collect();
        let widest = characters.iter().map(|drawn| drawn.width).max();
        let most = widest.unwrap_or(0) * most as i32;
        Self {
            characters,
            centre: middle.0,
            top,
            height,
            words: Words::default(),
            sprite: Sprite::new(layout, most, height),
        }
    }

    fn drawn(&self, character: u8) -> Option<&Character> {
        self.characters.iter().find(|c| c.character == character)
    }

    /// Shows `words`. Characters that the ticker cannot show are left out.
    pub fn show(&mut self, words: Words) {
        let width = |words: &Words| -> i32 {
            let drawn = words.as_bytes().iter().filter_map(|c| self.drawn(*c));
            drawn.map(|character| character.width).sum()
        };
        let (before, now) = (width(&self.words), width(&words));
        let is_new = before != now || self.words.as_bytes().len() != words.as_bytes().len();
        let left = (self.centre - now / 2) & !1;
        if is_new {
            self.sprite
                .place(left..left + now, self.top..self.top + self.height);
        }
        let mut x = 0;
        let was = std::mem::replace(&mut self.words, words);
        for (at, character) in words.as_bytes().iter().enumerate() {
            let Some(drawn) = self.characters.iter().find(|c| c.character == *character) else {
                continue;
            };
            if is_new || was.as_bytes()[at] != *character {
                self.sprite.copy_in(x, drawn.width, &drawn.bytes);
            }
            x += drawn.width;
        }
    }

    /// Paints the words' share of a part of a line, as [`Sprite::paint`] does.
    pub fn paint(&self, plane: usize, line: usize, column: usize, out: &mut [u8]) {
        self.sprite.paint(plane, line, column, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::PixelFormat;

    fn ticker(layout: &Layout) -> Ticker {
        let inks = (Ink::rgb(255, 176, 0), Ink::grey(16));
        Ticker::new(layout, b"0123456789:", 10, 1.7, inks, (101, 33))
    }

    /// Returns the picture with nothing but the words.
    fn picture(ticker: &Ticker, layout: &Layout) -> Vec<u8> {
        let mut bytes = vec![0; layout.sizeimage as usize];
        for (number, plane) in layout.planes().enumerate() {
            let lines = bytes[plane.offset..].chunks_mut(plane.stride);
            for (line, out) in lines.take(plane.lines).enumerate() {
                let (one, other) = out.split_at_mut(plane.stride / 3);
                ticker.paint(number, line, 0, one);
                ticker.paint(number, line, plane.stride / 3, other);
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
