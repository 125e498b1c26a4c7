//! Test patterns.
//!
//! | name | picture |
//! |---|---|
//! | `bars` | colour bars, a moving grey ramp, steps around black |
//! | `ramp` | all levels from left to right: grey, red, green and blue |
//! | `checkerboard` | black and white squares |
//! | `solid` | one colour, orange |
//! | `moving` | moving coloured squares |
//! | `noise` | pseudorandom bytes from a seed and the sequence number |
//! | `integrity` | [lines](integrity) that identify themselves |
//!
//! A pattern paints pieces of lines. This module assembles the pieces that the
//! card asks for, and writes the overlays of the settings over them. Most of
//! these pictures repeat, or have a clock overlay that repeats, so this module
//! gives every page its [watermark], except in `integrity`, which needs none.

pub mod integrity;
pub mod watermark;

pub(crate) mod canvas;
pub(crate) mod text;

mod bars;
mod caption;
mod checkerboard;
mod clock_overlay;
mod dial;
mod lines;
mod moving;
mod noise;
mod painting;
mod ramp;
mod solid;

use super::interface::{Begun, FrameInfo, Source};
use super::layout::{Layout, MemoryPlane, PlaneLayout};
use super::settings::Settings;
use canvas::Row;
use caption::Caption;
use clock_overlay::ClockOverlay;
use painting::{Painting, PatternSettings};
use watermark::Watermark;

/// The names of the patterns; the first one is the default.
pub const NAMES: &[&str] = &[
    "bars",
    "ramp",
    "checkerboard",
    "solid",
    "moving",
    "noise",
    "integrity",
];

/// A test pattern as a source. Before [`Source::prepare`], its frames are empty
/// and its bytes zero.
#[derive(Debug)]
pub struct Pattern {
    kind: Kind,
    settings: PatternSettings,
    picture: Option<Picture>,
}

/// The kinds of patterns, in the order of [`NAMES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Bars,
    Ramp,
    Checkerboard,
    Solid,
    Moving,
    Noise,
    Integrity,
}

const KINDS: [Kind; NAMES.len()] = [
    Kind::Bars,
    Kind::Ramp,
    Kind::Checkerboard,
    Kind::Solid,
    Kind::Moving,
    Kind::Noise,
    Kind::Integrity,
];

/// A pattern prepared for one layout.
#[derive(Debug)]
struct Picture {
    content: Content,
    planes: Vec<PlaneLayout>,
    memory: Vec<MemoryPlane>,
    sizeimage: u32,
    /// The layout that the guest sees, which the clock overlay shows.
    shown: Layout,
}

/// The origin of a picture's bytes.
#[derive(Debug)]
enum Content {
    /// The lines of [`integrity`]; the value identifies the frame.
    Lines(integrity::Line),
    Painted(Box<Painted>),
}

/// A painted picture and its overlays.
#[derive(Debug)]
struct Painted {
    painting: Box<dyn Painting>,
    clock_overlay: Option<ClockOverlay>,
    caption: Option<Caption>,
    mark: Watermark,
    /// The line that was painted last. The card may still ask for another piece
    /// of it.
    line: Vec<u8>,
    /// The plane and number of that line.
    current: Option<(usize, usize)>,
}

impl Default for Pattern {
    fn default() -> Self {
        Self::numbered(0).unwrap_or_else(|| unreachable!("there are patterns"))
    }
}

impl Pattern {
    /// Returns the pattern of that name, if there is one.
    pub fn named(name: &str) -> Option<Self> {
        Self::numbered(NAMES.iter().position(|known| *known == name)?)
    }

    /// Returns the pattern at that index in [`NAMES`], if there is one.
    pub fn numbered(number: usize) -> Option<Self> {
        Some(Self {
            kind: *KINDS.get(number)?,
            settings: PatternSettings::from(&Settings::default()),
            picture: None,
        })
    }
}

impl Kind {
    fn content(self, layout: &Layout) -> Content {
        let painting: Box<dyn Painting> = match self {
            Self::Bars => Box::new(bars::Bars::new(layout)),
            Self::Ramp => Box::new(ramp::Ramp::new(layout)),
            Self::Checkerboard => Box::new(checkerboard::Checkerboard::new(layout)),
            Self::Solid => Box::new(solid::Solid::new(layout)),
            Self::Moving => Box::new(moving::Moving::new(layout)),
            Self::Noise => Box::new(noise::Noise::default()),
            Self::Integrity => return Content::Lines(integrity::Line::default()),
        };
        let longest = layout.planes().map(|plane| plane.stride).max();
        Content::Painted(Box::new(Painted {
            painting,
            clock_overlay: None,
            caption: None,
            mark: Watermark::default(),
            line: vec![0; longest.unwrap_or(0)],
            current: None,
        }))
    }
}

impl Source for Pattern {
    fn is_exact(&self) -> bool {
        self.kind == Kind::Integrity
    }

    fn is_marked(&self) -> bool {
        self.kind != Kind::Integrity
    }

