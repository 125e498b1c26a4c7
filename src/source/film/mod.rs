//! Sources that are files and pipes: films and pictures.
//!
//! - `y4m:FILE`: a YUV4MPEG2 film, as FFmpeg and GStreamer write it;
//! - `raw:FILE,format=NV12,size=640x480,fps=30`: frames in the card's layout,
//!   and nothing else;
//! - `image:FILE`: a PNG or a JPEG.
//!
//! `-` and `/dev/stdin` are standard input; `/dev/fd/N` is a file descriptor
//! that the card was started with. A path may also be a FIFO. Options follow
//! after commas; a comma in the path itself is doubled:
//!
//! - `loop` (the default for files): after the last frame follows the first
//!   one, or, from a FIFO, the film of the next writer. `once` (the default for
//!   pipes, and the only way for pipes without a name): the stream ends;
//! - `rate=time` (the default for files that say their rate): the card shows
//!   the frame that is due by the film's time, and repeats or leaves out frames
//!   as the guest's rate requires. A stream begins with the first frame.
//!   `rate=frame` (the default for pipes): the card shows every frame in order,
//!   and waits for a late one;
//! - `fit=scale` (the default): the picture is stretched to the size that the
//!   guest asks for; `fit=source`: the card takes on the film's size, as
//!   [`Native::follow`] tells it.
//!
//! A file begins again with every stream. A pipe continues where it was, and a
//! FIFO whose writer has ended continues with the next writer. A film ends
//! where it breaks. Files stay open, so that a sandbox may forbid opening them.

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

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::frame::{Begun, FrameInfo, Native};
use super::interface::Source;
use super::layout::Layout;
use super::name;
use super::raster::Raster;
use super::whole::{Frame, Wake, Whole};
use input::Input;
use reader::{After, Next, Reader};
use reel::Reel;
use spec::{Ending, Rate, Spec};

pub use descriptors::Descriptors;
pub use error::{Fault, FilmError, PictureFault};
pub use input::Access;
pub use size::MAX_SIDE;

/// Checks the specification of a film without opening it.
///
/// # Errors
///
/// [`FilmError`] if the specification makes no sense, or the file does not
/// exist.
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

/// Time limit for a file's first frame at the beginning of a stream.
const PATIENCE: Duration = Duration::from_secs(1);

/// Opens a film as a source; see [`Film::open`].
///
/// # Errors
///
/// The errors of [`Film::open`].
pub fn open(kind: &str, text: &str, access: &Access) -> Result<Box<dyn Source>, FilmError> {
    Ok(Box::new(Film::open(kind, text, access)?))
}

/// A file or a pipe as a source. Its frames come [`Whole`].
#[derive(Debug)]
pub struct Film {
    raster: Raster,
    native: Native,
    rate: Rate,
    /// `None` for a still picture.
    reader: Option<Reader>,
    /// The stream of a still picture ends after one frame.
    once: bool,
    shown: Option<Arc<Frame>>,
    pace: Pace,
    /// What was before each of the frames that were begun ahead and may be
    /// taken back, in order.
    begun: VecDeque<Before>,
}

/// The state of a film before it began a frame.
#[derive(Debug)]
struct Before {
    shown: Option<Arc<Frame>>,
    pace: Pace,
}

/// The position of a stream in its film.
#[derive(Debug, Clone, Copy, Default)]
struct Pace {
    /// Time (since STREAMON) and number of the first frame shown.
    start: Option<(Duration, u64)>,
    /// Number of the frame that was asked for last.
    asked: u64,
    /// Distance of that frame from the one asked for before it.
    step: u64,
    /// Lower bound on the number of the frame to be asked for next.
    following: u64,
    /// Number of the frame that was asked for when one was late first; `None`
    /// while the film is in time.
    late: Option<u64>,
    /// Number of frames begun.
    frames: u64,
}

