//! Replaces `picture` if the cargo feature `films` is off.

use std::convert::Infallible;

use crate::rig::capture::Capture;
use crate::source::Layout;

/// The error of a contact sheet. It never occurs, because there is no contact
/// sheet.
pub type SheetError = Infallible;

/// Logs that no contact sheet is written.
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
