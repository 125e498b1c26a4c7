//! The clock overlay in the middle of a test pattern: the name, the time of day
//! and the sequence number. They stand on a studio clock if there is room for
//! one, else on a plain panel with as many of them as fit.

use std::ops::Range;

use super::canvas::{Ink, Row};
use super::dial::{AMBER, Dial, GROUND, LAMPS, WHITE};
use super::layer::{self, Layer};
use super::painting::{Line, Painting};
use super::part::Part;
use super::sprite::Sprite;
use super::text::{Face, Words, columns_of, height_of};
use super::ticker::Ticker;
use crate::source::frame::FrameInfo;
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

    /// Returns whether the words change from frame to frame.
    fn changes(self) -> bool {
        matches!(self, Self::Time | Self::ShortTime | Self::Sequence { .. })
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
}

/// A line of text with its position.
#[derive(Debug)]
struct Label {
    saying: Saying,
    ink: Ink,
    scale: f32,
    /// Pixel of the middle of the words.
    centre: i32,
    /// Line of the picture at the middle of the words.
    middle: i32,
}

impl Label {
    fn new(saying: Saying, ink: Ink, scale: f32, centre: i32, middle: i32) -> Self {
        Self {
            saying,
            ink,
            scale,
            centre,
            middle,
        }
    }

    /// Returns the label as words that stay, with the pixel and the line at
    /// which they begin.
    fn still(&self) -> (Words, Face, i32, i32) {
        let words = self.saying.words(&FrameInfo::default());
        let face = Face::new(words.as_bytes(), self.scale);
        let left = self.centre - face.width(words.as_bytes()) / 2;
        let top = self.middle - face.height() / 2;
        (words, face, left, top)
    }
}

/// What the clock overlay consists of, before it is made for a layout.
struct Design {
    dial: Option<Dial>,
    columns: Range<i32>,
    lines: Range<u32>,
    labels: Vec<Label>,
}

/// The clock overlay.
#[derive(Debug)]
pub struct ClockOverlay {
    /// The ground, the dial and the words that stay.
    layer: Layer,
    still: Still,
    dial: Option<Hand>,
    /// The words that change.
    tickers: Vec<(Saying, Ticker)>,
    /// The lines of each colour plane among which are all that those touch.
    moving: Vec<Range<usize>>,
}

/// The clock overlay's share of a colour plane.
pub struct OverlayPlane<'a> {
    overlay: &'a ClockOverlay,
    number: usize,
    layer: &'a layer::Plane,
    /// The lines that a part of it touches that moves.
    moving: Range<usize>,
}

/// The parts of the clock overlay that stay, to be drawn.
#[derive(Debug)]
struct Still {
    dial: Option<Dial>,
    columns: Range<i32>,
    /// For each label its words, its ink, and where they begin.
    labels: Vec<(Words, Face, Ink, i32, i32)>,
}

/// The parts of the dial that move.
#[derive(Debug)]
struct Hand {
    dial: Dial,
    /// Number of lamps that the layer shows lit.
    lit: usize,
    hand: Sprite,
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
    /// Makes the clock overlay for frames of that layout, which are converted to
    /// the layout `shown`, with the parts that the bits of [`overlay`] select;
    /// `None` if they select none. It is always painted over `painting`.
    pub fn new(
        layout: &Layout,
        shown: &Layout,
        bits: u32,
        painting: &dyn Painting,
    ) -> Option<Self> {
        let bits = bits & overlay::ALL;
        let dial = match bits {
            0 => return None,
            overlay::ALL => Design::dial(shown),
            _ => None,
        };
        let design = dial.unwrap_or_else(|| Design::panel(shown, bits));
        Some(Self::make(layout, design, painting))
    }

    fn make(layout: &Layout, design: Design, painting: &dyn Painting) -> Self {
        let (moving, staying): (Vec<_>, Vec<_>) = design
            .labels
            .into_iter()
            .partition(|label| label.saying.changes());
        let staying = staying.iter().map(|label| {
            let (words, face, left, top) = label.still();
            (words, face, label.ink, left, top)
        });
        let still = Still {
            dial: design.dial,
            columns: design.columns.clone(),
            labels: staying.collect(),
        };
        // The lamps may be lit and not: what is ground is so in both.
        let drawings = [1, LAMPS].map(|lit| {
            let still = &still;
            move |row: &mut Row<'_>, y, lines| still.paint(row, y, lines, lit)
        });
        let layer = Layer::new(
            layout,
            design.columns,
            design.lines,
            GROUND,
            &[&drawings[0], &drawings[1]],
            Some(painting),
        );
        let tickers = moving.iter().map(|label| {
            let ticker = Ticker::new(
                layout,
                DIGITS.as_bytes(),
                label.scale,
                (label.ink, GROUND),
                (label.centre, label.middle),
            );
            (label.saying, ticker)
        });
        let dial = design.dial.map(|dial| {
            let (columns, lines) = dial.hand(Default::default()).area();
            // Where it stands decides about a pixel more or less.
            let (width, height) = (columns.len() as i32 + 2, lines.len() as i32 + 2);
            Hand {
                dial,
                lit: 1,
                hand: Sprite::new(layout, width, height),
            }
        });
        Self {
            layer,
            still,
            dial,
            tickers: tickers.collect(),
            moving: layout.planes().map(|_| 0..0).collect(),
        }
    }

