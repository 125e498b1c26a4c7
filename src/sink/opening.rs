//! Opens sinks by their specifications.

use std::fs::File;
use std::io;
use std::path::PathBuf;

use rustix::stdio::stdout;
use rustix::termios::isatty;

use super::display::Output;
use super::encoding::Form;
use super::writer::Writer;
use crate::source::PixelFormat;
use crate::source::name::{short_name, split_path};

/// The reason why a sink could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The part before the colon is not a kind of sink.
    #[error("there is no kind of sink \"{0}\"; try {list}", list = specs())]
    UnknownKind(String),
    /// The specification makes no sense.
    #[error("the sink \"{spec}\" makes no sense: {problem}")]
    Spec {
        /// The specification.
        spec: String,
        /// The fault in it.
        problem: &'static str,
    },
    /// This build writes no films.
    #[error(
        "{0} cannot be written: this pinhole was built without films and pictures (the cargo \
         feature \"films\"); digest and raw:FILE are there"
    )]
    WithoutFilms(String),
    /// The file cannot be created, or written.
    #[error("cannot open {name}: {source}")]
    Open {
        /// Its name.
        name: String,
        /// The system's error.
        source: io::Error,
    },
}

/// The kinds of sinks, as their specifications show.
const SPECS: &[&str] = &["digest", "y4m:FILE", "raw:FILE"];

/// Returns the kinds that this build has, for messages.
fn specs() -> String {
    let has = |spec: &&&str| cfg!(feature = "films") || !spec.starts_with("y4m");
    let specs: Vec<_> = SPECS.iter().filter(has).copied().collect();
    specs.join(", ")
}

/// The place that a sink writes to.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    StandardOutput,
    /// A file or a FIFO.
    Path(PathBuf),
}

/// Parses a specification: the place and what is written there, or `None` for
/// `digest`.
fn parse(spec: &str) -> Result<Option<(Place, Form)>, SinkError> {
    let fail = |problem| SinkError::Spec {
        spec: spec.to_owned(),
        problem,
    };
    let (kind, text) = match spec.split_once(':') {
        Some((kind, text)) => (kind, Some(text)),
        None => (spec, None),
    };
    let form = match kind {
        "digest" if text.is_none() => return Ok(None),
        "digest" => return Err(fail("it writes to no file")),
        "raw" => Form::Raw,
        "y4m" if cfg!(feature = "films") => Form::Y4m,
        "y4m" => return Err(SinkError::WithoutFilms(spec.to_owned())),
        _ => return Err(SinkError::UnknownKind(kind.to_owned())),
    };
    let place = match split_path(text.unwrap_or_default()) {
        (_, Some(_)) => return Err(fail("it has no options; a comma in a path is doubled")),
        (path, None) if path.is_empty() => return Err(fail("it names no file")),
        (path, None) if path == "-" => Place::StandardOutput,
        (path, None) => Place::Path(path.into()),
    };
    Ok(Some((place, form)))
}

/// Opens the sink that `spec` names, as an output with its name: `digest`,
/// `y4m:FILE` or `raw:FILE`. Creates the file, which [`Output::empty`] empties;
/// waits for the reader of a FIFO. Starts no thread: the first stream does, so that it is in the
/// sandbox that the process has entered by then.
///
/// # Errors
///
/// [`SinkError`] if there is no such sink, or its file cannot be written.
pub fn open(spec: &str) -> Result<Output, SinkError> {
    let Some((place, form)) = parse(spec)? else {
        return Ok(Output::digest());
    };
    let open = || {
        let file = match &place {
            Place::StandardOutput => File::from(stdout().try_clone_to_owned()?),
            Place::Path(path) => {
                let mut options = File::options();
                options
                    .write(true)
                    .create(true)
                    .truncate(false)
                    .open(path)?
            }
        };
        if isatty(&file) {
            return Err(io::Error::other("it is a terminal, which shows no frames"));
        }
        // What a shell has opened, it has emptied, or not.
        let to_empty = match &place {
            Place::StandardOutput => None,
            Place::Path(_) => Some(file.try_clone()?),
        };
        Ok((file, to_empty))
    };
    let (file, to_empty) = open().map_err(|source| SinkError::Open {
        name: match &place {
            Place::StandardOutput => "standard output".to_owned(),
            Place::Path(path) => path.display().to_string(),
        },
        source,
    })?;
    let name = short_name(spec);
    Ok(Output {
        writer: Some(Writer::new(&name, file, form)),
        name,
        file: to_empty,
    })
}

