//! Where pixels come from.
//!
//! A [`Source`] makes frames of one [`Layout`] a piece at a time, so that the
//! card can render straight into guest memory. A [`Camera`] is what the card
//! has: several inputs with a source each, and the [`Settings`] of its
//! controls.

pub mod adjust;
pub mod camera;
pub mod convert;
pub mod film;
mod finish;
pub mod format;
mod jpeg;
pub mod layout;
pub mod name;
pub mod pattern;
pub mod raster;
pub mod settings;

use std::time::Duration;

pub use camera::{Camera, Input};
pub use film::{Access, Descriptors, Film, FilmError};
pub use format::PixelFormat;
pub use layout::{Layout, MemoryPlane};
pub use name::{absolute, file_of, is_passed_on};
pub use pattern::Pattern;
pub use settings::Settings;

/// What a source is told about the frame it is to make.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FrameInfo {
    /// Number of the stream it belongs to: one more at every STREAMON.
    pub stream: u32,
    /// V4L2 sequence number of the frame.
    pub sequence: u32,
    /// Time since STREAMON at which the frame was due.
    pub elapsed: Duration,
    /// Time of day at which the frame was due, since the Unix epoch.
    pub wall: Duration,
}

/// What became of a frame that was to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Begun {
    /// It can be [filled](Source::fill).
    Frame {
        /// Its length in bytes: [`Layout::sizeimage`], or less if compressed.
        bytes: u32,
    },
    /// There is nothing to show yet (a pipe that stalls); to be asked again.
    Late,
    /// There will be no frame any more.
    Ended,
}

/// What a source shows by itself, before it is fitted to what was asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Native {
    /// Pixels and lines; none for a source that draws in any size.
    pub size: Option<(u32, u32)>,
    /// Seconds between frames, as a fraction; none for a source that has no
    /// pace of its own.
    pub interval: Option<(u32, u32)>,
    /// Whether the card is to take on that size and tell the guest
    /// (V4L2_EVENT_SOURCE_CHANGE), rather than have it fitted.
    pub follow: bool,
}

/// A maker of frames.
pub trait Source: Send {
    /// What it shows by itself.
    fn native(&self) -> Native {
        Native::default()
    }

    /// Takes over the settings, which hold from the next frame on. Called when
    /// they change, off the frame path: it may allocate.
    fn set(&mut self, _settings: &Settings) {}

    /// Whether its bytes are to arrive as they are, however the picture is
    /// adjusted.
    fn is_exact(&self) -> bool {
        false
    }

    /// Whether its pages carry the [watermark](pattern::watermark), which is
    /// then put on again after the picture was adjusted.
    fn is_marked(&self) -> bool {
        false
    }

    /// Prepares for frames of `layout`. Called at STREAMON, off the frame
    /// path: this is where a source may allocate.
    fn prepare(&mut self, layout: &Layout);

    /// As [`prepare`](Self::prepare), for frames that are made into something
    /// else, `shown`, before anybody sees them.
    fn prepare_for(&mut self, layout: &Layout, _shown: &Layout) {
        self.prepare(layout);
    }

    /// Begins a frame. Must not allocate.
    fn begin(&mut self, frame: &FrameInfo) -> Begun;

    /// Writes the bytes of the current frame from `offset` on into `out`,
    /// every one of them. Offsets count through the frame as [`Layout`] says.
    /// The caller asks in ascending order, `out` never longer than 4096 bytes
    /// nor beyond the end of a memory plane or of the frame. Must not
    /// allocate.
    fn fill(&mut self, offset: usize, out: &mut [u8]);
}

/// Why a source could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The part before the colon is no kind of source.
    #[error("there is no kind of source \"{0}\"; try {list}", list = specs())]
    UnknownKind(String),
    /// There is no pattern of that name.
    #[error("there is no pattern \"{0}\"; try {list}", list = specs())]
    UnknownPattern(String),
    /// A file or a pipe.
    #[error(transparent)]
    Film(#[from] FilmError),
}

