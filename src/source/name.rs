//! What the words that name a source say of it.

use std::path::PathBuf;

use super::film;

/// The file that a source is read from, if it is; `-` is standard input.
pub fn file_of(spec: &str) -> Option<PathBuf> {
    let (kind, text) = spec.split_once(':')?;
    let is_film = film::KINDS.iter().any(|(name, _)| *name == kind);
    is_film.then(|| film::path_of(text).into())
}

/// What an input that shows it is called: without a file's folders and
/// options.
pub fn input_name(spec: &str) -> String {
    let file = file_of(spec).unwrap_or_default();
    match (spec.split_once(':'), file.file_name()) {
        (Some((kind, _)), Some(name)) => format!("{kind}:{}", name.to_string_lossy()),
        _ => spec.into(),
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
            ("y4m:-,once", Some("-")),
            ("y4m:a.y4m", Some("a.y4m")),
            ("y4m:/x/a,loop", Some("/x/a")),
            ("raw:a,,b,,,size=1x1", Some("a,b,")),
            ("x:a", None),
        ] {
            assert_eq!(file_of(spec), file.map(PathBuf::from), "{spec}");
        }
    }

    #[test]
    fn an_input_is_called_by_its_source() {
        for (spec, name) in [
            ("pattern", "pattern"),
            ("pattern:ramp", "pattern:ramp"),
            ("y4m:/a/b c.y4m,loop", "y4m:b c.y4m"),
            ("y4m:-", "y4m:-"),
            ("y4m:/", "y4m:/"),
        ] {
            assert_eq!(input_name(spec), name);
        }
    }
}
