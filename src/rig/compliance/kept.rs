//! Results that are kept in a folder: a file for each guest, kind of card and
//! API, so that a run of some of them replaces those alone.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::Comparison;
use crate::card::BufferApi;
use crate::vm::images::Catalog;

/// Why results could not be kept, or found again.
#[derive(Debug, thiserror::Error)]
pub enum KeptError {
    /// The folder or a file in it could not be read or written.
    #[error("cannot keep the results in {path}: {source}")]
    File {
        /// The folder or the file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A file holds something else.
    #[error("{path} does not hold results: {source}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

/// Keeps the results in a folder, which is made if there is none, in place of
/// earlier ones of the same guest, kind and API.
///
/// # Errors
/// [`KeptError::File`].
pub fn keep(folder: &Path, comparison: &Comparison) -> Result<(), KeptError> {
    let path = folder.join(file_name(comparison));
    let write = || {
        fs::create_dir_all(folder)?;
        fs::write(&path, serde_json::to_vec_pretty(comparison)?)
    };
    write().map_err(|source| KeptError::File {
        path: path.clone(),
        source,
    })
}

/// Returns all results in a folder, in the order of the guests, kinds and APIs;
/// files with other endings than `.json` are left alone.
///
/// # Errors
/// [`KeptError`].
pub fn kept(folder: &Path) -> Result<Vec<Comparison>, KeptError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        |source| KeptError::File { path, source }
    };
    let mut all: Vec<Comparison> = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed(folder))? {
        let path = entry.map_err(failed(folder))?.path();
        if path.extension().is_none_or(|ending| ending != "json") {
            continue;
        }
        let content = fs::read(&path).map_err(failed(&path))?;
        let read = serde_json::from_slice(&content);
        all.push(read.map_err(|source| KeptError::Content { path, source })?);
    }
    let catalog = Catalog::builtin();
    let place = |guest: &str| catalog.recipes().position(|it| it.id == guest);
    all.sort_by_cached_key(|one| {
        // A guest that is not in the catalogue is one's own, and comes last.
        let unknown = place(&one.guest).is_none();
        let is_multi = one.planes == BufferApi::Multi;
        (
            unknown,
            place(&one.guest),
            one.guest.clone(),
            one.kind,
            is_multi,
        )
    });
    Ok(all)
}

fn file_name(comparison: &Comparison) -> String {
    let planes = match comparison.planes {
        BufferApi::Single => "single",
        BufferApi::Multi => "multi",
    };
    format!(
        "{}-{}-{planes}.json",
        comparison.guest,
        comparison.kind.name()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::card::CardKind;
    use crate::rig::compliance::Judgement;

    fn of(guest: &str, kind: CardKind, planes: BufferApi, total: u32) -> Comparison {
        let judgement = Judgement {
            version: "1.30.1".into(),
            total,
            succeeded: total,
            failed: 0,
            warnings: 0,
            complaints: vec!["fail: \"x\"".into()],
        };
        Comparison {
            guest: guest.into(),
            release: "6.12".into(),
            accelerator: "tcg".into(),
            kind,
            planes,
            card: judgement,
            peer: None,
        }
    }

    #[test]
    fn results_are_found_in_order_and_replaced_by_newer_ones() {
        let folder = tempfile::tempdir().unwrap();
        let results = [
            of("bookworm", CardKind::Capture, BufferApi::Single, 1),
            of("bookworm", CardKind::Capture, BufferApi::Multi, 2),
            of("bookworm", CardKind::Output, BufferApi::Single, 3),
            of("trixie", CardKind::Capture, BufferApi::Single, 4),
            of("my-kernel", CardKind::Capture, BufferApi::Single, 5),
        ];
        for one in results.iter().rev() {
            keep(folder.path(), one).unwrap();
        }
        fs::write(folder.path().join("notes.txt"), "no results").unwrap();
        assert_eq!(kept(folder.path()).unwrap(), results);
        let newer = of("trixie", CardKind::Capture, BufferApi::Single, 6);
        keep(folder.path(), &newer).unwrap();
        assert_eq!(kept(folder.path()).unwrap()[3], newer);
    }

    #[test]
    fn what_is_not_a_result_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.json");
        fs::write(&path, "{}").unwrap();
        let error = kept(folder.path()).unwrap_err().to_string();
        assert!(error.contains("x.json does not hold results: "), "{error}");
        let error = kept(&folder.path().join("none")).unwrap_err();
        assert!(matches!(error, KeptError::File { .. }), "{error}");
    }
}
