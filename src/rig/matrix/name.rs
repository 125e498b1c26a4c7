//! The names of cells, on the command line and in reports.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::agent::cell::{
    Cell, End, Ends, Flow, FrameSize, Given, Hazard, Kind, NoSuchFrame, NoSuchSchedule, PAGE,
    Point, Schedule, UnknownName, table,
};
use crate::card::CardKind;

table! {
    /// The code that pins the application's memory. Its name is the value of the driver's
    /// parameter `userptr`.
    Pinning:
    FrameVector = "frames", "the driver's own operations, with get_vaddr_frames()";
    Sg = "sg", "the kernel's vb2_dma_sg_memops";
    Contig = "contig", "the kernel's vb2_dma_contig_memops";
    Vmalloc = "vmalloc", "the kernel's vb2_vmalloc_memops";
}

impl Pinning {
    /// The memory models of the kernel's videobuf2.
    pub const MODELS: [Self; 3] = [Self::Sg, Self::Contig, Self::Vmalloc];

    /// Returns the pinning that the last part of a cell's name stands for, if it is not
    /// the driver's own. Results from before there were three models say `native`.
    fn of_part(part: &str) -> Option<Self> {
        let named = Self::MODELS.into_iter().find(|model| model.name() == part);
        named.or((part == "native").then_some(Self::Sg))
    }
}

/// The name of a cell, which identifies it among those of a kernel.
///
/// Its format is `DIRECTION/KIND@OFFSET+TAIL/HAZARD:POINT/MODEL`. The direction is
/// `output` or `m2m/ENDS` ([`Ends`]), the model one of [`Pinning::MODELS`]. An offset or
/// tail of 0, the hazard `none`, the point `before-dma`, the driver's own pinning and a
/// direction of captures are left out. In the place of the point there may be a schedule
/// ([`Schedule`]): `anon-touched`, `hugetlb@64+100`,
/// `thp/munmap:after-dma`, `anon-touched/fail-nth:qbuf`, `thp-part@64/contig`,
/// `output/read-only`, `m2m/in-place/heap`, `anon-touched/munmap:qQ!dDrRxX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CellName {
    /// Whether the card writes to the memory, or reads it, or both.
    pub flow: Flow,
    /// The kind of memory.
    pub kind: Kind,
    /// Offset of the buffer within its first page.
    pub offset: u32,
    /// Bytes of the frame beyond whole pages.
    pub tail: u32,
    /// What happens to the memory.
    pub hazard: Hazard,
    /// The point at which it happens, if there is no schedule.
    pub point: Point,
    /// The order of the steps of two buffers, and the hazard's place in it.
    pub schedule: Option<Schedule>,
    /// The code that pins the memory.
    pub pinning: Pinning,
}

/// Why a text is not the name of a cell.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoSuchCell {
    /// A part of it is not in the tables.
    #[error(transparent)]
    Name(#[from] UnknownName),
    /// The offset or the tail is not a number of bytes within a page.
    #[error("{0} is no number of bytes from 0 to 4095")]
    Bytes(String),
    /// The card can make no such frame.
    #[error(transparent)]
    Frame(#[from] NoSuchFrame),
    /// The hazard cannot happen at that point.
    #[error(
        "{hazard} comes at one of these points only: {}",
        .hazard.points().iter().map(|point| point.name()).collect::<Vec<_>>().join(", ")
    )]
    Point {
        /// The hazard.
        hazard: Hazard,
    },
    /// The text in the place of a point is no schedule.
    #[error("\"{text}\" is no schedule, such as qQ!dDrRxX: {why}")]
    NoSchedule {
        /// The text.
        text: String,
        /// What is wrong with it.
        why: NoSuchSchedule,
    },
    /// Such cells have no schedules.
    #[error("{hazard} has no schedules here: {why}")]
    Schedule {
        /// The hazard.
        hazard: Hazard,
        /// Why.
        why: &'static str,
    },
    /// The hazard is not one to the cells of a mem-to-mem card.
    #[error("a mem-to-mem card has no cells of {0}")]
    Hazard(Hazard),
    /// The hazard cannot happen to the kind.
    #[error("{hazard} cannot happen to {kind}: `pinhole matrix --list` shows what it happens to")]
    Unsuited {
        /// The hazard.
        hazard: Hazard,
        /// The kind.
        kind: Kind,
    },
    /// No pin can be interrupted there.
    #[error(
        "during-pin is for the driver's own pin of {}, and for one buffer",
        Kind::ALL.iter().filter(|kind| kind.can_be_waited_for()).map(|kind| kind.name()).collect::<Vec<_>>().join(", ")
    )]
    DuringPin,
    /// A dma-buf is not given as the name has it.
    #[error(
        "a dma-buf is given from its first byte on and pinned by nobody: {0} has no @OFFSET and \
         no /MODEL, and is not one mapping with two buffers"
    )]
    Dmabuf(Kind),
    /// The text has a part too many.
    #[error(
        "\"{0}\" is not part of a cell's name, which is KIND@OFFSET+TAIL/HAZARD:POINT/MODEL, or \
         output/ and that, or m2m/ENDS/ and that"
    )]
    Part(String),
}

