//! The errors of films.

use std::io;

use zune_jpeg::errors::DecodeErrors;

use super::size::SizeError;

/// The error kind of a read that was cancelled.
pub const HANGUP: io::ErrorKind = io::ErrorKind::ConnectionAborted;

/// The reason why a film could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum FilmError {
    /// The specification of the source makes no sense.
    #[error("the source \"{spec}\" makes no sense: {problem}")]
    Spec {
        /// The specification.
        spec: String,
        /// The fault in it.
        problem: String,
    },
    /// The file does not exist, or the process may not read it.
    #[error("cannot open {name}: {source}")]
    Open {
        /// The film's name.
        name: String,
        /// The system's error.
        source: io::Error,
    },
    /// The file was opened, but cannot be shown.
    #[error("{name} cannot be shown: {fault}")]
    Broken {
        /// The film's name.
        name: String,
        /// The fault in it.
        fault: Fault,
    },
}

/// A fault in a film.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The film cannot be read.
    #[error("{0}")]
    Read(#[from] io::Error),
    /// The file does not begin with the magic word of y4m.
    #[error("it does not begin with YUV4MPEG2")]
    NotY4m,
    /// The header has no end within this many bytes.
    #[error("its header is cut off, or longer than {0} bytes")]
    Header(usize),
    /// A parameter of the header is not understood.
    #[error("its header says {0:?}, which is not understood")]
    Parameter(String),
    /// The header has no width or no height.
    #[error("its header says no size")]
    NoSize,
    /// The picture is too large, or empty.
    #[error(transparent)]
    Size(#[from] SizeError),
    /// The sampling is not supported.
    #[error("its samples are {0:?}, not 420, 422, 444 or mono of eight bits")]
    Chroma(String),
    /// The film ends before its first frame.
    #[error("it has no frames")]
    Empty,
    /// The film ends within the frame of this number.
    #[error("it is cut off within frame {0}")]
    CutOff(u64),
    /// The frame of this number does not begin with its mark.
    #[error("frame {0} does not begin with FRAME")]
    Mark(u64),
    /// Another film follows, and its frames are of another kind.
    #[error("a film of another size, kind of samples or rate follows")]
    Another,
    /// The length of a raw file is not a multiple of its frame size.
    #[error("its {bytes} bytes are no whole number of frames of {frame} bytes")]
    Length {
        /// The length of the file.
        bytes: u64,
        /// The length of a frame.
        frame: u64,
    },
    /// A picture is cut off, one of several, or a broken JPEG.
    #[error("{0}")]
    Picture(#[from] PictureFault),
    /// A picture cannot be decoded.
    // Some messages of this error end in an empty line.
    #[error("{}", .0.to_string().trim_end())]
    Image(#[from] image::ImageError),
    /// The file is longer than a picture may be.
    #[error("it has more than {0} bytes")]
    TooLong(u64),
}

impl Fault {
    /// Returns whether the read was cancelled.
    pub fn is_hangup(&self) -> bool {
        matches!(self, Self::Read(error) if error.kind() == HANGUP)
    }
}

/// A fault in a picture.
#[derive(Debug, thiserror::Error)]
pub enum PictureFault {
    /// The picture is cut off.
    #[error("it is cut off")]
    CutOff,
    /// Another picture follows.
    #[error(
        "it holds several pictures one behind the other, and one can be shown; make a film of \
         them, as `ffmpeg -f image2pipe -i FILE -f yuv4mpegpipe FILM.y4m` does"
    )]
    Several,
    /// The decoder refuses a JPEG.
    #[error("it is broken, or a kind of JPEG that is not read: {}", .0.to_string().trim_end())]
    Jpeg(DecodeErrors),
}
