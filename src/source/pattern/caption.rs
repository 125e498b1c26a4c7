//! The caption: a line of text near the bottom of the picture.

use super::canvas::{Ink, Row};
use super::text::{Face, columns_of};
use crate::source::layout::Layout;

const GROUND: Ink = Ink::grey(16);
const INK: Ink = Ink::grey(255);

/// A line of text on its own background.
#[derive(Debug)]
pub struct Caption {
    words: Vec<u8>,
    face: Face,
    /// Pixel at which the words begin; negative if they are too long for the
    /// picture.
    left: i32,
    top: i32,
    /// The covered pixels and lines, all even.
    columns: (i32, i32),
    lines: (i32, i32),
}

impl Caption {
    /// Makes the caption for frames of that layout: as large as the width and a
    /// 20th of the height of the picture allow. Characters outside of ASCII
    /// become spaces.
    pub fn new(text: &str, layout: &Layout) -> Self {
        let (width, height) = (layout.width as i32, layout.height as i32);
        let words: Vec<u8> = text
            .chars()
            .map(|c| u8::try_from(c).ok().filter(u8::is_ascii).unwrap_or(b' '))
            .collect();
        let wide = width as f32 * 0.9 / columns_of(&words).max(1) as f32;
        let scale = (height as f32 / 160.0).min(wide).max(1.0);
        let face = Face::new(&words, scale);
        let (across, down) = (face.width(&words), face.height());
        let margin = (scale * 3.0) as i32;
        let left = (width - across) / 2;
        let top = (height - down - height / 16).max(0);
        Self {
            words,
            face,
            left,
            top,
            columns: ((left - margin) & !1, (left + across + margin + 1) & !1),
            lines: ((top - margin) & !1, (top + down + margin + 1) & !1),
        }
    }

    /// Returns whether line `y` of the picture crosses the caption.
    pub fn touches(&self, y: u32) -> bool {
        (self.lines.0..self.lines.1).contains(&(y as i32))
    }

    /// Paints the caption's part of a row that begins at line `y` of the
    /// picture.
    pub fn paint(&self, row: &mut Row<'_>, y: u32) {
        row.fill(self.columns.0, self.columns.1, GROUND);
        let line = y as i32 - self.top;
        self.face.draw(row, self.left, line, &self.words, INK);
    }
}
