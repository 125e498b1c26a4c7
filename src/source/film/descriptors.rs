//! The file descriptors that the process was started with, for films that are
//! named by one.
//!
//! A shell passes an input on as `-`, `/dev/stdin` or `/dev/fd/N`; it also
//! writes `/dev/fd/N` for `<(...)`. The process does not open such a name: a
//! sandbox cannot allow it (a pipe has no path that landlock(7) could allow),
//! and its number may be another file's later. The process takes the descriptor
//! itself at its start.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{BorrowedFd, RawFd};
use std::sync::{Mutex, PoisonError};

use rustix::io::{fcntl_dupfd_cloexec, fcntl_getfd};

use super::error::FilmError;
use crate::source::name::Place;

/// File descriptors that the process was started with. One film reads each of
/// them: two films would share its bytes.
#[derive(Debug, Default)]
pub struct Descriptors(Mutex<BTreeMap<RawFd, File>>);

impl Descriptors {
    /// Takes the descriptors that the paths name.
    ///
    /// # Safety
    /// The caller makes sure that this process has not opened anything yet.
    ///
    /// # Errors
    /// [`FilmError::Open`] if a descriptor is not open, or two paths name it.
    pub unsafe fn take(paths: &[String]) -> Result<Self, FilmError> {
        let fail = |path: &str, source| FilmError::Open {
            name: Place::name(path).to_owned(),
            source,
        };
        let mut numbers = BTreeMap::new();
        for path in paths {
            let Place::Descriptor(number) = Place::of(path) else {
                continue;
            };
            if numbers.insert(number, path).is_some() {
                let twice = io::Error::other("another source reads it already");
                return Err(fail(path, twice));
            }
            // SAFETY: the descriptor is used only to ask whether it is open; if
            // it is not, fcntl(2) fails.
            let fd = unsafe { BorrowedFd::borrow_raw(number) };
            fcntl_getfd(fd).map_err(|error| fail(path, error.into()))?;
        }
        // The copies are made after all checks, because a copy may get a number
        // that another path names.
        let mut files = BTreeMap::new();
        for (number, path) in numbers {
            // SAFETY: the loop above found the descriptor open, and nothing
            // closes it.
            let fd = unsafe { BorrowedFd::borrow_raw(number) };
            let copy = fcntl_dupfd_cloexec(fd, 3).map_err(|error| fail(path, error.into()))?;
            files.insert(number, File::from(copy));
        }
        Ok(Self(Mutex::new(files)))
    }

    /// Hands a descriptor over to a film; fails if it was not taken or has been
    /// handed over already.
    pub(super) fn give(&self, number: RawFd) -> io::Result<File> {
        let mut files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let file = files.remove(&number);
        file.ok_or_else(|| io::Error::other("it was not passed on to the card at its start"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_that_is_not_open_or_named_twice_is_refused() {
        let take = |paths: &[&str]| {
            let paths: Vec<_> = paths.iter().map(ToString::to_string).collect();
            // SAFETY: the descriptors that other tests open have other numbers.
            let taken = unsafe { Descriptors::take(&paths) };
            taken.map(drop).map_err(|error| error.to_string())
        };
        assert_eq!(take(&["a.y4m", "-"]), Ok(()));
        assert_eq!(
            take(&["/dev/fd/30000"]),
            Err("cannot open /dev/fd/30000: Bad file descriptor (os error 9)".into())
        );
        assert_eq!(
            take(&["-", "/dev/fd/0"]),
            Err("cannot open /dev/fd/0: another source reads it already".into())
        );
    }
}