    /// Sets the words, the lamps and the hand for `frame`, for which `painting`
    /// has begun.
    pub fn begin(&mut self, frame: &FrameInfo, painting: &dyn Painting) {
        for (saying, ticker) in &mut self.tickers {
            ticker.show(saying.words(frame));
        }
        self.move_hand(frame, painting);
        for (plane, moving) in self.moving.iter_mut().enumerate() {
            let hand = self.dial.iter().map(|dial| dial.hand.lines(plane));
            let words = self.tickers.iter().map(|(_, ticker)| ticker.lines(plane));
            let all = hand
                .chain(words)
                .reduce(|one, other| one.start.min(other.start)..one.end.max(other.end));
            let all = all.unwrap_or_default();
            *moving = all.start.max(0) as usize..all.end.max(0) as usize;
        }
    }

    /// Sets the lamps and the hand.
    fn move_hand(&mut self, frame: &FrameInfo, painting: &dyn Painting) {
        let Some(Hand { dial, lit, hand }) = &mut self.dial else {
            return;
        };
        let now = Dial::lit(frame.wall);
        if now != *lit {
            let changed = now.min(*lit)..now.max(*lit);
            *lit = now;
            let drawing = |row: &mut Row<'_>, y, lines| self.still.paint(row, y, lines, now);
            for second in changed {
                let lines = dial.lamp(second).area().1;
                let lines = lines.start.max(0) as u32..lines.end.max(0) as u32;
                self.layer.redraw(lines, &drawing, Some(painting));
            }
        }
        let spot = dial.hand(frame.wall);
        let (columns, lines) = spot.area();
        hand.place(columns, lines);
        for mut row in hand.rows() {
            // The dial, and so its hand, lies within the picture.
            let (Ok(line), Ok(column)) = (row.line.try_into(), row.column.try_into()) else {
                continue;
            };
            let (plane, y) = (row.plane, row.y as u32);
            let mut part = Part::new(column, row.bytes);
            let behind = painting.band(plane, y).line;
            self.layer.plane(plane).paint_over(line, behind, &mut part);
            let (y, lines) = (row.y, row.lines);
            spot.paint(&mut row.row(), y, lines, WHITE);
        }
    }

    /// Returns the overlay's share of a colour plane.
    pub fn plane(&self, plane: usize) -> OverlayPlane<'_> {
        OverlayPlane {
            overlay: self,
            number: plane,
            layer: self.layer.plane(plane),
            moving: self.moving[plane].clone(),
        }
    }
}

impl OverlayPlane<'_> {
    /// Paints a part of a line: `picture`, and the overlay's share over it.
    #[inline(always)]
    pub fn paint_over(&self, line: usize, picture: Line<'_>, part: &mut Part<'_>) {
        self.layer.paint_over(line, picture, part);
        if self.moving.contains(&line) {
            self.paint_moving(line, part);
        }
    }

    #[inline(never)]
    fn paint_moving(&self, line: usize, part: &mut Part<'_>) {
        if let Some(dial) = &self.overlay.dial {
            dial.hand.paint(self.number, line, part);
        }
        for (_, ticker) in &self.overlay.tickers {
            ticker.paint(self.number, line, part);
        }
    }
}

impl Still {
    /// Paints them in a row that covers `lines` lines of the picture from `y`
    /// on, with that many lamps lit.
    fn paint(&self, row: &mut Row<'_>, y: u32, lines: u32, lit: usize) {
        match self.dial {
            Some(dial) => dial.paint(row, y, lines, lit),
            None => row.fill(self.columns.start, self.columns.end, GROUND),
        }
        for (words, face, ink, left, top) in &self.labels {
            face.draw(row, *left, y as i32 - top, words.as_bytes(), *ink);
        }
    }
}

impl Design {
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
            dial: Some(dial),
            columns: dial.columns(),
            lines: dial.lines(),
            labels: labels.collect(),
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
        let (x, y) = (width as i32 / 2, height / 2);
        Self {
            dial: None,
            columns: x - across..x + across,
            lines: y.saturating_sub(down) as u32..(y + down) as u32,
            labels,
        }
    }
}
