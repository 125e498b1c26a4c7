//! What the words that name a source say of it.

use std::path::{Path, PathBuf};

use super::film;

/// The path in what names a source, as it is written, if there is one.
pub(super) fn path_of(spec: &str) -> Option<String> {
    let (kind, text) = spec.split_once(':')?;
    let is_film = film::KINDS.iter().any(|(name, _)| *name == kind);
    is_film.then(|| film::path_of(text))
}

/// The file that a source is read from, if it is one that is opened by its name:
/// standard input, for one, is not.
pub fn file_of(spec: &str) -> Option<PathBuf> {
    film::file_of(&path_of(spec)?)
}

/// Whether a source is read from a file descriptor that its process was started
/// with.
pub fn is_passed_on(spec: &str) -> bool {
    path_of(spec).is_some_and(|path| film::file_of(&path).is_none())
}

/// The same source, as it is named in another folder: a relative path is one
/// below `folder`. None if the folder's name is no text.
pub fn absolute(spec: &str, folder: &Path) -> Option<String> {
    let (Some(path), Some((kind, text))) = (file_of(spec), spec.split_once(':')) else {
        return Some(spec.to_owned());
    };
    // Nothing is not a file of that folder.
    if path.is_absolute() || path == Path::new("") {
        return Some(spec.to_owned());
    }
    let path = folder.join(path);
    Some(format!("{kind}:{}", film::with_path(text, path.to_str()?)))
}

/// What an input that shows it is called: without a file's folders and
/// options.
pub fn input_name(spec: &str) -> String {
    let Some((path, (kind, _))) = path_of(spec).zip(spec.split_once(':')) else {
        return spec.to_owned();
    };
    let file = film::file_of(&path);
    match file.as_deref().map(|file| (file, file.file_name())) {
        Some((_, Some(name))) => format!("{kind}:{}", name.to_string_lossy()),
        Some((_, None)) => spec.to_owned(),
        None => format!("{kind}:{path}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            assert_eq!(input_name(spec), name);
        }
    }
}
