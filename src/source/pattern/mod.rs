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
//! A pattern has lines. This module assembles the pieces that the card asks for
//! from them, and writes the overlays of the settings over them. Most of
//! these pictures repeat, or have a clock overlay that repeats, so this module
//! gives every page its [watermark], except in `integrity`, which needs none.

pub mod integrity;
pub mod watermark;

pub(crate) mod canvas;
pub(crate) mod text;

mod aligned;
mod bars;
mod caption;
mod checkerboard;
mod clock_overlay;
mod dial;
mod layer;
mod lines;
mod moving;
mod noise;
mod painting;
mod part;
mod ramp;
mod solid;
mod sprite;
mod ticker;
mod wide;

use super::frame::{Begun, FrameInfo};
use super::interface::Source;
use super::layout::{Layout, MemoryPlane, PlaneLayout};
use super::settings::Settings;
use caption::Caption;
use clock_overlay::ClockOverlay;
use painting::{Painting, PatternSettings};
use part::Part;
use watermark::Watermark;
use wide::{Work, widely};

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
    layout: Layout,
    planes: Vec<PlaneLayout>,
    memory: Vec<MemoryPlane>,
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
    /// The byte of the frame that is probably asked for next, and its place.
    next: (usize, Place),
}

/// The place of a byte in the colour planes of a frame.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    plane: usize,
    line: usize,
    /// Byte of that line.
    column: usize,
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
            Self::Noise => Box::new(noise::Noise::new(layout)),
            Self::Integrity => return Content::Lines(integrity::Line::default()),
        };
        Content::Painted(Box::new(Painted {
            painting,
            clock_overlay: None,
            caption: None,
            mark: Watermark::default(),
            next: (0, Place::default()),
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
            layout: *layout,
            planes: layout.planes().collect(),
            memory: layout.memory_planes().collect(),
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
            bytes: picture.layout.sizeimage,
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
            let text = &settings.text;
            let (overlay, painting) = (settings.overlay, &*painted.painting);
            painted.clock_overlay = ClockOverlay::new(&self.layout, &self.shown, overlay, painting);
            painted.caption = (!text.is_empty()).then(|| Caption::new(text, &self.layout));
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
            clock_overlay.begin(frame, &*self.painting);
        }
        self.mark = Watermark::of(frame);
    }

    fn fill(&mut self, planes: &[PlaneLayout], offset: usize, out: &mut [u8]) {
        let mut at = match self.next {
            (next, at) if next == offset => at,
            _ => Place::of(planes, offset),
        };
        let mut rest = &mut *out;
        while let Some(plane) = planes.get(at.plane)
            && !rest.is_empty()
        {
            let left = plane.stride * (plane.lines - at.line) - at.column;
            let (here, later) = rest.split_at_mut(rest.len().min(left));
            at = widely(Filling {
                painted: self,
                plane,
                at,
                out: here,
            });
            if at.line == plane.lines {
                (at.plane, at.line) = (at.plane + 1, 0);
            }
            rest = later;
        }
        rest.fill(0);
        self.next = (offset + out.len(), at);
    }
}

/// The drawing of bytes of a plane.
struct Filling<'a> {
    painted: &'a Painted,
    plane: &'a PlaneLayout,
    /// The place of the first one.
    at: Place,
    out: &'a mut [u8],
}

impl Work for Filling<'_> {
    /// The place behind the last one.
    type Result = Place;

    #[inline(always)]
    fn work(self) -> Place {
        let Self {
            painted,
            plane,
            mut at,
            out,
        } = self;
        let clock_overlay = painted.clock_overlay.as_ref().map(|o| o.plane(at.plane));
        let caption = painted.caption.as_ref().map(|c| c.plane(at.plane));
        let y = |line: usize| line as u32 * plane.format.lines;
        let mut band = painted.painting.band(at.plane, y(at.line));
        let mut rest = out;
        while !rest.is_empty() {
            if y(at.line) >= band.end {
                band = painted.painting.band(at.plane, y(at.line));
            }
            let here = rest.len().min(plane.stride - at.column);
            let (here, later) = rest.split_at_mut(here);
            let end = at.column + here.len();
            let mut part = Part::new(at.column, here);
            match &clock_overlay {
                Some(overlay) => overlay.paint_over(at.line, band.line, &mut part),
                None => band.line.write(&mut part, 0..0),
            }
            if let Some(caption) = caption {
                caption.paint(at.line, &mut part);
            }
            at.column = end;
            if end == plane.stride {
                (at.line, at.column) = (at.line + 1, 0);
            }
            rest = later;
        }
        at
    }
}

impl Place {
    /// Returns the place of byte `offset` of the frame; beyond its end, that of
    /// a plane that there is not.
    fn of(planes: &[PlaneLayout], offset: usize) -> Self {
        let beyond = Self {
            plane: planes.len(),
            ..Self::default()
        };
        let Some(plane) = planes.iter().rposition(|plane| plane.offset <= offset) else {
            return beyond;
        };
        let within = offset - planes[plane].offset;
        let (line, column) = (within / planes[plane].stride, within % planes[plane].stride);
        match line < planes[plane].lines {
            true => Self {
                plane,
                line,
                column,
            },
            false => beyond,
        }
    }
}

#[cfg(test)]
mod tests;
