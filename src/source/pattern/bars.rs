//! The test card: colour bars in the proportions of SMPTE RP 219, with a moving
//! grey ramp.
//!
//! ```text
//! 7/12  grey, yellow, cyan, green, magenta, red, blue, all of 75 %
//! 1/12  the same bars that have blue in them, the other way round
//! 1/12  a grey ramp that runs from left to right, once round in four seconds
//! 3/12  -I, white, +Q, black, and black with steps just below and above it
//! ```
//!
//! Lines that do not change are made once, at STREAMON: one line for each band.
//! The ramp is a line twice as long as the picture is wide; the part of it that
//! is shown moves.

use std::time::Duration;

use super::canvas::Ink;
use super::lines::{Lines, even};
use super::painting::{Band, Line, Painting, PatternSettings};
use crate::source::frame::FrameInfo;
use crate::source::layout::Layout;

/// The colours of the bars, at 75 %.
pub const GREY: Ink = Ink::grey(191);
pub const YELLOW: Ink = Ink::rgb(191, 191, 0);
pub const CYAN: Ink = Ink::rgb(0, 191, 191);
pub const GREEN: Ink = Ink::rgb(0, 191, 0);
pub const MAGENTA: Ink = Ink::rgb(191, 0, 191);
pub const RED: Ink = Ink::rgb(191, 0, 0);
pub const BLUE: Ink = Ink::rgb(0, 0, 191);
const BLACK: Ink = Ink::grey(0);
const WHITE: Ink = Ink::grey(255);
const MINUS_I: Ink = Ink::rgb(0, 33, 76);
const PLUS_Q: Ink = Ink::rgb(50, 0, 106);
/// 4 % below black, in formats whose range has room for it.
const BELOW_BLACK: Ink = Ink::grey(0).with_luma(7);
/// 4 % above black.
const ABOVE_BLACK: Ink = Ink::grey(10);

/// The bands from the top: for each, its colours with their widths in 84ths of
/// the picture's width.
const BANDS: [&[(Ink, u32)]; 3] = [
    &[
        (GREY, 12),
        (YELLOW, 12),
        (CYAN, 12),
        (GREEN, 12),
        (MAGENTA, 12),
        (RED, 12),
        (BLUE, 12),
    ],
    &[
        (BLUE, 12),
        (BLACK, 12),
        (MAGENTA, 12),
        (BLACK, 12),
        (CYAN, 12),
        (BLACK, 12),
        (GREY, 12),
    ],
    &[
        (MINUS_I, 15),
        (WHITE, 15),
        (PLUS_Q, 15),
        (BLACK, 15),
        (BELOW_BLACK, 4),
        (BLACK, 4),
        (ABOVE_BLACK, 4),
        (BLACK, 12),
    ],
];
/// Sum of the widths of a band.
const BAND_WIDTH: u32 = 84;
/// Index of the band below the ramp.
const LOWEST: usize = 2;

/// Time in which the ramp goes round once.
const RAMP_PERIOD: Duration = Duration::from_secs(4);

/// The test card.
#[derive(Debug)]
pub struct Bars {
    width: u32,
    /// First line of the reversed band, of the ramp, and of the lowest band;
    /// all even.
    edges: [u32; 3],
    bands: Lines,
    /// One line, twice as long as the picture is wide.
    ramp: Lines,
    /// Offset in the ramp's line of the part that is shown, in pixels; even.
    shift: u32,
}

impl Bars {
    /// Makes the test card for frames of that layout.
    pub fn new(layout: &Layout) -> Self {
        let (width, height) = (layout.width, layout.height);
        let bands = Lines::new(layout, width, BANDS.len(), |band, row| {
            let mut parts = 0;
            for (ink, part) in BANDS[band] {
                let start = even(width * parts / BAND_WIDTH);
                parts += part;
                let end = match parts {
                    // The width may be odd.
                    BAND_WIDTH => width,
                    _ => even(width * parts / BAND_WIDTH),
                };
                row.fill(start as i32, end as i32, *ink);
            }
        });
        let ramp = Lines::new(layout, width * 2, 1, |_, row| {
            for x in 0..width * 2 {
                let level = x % width * 255 / (width - 1);
                row.fill(x as i32, x as i32 + 1, Ink::grey(level as u8));
            }
        });
        Self {
            width,
            edges: [7, 8, 9].map(|twelfths| even(height * twelfths / 12)),
            bands,
            ramp,
            shift: 0,
        }
    }
}

impl Painting for Bars {
    fn begin(&mut self, frame: &FrameInfo, _: &PatternSettings) {
        let round = frame.elapsed.as_millis() % RAMP_PERIOD.as_millis();
        let moved = round * u128::from(self.width) / RAMP_PERIOD.as_millis();
        self.shift = even(self.width - moved as u32);
    }

    fn band(&self, plane: usize, y: u32) -> Band<'_> {
        let above = self.edges.iter().filter(|edge| y >= **edge).count();
        Band {
            line: match above {
                2 => Line::Moving(self.ramp.get(plane, 0, self.shift)),
                band => Line::Still(self.bands.get(plane, band.min(LOWEST), 0)),
            },
            end: self.edges.get(above).copied().unwrap_or(u32::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_band_is_as_wide_as_the_picture() {
        for band in BANDS {
            assert_eq!(band.iter().map(|(_, part)| part).sum::<u32>(), BAND_WIDTH);
        }
    }
}