/// Returns whether a sink can take frames of that format. Does not open it.
///
/// # Errors
///
/// As [`open`], which may still fail where this does not.
pub fn takes(spec: &str, format: PixelFormat) -> Result<bool, SinkError> {
    Ok(parse(spec)?.is_none_or(|(_, form)| form.takes(format)))
}

/// Returns the file that a sink is written to, if it is opened by a name.
pub fn file_of(spec: &str) -> Option<PathBuf> {
    match parse(spec) {
        Ok(Some((Place::Path(path), _))) => Some(path),
        _ => None,
    }
}

/// Returns whether a sink is written to its process's standard output.
pub fn is_standard_output(spec: &str) -> bool {
    matches!(parse(spec), Ok(Some((Place::StandardOutput, _))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spec_names_its_file_or_standard_output() {
        for (spec, file, standard) in [
            ("digest", None, false),
            ("raw:-", None, true),
            ("raw:./-", Some("./-"), false),
            ("raw:/a/b.raw", Some("/a/b.raw"), false),
            ("raw:a,,b", Some("a,b"), false),
            ("raw:a:b", Some("a:b"), false),
            ("raw:a,b", None, false),
            ("x:a", None, false),
        ] {
            assert_eq!(file_of(spec), file.map(PathBuf::from), "{spec}");
            assert_eq!(is_standard_output(spec), standard, "{spec}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_said() {
        let kinds = match cfg!(feature = "films") {
            true => "digest, y4m:FILE, raw:FILE",
            false => "digest, raw:FILE",
        };
        for (spec, message) in [
            ("", format!("there is no kind of sink \"\"; try {kinds}")),
            (
                "y5m:f",
                format!("there is no kind of sink \"y5m\"; try {kinds}"),
            ),
            (
                "digest:f",
                "the sink \"digest:f\" makes no sense: it writes to no file".into(),
            ),
            (
                "raw",
                "the sink \"raw\" makes no sense: it names no file".into(),
            ),
            (
                "raw:",
                "the sink \"raw:\" makes no sense: it names no file".into(),
            ),
            (
                "raw:f,loop",
                "the sink \"raw:f,loop\" makes no sense: it has no options; a comma in a path is \
                 doubled"
                    .into(),
            ),
        ] {
            assert_eq!(
                takes(spec, PixelFormat::Yuyv).unwrap_err().to_string(),
                message
            );
            assert_eq!(open(spec).unwrap_err().to_string(), message);
        }
        let error = open("raw:/nowhere/f").unwrap_err().to_string();
        assert_eq!(
            error,
            "cannot open /nowhere/f: No such file or directory (os error 2)"
        );
    }

    #[test]
    fn a_sink_that_is_not_open_says_what_it_takes() {
        assert!(takes("digest", PixelFormat::Mjpg).unwrap());
        assert!(takes("raw:/nowhere/f", PixelFormat::Mjpg).unwrap());
        if cfg!(feature = "films") {
            assert!(takes("y4m:/nowhere/f", PixelFormat::Yuyv).unwrap());
            assert!(!takes("y4m:/nowhere/f", PixelFormat::Mjpg).unwrap());
        }
        assert!(takes("x:f", PixelFormat::Yuyv).is_err());
    }

    #[cfg(not(feature = "films"))]
    #[test]
    fn a_film_is_refused_where_none_can_be_written() {
        let error = open("y4m:f").unwrap_err().to_string();
        assert!(error.contains("the cargo feature \"films\""), "{error}");
    }

    #[test]
    fn an_output_is_called_by_its_sink_and_its_file_is_emptied() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, "old").unwrap();
        let spec = format!("raw:{}", file.path().display());
        let name = file.path().file_name().unwrap().to_string_lossy();
        let mut output = open(&spec).unwrap();
        assert_eq!(output.name, format!("raw:{name}"));
        assert_eq!(std::fs::read(&file).unwrap(), b"old");
        output.empty().unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"");
        assert_eq!(open("digest").unwrap().name, "digest");
    }

    /// /dev/ptmx opens a terminal.
    #[test]
    fn a_terminal_is_refused() {
        let error = open("raw:/dev/ptmx").unwrap_err().to_string();
        assert!(error.contains("it is a terminal"), "{error}");
    }
}
