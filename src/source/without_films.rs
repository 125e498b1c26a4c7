//! Replaces [`film`](super) where the cargo feature `films` is off: every request
//! for a film fails with a message that says so.

use std::time::Duration;

use super::interface::Source;

/// The error of every request for a film; it names the film.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0} cannot be shown: this pinhole was built without films and pictures (the cargo feature \
     \"films\"), and shows patterns alone"
)]
pub struct FilmError(String);

/// What a film is opened with. Without the feature nothing uses it.
#[derive(Debug, Default)]
pub struct Access {
    /// The file descriptors that name films.
    pub descriptors: Descriptors,
    /// The time limit for the start of a film.
    pub patience: Option<Duration>,
}

/// The file descriptors that name films: none.
#[derive(Debug, Default)]
pub struct Descriptors;

impl Descriptors {
    /// Takes no descriptor.
    ///
    /// # Safety
    /// Always safe; the function with films is not.
    ///
    /// # Errors
    /// [`FilmError`] if `paths` names a film.
    pub unsafe fn take(paths: &[String]) -> Result<Self, FilmError> {
        match paths.first() {
            Some(path) => Err(FilmError(path.clone())),
            None => Ok(Self),
        }
    }
}

/// Refuses a film without opening it.
///
/// # Errors
/// [`FilmError`], always.
pub fn check(kind: &str, text: &str) -> Result<(), FilmError> {
    Err(FilmError(format!("{kind}:{text}")))
}

/// Refuses to open a film.
///
/// # Errors
/// [`FilmError`], always.
pub fn open(kind: &str, text: &str, _access: &Access) -> Result<Box<dyn Source>, FilmError> {
    Err(FilmError(format!("{kind}:{text}")))
}
