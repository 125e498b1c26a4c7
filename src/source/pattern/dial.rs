//! The dial of the clock overlay: a disc with sixty lamps and a hand. The lamps
//! of the seconds that have passed in this minute are lit, and the hand goes
//! round once a second.

use std::f32::consts::TAU;
use std::ops::Range;
use std::time::Duration;

use super::canvas::{Ink, Row};

/// Colours of the overlay.
pub const GROUND: Ink = Ink::grey(16);
pub const WHITE: Ink = Ink::grey(255);
pub const AMBER: Ink = Ink::rgb(255, 176, 0);
const DIM: Ink = Ink::grey(64);

/// Sizes and positions of the dial's parts, as fractions of its radius.
const RIM: f32 = 0.022;
const LAMPS_AT: f32 = 0.89;
const LAMP: f32 = 0.028;
const HAND: f32 = 0.055;

/// Number of lamps, one for each second of a minute.
pub const LAMPS: usize = 60;

/// The dial, in pictures of one size.
#[derive(Debug, Clone, Copy)]
pub struct Dial {
    /// Place of its middle, and its radius, in pixels.
    x: f32,
    y: f32,
    radius: f32,
}

/// A disc of the dial.
#[derive(Debug, Clone, Copy)]
pub struct Spot {
    x: f32,
    y: f32,
    radius: f32,
}

impl Dial {
    /// Makes a dial of `radius` pixels around the pixel (`x`, `y`).
    pub fn new(x: i32, y: i32, radius: f32) -> Self {
        let (x, y) = (x as f32, y as f32);
        Self { x, y, radius }
    }

    /// Returns the lines of the picture that the dial touches.
    pub fn lines(self) -> Range<u32> {
        let reach = self.reach();
        (self.y as u32).saturating_sub(reach)..self.y as u32 + reach
    }

    /// Returns the columns of the picture that the dial touches.
    pub fn columns(self) -> Range<i32> {
        let (middle, reach) = (self.x as i32, self.reach() as i32);
        middle - reach..middle + reach
    }

    fn reach(self) -> u32 {
        self.radius.ceil() as u32 + 1
    }

    /// Returns the number of lamps that are lit at that time of day: one to
    /// [`LAMPS`].
    pub fn lit(wall: Duration) -> usize {
        (wall.as_secs() % LAMPS as u64) as usize + 1
    }

    /// Paints everything but the hand in a row that covers `lines` lines of the
    /// picture, one or two, from `y` on. The first `lit` lamps are lit.
    pub fn paint(self, row: &mut Row<'_>, y: u32, lines: u32, lit: usize) {
        let middle = self.spot((0.0, 0.0), 1.0);
        middle.paint(row, y as i32, lines, WHITE);
        let face = Spot {
            radius: self.radius * (1.0 - RIM),
            ..middle
        };
        face.paint(row, y as i32, lines, GROUND);
        let below = y as f32 + lines as f32 / 2.0 - self.y;
        for second in lamps_near(below / (LAMPS_AT * self.radius)) {
            let ink = if second < lit { AMBER } else { DIM };
            self.lamp(second).paint(row, y as i32, lines, ink);
        }
    }

    /// Returns the lamp of a second.
    pub fn lamp(self, second: usize) -> Spot {
        self.spot(on_circle(second as f32 / LAMPS as f32), LAMP)
    }

    /// Returns the hand at that time of day.
    pub fn hand(self, wall: Duration) -> Spot {
        self.spot(on_circle(wall.subsec_nanos() as f32 / 1e9), HAND)
    }

    /// Returns the spot on the circle of the lamps.
    fn spot(self, at: (f32, f32), size: f32) -> Spot {
        Spot {
            x: self.x + at.0 * LAMPS_AT * self.radius,
            y: self.y + at.1 * LAMPS_AT * self.radius,
            radius: size * self.radius,
        }
    }
}

impl Spot {
    /// Returns the columns and the lines of the picture that the spot touches;
    /// the first of each is even.
    pub fn area(self) -> (Range<i32>, Range<i32>) {
        let touched = |middle: f32| {
            let start = (middle - self.radius).floor() as i32 - 1;
            start & !1..(middle + self.radius).ceil() as i32 + 1
        };
        (touched(self.x), touched(self.y))
    }

    /// Paints the spot's part of a row that covers `lines` lines of the picture
    /// from `y` on.
    pub fn paint(self, row: &mut Row<'_>, y: i32, lines: u32, ink: Ink) {
        let below = y as f32 + lines as f32 / 2.0 - self.y;
        row.disc(self.x, below, self.radius, ink);
    }
}

/// Returns the lamps that may cross a line at the distance `below` the middle
/// of their circle, whose radius is 1.
fn lamps_near(below: f32) -> impl Iterator<Item = usize> {
    // One and a half times the reach of a lamp, to allow for the lines of a
    // small dial.
    const REACH: f32 = 1.5 * LAMP / LAMPS_AT;
    let second = |below: f32| (-below).clamp(-1.0, 1.0).acos() / TAU * LAMPS as f32;
    let first = second(below - REACH).ceil() as usize;
    let last = second(below + REACH).floor() as usize;
    (first..=last).flat_map(|right| {
        let left = (LAMPS - right) % LAMPS;
        [Some(right), (left != right).then_some(left)]
            .into_iter()
            .flatten()
    })
}

/// Returns the point at a fraction of the way round, clockwise from the top; y
/// points down.
fn on_circle(share: f32) -> (f32, f32) {
    let (sine, cosine) = (share * TAU).sin_cos();
    (sine, -cosine)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::PixelFormat;

    /// Paints the dial's part of a row without choosing the lamps near it.
    fn with_every_lamp(dial: Dial, row: &mut Row<'_>, y: u32, lines: u32, lit: usize) {
        let middle = dial.spot((0.0, 0.0), 1.0);
        let radius = middle.radius * (1.0 - RIM);
        middle.paint(row, y as i32, lines, WHITE);
        Spot { radius, ..middle }.paint(row, y as i32, lines, GROUND);
        for second in 0..LAMPS {
            let ink = if second < lit { AMBER } else { DIM };
            dial.lamp(second).paint(row, y as i32, lines, ink);
        }
    }

    #[test]
    fn no_lamp_of_a_row_is_left_out() {
        for format in PixelFormat::ALL.into_iter().filter(|f| !f.is_compressed()) {
            for (x, y, radius) in [(100, 75, 60.3), (101, 76, 55.5), (40, 90, 80.0)] {
                let dial = Dial::new(x, y, radius);
                for plane in format.planes() {
                    for y in (0..180).step_by(plane.lines as usize) {
                        let length = 204 / plane.pixels as usize * plane.samples.len();
                        let mut bytes = vec![0x55; length];
                        let mut expected = bytes.clone();
                        dial.paint(&mut Row::new(&mut bytes, plane), y, plane.lines, 17);
                        let row = &mut Row::new(&mut expected, plane);
                        with_every_lamp(dial, row, y, plane.lines, 17);
                        assert!(bytes == expected, "{format}, line {y}, radius {radius}");
                    }
                }
            }
        }
    }
}
