//! The clock overlay in the middle of a test pattern: the name, the time of day
//! and the sequence number. They stand on a studio clock if there is room for
//! one, else on a plain panel with as many of them as fit.

use super::canvas::{Ink, Row};
use super::dial::{AMBER, Dial, GROUND, WHITE};
use super::text::{Face, Words, columns_of, height_of};
use crate::source::interface::FrameInfo;
use crate::source::layout::Layout;
use crate::source::settings::overlay;

const SOFT: Ink = Ink::grey(160);

/// The characters of the time and of the sequence number.
const DIGITS: &str = "0123456789:.";

/// The content of a line of text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Saying {
    Name,
    /// Time of day, UTC, to the millisecond.
    Time,
    /// Time of day, UTC, to the second.
    ShortTime,
    /// The label of the time: its time zone.
    Zone,
    /// The label of the sequence number.
    Frame,
    /// The sequence number, or its last digits.
    Sequence {
        digits: usize,
    },
    /// The size and pixel format.
    Mode(Layout),
}

impl Saying {
    fn words(self, frame: &FrameInfo) -> Words {
        let day = frame.wall.as_millis() % 86_400_000;
        let (seconds, millis) = (day / 1000, day % 1000);
        let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        match self {
            Self::Name => Words::of(format_args!("PINHOLE")),
            Self::Time => Words::of(format_args!(
                "{hours:02}:{minutes:02}:{seconds:02}.{millis:03}"
            )),
            Self::ShortTime => Words::of(format_args!("{hours:02}:{minutes:02}:{seconds:02}")),
            Self::Zone => Words::of(format_args!("UTC")),
            Self::Frame => Words::of(format_args!("FRAME")),
            Self::Sequence { digits } => {
                Words::of(format_args!("{:06}", frame.sequence)).tail(digits)
            }
            Self::Mode(layout) => Words::of(format_args!(
                "{}x{} {}",
                layout.width, layout.height, layout.format
            )),
        }
    }

    fn ink(self) -> Ink {
        match self {
            Self::Sequence { .. } => AMBER,
            Self::Zone | Self::Frame | Self::Mode(_) => SOFT,
            Self::Name | Self::Time | Self::ShortTime => WHITE,
        }
    }

    /// Returns whether the line is shown on every dial, however small.
    fn is_needed(self) -> bool {
        self.ink() != SOFT
    }

    /// Returns the characters that the line may need.
    fn characters(self) -> Words {
        match self {
            Self::Name | Self::Zone | Self::Frame | Self::Mode(_) => {
                self.words(&FrameInfo::default())
            }
            Self::Time | Self::ShortTime | Self::Sequence { .. } => {
                Words::of(format_args!("{DIGITS}"))
            }
        }
    }
}

/// A line of text with its position.
#[derive(Debug)]
struct Label {
    saying: Saying,
    ink: Ink,
    face: Face,
    /// Pixel of the middle of the words.
    centre: i32,
    /// The topmost line of the words.
    top: i32,
    words: Words,
    left: i32,
}

impl Label {
    fn new(saying: Saying, ink: Ink, scale: f32, centre: i32, middle: i32) -> Self {
        let face = Face::new(saying.characters().as_bytes(), scale);
        let top = middle - face.height() / 2;
        Self {
            saying,
            ink,
            face,
            centre,
            top,
            words: Words::default(),
            left: centre,
        }
    }
}

/// The background of the words.
#[derive(Debug)]
enum Ground {
    /// The pixels from `left` to `right`.
    Panel {
        left: i32,
        right: i32,
    },
    Dial(Dial),
}

/// The clock overlay.
#[derive(Debug)]
pub struct ClockOverlay {
    /// The lines of the picture from `top` up to, but not including, `bottom`.
    top: u32,
    bottom: u32,
    ground: Ground,
    labels: Vec<Label>,
}

/// The dial's radius in shares of the picture's shorter side.
const RADIUS: f32 = 0.37;
/// The scale of the time of day on a dial of radius 1.
const TIME: f32 = 0.0175;
/// The lines of text on a dial of radius 1: for each, its distance below the
/// middle, and its scale.
const ON_DIAL: [(Saying, f32, f32); 5] = [
    (Saying::Name, -0.50, 0.0190),
    (Saying::Time, -0.04, TIME),
    (Saying::Zone, 0.14, 0.0095),
    (Saying::Sequence { digits: 10 }, 0.36, TIME),
    (Saying::Frame, 0.54, 0.0095),
];
/// Distance and scale of the size and format, below the name.
const MODE_ON_DIAL: (f32, f32) = (-0.29, 0.0095);

/// The distance between the texts of a panel, and the margin around them, at
/// scale 1.
const GAP: usize = 2;
const MARGIN: usize = 3;

impl ClockOverlay {
    /// Makes the clock overlay for frames of that layout, with the parts that
    /// the bits of [`overlay`] select; `None` if they select none.
    pub fn new(layout: &Layout, bits: u32) -> Option<Self> {
        let bits = bits & overlay::ALL;
        let dial = match bits {
            0 => return None,
            overlay::ALL => Self::dial(layout),
            _ => None,
        };
        let mut clock_overlay = dial.unwrap_or_else(|| Self::panel(layout, bits));
        clock_overlay.begin(&FrameInfo::default());
        Some(clock_overlay)
    }