    fn set(&mut self, settings: &Settings) {
        let before = std::mem::replace(&mut self.settings, settings.into());
        let is_drawn = (before.overlay, &before.text) == (settings.overlay, &settings.text);
        if let Some(picture) = &mut self.picture
            && !is_drawn
        {
            picture.set(&self.settings);
        }
    }

    fn prepare(&mut self, layout: &Layout) {
        self.prepare_for(layout, layout);
    }

    fn prepare_for(&mut self, layout: &Layout, shown: &Layout) {
        let picture = self.picture.insert(Picture {
            content: self.kind.content(layout),
            planes: layout.planes().collect(),
            memory: layout.memory_planes().collect(),
            sizeimage: layout.sizeimage,
            shown: *shown,
        });
        picture.set(&self.settings);
    }

    fn begin(&mut self, frame: &FrameInfo) -> Begun {
        let Some(picture) = &mut self.picture else {
            return Begun::Frame { bytes: 0 };
        };
        match &mut picture.content {
            Content::Lines(line) => {
                line.stream = frame.stream;
                line.sequence = frame.sequence;
            }
            Content::Painted(painted) => painted.begin(frame, &self.settings),
        }
        Begun::Frame {
            bytes: picture.sizeimage,
        }
    }

    fn fill(&mut self, offset: usize, out: &mut [u8]) {
        match &mut self.picture {
            Some(picture) => picture.fill(offset, out),
            None => out.fill(0),
        }
    }
}

impl Picture {
    fn set(&mut self, settings: &PatternSettings) {
        if let Content::Painted(painted) = &mut self.content {
            painted.clock_overlay = ClockOverlay::new(&self.shown, settings.overlay);
            painted.caption =
                (!settings.text.is_empty()).then(|| Caption::new(&settings.text, &self.shown));
            painted.current = None;
        }
    }

    fn fill(&mut self, offset: usize, out: &mut [u8]) {
        // Pages, and lines of `integrity`, count from the start of the memory
        // plane in which the bytes lie.
        let memory = self
            .memory
            .iter()
            .rposition(|p| p.offset as usize <= offset);
        let Some(number) = memory else {
            out.fill(0);
            return;
        };
        let memory = self.memory[number];
        let within = offset - memory.offset as usize;
        match &mut self.content {
            Content::Lines(line) => {
                let line = integrity::Line {
                    plane: number as u8, // three at most
                    ..*line
                };
                line.fill(within, out);
            }
            Content::Painted(painted) => {
                painted.fill(&self.planes, offset, out);
                painted.mark.apply(memory.sizeimage as usize, within, out);
            }
        }
    }
}

impl Painted {
    fn begin(&mut self, frame: &FrameInfo, settings: &PatternSettings) {
        self.painting.begin(frame, settings);
        if let Some(clock_overlay) = &mut self.clock_overlay {
            clock_overlay.begin(frame);
        }
        self.current = None;
        self.mark = Watermark::of(frame);
    }

    fn fill(&mut self, planes: &[PlaneLayout], offset: usize, out: &mut [u8]) {
        let mut done = 0;
        while done < out.len() {
            let Some((plane, line, column)) = place(planes, offset + done) else {
                out[done..].fill(0);
                return;
            };
            let len = (planes[plane].stride - column).min(out.len() - done);
            let piece = &mut out[done..done + len];
            self.piece(&planes[plane], (plane, line), column, piece);
            done += len;
        }
    }

    /// Paints the part of a line that begins at byte `column`; `line` is the
    /// plane and the number of the line.
    fn piece(&mut self, layout: &PlaneLayout, line: (usize, usize), column: usize, out: &mut [u8]) {
        let y = line.1 as u32 * layout.format.lines;
        let clock_overlay = self
            .clock_overlay
            .as_ref()
            .filter(|clock_overlay| clock_overlay.touches(y));
        let caption = self.caption.as_ref().filter(|caption| caption.touches(y));
        if clock_overlay.is_none() && caption.is_none() {
            self.painting.paint(line.0, y, column, out);
            return;
        }
        let whole = |out: &mut [u8]| {
            self.painting.paint(line.0, y, 0, out);
            let mut row = Row::new(out, layout.format);
            if let Some(clock_overlay) = clock_overlay {
                clock_overlay.paint(&mut row, y, layout.format.lines);
            }
            if let Some(caption) = caption {
                caption.paint(&mut row, y);
            }
        };
        if out.len() == layout.stride {
            whole(out);
            return;
        }
        if self.current != Some(line) {
            whole(&mut self.line[..layout.stride]);
            self.current = Some(line);
        }
        out.copy_from_slice(&self.line[column..][..out.len()]);
    }
}

/// Returns the plane, the line and the byte in that line for byte `at` of the
/// frame; `None` beyond the last plane.
fn place(planes: &[PlaneLayout], at: usize) -> Option<(usize, usize, usize)> {
    let number = planes.iter().rposition(|plane| plane.offset <= at)?;
    let plane = &planes[number];
    let (line, column) = (
        (at - plane.offset) / plane.stride,
        (at - plane.offset) % plane.stride,
    );
    (line < plane.lines).then_some((number, line, column))
}

#[cfg(test)]
mod tests;
