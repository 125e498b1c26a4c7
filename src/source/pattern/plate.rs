//! The plate in the middle of the test card: the name, the time of day and the
//! sequence number, on a studio clock where there is room for one, else on a
//! plain panel with as much of them as fits.

use std::f32::consts::TAU;

use super::canvas::{Ink, Row};
use super::text::{Face, Words, columns_of};
use crate::source::FrameInfo;
use crate::source::format::Layout;

const GROUND: Ink = Ink::grey(16);
const WHITE: Ink = Ink::grey(255);
const DIM: Ink = Ink::grey(64);
const SOFT: Ink = Ink::grey(160);
const AMBER: Ink = Ink::rgb(255, 176, 0);

/// The characters that the card's words are made of.
const DIGITS: &str = "0123456789:.";

/// What a line of text says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Saying {
    Name,
    /// Time of day, UTC, to the millisecond.
    Time,
    /// Time of day, UTC, to the second.
    ShortTime,
    Zone,
    /// The sequence number, or the last digits of it.
    Sequence {
        digits: usize,
    },
    /// Size and pixel format.
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
            Self::Zone | Self::Mode(_) => SOFT,
            Self::Name | Self::Time | Self::ShortTime => WHITE,
        }
    }

    /// The characters that it may need.
    fn characters(self) -> Words {
        match self {
            Self::Name | Self::Zone | Self::Mode(_) => self.words(&FrameInfo::default()),
            Self::Time | Self::ShortTime | Self::Sequence { .. } => {
                Words::of(format_args!("{DIGITS}"))
            }
        }
    }
}

/// A line of text in its place.
#[derive(Debug)]
struct Label {
    saying: Saying,
    face: Face,
    /// The middle of the words, in pixels.
    centre: i32,
    /// Their topmost line.
    top: i32,
    words: Words,
    left: i32,
}

impl Label {
    fn new(saying: Saying, scale: f32, centre: i32, middle: i32) -> Self {
        let face = Face::new(saying.characters().as_bytes(), scale);
        let top = middle - face.height() / 2;
        Self {
            saying,
            face,
            centre,
            top,
            words: Words::default(),
            left: centre,
        }
    }
}

/// What the words stand on.
#[derive(Debug)]
enum Ground {
    /// The pixels from `left` to `right`.
    Panel { left: i32, right: i32 },
    /// A disc with sixty lamps, of which those of the seconds gone by in this
    /// minute are lit, and a hand that goes round once a second.
    Dial { x: f32, y: f32, radius: f32 },
}

/// The plate.
#[derive(Debug)]
pub struct Plate {
    /// Its lines of the picture.
    top: u32,
    bottom: u32,
    ground: Ground,
    labels: Vec<Label>,
    /// Where the lamps are, from the top clockwise, on a circle of radius 1.
    lamps: Vec<(f32, f32)>,
    lit: usize,
    /// Where the hand's tip is, on the same circle.
    hand: (f32, f32),
}

/// The dial's radius in shares of the picture's shorter side.
const RADIUS: f32 = 0.37;
/// Parts of the dial, in shares of its radius.
const RIM: f32 = 0.022;
const LAMPS_AT: f32 = 0.89;
const LAMP: f32 = 0.028;
const HAND: f32 = 0.055;
/// What a dial says: how far below the middle, and how large, where 1 is the
/// font's own size on a dial of radius 1; whether it can be left out where it
/// would be smaller than the font is.
const ON_DIAL: [(Saying, f32, f32, bool); 3] = [
    (Saying::Name, -0.44, 0.0215, false),
    (Saying::Time, -0.06, 0.0186, false),
    (Saying::Zone, 0.13, 0.0095, true),
];
const SEQUENCE_ON_DIAL: (f32, f32) = (0.36, 0.0186);
const MODE_ON_DIAL: (f32, f32) = (0.60, 0.0095);

impl Plate {
    /// The plate for frames of that layout.
    pub fn new(layout: &Layout) -> Self {
        let mut plate = Self::dial(layout).unwrap_or_else(|| Self::panel(layout));
        plate.begin(&FrameInfo::default());
        plate
    }