impl CellName {
    /// Returns the cell of a capture into that kind without a hazard, at the start
    /// of a page.
    pub const fn plain(kind: Kind) -> Self {
        Self {
            flow: Flow::Capture,
            kind,
            offset: 0,
            tail: 0,
            hazard: Hazard::None,
            point: Point::BeforeDma,
            schedule: None,
            pinning: Pinning::FrameVector,
        }
    }

    /// Returns the cell of the first buffer of a schedule, as it would be alone: with the
    /// hazard at its point in the buffer's life, or without it if the process has got its
    /// frame before. A cell without a schedule is that itself.
    pub fn first_alone(&self) -> Self {
        let Some(schedule) = self.schedule else {
            return *self;
        };
        match schedule.point() {
            Some(point) => Self {
                point,
                schedule: None,
                ..*self
            },
            None => self.second_alone(),
        }
    }

    /// Returns the cell of the second buffer of a schedule, as it would be alone: nothing
    /// happens to its memory.
    pub const fn second_alone(&self) -> Self {
        Self {
            hazard: Hazard::None,
            point: Point::BeforeDma,
            schedule: None,
            ..*self
        }
    }

    /// Returns the cell's buffers.
    pub const fn ends(&self) -> &'static [End] {
        self.flow.ends_by(self.schedule)
    }

    /// Returns the same cell of an output.
    pub const fn of_output(self) -> Self {
        Self {
            flow: Flow::Output,
            ..self
        }
    }

    /// Returns the same cell of a mem-to-mem card.
    pub const fn of_m2m(self, ends: Ends) -> Self {
        Self {
            flow: Flow::M2m(ends),
            ..self
        }
    }

    /// Returns whether there can be such a cell.
    ///
    /// # Errors
    ///
    /// [`NoSuchCell`], with the reason.
    pub fn check(&self) -> Result<(), NoSuchCell> {
        let (kind, hazard) = (self.kind, self.hazard);
        FrameSize::new(kind, self.tail)?;
        if self.schedule.is_some()
            && let Some(why) = self.flow.without_schedules(kind, hazard)
        {
            return Err(NoSuchCell::Schedule { hazard, why });
        }
        if !self.flow.has(hazard) {
            return Err(NoSuchCell::Hazard(hazard));
        }
        if !hazard.suits(kind) {
            return Err(NoSuchCell::Unsuited { hazard, kind });
        }
        let waits = kind.can_be_waited_for()
            && self.pinning == Pinning::FrameVector
            && self.card() != CardKind::M2m;
        if self.point == Point::DuringPin && !waits {
            return Err(NoSuchCell::DuringPin);
        }
        let is_one_mapping = matches!(self.flow, Flow::M2m(Ends::Adjacent | Ends::Turned));
        let is_usual = self.offset == 0 && self.pinning == Pinning::FrameVector;
        match kind.given() {
            Given::Dmabuf if is_one_mapping || !is_usual => Err(NoSuchCell::Dmabuf(kind)),
            _ => Ok(()),
        }
    }

    /// Returns the kind of the card.
    pub const fn card(&self) -> CardKind {
        self.flow.card()
    }

    /// Returns the request to the agent, with the limit `limit_ms`.
    pub fn request(&self, limit_ms: u64) -> Cell {
        Cell {
            flow: self.flow,
            offset: self.offset,
            tail: self.tail,
            hazard: self.hazard,
            point: self.point,
            schedule: self.schedule,
            limit_ms,
            ..Cell::new(self.kind)
        }
    }
}

