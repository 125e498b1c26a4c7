//! Pictures that come from outside: files and pipes.
//!
//! - `y4m:FILE`: a YUV4MPEG2 film, as FFmpeg and GStreamer write it;
//! - `raw:FILE,format=NV12,size=640x480,fps=30`: frames as the card lays them
//!   out, and nothing else;
//! - `image:FILE`: a PNG or a JPEG.
//!
//! `-` is standard input, and so are `/dev/stdin` and `/dev/fd/N` what they are
//! for whoever started the card; a path may be a FIFO as well. Options after
//! commas, where a comma of the path itself is doubled:
//!
//! - `loop` (the default for files): after the last frame comes the first, or
//!   what the next writer of a FIFO brings; `once` (the default for pipes, and
//!   those that have no name have no other way): the stream ends;
//! - `rate=time` (the default for files that say their rate): the frame whose
//!   time it is, repeated or left out as the guest's rate demands; a stream
//!   begins with the first. `rate=frame` (the default for pipes): each frame in
//!   its turn, and a late one is waited for;
//! - `fit=scale` (the default): stretched to what the guest asks for;
//!   `fit=source`: the card takes on the film's size, as [`Native::follow`]
//!   tells it.
//!
//! A file begins again with every stream; a pipe goes on where it was, a FIFO
//! whose writer has ended with the next. A film ends where it breaks. Files
//! stay open, so that a sandbox may forbid opening them.

mod descriptors;
mod error;
mod input;
mod jpeg;
mod reader;
mod reel;
mod size;
mod spec;
mod still;
#[cfg(test)]
mod tests;
mod trailing;
mod y4m;

use std::time::Duration;

use super::convert::Converter;
use super::interface::{Begun, FrameInfo, Native, Source};
use super::layout::Layout;
use super::name;
use super::raster::Raster;
use super::settings::{Rect, Settings};
use input::Input;
use reader::{After, Frame, Next, Reader};
use reel::Reel;
use spec::{Ending, Rate, Spec};

pub use descriptors::Descriptors;
pub use error::{Fault, FilmError, PictureFault};
pub use input::Access;
pub use size::MAX_SIDE;

/// Says of a film what can be said without opening it.
///
/// # Errors
///
/// Where the name makes no sense, or there is no such file.
pub fn check(kind: &str, text: &str) -> Result<(), FilmError> {
    let spec = Spec::parse(kind, text)?;
    match name::file_at(&spec.path) {
        None => Ok(()),
        Some(path) => std::fs::metadata(path).map(drop).map_err(|source| {
            let name = spec.path;
            FilmError::Open { name, source }
        }),
    }
}

/// How long the beginning of a stream waits for a file's first frame.
const PATIENCE: Duration = Duration::from_secs(1);

/// Opens a film as a source; see [`Film::open`].
///
/// # Errors
///
/// The errors of [`Film::open`].
pub fn open(kind: &str, text: &str, access: &Access) -> Result<Box<dyn Source>, FilmError> {
    Ok(Box::new(Film::open(kind, text, access)?))
}

/// A file or a pipe as a source.
#[derive(Debug)]
pub struct Film {
    raster: Raster,
    native: Native,
    rate: Rate,
    /// None for a picture that stands still.
    reader: Option<Reader>,
    /// A still picture ends after one frame.
    once: bool,
    shown: Option<Frame>,
    pace: Pace,
    crop: Option<Rect>,
    target: Option<Raster>,
    converter: Option<Converter>,
    /// What is shown has not been converted yet.
    is_new: bool,
}

/// Where a stream is in its film.
#[derive(Debug, Clone, Copy, Default)]
struct Pace {
    /// Time and number of the first frame shown.
    start: Option<(Duration, u64)>,
    /// The frame asked for last.
    asked: u64,
    /// How many frames further that was than the one before.
    step: u64,
    /// No frame before this one will be asked for next.
    following: u64,
    /// Which was asked for when one was late, until the film is in time again.
    late: Option<u64>,
    /// Frames begun.
    frames: u64,
}

