//! The matrix's results: files for machines, a table for a terminal.

mod table;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::rig::matrix::outcome::KernelOutcome;

pub use table::table;

/// A result could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}: {source}", path.display())]
pub struct WriteError {
    path: PathBuf,
    source: io::Error,
}

/// Writes the results of every kernel into the folder `out`, which is made if
/// it is not there: `KERNEL.json` with everything that is known of each cell.
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
    for outcome in outcomes {
        let path = out.join(format!("{}.json", outcome.kernel));
        let json = serde_json::to_vec(outcome).map_err(io::Error::from);
        json.and_then(|json| fs::write(&path, json))
            .map_err(failed(&path))?;
    }
    Ok(())
}
