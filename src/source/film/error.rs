//! Why a film cannot be shown.

use std::io;

use zune_jpeg::errors::DecodeErrors;

use super::size::SizeError;

/// What a read ends with that nobody wants any more.
pub const HANGUP: io::ErrorKind = io::ErrorKind::ConnectionAborted;

/// Why a film could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum FilmError {
    /// What it was named by makes no sense.
    #[error("the source \"{spec}\" makes no sense: {problem}")]
    Spec {
        /// What it was named by.
        spec: String,
        /// What is wrong with it.
        problem: String,
    },
    /// There is no such file, or it may not be read.
    #[error("cannot open {name}: {source}")]
    Open {
        /// The film's name.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// It was opened, but is no film.
    #[error("{name} cannot be shown: {fault}")]
    Broken {
        /// The film's name.
        name: String,
        /// What is wrong with it.
        fault: Fault,
    },
}

/// What is wrong with a film.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// It cannot be read.
    #[error("{0}")]
    Read(#[from] io::Error),
    /// It is something else.
    #[error("it does not begin with YUV4MPEG2")]
    NotY4m,
    /// Its header does not end.
    #[error("its header is cut off, or longer than {0} bytes")]
    Header(usize),
    /// A parameter of its header.
    #[error("its header says {0:?}, which is not understood")]
    Parameter(String),
    /// There is no size in its header.
    #[error("its header says no size")]
    NoSize,
    /// It is too large, or has no size at all.
    #[error(transparent)]
    Size(#[from] SizeError),
    /// Its samples are others.
    #[error("its samples are {0:?}, not 420, 422, 444 or mono of eight bits")]
    Chroma(String),
    /// It ends before its first frame.
    #[error("it has no frames")]
    Empty,
    /// It ends within a frame.
    #[error("it is cut off within frame {0}")]
    CutOff(u64),
    /// A frame does not begin with its mark.
    #[error("frame {0} does not begin with FRAME")]
    Mark(u64),
    /// Another film follows, and its frames are others.
    #[error("a film of another size, kind of samples or rate follows")]
    Another,
    /// A raw file whose frames are of another size.
    #[error("its {bytes} bytes are no whole number of frames of {frame} bytes")]
    Length {
        /// Its length.
        bytes: u64,
        /// The length of a frame.
        frame: u64,
    },
    /// A picture that is not shown.
    #[error("{0}")]
    Picture(#[from] PictureFault),
    /// A picture that cannot be decoded.
    // Some of its messages end in an empty line.
    #[error("{}", .0.to_string().trim_end())]
    Image(#[from] image::ImageError),
    /// More bytes than a picture has.
    #[error("it has more than {0} bytes")]
    TooLong(u64),
}

impl Fault {
    /// Whether reading it was given up.
    pub fn is_hangup(&self) -> bool {
        matches!(self, Self::Read(error) if error.kind() == HANGUP)
    }
}

/// What is wrong with a picture.
#[derive(Debug, thiserror::Error)]
pub enum PictureFault {
    /// It ends too early.
    #[error("it is cut off")]
    CutOff,
    /// Another begins where it ends.
    #[error(
        "it holds several pictures one behind the other, and one can be shown; make a film of \
         them, as `ffmpeg -f image2pipe -i FILE -f yuv4mpegpipe FILM.y4m` does"
    )]
    Several,
    /// The decoder refuses a JPEG.
    #[error("it is broken, or a kind of JPEG that is not read: {}", .0.to_string().trim_end())]
    Jpeg(DecodeErrors),
}
