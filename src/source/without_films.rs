//! What there is in place of films without the cargo feature `films`: who asks
//! for one is told.

use std::time::Duration;

use super::interface::Source;

/// A film is asked for.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0} cannot be shown: this pinhole was built without films and pictures (the cargo feature \
     \"films\"), and shows patterns alone"
)]
pub struct FilmError(String);

/// What films would be opened with.
#[derive(Debug, Default)]
pub struct Access {
    /// File descriptors that they would be named by.
    pub descriptors: Descriptors,
    /// How long the beginning of one would be waited for.
    pub patience: Option<Duration>,
}

/// File descriptors that films would be named by.
#[derive(Debug, Default)]
pub struct Descriptors;

impl Descriptors {
    /// Takes none.
    ///
    /// # Safety
    /// As with films.
    ///
    /// # Errors
    /// Where one is named.
    pub unsafe fn take(paths: &[String]) -> Result<Self, FilmError> {
        match paths.first() {
            Some(path) => Err(FilmError(path.clone())),
            None => Ok(Self),
        }
    }
}

/// Refuses a film.
///
/// # Errors
/// Always.
pub fn check(kind: &str, text: &str) -> Result<(), FilmError> {
    Err(FilmError(format!("{kind}:{text}")))
}

/// Refuses a film.
///
/// # Errors
/// Always.
pub fn open(kind: &str, text: &str, _access: &Access) -> Result<Box<dyn Source>, FilmError> {
    Err(FilmError(format!("{kind}:{text}")))
}
