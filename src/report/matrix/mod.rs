//! The matrix's results: files for machines and people, a table for a terminal.
//!
//! | file | what is in it |
//! |---|---|
//! | [`table`] | the table on a terminal |
//! | `case` | cells and mutants as test cases, for the two that follow |
//! | `ktap` | KTAP, for the kernel's test runners |
//! | `junit` | JUnit's XML, for continuous integration |
//! | `read` | reading results back |
//! | `merge` | putting the results of shards together |
//! | `rows` | the matrix as rows of kinds and hazards, for the three that follow |
//! | `markdown` | the page docs/matrix.md |
//! | `oracles` | what the verdicts stand on |
//! | `pages` | a buffer's pages: what was mapped, given, written and read |
//! | `plain` | what of a guest or a file is fit to be printed |
//! | `html` | the page with all evidence |

mod case;
mod html;
mod junit;
mod ktap;
mod markdown;
mod merge;
mod oracles;
mod pages;
mod plain;
mod read;
mod rows;
mod table;

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::rig::matrix::outcome::KernelOutcome;

pub use markdown::markdown;
pub use merge::{MergeError, merge, missing};
pub use read::{ReadError, read};
pub use table::table;

/// The page's name in the results' folder.
const PAGE: &str = "index.html";

/// A result could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}: {source}", path.display())]
pub struct WriteError {
    path: PathBuf,
    source: io::Error,
}

/// Writes the results of every kernel into the folder `out`, which is made if
/// it is not there: `KERNEL.json` with everything that is known of each cell,
/// and of all kernels `matrix.ktap`, `junit.xml` and the page ([`page`]).
///
/// # Errors
///
/// [`WriteError`] where the system refuses.
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
    write("matrix.ktap", ktap::ktap(outcomes).into_bytes())?;
    write("junit.xml", junit::junit(outcomes).into_bytes())
}

/// Bytes that [`write()`] may take on the disk for that many cells, of which
/// some are findings with much evidence.
pub fn room(cells: usize) -> u64 {
    (1 << 20) + cells as u64 * (16 << 10)
}

/// Writes a file whole or not at all; an earlier one stays until then.
fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    // As one that is simply made: as the umask allows.
    let mode = fs::Permissions::from_mode(0o666);
    let mut file = tempfile::Builder::new()
        .permissions(mode)
        .tempfile_in(folder)?;
    file.write_all(content)?;
    file.persist(path)?;
    Ok(())
}

/// The page of the results that [`write()`] has put into `out`.
pub fn page(out: &Path) -> PathBuf {
    out.join(PAGE)
}

/// The name of a kernel, as part of a file's name: nothing that would lead to
/// another folder.
fn file_name(kernel: &str) -> String {
    let plain = |c: char| match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '_' | '+' | '.' => c,
        _ => '_',
    };
    kernel.chars().map(plain).collect()
}

#[cfg(test)]
mod tests;
