//! The controls that bring a device's picture to rest.

use crate::wire::control::{CTRL_FLAG_READ_ONLY, QueryExtCtrl};

use crate::guest::cell::device::{Device, name_of};

/// The value of a control with which nothing in the picture moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AtRest {
    /// The item of the menu with that name.
    Item(&'static str),
    /// A number.
    Number(i32),
}

/// Controls that move something in the picture, by name. Those of vivid are in
/// drivers/media/test-drivers/vivid/vivid-ctrls.c, those of Pinhole's card in
/// docs/controls.md.
const CONTROLS: [(&str, AtRest); 8] = [
    ("OSD Text Mode", AtRest::Item("None")),
    ("Horizontal Movement", AtRest::Item("No Movement")),
    ("Vertical Movement", AtRest::Item("No Movement")),
    ("Insert SAV Code in Image", AtRest::Number(0)),
    ("Insert EAV Code in Image", AtRest::Number(0)),
    ("Insert Video Guard Band", AtRest::Number(0)),
    ("Test Pattern", AtRest::Item("bars")),
    ("Overlay", AtRest::Number(0)),
];

/// Sets the device's controls so that its picture is still; returns notes of those that
/// it has and that cannot be set.
pub fn bring_to_rest(device: &Device) -> Vec<String> {
    // A device without controls has no list of them either.
    let controls = device.controls().unwrap_or_default();
    let mut notes = Vec::new();
    for control in &controls {
        let Some((name, at_rest)) = row(control) else {
            continue;
        };
        let value = match at_rest {
            AtRest::Number(value) => Some(value),
            AtRest::Item(item) => device.menu_item(control, item),
        };
        // Another device's control of that name has another menu.
        let Some(value) = value else { continue };
        if let Err(error) = device.set_control(control.id.get(), value) {
            notes.push(format!(
                "its control \"{name}\" cannot be set to {value}: {error}"
            ));
        }
    }
    notes
}

/// Returns the row of the table that is about a control which can be set.
fn row(control: &QueryExtCtrl) -> Option<(&'static str, AtRest)> {
    let name = name_of(&control.name);
    let mut rows = CONTROLS.iter().copied();
    let found = rows.find(|(known, _)| known.as_bytes() == name)?;
    (control.flags.get() & CTRL_FLAG_READ_ONLY == 0).then_some(found)
}

#[cfg(test)]
mod tests {
    use zerocopy::FromZeros;

    use super::*;

    #[test]
    fn a_control_is_known_by_its_whole_name() {
        let control = |name: &str, flags: u32| {
            let mut control: QueryExtCtrl = FromZeros::new_zeroed();
            control.name[..name.len()].copy_from_slice(name.as_bytes());
            control.flags = flags.into();
            control
        };
        let known = |name, flags| row(&control(name, flags)).map(|(_, at_rest)| at_rest);
        assert_eq!(known("OSD Text Mode", 0), Some(AtRest::Item("None")));
        assert_eq!(known("Overlay", 0), Some(AtRest::Number(0)));
        assert_eq!(known("OSD Text Mode", CTRL_FLAG_READ_ONLY), None);
        assert_eq!(known("OSD Text", 0), None);
        assert_eq!(known("", 0), None);
    }
}