impl Film {
    /// Opens a film of that kind. Waits for the header of a film, or the whole
    /// of a picture, that comes from a pipe, as long as `access` allows.
    ///
    /// # Errors
    ///
    /// [`FilmError`] if the file cannot be read or is not a film of that kind;
    /// for a file, not a pipe, also if its first frame is broken.
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
                film.shown = Some(Arc::new(Frame {
                    bytes,
                    number: 0,
                    home: None,
                }));
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
            begun: VecDeque::new(),
        }
    }

    /// Advances to the frame that is to be shown.
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
                    // At a steady rate, steps differ by one at most.
                    let following = number + step.min(pace.step).saturating_sub(1);
                    (pace.asked, pace.step) = (number, step);
                    pace.following = following;
                }
                let shown = self.shown.as_ref().map(|frame| frame.number);
                match shown.is_some_and(|shown| shown >= number) {
                    true => Next::Hold,
                    false => {
                        // A film that cannot be read in time shows the frames
                        // that there are, rather than none.
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
                // The buffer of the past frame goes home to the reader.
                self.shown = Some(frame);
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

    /// Returns the number of the frame that is due at `elapsed`.
    fn number(&self, (began, first): (Duration, u64), elapsed: Duration) -> u64 {
        let Some((seconds, frames)) = self.native.interval else {
            return first;
        };
        // Times are rounded down to nanoseconds, so a frame is due one
        // nanosecond early.
        let time = elapsed.saturating_sub(began).as_nanos() + 1;
        let number = time * u128::from(frames) / (u128::from(seconds) * 1_000_000_000);
        first.saturating_add(u64::try_from(number).unwrap_or(u64::MAX))
    }
}

/// The outcome of [`Film::advance`].
enum Advance {
    Show,
    Late,
    Ended,
}

/// Checks that the first frame of a file can be read, and rewinds the file. A
/// pipe is not checked.
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

    fn whole(&mut self) -> Option<&mut dyn Whole> {
        Some(self)
    }

    fn prepare(&mut self, _layout: &Layout) {
        self.pace = Pace::default();
        self.begun.clear();
        if let Some(reader) = &self.reader {
            if reader.is_file() {
                self.shown = None;
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
        if self.shown.is_none() {
            return Begun::Ended;
        }
        self.pace.frames += 1;
        Begun::Frame {
            bytes: self.raster.bytes as u32,
        }
    }

    fn fill(&mut self, offset: usize, out: &mut [u8]) {
        let frame = self.shown.as_ref().map_or(&[][..], |frame| &frame.bytes);
        let rest = frame.get(offset..).unwrap_or_default();
        let (bytes, beyond) = out.split_at_mut(rest.len().min(out.len()));
        bytes.copy_from_slice(&rest[..bytes.len()]);
        beyond.fill(0);
    }
}

impl Whole for Film {
    fn raster(&self) -> &Raster {
        &self.raster
    }

    fn frame(&self) -> Option<&Arc<Frame>> {
        self.shown.as_ref()
    }

    fn is_in_order(&self) -> bool {
        self.rate == Rate::Frame
    }

    fn go_ahead(&mut self, ahead: Option<(usize, Wake)>) {
        self.begun.clear();
        if let Some(reader) = &self.reader {
            reader.go_ahead(ahead);
        }
    }

    fn begin_ahead(&mut self, info: &FrameInfo, unshown: usize, is_awaited: bool) -> Begun {
        let past = self.begun.len().saturating_sub(unshown);
        self.begun.drain(..past);
        let before = Before {
            shown: self.shown.clone(),
            pace: self.pace,
        };
        let begun = self.begin(info);
        match begun {
            Begun::Frame { .. } => self.begun.push_back(before),
            // The film is not behind its time before the frame is due.
            Begun::Late if !is_awaited => self.pace = before.pace,
            Begun::Late | Begun::Ended => {}
        }
        begun
    }

    fn take_back(&mut self, frames: usize) {
        for _ in 0..frames {
            let Some(before) = self.begun.pop_back() else {
                return;
            };
            self.pace = before.pace;
            let taken = std::mem::replace(&mut self.shown, before.shown);
            let is_same = |a: &Arc<Frame>, b: &Arc<Frame>| Arc::ptr_eq(a, b);
            match (&self.reader, taken, &self.shown) {
                (_, Some(taken), Some(shown)) if is_same(&taken, shown) => {}
                (Some(reader), Some(taken), _) => reader.put_back(taken),
                _ => {}
            }
        }
    }
}
