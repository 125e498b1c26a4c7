//! Replaces the pictures where the cargo feature `films` is off.

use std::convert::Infallible;

use crate::rig::capture::Capture;
use crate::source::Layout;

/// The contact sheet cannot fail: there is none.
pub type SheetError = Infallible;

/// Logs that there is no contact sheet.
///
/// # Errors
/// None.
pub fn write_sheet(capture: &Capture, _layout: &Layout) -> Result<(), SheetError> {
    let path = capture.folder.contact_sheet();
    log::info!(
        "no {}: this pinhole was built without pictures (the cargo feature \"films\")",
        path.display()
    );
    Ok(())
}
