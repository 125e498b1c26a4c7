//! The files that a capture leaves in its folder besides frames and logs:
//! report.json and the contact sheet.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use super::picture::{SheetError, write_sheet};
use crate::rig::capture::Capture;
use crate::rig::capture::outcome::Outcome;
use crate::source::Layout;

/// The reason why a report could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The file could not be written.
    #[error("cannot write {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The contact sheet could not be made.
    #[error(transparent)]
    Sheet(#[from] SheetError),
}

/// Writes report.json and contact-sheet.png into the capture's folder.
///
/// # Errors
///
/// [`ReportError`] if the frames cannot be read or shown, or a file cannot be
/// written.
pub fn write(capture: &Capture, layout: &Layout) -> Result<(), ReportError> {
    write_json(&capture.outcome, &capture.folder.report())?;
    Ok(write_sheet(capture, layout)?)
}

fn write_json(outcome: &Outcome, path: &Path) -> Result<(), ReportError> {
    let write = || {
        let mut file = BufWriter::new(File::create(path)?);
        serde_json::to_writer_pretty(&mut file, outcome)?;
        file.write_all(b"\n")?;
        file.flush()
    };
    write().map_err(|source: io::Error| ReportError::File {
        path: path.to_owned(),
        source,
    })
}
