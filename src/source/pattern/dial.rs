//! The dial of the clock overlay: a disc with sixty lamps and a hand. The lamps
//! of the seconds that have passed in this minute are lit, and the hand goes
//! round once a second.
//!
//! Only the hand moves. Everything else is turned into runs of pixels when a
//! stream starts, so that a frame needs square roots only for the hand.

use std::f32::consts::TAU;
use std::ops::Range;

use super::canvas::{Ink, Row, Run, disc};
use crate::source::interface::FrameInfo;

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
const LAMPS: usize = 60;

/// The dial, for pictures of one size.
#[derive(Debug)]
pub struct Dial {
    shape: Shape,
    /// The still parts for planes whose lines cover one line of the picture,
    /// and for planes whose lines cover two.
    still: [Still; 2],
    /// Number of lamps that are lit.
    lit: usize,
    /// The hand's tip, on a circle of radius 1.
    hand: (f32, f32),
}

/// Place and size of the dial, in pixels.
#[derive(Debug, Clone, Copy)]
struct Shape {
    x: f32,
    y: f32,
    radius: f32,
}

/// The parts of the dial that do not move.
#[derive(Debug)]
struct Still {
    /// First line of the picture that the first entry of `lines` covers.
    top: u32,
    /// Index in `runs` at which each line begins, and that at which the last ends.
    lines: Vec<usize>,
    /// The runs of all lines, in the order in which they are painted.
    runs: Vec<(Run, Part)>,
}

/// The part of the dial that a run belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Rim,
    Face,
    /// The lamp of a second.
    Lamp(u8),
}

impl Dial {
    /// Makes a dial of `radius` pixels around the pixel (`x`, `y`).
    pub fn new(x: i32, y: i32, radius: f32) -> Self {
        let shape = Shape {
            x: x as f32,
            y: y as f32,
            radius,
        };
        Self {
            shape,
            still: [1, 2].map(|lines| Still::new(shape, lines)),
            lit: 0,
            hand: (0.0, 0.0),
        }
    }

    /// Returns the lines of the picture that the dial touches.
    pub fn lines(&self) -> Range<u32> {
        self.shape.lines()
    }

    /// Sets lamps and hand for `frame`.
    pub fn begin(&mut self, frame: &FrameInfo) {
        self.lit = (frame.wall.as_secs() % 60) as usize + 1;
        self.hand = on_circle(frame.wall.subsec_nanos() as f32 / 1e9);
    }

    /// Paints the dial's part of a row that covers `lines` lines of the
    /// picture, one or two, from `y` on.
    pub fn paint(&self, row: &mut Row<'_>, y: u32, lines: u32) {
        let [one, two] = &self.still;
        let still = if lines == 1 { one } else { two };
        for (run, part) in still.line(y, lines) {
            let ink = match part {
                Part::Rim => WHITE,
                Part::Face => GROUND,
                Part::Lamp(second) if usize::from(*second) < self.lit => AMBER,
                Part::Lamp(_) => DIM,
            };
            row.lay(0, run, ink);
        }
        let (x, above, radius) = self.shape.spot(self.hand, HAND, self.shape.below(y, lines));
        row.disc(x, above, radius, WHITE);
    }
}

impl Shape {
    fn lines(self) -> Range<u32> {
        let (middle, reach) = (self.y as u32, self.radius.ceil() as u32 + 1);
        middle.saturating_sub(reach)..middle + reach
    }

    /// Returns the distance of a row's middle below that of the dial.
    fn below(self, y: u32, lines: u32) -> f32 {
        y as f32 + lines as f32 / 2.0 - self.y
    }

    /// Returns the arguments of [`disc`] for a spot on the circle of the lamps,
    /// in a row at the distance `below` the dial's middle.
    fn spot(self, at: (f32, f32), size: f32, below: f32) -> (f32, f32, f32) {
        (
            self.x + at.0 * LAMPS_AT * self.radius,
            below - at.1 * LAMPS_AT * self.radius,
            size * self.radius,
        )
    }
}

