//! The controls of a device.

use std::io;

use crate::agent::cell::Point;
use crate::card::controls::table::cid;
use crate::wire::Ioctl;
use crate::wire::control::{
    CTRL_FLAG_NEXT_COMPOUND, CTRL_FLAG_NEXT_CTRL, Control, ExtControl, ExtControls, QueryExtCtrl,
    QueryMenu,
};
use zerocopy::FromZeros;

use super::Device;

impl Device {
    /// Makes the card hold back what the [`Point`] requires, or lets the card
    /// continue.
    pub fn hold(&self, point: Point, hold: bool) -> io::Result<()> {
        let control = match point {
            Point::BeforeDma => self.control(cid::HOLD_FRAMES, "Hold Frames"),
            Point::AfterDma => self.control(cid::HOLD_EVENTS, "Hold Events"),
            // A point that is a call needs nothing held back.
            _ => return Ok(()),
        };
        self.set_control(control?, i32::from(hold))
    }

    /// Makes a mem-to-mem card turn the frames of this open file upside down.
    pub fn turn_frames(&self) -> io::Result<()> {
        self.set_control(self.control(cid::VFLIP, "Vertical Flip")?, 1)
    }

    /// Returns the id of one of the card's controls, if the device has it: another
    /// device's may have the same id, but not the name.
    pub fn control(&self, id: u32, name: &str) -> io::Result<u32> {
        let mut query = QueryExtCtrl {
            id: id.into(),
            ..FromZeros::new_zeroed()
        };
        self.ioctl(Ioctl::QueryExtCtrl.request(), &mut query)?;
        match name_of(&query.name) == name.as_bytes() {
            true => Ok(id),
            false => Err(io::Error::from_raw_os_error(libc::EINVAL)),
        }
    }

    /// Returns all controls.
    pub fn controls(&self) -> io::Result<Vec<QueryExtCtrl>> {
        listed(|last| {
            let mut query = QueryExtCtrl {
                id: (last | CTRL_FLAG_NEXT_CTRL | CTRL_FLAG_NEXT_COMPOUND).into(),
                ..FromZeros::new_zeroed()
            };
            self.ioctl(Ioctl::QueryExtCtrl.request(), &mut query)?;
            Ok(query)
        })
    }

    /// Returns the number of the item of a menu that has that name.
    pub fn menu_item(&self, control: &QueryExtCtrl, name: &str) -> Option<i32> {
        let first = control.minimum.get().max(0) as u32;
        let last = control.maximum.get().clamp(0, MENU_MAX.into()) as u32;
        let is_it = |index: &u32| {
            let mut item = QueryMenu {
                id: control.id,
                index: (*index).into(),
                ..FromZeros::new_zeroed()
            };
            // A menu may have no item of that number.
            let asked = self.ioctl(Ioctl::QueryMenu.request(), &mut item);
            asked.is_ok() && name_of(&item.item) == name.as_bytes()
        };
        (first..=last).find(is_it).map(|index| index as i32)
    }

    /// Sets a numeric control.
    pub fn set_control(&self, id: u32, value: i32) -> io::Result<()> {
        let mut control = Control {
            id: id.into(),
            value: value.into(),
        };
        self.ioctl(Ioctl::SCtrl.request(), &mut control)
    }

    /// Returns the value of a numeric control.
    pub fn get_control(&self, id: u32) -> io::Result<i32> {
        let mut control = Control {
            id: id.into(),
            value: 0.into(),
        };
        self.ioctl(Ioctl::GCtrl.request(), &mut control)?;
        Ok(control.value.get())
    }

    /// Sets a string control; `text` ends in a zero byte.
    pub fn set_text(&self, id: u32, text: &[u8]) -> io::Result<()> {
        // The kernel does not write to the text.
        self.text(Ioctl::SExtCtrls, id, text.as_ptr().cast_mut(), text.len())
    }

    /// Reads a string control into `text`, which has room for the longest
    /// value.
    pub fn get_text(&self, id: u32, text: &mut [u8]) -> io::Result<()> {
        self.text(Ioctl::GExtCtrls, id, text.as_mut_ptr(), text.len())
    }

    fn text(&self, ioctl: Ioctl, id: u32, text: *mut u8, size: usize) -> io::Result<()> {
        let mut control = ExtControl {
            id: id.into(),
            size: (size as u32).into(),
            reserved2: 0.into(),
            value: (text as i64).into(),
        };
        let mut controls = ExtControls {
            count: 1.into(),
            controls: (&raw mut control as u64).into(),
            ..FromZeros::new_zeroed()
        };
        self.ioctl(ioctl.request(), &mut controls)
    }
}

/// Most controls that a device is asked for: a driver may never come to an end.
const CONTROLS_MAX: usize = 4096;

/// Returns the controls, each of which is the `next` after the id of the one before;
/// their ids grow.
fn listed(next: impl Fn(u32) -> io::Result<QueryExtCtrl>) -> io::Result<Vec<QueryExtCtrl>> {
    let mut controls: Vec<QueryExtCtrl> = Vec::new();
    while controls.len() < CONTROLS_MAX {
        let last = controls.last().map_or(0, |control| control.id.get());
        let control = match next(last) {
            // The query fails after the last control.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => return Ok(controls),
            other => other?,
        };
        if control.id.get() <= last {
            let what = format!("control {:#x} comes after {last:#x}", control.id.get());
            return Err(io::Error::other(what));
        }
        controls.push(control);
    }
    Err(io::Error::other(format!(
        "it has more than {CONTROLS_MAX} controls"
    )))
}

/// Number of the last item of a menu that is looked at.
const MENU_MAX: u32 = 255;

/// Returns the name in a field of V4L2: what is before the first zero byte.
pub fn name_of(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|byte| *byte == 0);
    &field[..end.unwrap_or(field.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_controls_has_an_end() {
        let of = |id: u32| QueryExtCtrl {
            id: id.into(),
            ..FromZeros::new_zeroed()
        };
        let ended = || io::Error::from_raw_os_error(libc::EINVAL);
        let three = listed(|last| (last < 3).then(|| of(last + 1)).ok_or_else(ended));
        let ids: Vec<u32> = three.unwrap().iter().map(|one| one.id.get()).collect();
        assert_eq!(ids, [1, 2, 3]);
        // A driver that goes round, and one that goes on and on.
        let error = listed(|last| Ok(of((last + 1) % 3))).unwrap_err();
        assert_eq!(error.to_string(), "control 0x0 comes after 0x2");
        assert!(listed(|last| Ok(of(last + 1))).is_err());
        let broken = listed(|_| Err(io::Error::from_raw_os_error(libc::EIO)));
        assert_eq!(broken.unwrap_err().raw_os_error(), Some(libc::EIO));
    }
}
