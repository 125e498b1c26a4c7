//! The ramp: every level from left to right, in four bands: grey, red, green
//! and blue.

use super::canvas::Ink;
use super::lines::{Lines, even};
use super::painting::{Band, Line, Painting};
use crate::source::layout::Layout;

/// The colours of the bands at a level, from the top.
const BANDS: [fn(u8) -> Ink; 4] = [
    Ink::grey,
    |level| Ink::rgb(level, 0, 0),
    |level| Ink::rgb(0, level, 0),
    |level| Ink::rgb(0, 0, level),
];

/// The ramp.
#[derive(Debug)]
pub struct Ramp {
    lines: Lines,
    band: u32,
}

impl Ramp {
    /// Makes the ramp for frames of that layout.
    pub fn new(layout: &Layout) -> Self {
        let width = layout.width;
        let lines = Lines::new(layout, width, BANDS.len(), |band, row| {
            for x in 0..width {
                let level = x * 255 / (width - 1);
                row.fill(x as i32, x as i32 + 1, BANDS[band](level as u8));
            }
        });
        Self {
            lines,
            band: even(layout.height / BANDS.len() as u32),
        }
    }
}

impl Painting for Ramp {
    fn band(&self, plane: usize, y: u32) -> Band<'_> {
        let last = BANDS.len() as u32 - 1;
        let band = (y / self.band).min(last);
        Band {
            line: Line::Still(self.lines.get(plane, band as usize, 0)),
            end: match band == last {
                true => u32::MAX,
                false => (band + 1) * self.band,
            },
        }
    }
}
