//! The matrix's results: files for machines and people, a table for a terminal.
//!
//! | file | what is in it |
//! |---|---|
//! | [`table`] | the table on a terminal |
//! | `case` | cells and mutants as test cases, for the formats of test frameworks |
//! | `groups` | findings that have one cause |
//! | `read` | reading results back |
//! | `merge` | merging the results of shards |
//! | `rows` | the matrix as rows of kinds and hazards, for `table`, `markdown` and `html` |
//! | `directions` | the kinds of memory by what the card does with them, for `markdown` |
//! | `markdown` | the page docs/matrix.md |
//! | [`diff()`] | two runs side by side |
//! | `oracles` | the kernel's own checks, and the oracles that had nothing to judge |
//! | `pages` | a buffer's pages: mapped, given, written and read |
//! | `html` | the page with all evidence |

mod case;
mod diff;
mod directions;
mod groups;
mod html;
mod markdown;
mod merge;
mod oracles;
mod pages;
mod read;
mod rows;
mod table;

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::cases;
use crate::rig::matrix::outcome::KernelOutcome;

pub use diff::{Diff, DiffError, diff, text as diff_text};
pub use markdown::markdown;
pub use merge::{MergeError, merge, missing};
pub use read::{ReadError, read};
pub use table::table;

/// File name of the page in the results' folder.
const PAGE: &str = "index.html";

/// The error of a result that could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}: {source}", path.display())]
pub struct WriteError {
    path: PathBuf,
    source: io::Error,
}

/// Writes the results of every kernel into the folder `out`, and makes the
/// folder if it is missing: `KERNEL.json` with all that is known of each cell,
/// and for all kernels together `matrix.ktap`, `junit.xml` and the page
/// ([`page`]).
///
/// # Errors
///
/// [`WriteError`] if the system refuses.
pub fn write(outcomes: &[KernelOutcome], out: &Path) -> Result<(), WriteError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| WriteError { path, source }
    };
    fs::create_dir_all(out).map_err(failed(out))?;
    let write = |name: &str, content: Vec<u8>| {
        let path = out.join(name);
        replace(&path, &content).map_err(failed(&path))
    };
    for outcome in outcomes {
        let name = format!("{}.json", file_name(&outcome.kernel));
        let json = serde_json::to_vec(outcome).map_err(io::Error::from);
        let json = json.map_err(failed(&out.join(&name)))?;
        write(&name, json)?;
    }
    write(PAGE, html::page(outcomes).into_bytes())?;
    let suites = case::suites(outcomes);
    write("matrix.ktap", cases::ktap(&suites).into_bytes())?;
    let xml = cases::junit("pinhole matrix", &suites);
    write("junit.xml", xml.into_bytes())
}

/// Writes the page of what changed between two runs, which are at `runs`.
///
/// # Errors
///
/// [`WriteError`] if the system refuses.
pub fn write_diff(diff: &Diff<'_>, runs: [&Path; 2], path: &Path) -> Result<(), WriteError> {
    replace(path, diff::page(diff, runs).as_bytes()).map_err(|source| WriteError {
        path: path.to_owned(),
        source,
    })
}

/// Returns how many bytes [`write()`] may take on the disk for that many cells,
/// some of which are findings with much evidence.
pub fn room(cells: usize) -> u64 {
    (1 << 20) + cells as u64 * (16 << 10)
}

/// Writes a file whole or not at all; an earlier file stays until then.
fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    // The file gets the permissions that the umask allows, as one made by
    // open(2).
    let mode = fs::Permissions::from_mode(0o666);
    let mut file = tempfile::Builder::new()
        .permissions(mode)
        .tempfile_in(folder)?;
    file.write_all(content)?;
    file.persist(path)?;
    Ok(())
}

/// Returns the path of the page that [`write()`] has written into `out`.
pub fn page(out: &Path) -> PathBuf {
    out.join(PAGE)
}

/// Returns the name of a kernel as part of a file name, without anything that
/// would lead to another folder.
fn file_name(kernel: &str) -> String {
    let plain = |c: char| match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '_' | '+' | '.' => c,
        _ => '_',
    };
    kernel.chars().map(plain).collect()
}

#[cfg(test)]
pub(crate) mod tests;
