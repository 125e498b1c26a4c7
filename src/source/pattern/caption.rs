//! The caption: a line of text near the bottom of the picture.

use super::canvas::{Ink, Row};
use super::layer::{self, Layer};
use super::text::{Face, columns_of};
use crate::source::layout::Layout;

const GROUND: Ink = Ink::grey(16);
const INK: Ink = Ink::grey(255);

/// A line of text on its own background.
#[derive(Debug)]
pub struct Caption {
    layer: Layer,
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
        // The left end is negative if the words are too long for the picture.
        let left = (width - across) / 2;
        let top = (height - down - height / 16).max(0);
        let columns = (left - margin) & !1..(left + across + margin + 1) & !1;
        let lines = ((top - margin) & !1).max(0) as u32..((top + down + margin + 1) & !1) as u32;
        let drawing = |row: &mut Row<'_>, y: u32, _: u32| {
            row.fill(columns.start, columns.end, GROUND);
            face.draw(row, left, y as i32 - top, &words, INK);
        };
        Self {
            layer: Layer::new(layout, columns.clone(), lines, GROUND, &[&drawing], None),
        }
    }

    /// Returns the caption's share of a colour plane.
    pub fn plane(&self, plane: usize) -> &layer::Plane {
        self.layer.plane(plane)
    }
}
