//! What there is in place of pictures without the cargo feature `films`.

use std::convert::Infallible;

use crate::rig::capture::Capture;
use crate::source::Layout;

/// Never.
pub type SheetError = Infallible;

/// Says that there is no contact sheet.
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