    /// Makes a dial; `None` if it would be too small for the time of day.
    fn dial(layout: &Layout) -> Option<Self> {
        let radius = RADIUS * layout.width.min(layout.height) as f32;
        if TIME * radius < 0.92 {
            return None;
        }
        let (x, y) = (layout.width as i32 / 2, layout.height as i32 / 2);
        let mode = (Saying::Mode(*layout), MODE_ON_DIAL.0, MODE_ON_DIAL.1);
        let labels = ON_DIAL
            .into_iter()
            .chain([mode])
            .filter(|(saying, _, scale)| saying.is_needed() || scale * radius >= 1.0)
            .map(|(saying, below, scale)| {
                let middle = y + (below * radius).round() as i32;
                Label::new(saying, saying.ink(), scale * radius, x, middle)
            });
        let dial = Dial::new(x, y, radius);
        Some(Self {
            top: dial.lines().start,
            bottom: dial.lines().end,
            labels: labels.collect(),
            ground: Ground::Dial(dial),
        })
    }

    /// Makes a panel with as many lines of text as fit.
    fn panel(layout: &Layout, bits: u32) -> Self {
        use Saying::{Name, Sequence, ShortTime, Time};
        let (width, height) = (layout.width as usize, layout.height as usize);
        let sequence = Sequence {
            digits: (width / 8).min(10),
        };
        let choices: &[&[Saying]] = match bits {
            overlay::CLOCK => &[
                &[Name, Time],
                &[Name, ShortTime],
                &[Time],
                &[ShortTime],
                &[Name],
            ],
            overlay::COUNTER => &[&[Name, sequence], &[sequence]],
            _ => &[
                &[Name, Time, sequence],
                &[Name, ShortTime, sequence],
                &[Time, sequence],
                &[ShortTime, sequence],
                &[Name, sequence],
                &[sequence],
            ],
        };
        // The width, and the lines from one text to the next, at a scale.
        let size = |sayings: &[Saying], scale: usize| {
            let columns = |s: &Saying| columns_of(s.words(&FrameInfo::default()).as_bytes());
            let columns = sayings.iter().map(columns).max().unwrap_or(0);
            (columns * scale, height_of(scale as f32) + GAP * scale)
        };
        let fits = |sayings: &[Saying], scale: usize, width: usize, height: usize| {
            let (across, step) = size(sayings, scale);
            across <= width && sayings.len() * step - GAP * scale <= height
        };
        let sayings = choices
            .iter()
            .copied()
            .find(|sayings| fits(sayings, 1, width, height))
            .unwrap_or(choices[choices.len() - 1]);
        let scale = (2..)
            .take_while(|scale| fits(sayings, *scale, width * 3 / 4, height * 3 / 4))
            .last()
            .unwrap_or(1);
        let (across, step) = size(sayings, scale);
        let lines = sayings.len() * step - GAP * scale;
        let top = (height - lines.min(height)) / 2;
        let labels = sayings.iter().enumerate().map(|(line, saying)| {
            let middle = top + line * step + (step - GAP * scale) / 2;
            // The text is white, because the chroma of small coloured text
            // would bleed.
            Label::new(
                *saying,
                WHITE,
                scale as f32,
                width as i32 / 2,
                middle as i32,
            )
        });
        let labels: Vec<_> = labels.collect();
        // Some of the bars stay visible above and below.
        let margin = (MARGIN * scale).min(height.saturating_sub(lines) / 8);
        let across = (across / 2 + MARGIN * scale).next_multiple_of(2) as i32;
        let down = (lines / 2 + margin).next_multiple_of(2);
        Self {
            top: (height / 2).saturating_sub(down) as u32,
            bottom: (height / 2 + down) as u32,
            ground: Ground::Panel {
                left: width as i32 / 2 - across,
                right: width as i32 / 2 + across,
            },
            labels,
        }
    }

    /// Sets the words, the lamps and the hand for `frame`.
    pub fn begin(&mut self, frame: &FrameInfo) {
        for label in &mut self.labels {
            label.words = label.saying.words(frame);
            label.left = label.centre - label.face.width(label.words.as_bytes()) / 2;
        }
        if let Ground::Dial(dial) = &mut self.ground {
            dial.begin(frame);
        }
    }

    /// Returns whether line `y` of the picture crosses the clock overlay.
    pub fn touches(&self, y: u32) -> bool {
        (self.top..self.bottom).contains(&y)
    }

    /// Paints the clock overlay's part of a row that covers `lines` lines of
    /// the picture from `y` on.
    pub fn paint(&self, row: &mut Row<'_>, y: u32, lines: u32) {
        match &self.ground {
            Ground::Panel { left, right } => row.fill(*left, *right, GROUND),
            Ground::Dial(dial) => dial.paint(row, y, lines),
        }
        for label in &self.labels {
            let line = y as i32 - label.top;
            let words = label.words.as_bytes();
            label.face.draw(row, label.left, line, words, label.ink);
        }
    }
}
