//! Opens sources by their specifications.

use std::error::Error as _;
use std::io;

use super::camera::Input;
use super::film::{self, Access, Descriptors, FilmError};
use super::interface::Source;
use super::name;
use super::pattern::{self, Pattern};

/// The reason why a source could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The part before the colon is not a kind of source.
    #[error("there is no kind of source \"{0}\"; try {list}", list = specs())]
    UnknownKind(String),
    /// No pattern has that name.
    #[error("there is no pattern \"{0}\"; try {list}", list = specs())]
    UnknownPattern(String),
    /// A film or a picture could not be opened.
    #[error(transparent)]
    Film(#[from] FilmError),
}

impl SourceError {
    /// Returns whether this process has no permission to read the file.
    pub fn is_not_allowed(&self) -> bool {
        let cause = match self {
            Self::Film(film) => film.source(),
            _ => None,
        };
        let cause = cause.and_then(|cause| cause.downcast_ref::<io::Error>());
        cause.is_some_and(|cause| cause.kind() == io::ErrorKind::PermissionDenied)
    }
}

/// Returns all specifications that [`open`] takes, for messages.
fn specs() -> String {
    let patterns = pattern::NAMES.iter().map(|name| format!("pattern:{name}"));
    let films = name::FILMS.iter().filter(|_| cfg!(feature = "films"));
    let films = films.map(|(_, spec)| (*spec).to_owned());
    patterns.chain(films).collect::<Vec<_>>().join(", ")
}

/// Opens the source that `spec` names: `pattern:NAME`, `pattern` for the first
/// pattern, or a [film]. Waits for the header of a film, or the whole of a
/// picture, that comes from a pipe.
///
/// # Errors
///
/// [`SourceError`] if no source has that name (the message lists those that
/// exist), or a film cannot be opened.
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

/// Checks a specification without opening the source: whether it makes sense,
/// and whether its file exists.
///
/// # Errors
///
/// As [`open`], which may still fail where this does not.
pub fn check(spec: &str) -> Result<(), SourceError> {
    match (name::path_of(spec), spec.split_once(':')) {
        (Some(_), Some((kind, text))) => Ok(film::check(kind, text)?),
        _ => open(spec).map(drop),
    }
}

/// Opens the source that `spec` names, as an input with its name.
///
/// # Errors
///
/// As [`open`]; also if `access` does not allow the source.
pub fn open_input(spec: &str, access: &Access) -> Result<Input, SourceError> {
    Ok(Input {
        name: name::short_name(spec),
        source: open_with(spec, access)?,
    })
}

/// Takes the file descriptors that the specifications name.
///
/// # Safety
/// The caller makes sure that this process has not opened anything yet.
///
/// # Errors
/// [`SourceError`] if a descriptor is not open, or two sources name it.
pub unsafe fn descriptors_of(specs: &[String]) -> Result<Descriptors, SourceError> {
    let paths: Vec<_> = specs
        .iter()
        .filter_map(|spec| name::path_of(spec))
        .collect();
    // SAFETY: the caller promises that this process has not opened anything.
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