/// All that [`open`] takes, for messages.
fn specs() -> String {
    let patterns = pattern::NAMES.iter().map(|name| format!("pattern:{name}"));
    let films = film::KINDS.iter().map(|(_, spec)| (*spec).to_owned());
    patterns.chain(films).collect::<Vec<_>>().join(", ")
}

/// Opens the source that `spec` names: `pattern:NAME`, or `pattern` for the
/// first of them, or a [film]. Waits for the beginning of one that comes from
/// a pipe.
///
/// # Errors
///
/// Where there is none of that name, and the message lists those that there
/// are; where a film cannot be opened.
pub fn open(spec: &str) -> Result<Box<dyn Source>, SourceError> {
    open_with(spec, &Access::default())
}

fn open_with(spec: &str, access: &Access) -> Result<Box<dyn Source>, SourceError> {
    let (kind, name) = match spec.split_once(':') {
        Some((kind, name)) => (kind, Some(name)),
        None => (spec, None),
    };
    match kind {
        "pattern" => {
            let name = name.unwrap_or(pattern::NAMES[0]);
            match Pattern::named(name) {
                Some(pattern) => Ok(Box::new(pattern)),
                None => Err(SourceError::UnknownPattern(name.to_owned())),
            }
        }
        kind if film::KINDS.iter().any(|(name, _)| *name == kind) => {
            let film = Film::open(kind, name.unwrap_or_default(), access)?;
            Ok(Box::new(film))
        }
        _ => Err(SourceError::UnknownKind(kind.to_owned())),
    }
}

/// Says of a source what can be said without opening it: whether its name makes
/// sense, and whether its file is there.
///
/// # Errors
///
/// As [`open`], which may still find more.
pub fn check(spec: &str) -> Result<(), SourceError> {
    match (name::path_of(spec), spec.split_once(':')) {
        (Some(_), Some((kind, text))) => Ok(film::check(kind, text)?),
        _ => open(spec).map(drop),
    }
}

/// Opens the source that `spec` names as an input that is called after it.
///
/// # Errors
///
/// As [`open`], and where `access` does not reach.
pub fn open_input(spec: &str, access: &Access) -> Result<Input, SourceError> {
    Ok(Input {
        name: name::input_name(spec),
        source: open_with(spec, access)?,
    })
}

/// Takes the file descriptors that sources are named by.
///
/// # Safety
/// This process has not opened anything yet.
///
/// # Errors
/// Where one is not open, or two sources are named by it.
pub unsafe fn descriptors_of(specs: &[String]) -> Result<Descriptors, SourceError> {
    let paths: Vec<_> = specs
        .iter()
        .filter_map(|spec| name::path_of(spec))
        .collect();
    // SAFETY: by the caller's promise.
    Ok(unsafe { Descriptors::take(&paths)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_sense_is_seen_without_opening_it() {
        for spec in [
            "pattern",
            "pattern:ramp",
            "y4m:-,once",
            "image:/dev/null",
            "y4m:/dev/fd/63",
        ] {
            assert!(check(spec).is_ok(), "{spec}");
        }
        for (spec, said) in [
            ("pattern:x", "there is no pattern"),
            ("y5m:f", "there is no kind of source"),
            ("y4m:/nowhere", "cannot open /nowhere"),
            ("y4m:-,often", "makes no sense"),
        ] {
            let error = check(spec).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn a_spec_opens_its_source_or_says_what_there_is() {
        assert!(open("pattern").is_ok());
        assert!(open("pattern:bars").is_ok());
        for (spec, message) in [
            ("pattern:", "there is no pattern \"\""),
            ("pattern:x", "there is no pattern \"x\""),
            ("y5m:f", "there is no kind of source \"y5m\""),
        ] {
            let names = "pattern:bars, pattern:ramp, pattern:checkerboard, pattern:solid, \
                         pattern:moving, pattern:noise, pattern:integrity, y4m:FILE, image:FILE, \
                         raw:FILE,format=NV12,size=640x480,fps=30";
            assert_eq!(
                open(spec).err().unwrap().to_string(),
                format!("{message}; try {names}")
            );
        }
    }
}