    /// A dial, where it is large enough for the time of day.
    fn dial(layout: &Layout) -> Option<Self> {
        let radius = RADIUS * layout.width.min(layout.height) as f32;
        if ON_DIAL[1].2 * radius < 0.95 {
            return None;
        }
        let (x, y) = (layout.width as i32 / 2, layout.height as i32 / 2);
        let sequence = Saying::Sequence { digits: 10 };
        let sayings = ON_DIAL.into_iter().chain([
            (sequence, SEQUENCE_ON_DIAL.0, SEQUENCE_ON_DIAL.1, false),
            (Saying::Mode(*layout), MODE_ON_DIAL.0, MODE_ON_DIAL.1, true),
        ]);
        let labels = sayings
            .filter(|(_, _, size, optional)| !optional || size * radius >= 1.0)
            .map(|(saying, below, size, _)| {
                let middle = y + (below * radius).round() as i32;
                Label::new(saying, size * radius, x, middle)
            });
        let reach = radius.ceil() as u32 + 1;
        let lamps = (0..60).map(|second| on_circle(second as f32 / 60.0));
        Some(Self {
            top: (layout.height / 2).saturating_sub(reach),
            bottom: layout.height / 2 + reach,
            labels: labels.collect(),
            ground: Ground::Dial {
                x: x as f32,
                y: y as f32,
                radius,
            },
            lamps: lamps.collect(),
            lit: 0,
            hand: (0.0, 0.0),
        })
    }

    /// A panel with as many lines of text as fit.
    fn panel(layout: &Layout) -> Self {
        use Saying::{Name, Sequence, ShortTime, Time};
        const GAP: usize = 2;
        const LINE: usize = 8 + GAP;
        let (width, height) = (layout.width as usize, layout.height as usize);
        let sequence = Sequence {
            digits: (width / 8).min(10),
        };
        let choices: [&[Saying]; 6] = [
            &[Name, Time, sequence],
            &[Name, ShortTime, sequence],
            &[Time, sequence],
            &[ShortTime, sequence],
            &[Name, sequence],
            &[sequence],
        ];
        let size = |sayings: &[Saying]| {
            let words = |s: &Saying| columns_of(&s.words(&FrameInfo::default()));
            let columns = sayings.iter().map(words).max().unwrap_or(0);
            (columns, sayings.len() * LINE - GAP)
        };
        let fits = |sayings: &&&[Saying]| {
            let (columns, lines) = size(sayings);
            columns <= width && lines <= height
        };
        let sayings = choices.iter().find(fits).unwrap_or(&choices[5]);
        let (columns, lines) = size(sayings);
        let scale = (width * 3 / 4 / columns).min(height * 3 / 4 / lines).max(1);
        let middle = |line: usize| (height - lines * scale) / 2 + (line * LINE + 4) * scale;
        let labels = sayings.iter().enumerate().map(|(line, saying)| {
            Label::new(*saying, scale as f32, width as i32 / 2, middle(line) as i32)
        });
        let labels: Vec<_> = labels.collect();
        let across = ((columns + 6) * scale / 2).next_multiple_of(2) as i32;
        let down = ((lines + 6) * scale / 2).next_multiple_of(2);
        Self {
            top: (height / 2).saturating_sub(down) as u32,
            bottom: (height / 2 + down) as u32,
            ground: Ground::Panel {
                left: width as i32 / 2 - across,
                right: width as i32 / 2 + across,
            },
            labels,
            lamps: Vec::new(),
            lit: 0,
            hand: (0.0, 0.0),
        }
    }

    /// Sets words, lamps and hand for `frame`.
    pub fn begin(&mut self, frame: &FrameInfo) {
        for label in &mut self.labels {
            label.words = label.saying.words(frame);
            label.left = label.centre - label.face.width(&label.words) / 2;
        }
        self.lit = (frame.wall.as_secs() % 60) as usize + 1;
        self.hand = on_circle(frame.wall.subsec_nanos() as f32 / 1e9);
    }

    /// Whether line `y` of the picture crosses the plate.
    pub fn touches(&self, y: u32) -> bool {
        (self.top..self.bottom).contains(&y)
    }

    /// Paints the plate's share of a row that covers `lines` lines of the
    /// picture from `y` on.
    pub fn paint(&self, row: &mut Row<'_>, y: u32, lines: u32) {
        match self.ground {
            Ground::Panel { left, right } => row.fill(left, right, GROUND),
            Ground::Dial {
                x,
                y: centre,
                radius,
            } => {
                let below = y as f32 + lines as f32 / 2.0 - centre;
                row.disc(x, below, radius, WHITE);
                row.disc(x, below, radius * (1.0 - RIM), GROUND);
                let mut spot = |at: (f32, f32), size: f32, ink| {
                    let above = below - at.1 * LAMPS_AT * radius;
                    row.disc(x + at.0 * LAMPS_AT * radius, above, size * radius, ink);
                };
                for (second, lamp) in self.lamps.iter().enumerate() {
                    spot(*lamp, LAMP, if second < self.lit { AMBER } else { DIM });
                }
                spot(self.hand, HAND, WHITE);
            }
        }
        for label in &self.labels {
            let line = y as i32 - label.top;
            label
                .face
                .draw(row, label.left, line, &label.words, label.saying.ink());
        }
    }
}

/// The point a share of the way round, from the top clockwise; y downwards.
fn on_circle(share: f32) -> (f32, f32) {
    let (sine, cosine) = (share * TAU).sin_cos();
    (sine, -cosine)
}
