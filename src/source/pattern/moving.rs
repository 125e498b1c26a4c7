//! Squares in the colours of the bars that move to the upper left. The settings
//! give the number of pixels for each frame; the total is rounded to an even
//! number.

use super::bars::{BLUE, CYAN, GREEN, GREY, MAGENTA, RED, YELLOW};
use super::canvas::Ink;
use super::checkerboard::side;
use super::lines::{Lines, even};
use super::painting::{Band, Line, Painting, PatternSettings};
use crate::source::frame::FrameInfo;
use crate::source::layout::Layout;

/// The colours of a row of squares; the next row begins with the third.
const COLOURS: [Ink; 7] = [GREY, YELLOW, CYAN, GREEN, MAGENTA, RED, BLUE];

/// The moving squares.
#[derive(Debug)]
pub struct Moving {
    /// One line, longer than the picture is wide by a square of each colour.
    lines: Lines,
    side: u32,
    /// Distance that the squares have moved, in pixels; even. It is less than a
    /// square of each colour, after which the picture repeats.
    moved: u32,
}

impl Moving {
    /// Makes the squares for frames of that layout.
    pub fn new(layout: &Layout) -> Self {
        let side = side(layout);
        let width = layout.width + side * COLOURS.len() as u32;
        let lines = Lines::new(layout, width, 1, |_, row| {
            for (square, x) in (0..width).step_by(side as usize).enumerate() {
                let colour = COLOURS[square % COLOURS.len()];
                row.fill(x as i32, (x + side) as i32, colour);
            }
        });
        Self {
            lines,
            side,
            moved: 0,
        }
    }

    fn period(&self) -> u32 {
        self.side * COLOURS.len() as u32
    }
}

impl Painting for Moving {
    fn begin(&mut self, frame: &FrameInfo, settings: &PatternSettings) {
        let moved = u64::from(frame.sequence) * u64::from(settings.motion);
        self.moved = even((moved % u64::from(self.period())) as u32);
    }

    fn band(&self, plane: usize, y: u32) -> Band<'_> {
        let row = (y + self.moved) / self.side;
        let from = (self.moved + 2 * row * self.side) % self.period();
        Band {
            line: Line::Moving(self.lines.get(plane, 0, from)),
            end: (row + 1) * self.side - self.moved,
        }
    }
}