impl Film {
    /// Opens a film of that kind. Waits for the header of a pipe, as long as
    /// `access` says.
    ///
    /// # Errors
    ///
    /// Where it cannot be read, or is no film of that kind; of a file, also
    /// where its first frame is broken.
    pub fn open(kind: &str, text: &str, access: &Access) -> Result<Self, FilmError> {
        let spec = Spec::parse(kind, text)?;
        let problem = |problem: &str| FilmError::Spec {
            spec: format!("{kind}:{text}"),
            problem: problem.to_owned(),
        };
        let layout = match kind {
            "raw" => Some(spec.layout(kind, text)?),
            _ => None,
        };
        let input = Input::open(&spec.path, access)?;
        let reel = match (kind, &layout) {
            ("image", _) => {
                let (raster, bytes) = still::read(input)?;
                let mut film = Self::new(raster, None, &spec, Rate::Frame);
                film.shown = Some(Frame { bytes, number: 0 });
                return Ok(film);
            }
            (_, Some(layout)) => Reel::raw(input, layout, spec.interval)?,
            _ => Reel::y4m(input)?,
        };
        if !(reel.is_file() || reel.is_fifo()) && spec.ending == Some(Ending::Loop) {
            return Err(problem("a pipe cannot begin again"));
        }
        let rate = match (spec.rate, reel.interval()) {
            (Some(Rate::Time), None) => return Err(problem("the film does not say its rate")),
            (Some(rate), _) => rate,
            (None, Some(_)) if reel.is_file() => Rate::Time,
            (None, _) => Rate::Frame,
        };
        let reel = proven(reel)?;
        let mut film = Self::new(reel.raster().clone(), reel.interval(), &spec, rate);
        let after = match spec.ending {
            None if reel.is_file() => After::Again,
            Some(Ending::Loop) => After::Again,
            _ => After::End,
        };
        let name = reel.name().to_owned();
        let started = Reader::start(reel, after);
        film.reader = Some(started.map_err(|source| FilmError::Open { name, source })?);
        Ok(film)
    }

    fn new(raster: Raster, interval: Option<(u32, u32)>, spec: &Spec, rate: Rate) -> Self {
        Self {
            native: Native {
                size: Some((raster.width, raster.height)),
                interval,
                follow: spec.follow,
            },
            raster,
            rate,
            reader: None,
            once: spec.ending == Some(Ending::Once),
            shown: None,
            pace: Pace::default(),
            crop: None,
            target: None,
            converter: None,
            is_new: true,
        }
    }

    fn renew_converter(&mut self) {
        let target = self.target.as_ref();
        self.converter = target.map(|target| Converter::new(&self.raster, self.crop, target));
        self.is_new = true;
    }

    /// Turns to the frame that is to be shown.
    fn advance(&mut self, info: &FrameInfo) -> Advance {
        let Some(reader) = &self.reader else {
            return match self.once && self.pace.frames > 0 {
                true => Advance::Ended,
                false => Advance::Show,
            };
        };
        let next = match (self.rate, self.pace.start) {
            (Rate::Frame, _) | (_, None) => reader.next(),
            (Rate::Time, Some(start)) => {
                let number = self.number(start, info.elapsed);
                let pace = &mut self.pace;
                let step = number.saturating_sub(pace.asked);
                if number != pace.asked {
                    // At a steady rate steps differ by one at most.
                    let following = number + step.min(pace.step).saturating_sub(1);
                    (pace.asked, pace.step) = (number, step);
                    pace.following = following;
                }
                let shown = self.shown.as_ref().map(|frame| frame.number);
                match shown.is_some_and(|shown| shown >= number) {
                    true => Next::Hold,
                    false => {
                        // A film that is read too slowly for its time shows
                        // what there is, rather than nothing.
                        let behind = self.pace.late.is_some_and(|late| late < number);
                        reader.at(number, self.pace.following, behind)
                    }
                }
            }
        };
        let pace = &mut self.pace;
        pace.late = match &next {
            Next::Late => pace.late.or(Some(pace.asked)),
            Next::Frame(frame) if frame.number < pace.asked => pace.late,
            _ => None,
        };
        match next {
            Next::Frame(frame) => {
                if self.pace.start.is_none() {
                    self.pace.start = Some((info.elapsed, frame.number));
                    self.pace.asked = frame.number;
                }
                if let Some(past) = self.shown.replace(frame) {
                    reader.give_back(past);
                }
                self.is_new = true;
                Advance::Show
            }
            Next::Late => Advance::Late,
            Next::End => Advance::Ended,
            Next::Hold => match self.shown {
                Some(_) => Advance::Show,
                None => Advance::Ended,
            },
        }
    }

