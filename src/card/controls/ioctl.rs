//! The ioctls of single controls: queries, and values of 32 bits.

use super::table::{Control, Kind};
use super::{Change, Controls, Value, validate};
use crate::card::format::padded;
use crate::card::injection::Injection;
use crate::card::refused::{Refused, invalid};
use crate::wire::Errno;
use crate::wire::control::{
    CTRL_FLAG_NEXT_COMPOUND, CTRL_FLAG_NEXT_CTRL, CTRL_FLAG_READ_ONLY, CTRL_FLAG_WRITE_ONLY,
    CTRL_ID_MASK, Control as WireControl, QueryCtrl, QueryExtCtrl, QueryMenu,
};
use zerocopy::FromZeros;

pub(super) const UNKNOWN: Refused = invalid("the card has no such control");
pub(super) const WRITE_ONLY: Refused =
    Refused::Because(Errno::EACCES, "the control cannot be read");
pub(super) const READ_ONLY: Refused =
    Refused::Because(Errno::EACCES, "the control cannot be written");

/// The refusal of a value that [`validate`] does not accept.
pub(super) const fn not_taken(errno: Errno) -> Refused {
    Refused::Because(errno, "the control does not take that value")
}

impl Controls {
    /// VIDIOC_QUERY_EXT_CTRL.
    pub fn query_ext(&self, asked: &QueryExtCtrl) -> Result<QueryExtCtrl, Refused> {
        let control = self.queried(asked.id.get())?;
        Ok(QueryExtCtrl {
            id: control.id.into(),
            type_: control.kind.type_().into(),
            name: padded(control.name),
            minimum: control.minimum.into(),
            maximum: control.maximum.into(),
            step: u64::from(control.step()).into(),
            default_value: control.default.into(),
            flags: control.flags.into(),
            elem_size: control.size().into(),
            elems: 1.into(),
            ..FromZeros::new_zeroed()
        })
    }

    /// VIDIOC_QUERYCTRL: the same content, as far as it fits.
    pub fn query(&self, asked: &QueryCtrl) -> Result<QueryCtrl, Refused> {
        let control = self.queried(asked.id.get())?;
        let wide = control.kind == Kind::Integer64;
        let narrow = |value: i64| if wide { 0 } else { value as i32 };
        Ok(QueryCtrl {
            id: control.id.into(),
            type_: control.kind.type_().into(),
            name: padded(control.name),
            minimum: narrow(control.minimum).into(),
            maximum: narrow(control.maximum).into(),
            step: narrow(control.step().into()).into(),
            default_value: narrow(control.default).into(),
            flags: control.flags.into(),
            ..FromZeros::new_zeroed()
        })
    }

    /// Returns the control with the id in a query, or the one after it if the
    /// query sets V4L2_CTRL_FLAG_NEXT_CTRL. No control of the card is compound.
    fn queried(&self, asked: u32) -> Result<&Control, Refused> {
        let id = asked & CTRL_ID_MASK;
        let table = &self.table;
        let found = if asked & CTRL_FLAG_NEXT_CTRL != 0 {
            table.iter().find(|control| control.id > id)
        } else if asked & CTRL_FLAG_NEXT_COMPOUND != 0 {
            None
        } else {
            self.find(id).map(|row| &table[row])
        };
        found.ok_or(UNKNOWN)
    }

    /// VIDIOC_QUERYMENU.
    pub fn query_menu(&self, asked: &QueryMenu) -> Result<QueryMenu, Refused> {
        let row = self.find(asked.id.get()).ok_or(UNKNOWN)?;
        let index = asked.index.get() as usize;
        let item = match &self.table[row].kind {
            Kind::Menu(items) => items.get(index).map(|name| padded(name)),
            Kind::IntegerMenu(items) => items.get(index).map(|value| {
                let mut item = [0; 32];
                item[..8].copy_from_slice(&value.to_le_bytes());
                item
            }),
            _ => return Err(invalid("the control is no menu")),
        };
        Ok(QueryMenu {
            item: item.ok_or(invalid("the menu has no such item"))?,
            reserved: 0.into(),
            ..*asked
        })
    }

    /// VIDIOC_G_CTRL.
    pub fn get(&self, asked: &WireControl, injection: &Injection) -> Result<WireControl, Refused> {
        let row = self.narrow(asked.id.get())?;
        if self.table[row].is(CTRL_FLAG_WRITE_ONLY) {
            return Err(WRITE_ONLY);
        }
        let value = self.value(row, injection).number();
        Ok(WireControl {
            id: asked.id,
            value: (value as i32).into(),
        })
    }

    /// VIDIOC_S_CTRL: returns the response, and the change that the caller makes.
    pub fn put(&self, asked: &WireControl) -> Result<(WireControl, Change), Refused> {
        let row = self.narrow(asked.id.get())?;
        let control = &self.table[row];
        if control.is(CTRL_FLAG_READ_ONLY) {
            return Err(READ_ONLY);
        }
        let value = Value::Integer(asked.value.get().into());
        let value = validate(control, value).map_err(not_taken)?;
        let response = WireControl {
            id: asked.id,
            value: (value.number() as i32).into(),
        };
        Ok((response, (row, value)))
    }

    /// Returns the row of a control with a 32-bit value; G_CTRL and S_CTRL
    /// support no others.
    fn narrow(&self, id: u32) -> Result<usize, Refused> {
        let row = self.find(id).ok_or(UNKNOWN)?;
        match self.table[row].kind {
            Kind::Text | Kind::Integer64 => Err(invalid("the value needs an extended control")),
            _ => Ok(row),
        }
    }
}