impl Still {
    fn new(shape: Shape, lines: u32) -> Self {
        let lamps: Vec<_> = (0..LAMPS)
            .map(|second| on_circle(second as f32 / LAMPS as f32))
            .collect();
        let covered = shape.lines();
        let mut still = Self {
            top: covered.start / lines * lines,
            lines: vec![0],
            runs: Vec::new(),
        };
        for y in (still.top..covered.end).step_by(lines as usize) {
            let below = shape.below(y, lines);
            let face = disc(shape.x, below, shape.radius * (1.0 - RIM));
            let face: Vec<_> = face.collect();
            // The rim is painted where the face does not hide it.
            let hidden = face.iter().copied().find(|run| run.cover == 255);
            for run in disc(shape.x, below, shape.radius) {
                match hidden {
                    Some(hidden) => still.add(run.outside(hidden), Part::Rim),
                    None => still.add([run], Part::Rim),
                }
            }
            still.add(face, Part::Face);
            for second in lamps_near(below / (LAMPS_AT * shape.radius)) {
                let (x, above, radius) = shape.spot(lamps[second], LAMP, below);
                still.add(disc(x, above, radius), Part::Lamp(second as u8));
            }
            still.lines.push(still.runs.len());
        }
        still.runs.shrink_to_fit();
        still
    }

    fn add(&mut self, runs: impl IntoIterator<Item = Run>, part: Part) {
        self.runs.extend(runs.into_iter().map(|run| (run, part)));
    }

    /// Returns the runs of the row that begins at line `y` of the picture.
    fn line(&self, y: u32, lines: u32) -> &[(Run, Part)] {
        let line = y.checked_sub(self.top).map(|line| (line / lines) as usize);
        let ends = line.and_then(|line| self.lines.get(line..line + 2));
        match ends {
            Some(&[start, end]) => &self.runs[start..end],
            _ => &[],
        }
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
    use std::time::Duration;

    use super::*;
    use crate::source::PixelFormat;

    /// Paints the dial's part of a row with every part of the dial drawn as a
    /// disc.
    fn drawn(dial: &Dial, row: &mut Row<'_>, y: u32, lines: u32) {
        let shape = dial.shape;
        let below = shape.below(y, lines);
        row.disc(shape.x, below, shape.radius, WHITE);
        row.disc(shape.x, below, shape.radius * (1.0 - RIM), GROUND);
        let mut spot = |at, size, ink| {
            let (x, above, radius) = shape.spot(at, size, below);
            row.disc(x, above, radius, ink);
        };
        for second in 0..LAMPS {
            let ink = if second < dial.lit { AMBER } else { DIM };
            spot(on_circle(second as f32 / LAMPS as f32), LAMP, ink);
        }
        spot(dial.hand, HAND, WHITE);
    }

    #[test]
    fn the_dial_is_what_its_discs_make_of_it() {
        for format in PixelFormat::ALL.into_iter().filter(|f| !f.is_compressed()) {
            for (x, y, radius) in [(100, 75, 60.3), (101, 76, 55.5), (40, 90, 80.0)] {
                let mut dial = Dial::new(x, y, radius);
                for millis in [0, 17_250, 59_999] {
                    dial.begin(&FrameInfo {
                        wall: Duration::from_millis(millis),
                        ..FrameInfo::default()
                    });
                    for plane in format.planes() {
                        for y in (0..180).step_by(plane.lines as usize) {
                            let length = 204 / plane.pixels as usize * plane.samples.len();
                            let ground = (0..length).map(|at| (at * 7 + y as usize) as u8);
                            let mut bytes: Vec<u8> = ground.collect();
                            let mut expected = bytes.clone();
                            drawn(&dial, &mut Row::new(&mut expected, plane), y, plane.lines);
                            dial.paint(&mut Row::new(&mut bytes, plane), y, plane.lines);
                            assert!(bytes == expected, "{format}, line {y}, radius {radius}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_frame_makes_no_run_that_is_hidden() {
        let dial = Dial::new(500, 500, 400.0);
        let middle = dial.still[0].line(500, 1);
        let rim = middle.iter().filter(|(_, part)| *part == Part::Rim);
        let pixels: i32 = rim.map(|(run, _)| run.end - run.start).sum();
        assert!(pixels < 30, "{pixels} pixels of the rim in the middle line");
    }
}
