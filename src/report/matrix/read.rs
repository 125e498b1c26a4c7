//! Reading results back, from untrusted files.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::file_name;
use crate::rig::matrix::outcome::KernelOutcome;

/// Maximal length of a file in bytes; that of a whole matrix has 3 MiB.
const LIMIT: u64 = 256 << 20;

/// The reason why results could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The system refused.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The folder has no file of results.
    #[error("there is no KERNEL.json in {}", .0.display())]
    Empty(PathBuf),
    /// The file is longer than the results of any matrix.
    #[error("{} has more than {} MiB: it is no result of pinhole matrix", .0.display(), LIMIT >> 20)]
    TooLong(PathBuf),
    /// The file is of another kind, or broken.
    #[error("{} is no result of pinhole matrix: {source}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The parser's error.
        source: serde_json::Error,
    },
    /// The file is of a matrix, but says what this version does not know, or not
    /// what it must.
    #[error(
        "{} is a result that this version of pinhole cannot read ({source}): run the matrix \
         again, or take the version that wrote it",
        path.display()
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// The parser's error.
        source: serde_json::Error,
    },
    /// The name of the file's kernel is not a possible one.
    #[error("{} is no result of pinhole matrix: its kernel is called {kernel:?}", path.display())]
    Name {
        /// The file.
        path: PathBuf,
        /// The name.
        kernel: String,
    },
}

/// Returns the results in these files, and in every KERNEL.json of these
/// folders.
///
/// # Errors
///
/// [`ReadError`] for the first file that cannot be read.
pub fn read(paths: &[PathBuf]) -> Result<Vec<KernelOutcome>, ReadError> {
    let mut outcomes = Vec::new();
    for path in paths {
        if path.is_dir() {
            for file in files(path)? {
                outcomes.push(read_file(&file)?);
            }
        } else {
            outcomes.push(read_file(path)?);
        }
    }
    Ok(outcomes)
}

/// Returns the files of a folder that hold results, in the order of their
/// names.
fn files(folder: &Path) -> Result<Vec<PathBuf>, ReadError> {
    let failed = |source| ReadError::Io {
        path: folder.to_owned(),
        source,
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            files.push(path);
        }
    }
    files.sort();
    match files.is_empty() {
        true => Err(ReadError::Empty(folder.to_owned())),
        false => Ok(files),
    }
}

fn read_file(path: &Path) -> Result<KernelOutcome, ReadError> {
    let failed = |source| ReadError::Io {
        path: path.to_owned(),
        source,
    };
    let mut json = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(LIMIT + 1)
        .read_to_end(&mut json)
        .map_err(failed)?;
    if json.len() as u64 > LIMIT {
        return Err(ReadError::TooLong(path.to_owned()));
    }
    parse(path, &json)
}

fn parse(path: &Path, json: &[u8]) -> Result<KernelOutcome, ReadError> {
    let parsed: Result<KernelOutcome, _> = serde_json::from_slice(json);
    let outcome = parsed.map_err(|source| {
        let path = path.to_owned();
        match is_of_a_matrix(json) {
            true => ReadError::Version { path, source },
            false => ReadError::Syntax { path, source },
        }
    })?;
    // File names are made from the kernel's name.
    let kernel = &outcome.kernel;
    if kernel.is_empty() || kernel.starts_with('.') || file_name(kernel) != *kernel {
        return Err(ReadError::Name {
            path: path.to_owned(),
            kernel: outcome.kernel,
        });
    }
    Ok(outcome)
}

/// Returns whether a file has the outline of a result, whatever is in it.
fn is_of_a_matrix(json: &[u8]) -> bool {
    let whole: Value = serde_json::from_slice(json).unwrap_or_default();
    let is_text = |key: &str| whole.get(key).is_some_and(Value::is_string);
    is_text("kernel") && is_text("release") && whole.get("cells").is_some_and(Value::is_array)
}

#[cfg(test)]
mod tests {
    use super::super::tests::kernel;
    use super::*;

    #[test]
    fn what_was_written_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let outcomes = [kernel("bookworm"), kernel("trixie")];
        super::super::write(&outcomes, folder.path()).unwrap();
        assert_eq!(read(&[folder.path().to_owned()]).unwrap(), outcomes);
        let file = folder.path().join("trixie.json");
        assert_eq!(read(&[file]).unwrap(), outcomes[1..]);
    }

    #[test]
    fn a_file_that_is_not_ours_is_one_sentence() {
        let folder = tempfile::tempdir().unwrap();
        let said = |name: &str, content: &str| {
            let path = folder.path().join(name);
            fs::write(&path, content).unwrap();
            let said = read(&[path]).unwrap_err().to_string();
            assert!(!said.contains('\n'), "{said}");
            said
        };
        let whole = serde_json::to_string(&kernel("trixie")).unwrap();
        for broken in [
            "",
            "[]",
            "null",
            r#"{"kernel":"trixie"}"#,
            &"[".repeat(100_000),
            &whole.replace("62", "1e400"),
            &whole.replace(r#""cells":["#, r#""cells":7,"more":["#),
        ] {
            let said = said("broken.json", broken);
            assert!(said.contains(" is no result of pinhole matrix: "), "{said}");
        }
        for other in [
            &whole.replace("62", "-1"),
            &whole.replace("62", "99999999999999999999999"),
            &whole.replace("anon-touched@1234", "dragon"),
            &whole.replace("queued", "never"),
        ] {
            let said = said("other.json", other);
            let found = said.contains(" is a result that this version of pinhole cannot read (");
            assert!(
                found && said.ends_with("the version that wrote it"),
                "{said}"
            );
        }
        for kernel in ["", ".", "..", "../x", "a/b", "a\nb", "a b"] {
            let mut outcome = super::super::tests::kernel("x");
            outcome.kernel = kernel.into();
            let said = said("name.json", &serde_json::to_string(&outcome).unwrap());
            assert!(said.ends_with(&format!("its kernel is called {kernel:?}")));
        }
        let nothing = folder.path().join("nothing");
        fs::create_dir(&nothing).unwrap();
        let said = read(&[nothing]).unwrap_err().to_string();
        assert!(said.starts_with("there is no KERNEL.json in "), "{said}");
        assert!(read(&["/nowhere".into()]).is_err());
    }

    #[test]
    fn a_file_that_was_cut_short_is_refused_wherever() {
        let path = Path::new("cut.json");
        let whole = serde_json::to_vec(&kernel("trixie")).unwrap();
        for length in 0..whole.len() {
            assert!(parse(path, &whole[..length]).is_err(), "{length}");
        }
        assert!(parse(path, &whole).is_ok());
    }
}