    /// The number of the frame that is due at that time.
    fn number(&self, (began, first): (Duration, u64), elapsed: Duration) -> u64 {
        let Some((seconds, frames)) = self.native.interval else {
            return first;
        };
        // Times are rounded down to nanoseconds: a frame is due one early.
        let time = elapsed.saturating_sub(began).as_nanos() + 1;
        let number = time * u128::from(frames) / (u128::from(seconds) * 1_000_000_000);
        first.saturating_add(u64::try_from(number).unwrap_or(u64::MAX))
    }
}

/// What becomes of a frame that is to begin.
enum Advance {
    Show,
    Late,
    Ended,
}

/// A film whose first frame can be read; not tried on a pipe.
fn proven(mut reel: Reel) -> Result<Reel, FilmError> {
    if reel.is_file() {
        let mut frame = vec![0; reel.raster().bytes];
        let mut read = || match reel.read(&mut frame)? {
            true => reel.rewind(),
            false => Err(Fault::Empty),
        };
        if let Err(fault) = read() {
            let name = reel.name().to_owned();
            return Err(FilmError::Broken { name, fault });
        }
    }
    Ok(reel)
}

impl Source for Film {
    fn native(&self) -> Native {
        self.native
    }

    fn set(&mut self, settings: &Settings) {
        if self.crop != settings.crop {
            self.crop = settings.crop;
            self.renew_converter();
        }
    }

    fn prepare(&mut self, layout: &Layout) {
        self.target = Raster::of(layout);
        self.renew_converter();
        self.pace = Pace::default();
        if let Some(reader) = &self.reader {
            if reader.is_file()
                && let Some(frame) = self.shown.take()
            {
                reader.give_back(frame);
            }
            reader.rewind(PATIENCE);
        }
    }

    fn begin(&mut self, info: &FrameInfo) -> Begun {
        match self.advance(info) {
            Advance::Late => return Begun::Late,
            Advance::Ended => return Begun::Ended,
            Advance::Show => {}
        }
        let (Some(frame), Some(converter)) = (&self.shown, &mut self.converter) else {
            return Begun::Ended;
        };
        if std::mem::take(&mut self.is_new)
            && let Err(error) = converter.convert(&frame.bytes)
        {
            log::error!("a frame cannot be converted: {error}");
            return Begun::Ended;
        }
        self.pace.frames += 1;
        Begun::Frame {
            bytes: self.target.as_ref().map_or(0, |target| target.bytes as u32),
        }
    }

    fn fill(&mut self, offset: usize, out: &mut [u8]) {
        let frame = match (&self.shown, &self.converter) {
            (Some(frame), Some(converter)) => converter.output(&frame.bytes),
            _ => &[],
        };
        let rest = frame.get(offset..).unwrap_or_default();
        let (bytes, beyond) = out.split_at_mut(rest.len().min(out.len()));
        bytes.copy_from_slice(&rest[..bytes.len()]);
        beyond.fill(0);
    }
}