impl fmt::Display for CellName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut name = match self.flow {
            Flow::Capture => self.kind.name().to_owned(),
            Flow::Output => format!("{}/{}", self.card().name(), self.kind),
            Flow::M2m(ends) => format!("{}/{ends}/{}", self.card().name(), self.kind),
        };
        if self.offset != 0 {
            name += &format!("@{}", self.offset);
        }
        if self.tail != 0 {
            name += &format!("+{}", self.tail);
        }
        if self.hazard != Hazard::None {
            name += &format!("/{}", self.hazard);
            if let Some(schedule) = self.schedule {
                name += &format!(":{schedule}");
            } else if Some(self.point) != self.hazard.usual_point() {
                name += &format!(":{}", self.point);
            }
        }
        if self.pinning != Pinning::FrameVector {
            name += &format!("/{}", self.pinning);
        }
        f.pad(&name)
    }
}

impl FromStr for CellName {
    type Err = NoSuchCell;

    fn from_str(text: &str) -> Result<Self, NoSuchCell> {
        let (flow, text) = flow(text)?;
        let mut parts = text.split('/');
        let memory = parts.next().unwrap_or_default();
        let (memory, tail) = split_bytes(memory, '+')?;
        let (kind, offset) = split_bytes(memory, '@')?;
        let mut cell = Self {
            flow,
            offset,
            tail,
            ..Self::plain(kind.parse()?)
        };
        for (place, part) in parts.enumerate() {
            if let (Some(model), Pinning::FrameVector) = (Pinning::of_part(part), cell.pinning) {
                cell.pinning = model;
            } else if place == 0 {
                cell = cell.with_hazard(part)?;
            } else {
                return Err(NoSuchCell::Part(part.to_owned()));
            }
        }
        cell.check().map(|()| cell)
    }
}

/// Returns the flow that a name begins with, and the rest of the name.
fn flow(text: &str) -> Result<(Flow, &str), NoSuchCell> {
    if let Some(text) = text_after(text, CardKind::Output.name()) {
        return Ok((Flow::Output, text));
    }
    match text_after(text, CardKind::M2m.name()) {
        Some(text) => {
            let (ends, text) = text.split_once('/').unwrap_or((text, ""));
            Ok((Flow::M2m(ends.parse()?), text))
        }
        None => Ok((Flow::Capture, text)),
    }
}

/// Returns the text after a first part, if it begins with that.
fn text_after<'a>(text: &'a str, part: &str) -> Option<&'a str> {
    text.strip_prefix(part)?.strip_prefix('/')
}

impl CellName {
    /// Returns the cell with the hazard of `HAZARD:POINT` or `HAZARD:SCHEDULE`, which
    /// must fit together.
    fn with_hazard(self, text: &str) -> Result<Self, NoSuchCell> {
        let (hazard, at) = text.split_once(':').unwrap_or((text, ""));
        let hazard: Hazard = hazard.parse()?;
        // Names of points are words, and only a schedule has the mark or capitals.
        let is_schedule = at.contains(|letter: char| letter == '!' || letter.is_ascii_uppercase());
        if is_schedule {
            let schedule = at.parse().map_err(|why| NoSuchCell::NoSchedule {
                text: at.to_owned(),
                why,
            })?;
            return Ok(Self {
                hazard,
                schedule: Some(schedule),
                ..self
            });
        }
        let point = match text.contains(':') {
            true => Some(at.parse()?),
            false => hazard.usual_point(),
        };
        let point = point.filter(|point| hazard.points().contains(point));
        let point = point.ok_or(NoSuchCell::Point { hazard })?;
        Ok(Self {
            hazard,
            point,
            ..self
        })
    }
}

/// Returns the text before the mark, and the number of bytes after it.
fn split_bytes(text: &str, mark: char) -> Result<(&str, u32), NoSuchCell> {
    let Some((before, bytes)) = text.split_once(mark) else {
        return Ok((text, 0));
    };
    match bytes.parse() {
        Ok(number) if number < PAGE as u32 => Ok((before, number)),
        _ => Err(NoSuchCell::Bytes(bytes.to_owned())),
    }
}

impl Serialize for CellName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for CellName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests;
