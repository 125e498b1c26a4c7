//! The parsing of a source's specification.

use std::os::fd::RawFd;
use std::path::{Path, PathBuf};

/// The kinds of films, each with an example of its specification.
pub(super) const FILMS: &[(&str, &str)] = &[
    ("y4m", "y4m:FILE"),
    ("image", "image:FILE"),
    ("raw", "raw:FILE,format=NV12,size=640x480,fps=30"),
];

/// Returns the path in the specification of a film, as it is written; `None` if
/// the source is not a film.
pub(super) fn path_of(spec: &str) -> Option<String> {
    let (kind, text) = spec.split_once(':')?;
    let is_film = FILMS.iter().any(|(name, _)| *name == kind);
    is_film.then(|| split_path(text).0)
}

/// Returns the file that a source is read from, if the source opens it by its
/// name. A file descriptor, such as standard input, is not opened by a name.
pub fn file_of(spec: &str) -> Option<PathBuf> {
    file_at(&path_of(spec)?)
}

/// Returns whether a source is read from a file descriptor that its process was
/// started with.
pub fn is_passed_on(spec: &str) -> bool {
    path_of(spec).is_some_and(|path| file_at(&path).is_none())
}

/// Returns whether a source is read from its process's standard input.
pub fn is_standard_input(spec: &str) -> bool {
    path_of(spec).is_some_and(|path| Place::of(&path) == Place::Descriptor(0))
}

/// Returns the specification of the same source for a process in another
/// folder: a relative path becomes one below `folder`. `None` if the name of
/// the folder is not UTF-8.
pub fn absolute(spec: &str, folder: &Path) -> Option<String> {
    let (Some(path), Some((kind, text))) = (file_of(spec), spec.split_once(':')) else {
        return Some(spec.to_owned());
    };
    // An empty path does not name a file of that folder.
    if path.is_absolute() || path == Path::new("") {
        return Some(spec.to_owned());
    }
    let path = folder.join(path);
    Some(format!("{kind}:{}", with_path(text, path.to_str()?)))
}

/// Returns the specification of a source or a sink without the folders and the
/// options of its file: the name of an input or an output.
pub fn short_name(spec: &str) -> String {
    let Some((path, (kind, _))) = path_of(spec).zip(spec.split_once(':')) else {
        return spec.to_owned();
    };
    let file = file_at(&path);
    match file.as_deref().map(|file| (file, file.file_name())) {
        Some((_, Some(name))) => format!("{kind}:{}", name.to_string_lossy()),
        Some((_, None)) => spec.to_owned(),
        None => format!("{kind}:{path}"),
    }
}

/// Returns `text`, the part after a kind and a colon, with another path.
fn with_path(text: &str, path: &str) -> String {
    let path = path.replace(',', ",,");
    match split_path(text).1 {
        Some(options) => format!("{path},{options}"),
        None => path,
    }
}

/// Splits the part after a kind and a colon into the path, in which a comma is
/// doubled, and the options if there are any.
pub(crate) fn split_path(text: &str) -> (String, Option<&str>) {
    let mut path = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(',') {
        path.push_str(before);
        let Some(more) = after.strip_prefix(',') else {
            return (path, Some(after));
        };
        path.push(',');
        rest = more;
    }
    path.push_str(rest);
    (path, None)
}

/// Returns the file or FIFO that a film's path names; `None` if it names a file
/// descriptor that the process was started with.
pub(super) fn file_at(path: &str) -> Option<PathBuf> {
    match Place::of(path) {
        Place::Path(path) => Some(path),
        Place::Descriptor(_) => None,
    }
}

/// The place that a film's path names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A file descriptor that the process was started with.
    Descriptor(RawFd),
    /// A file or a FIFO.
    Path(PathBuf),
}

/// The folders in which Linux shows a process its file descriptors (proc(5)).
const FOLDERS: [&str; 3] = ["/dev/fd/", "/proc/self/fd/", "/proc/thread-self/fd/"];

impl Place {
    /// Returns the place that a film's path names; `-` is standard input.
    pub fn of(path: &str) -> Self {
        let number = match path {
            "-" | "/dev/stdin" => Some(0),
            path => FOLDERS.iter().find_map(|folder| {
                let number = path.strip_prefix(folder)?;
                let digits = number.bytes().all(|byte| byte.is_ascii_digit());
                number.parse().ok().filter(|_| digits)
            }),
        };
        match number {
            Some(number) => Self::Descriptor(number),
            None => Self::Path(path.into()),
        }
    }

    /// Returns the name for messages of the place that `path` names.
    pub fn name(path: &str) -> &str {
        match path {
            "-" => "standard input",
            path => path,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_shell_passes_on_is_no_path() {
        for (path, number) in [
            ("-", 0),
            ("/dev/stdin", 0),
            ("/dev/fd/63", 63),
            ("/proc/self/fd/7", 7),
            ("/proc/thread-self/fd/0", 0),
        ] {
            assert_eq!(Place::of(path), Place::Descriptor(number), "{path}");
        }
        for path in [
            "a.y4m",
            "/dev/fd/",
            "/dev/fd/+1",
            "/dev/fd/1/x",
            "/dev/fd/99999999999",
            "/proc/1/fd/0",
            "./-",
        ] {
            assert_eq!(Place::of(path), Place::Path(path.into()));
        }
    }

    #[test]
    fn the_file_of_a_source_is_found_among_its_options() {
        for (spec, file) in [
            ("pattern", None),
            ("pattern:bars", None),
            ("y4m:-,once", None),
            ("y4m:/dev/stdin", None),
            ("image:/dev/fd/63", None),
            ("y4m:a.y4m", Some("a.y4m")),
            ("y4m:/x/a,loop", Some("/x/a")),
            ("raw:a,,b,,,size=1x1", Some("a,b,")),
            ("x:a", None),
        ] {
            assert_eq!(file_of(spec), file.map(PathBuf::from), "{spec}");
        }
    }

    #[test]
    fn a_relative_path_is_its_callers() {
        for (spec, same) in [
            ("pattern:bars", "pattern:bars"),
            ("y4m:-,once", "y4m:-,once"),
            ("y4m:/dev/fd/63", "y4m:/dev/fd/63"),
            ("y4m:/x/a,loop", "y4m:/x/a,loop"),
            ("y4m:a.y4m", "y4m:/c,,d/a.y4m"),
            ("y4m:../a,,b,loop", "y4m:/c,,d/../a,,b,loop"),
            (
                "raw:a,format=NV12,size=16x16",
                "raw:/c,,d/a,format=NV12,size=16x16",
            ),
            ("y4m:", "y4m:"),
            ("x:a", "x:a"),
        ] {
            let absolute = absolute(spec, Path::new("/c,d"));
            assert_eq!(absolute.as_deref(), Some(same), "{spec}");
        }
    }

    #[test]
    fn an_input_is_called_by_its_source() {
        for (spec, name) in [
            ("pattern", "pattern"),
            ("pattern:ramp", "pattern:ramp"),
            ("y4m:/a/b c.y4m,loop", "y4m:b c.y4m"),
            ("y4m:-", "y4m:-"),
            ("y4m:-,once", "y4m:-"),
            ("y4m:/dev/fd/63,once", "y4m:/dev/fd/63"),
            ("y4m:/", "y4m:/"),
        ] {
            assert_eq!(short_name(spec), name);
        }
    }
}
