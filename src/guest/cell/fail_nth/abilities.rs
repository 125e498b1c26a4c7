//! The abilities of a device. If something failed while a driver was bound, the
//! driver has either reported it or created a device with the same abilities as
//! before.

use std::fmt::Write as _;
use std::io;

use crate::card::Direction;
use crate::wire::control::{
    CTRL_FLAG_EXECUTE_ON_WRITE, CTRL_FLAG_READ_ONLY, CTRL_FLAG_VOLATILE, CTRL_FLAG_WRITE_ONLY,
    CTRL_TYPE_INTEGER, CTRL_TYPE_STRING, QueryExtCtrl,
};
use zerocopy::IntoBytes;

use crate::guest::cell::device::Device;

/// Types of events (V4L2_EVENT_*) that need no control, with their names.
const EVENTS: [(u32, &str); 3] = [(2, "EOS"), (4, "FRAME_SYNC"), (5, "SOURCE_CHANGE")];

/// Flags of controls that cannot be set to any value and read back.
const PARTICULAR: u32 =
    CTRL_FLAG_READ_ONLY | CTRL_FLAG_WRITE_ONLY | CTRL_FLAG_VOLATILE | CTRL_FLAG_EXECUTE_ON_WRITE;

/// The abilities of a device: its controls and events.
pub struct Abilities {
    controls: Vec<QueryExtCtrl>,
    events: Vec<&'static str>,
    direction: Direction,
}

impl Abilities {
    /// Returns the abilities of the device behind a node, whose frames go that way.
    pub fn of(node: &str, direction: Direction) -> io::Result<Self> {
        let device = Device::open(node, direction)?;
        let events = EVENTS.iter();
        let events = events.filter(|(number, _)| device.subscribe(*number).is_ok());
        Ok(Self {
            events: events.map(|(_, name)| *name).collect(),
            controls: device.controls()?,
            direction,
        })
    }

    /// Returns which way the device's frames go.
    pub fn direction(&self) -> Direction {
        self.direction
    }

    /// Returns whether the device sends events of frames' starts.
    pub fn tells_of_frames(&self) -> bool {
        self.events.contains(&"FRAME_SYNC")
    }

    /// Returns a numeric control that has at least two values, and keeps them.
    pub fn number(&self) -> Option<&QueryExtCtrl> {
        self.ordinary(CTRL_TYPE_INTEGER)
            .find(|control| control.maximum.get() > control.minimum.get())
    }

    /// Returns a string control that accepts text of one character.
    pub fn text(&self) -> Option<&QueryExtCtrl> {
        self.ordinary(CTRL_TYPE_STRING)
            .find(|control| (control.minimum.get()..=control.maximum.get()).contains(&1))
    }

    fn ordinary(&self, type_: u32) -> impl Iterator<Item = &QueryExtCtrl> {
        self.controls.iter().filter(move |control| {
            control.type_.get() == type_ && control.flags.get() & PARTICULAR == 0
        })
    }

    /// Checks that a device has the same abilities; the error lists those that
    /// are missing.
    pub fn are_those_of(&self, node: &str) -> io::Result<()> {
        let now = Self::of(node, self.direction)?;
        let mut missing = String::new();
        for control in &self.controls {
            let mut others = now.controls.iter();
            if !others.any(|other| other.as_bytes() == control.as_bytes()) {
                let _ = write!(missing, ", the control {}", name(control));
            }
        }
        for event in self
            .events
            .iter()
            .filter(|event| !now.events.contains(event))
        {
            let _ = write!(missing, ", the event {event}");
        }
        match missing.strip_prefix(", ") {
            None => Ok(()),
            Some(missing) => Err(io::Error::other(format!("it has lost {missing}"))),
        }
    }
}

fn name(control: &QueryExtCtrl) -> String {
    let end = control.name.iter().position(|byte| *byte == 0);
    let name = &control.name[..end.unwrap_or(control.name.len())];
    format!("\"{}\"", String::from_utf8_lossy(name))
}

#[cfg(test)]
mod tests {
    use zerocopy::FromZeros;

    use super::*;

    fn control(id: u32, type_: u32, range: (i64, i64), flags: u32) -> QueryExtCtrl {
        QueryExtCtrl {
            id: id.into(),
            type_: type_.into(),
            minimum: range.0.into(),
            maximum: range.1.into(),
            flags: flags.into(),
            ..FromZeros::new_zeroed()
        }
    }

    #[test]
    fn controls_that_keep_what_they_are_given_are_found() {
        let abilities = Abilities {
            direction: Direction::Output,
            controls: vec![
                control(1, CTRL_TYPE_INTEGER, (0, 9), CTRL_FLAG_VOLATILE),
                control(2, CTRL_TYPE_INTEGER, (5, 5), 0),
                control(3, CTRL_TYPE_STRING, (2, 9), 0),
                control(4, CTRL_TYPE_INTEGER, (-1, 1), 0),
                control(5, CTRL_TYPE_STRING, (0, 1), 0),
            ],
            events: vec!["EOS"],
        };
        assert_eq!(abilities.number().unwrap().id.get(), 4);
        assert_eq!(abilities.text().unwrap().id.get(), 5);
        assert!(!abilities.tells_of_frames());
    }
}
