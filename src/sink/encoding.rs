//! What a sink makes of a frame.

use std::io;

use super::queue::Frame;
use super::target::File;
use super::y4m::Y4m;
use crate::source::PixelFormat;

/// The form in which frames are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Their bytes alone.
    Raw,
    /// A YUV4MPEG2 film.
    Y4m,
}

impl Form {
    /// Returns whether frames of that format can be written so.
    pub fn takes(self, format: PixelFormat) -> bool {
        match self {
            Self::Raw => true,
            Self::Y4m => Y4m::takes(format),
        }
    }
}

/// Writes frames in a form.
#[derive(Debug)]
pub enum Encoder {
    /// See [`Form::Raw`].
    Raw,
    /// See [`Form::Y4m`].
    Y4m(Box<Y4m>),
}

impl Encoder {
    /// Returns an encoder for a file that is empty yet; `name` is the sink's, for
    /// messages.
    pub fn new(form: Form, name: &str) -> Self {
        match form {
            Form::Raw => Self::Raw,
            Form::Y4m => Self::Y4m(Box::new(Y4m::new(name))),
        }
    }

    /// Writes a frame.
    ///
    /// # Errors
    /// The error of the file.
    pub fn write(&mut self, frame: &Frame, file: &mut File) -> io::Result<()> {
        match self {
            Self::Raw => file.write(frame.content()),
            Self::Y4m(y4m) => y4m.write(frame, file),
        }
    }

    /// Frees the memory that only a stream takes.
    pub fn rest(&mut self) {
        if let Self::Y4m(y4m) = self {
            y4m.rest();
        }
    }
}
