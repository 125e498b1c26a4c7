//! Opens sources by the words that name them.

use std::error::Error as _;
use std::io;

use super::camera::Input;
use super::film::{self, Access, Descriptors, FilmError};
use super::interface::Source;
use super::name;
use super::pattern::{self, Pattern};

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

impl SourceError {
    /// Whether this process has no permission to read the file.
    pub fn is_not_allowed(&self) -> bool {
        let cause = match self {
            Self::Film(film) => film.source(),
            _ => None,
        };
        let cause = cause.and_then(|cause| cause.downcast_ref::<io::Error>());
        cause.is_some_and(|cause| cause.kind() == io::ErrorKind::PermissionDenied)
    }
}

/// All that [`open`] takes, for messages.
fn specs() -> String {
    let patterns = pattern::NAMES.iter().map(|name| format!("pattern:{name}"));
    let films = name::FILMS.iter().filter(|_| cfg!(feature = "films"));
    let films = films.map(|(_, spec)| (*spec).to_owned());
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
    let (kind, text) = match spec.split_once(':') {
        Some((kind, text)) => (kind, Some(text)),
        None => (spec, None),
    };
    match kind {
        "pattern" => {
            let name = text.unwrap_or(pattern::NAMES[0]);
            match Pattern::named(name) {
                Some(pattern) => Ok(Box::new(pattern)),
                None => Err(SourceError::UnknownPattern(name.to_owned())),
            }
        }
        kind if name::FILMS.iter().any(|(name, _)| *name == kind) => {
            Ok(film::open(kind, text.unwrap_or_default(), access)?)
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
