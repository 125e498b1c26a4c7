//! Where pixels come from.
//!
//! A [`Source`] makes frames of one [`Layout`] a piece at a time, so that the
//! card can render straight into guest memory: no frame is ever held whole.

pub mod format;
pub mod pattern;

use std::time::Duration;

pub use format::{Layout, PixelFormat};
pub use pattern::Pattern;

/// What a source is told about the frame it is to make.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FrameInfo {
    /// V4L2 sequence number of the frame.
    pub sequence: u32,
    /// Time since STREAMON at which the frame was due.
    pub elapsed: Duration,
    /// Time of day at which the frame was due, since the Unix epoch.
    pub wall: Duration,
}

/// A maker of frames.
pub trait Source: Send {
    /// Prepares for frames of `layout`. Called at STREAMON, off the frame
    /// path: this is where a source may allocate.
    fn prepare(&mut self, layout: &Layout);

    /// Begins a frame. Must not allocate.
    fn begin(&mut self, frame: &FrameInfo);

    /// Writes the bytes of the current frame from `offset` on into `out`,
    /// every one of them. Offsets count through the frame as it lies in
    /// memory (for one plane in one buffer, the buffer's). The caller asks in
    /// ascending order, `out` never longer than 4096 bytes nor beyond the end
    /// of the frame. Must not allocate.
    fn fill(&mut self, offset: usize, out: &mut [u8]);
}

/// Why a source could not be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// The part before the colon is no kind of source.
    #[error("there is no kind of source \"{0}\"; try {list}", list = specs())]
    UnknownKind(String),
    /// There is no pattern of that name.
    #[error("there is no pattern \"{0}\"; try {list}", list = specs())]
    UnknownPattern(String),
}

/// All that [`open`] takes, for messages.
fn specs() -> String {
    let specs = pattern::NAMES.iter().map(|name| format!("pattern:{name}"));
    specs.collect::<Vec<_>>().join(", ")
}

/// Opens the source that `spec` names: `pattern:NAME`, or `pattern` for the
/// first of them.
///
/// # Errors
///
/// Where there is none of that name; the message lists those that there are.
pub fn open(spec: &str) -> Result<Box<dyn Source>, SourceError> {
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
        _ => Err(SourceError::UnknownKind(kind.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spec_opens_its_source_or_says_what_there_is() {
        assert!(open("pattern").is_ok());
        assert!(open("pattern:bars").is_ok());
        for (spec, message) in [
            ("pattern:", "there is no pattern \"\"; try pattern:bars"),
            ("pattern:x", "there is no pattern \"x\"; try pattern:bars"),
            (
                "y5m:f",
                "there is no kind of source \"y5m\"; try pattern:bars",
            ),
        ] {
            assert_eq!(open(spec).err().unwrap().to_string(), message);
        }
    }
}
