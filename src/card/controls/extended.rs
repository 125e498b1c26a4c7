//! VIDIOC_G_EXT_CTRLS, S_EXT_CTRLS and TRY_EXT_CTRLS: access to several
//! controls at once, all of them or none, and to text in guest memory.
//!
//! `error_idx` follows V4L2's rules. It is the index of the wrong control; but
//! if the initial check of G or S fails, which leaves nothing half done, it is
//! the number of controls.

use zerocopy::FromBytes;

use super::ioctl::{READ_ONLY, UNKNOWN, WRITE_ONLY, not_taken};
use super::table::{Control, Kind};
use super::{Change, Controls, Value, default_value, validate};
use crate::card::injection::Injection;
use crate::card::queueing::segment;
use crate::card::refused::{Refused, invalid};
use crate::dma::{Bus, ScatterList};
use crate::wire::control::{
    CID_PRIVATE_BASE, CTRL_CLASS_MASK, CTRL_FLAG_READ_ONLY, CTRL_FLAG_WRITE_ONLY, CTRL_ID_MASK,
    CTRL_WHICH_CUR_VAL, CTRL_WHICH_DEF_VAL, CTRL_WHICH_REQUEST_VAL, ExtControl, ExtControls,
    MAX_CONTROLS,
};
use crate::wire::protocol::SgEntry;
use crate::wire::request::Truncated;
use crate::wire::{Errno, Ioctl, Reply};

/// What the ioctl does with the controls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// VIDIOC_G_EXT_CTRLS.
    Get,
    /// VIDIOC_TRY_EXT_CTRLS.
    Try,
    /// VIDIOC_S_EXT_CTRLS.
    Set,
}

impl Access {
    /// Returns what one of the three ioctls does.
    pub fn of(ioctl: Ioctl) -> Self {
        match ioctl {
            Ioctl::SExtCtrls => Self::Set,
            Ioctl::TryExtCtrls => Self::Try,
            _ => Self::Get,
        }
    }
}

/// An error, and the index of the control that caused it, if one did.
struct Wrong(Option<usize>, Refused);

impl Controls {
    /// Answers one of the three ioctls, for the `ExtControls` and controls in
    /// `payload`, and returns the changes that the caller makes: those of
    /// [`Access::Set`].
    pub fn extended(
        &self,
        access: Access,
        payload: &[u8],
        injection: &Injection,
        bus: Bus<'_>,
        reply: &mut Reply,
    ) -> Result<Vec<Change>, Refused> {
        let (head, rest) = ExtControls::ref_from_prefix(payload).map_err(|_| Truncated)?;
        if head.count.get() > MAX_CONTROLS {
            return Err(invalid("there are more controls than V4L2 allows"));
        }
        let count = head.count.get() as usize;
        let (list, rest) =
            <[ExtControl]>::ref_from_prefix_with_elems(rest, count).map_err(|_| Truncated)?;
        if !reply.has_room_for(size_of_val(head) + size_of_val(list)) {
            return Err(Refused::NoRoom);
        }
        let entries = rest.len() / size_of::<SgEntry>();
        let (entries, _) =
            <[SgEntry]>::ref_from_prefix_with_elems(rest, entries).map_err(|_| Truncated)?;

        let mut head = *head;
        let mut list = list.to_vec();
        head.error_idx = head.count;
        let result = self
            .check(head.which.get(), &list, access)
            .and_then(|rows| {
                let payloads = payloads(&self.table, &rows, &list, entries, bus)?;
                let which = head.which.get();
                match access {
                    Access::Get => {
                        self.get_all(which, &rows, injection, &mut list, &payloads)?;
                        Ok(Vec::new())
                    }
                    Access::Try => {
                        self.try_all(&rows, &mut list, &payloads)?;
                        Ok(Vec::new())
                    }
                    Access::Set => self.try_all(&rows, &mut list, &payloads),
                }
            });
        let result = result.map_err(|Wrong(at, refused)| {
            // In G, a payload's memory that is too small is an error of its
            // control; everything else is checked beforehand.
            let own = access == Access::Try || refused.errno() == Errno::ENOSPC;
            if let Some(at) = at.filter(|_| own) {
                // The index is less than `count`.
                head.error_idx = (at as u32).into();
            }
            refused
        });
        reply.succeed_with(&head, &list);
        result
    }

    /// Performs the checks of `check_ext_ctrls()` and `prepare_ext_ctrls()` of
    /// Linux, and returns the controls' rows in the table.
    fn check(&self, which: u32, list: &[ExtControl], access: Access) -> Result<Vec<usize>, Wrong> {
        match which {
            CTRL_WHICH_REQUEST_VAL => {
                return Err(Wrong(None, invalid("the card has no requests")));
            }
            CTRL_WHICH_DEF_VAL if access != Access::Get => {
                return Err(Wrong(None, invalid("defaults cannot be changed")));
            }
            CTRL_WHICH_CUR_VAL | CTRL_WHICH_DEF_VAL => (),
            class if list.is_empty() => {
                // An empty list asks whether the class itself exists.
                let known = self.has(class & CTRL_CLASS_MASK | 1);
                return match known && class & !CTRL_CLASS_MASK == 0 {
                    true => Ok(Vec::new()),
                    false => Err(Wrong(None, invalid("there is no such class of controls"))),
                };
            }
            class => {
                let other = |control: &ExtControl| control.id.get() & CTRL_CLASS_MASK != class;
                if let Some(at) = list.iter().position(other) {
                    return Err(Wrong(Some(at), invalid("a control is of another class")));
                }
            }
        }
        let mut rows = Vec::with_capacity(list.len());
        for (at, control) in list.iter().enumerate() {
            let id = control.id.get() & CTRL_ID_MASK;
            let row = self.find(id).filter(|_| id < CID_PRIVATE_BASE);
            let row = row.ok_or(Wrong(Some(at), UNKNOWN))?;
            let control = &self.table[row];
            match access {
                Access::Get if control.is(CTRL_FLAG_WRITE_ONLY) => {
                    return Err(Wrong(Some(at), WRITE_ONLY));
                }
                Access::Try | Access::Set if control.is(CTRL_FLAG_READ_ONLY) => {
                    return Err(Wrong(Some(at), READ_ONLY));
                }
                _ => rows.push(row),
            }
        }
        Ok(rows)
    }

    /// Gets all values, or none.
    fn get_all(
        &self,
        which: u32,
        rows: &[usize],
        injection: &Injection,
        list: &mut [ExtControl],
        payloads: &[ScatterList],
    ) -> Result<(), Wrong> {
        let mut values = Vec::with_capacity(rows.len());
        for (at, (&row, given)) in rows.iter().zip(list.iter_mut()).enumerate() {
            let control = &self.table[row];
            let value = match which {
                CTRL_WHICH_DEF_VAL => default_value(control),
                _ => self.value(row, injection),
            };
            if let Value::Text(text) = &value
                && (given.size.get() as usize) <= text.len()
            {
                given.size = control.size().into();
                let small = Refused::Because(Errno::ENOSPC, "there is no room for the text");
                return Err(Wrong(Some(at), small));
            }
            values.push(value);
        }
        for (((value, row), given), payload) in values.iter().zip(rows).zip(list).zip(payloads) {
            match value {
                Value::Integer(value) => put(&self.table[*row], given, *value),
                Value::Text(text) => {
                    // There is room: `size` was compared with the text above.
                    payload.write(&[text.as_bytes(), &[0]].concat());
                }
            }
        }
        Ok(())
    }

    /// Reports what all values become, and returns the changes.
    fn try_all(
        &self,
        rows: &[usize],
        list: &mut [ExtControl],
        payloads: &[ScatterList],
    ) -> Result<Vec<Change>, Wrong> {
        let mut changes = Vec::with_capacity(rows.len());
        for (at, ((&row, given), payload)) in rows.iter().zip(&*list).zip(payloads).enumerate() {
            let control = &self.table[row];
            let value = match control.kind {
                Kind::Text => text(control, given, payload),
                Kind::Integer64 => Ok(Value::Integer(given.value.get())),
                _ => Ok(Value::Integer(given.value32().into())),
            };
            let value = value.and_then(|value| validate(control, value));
            let value = value.map_err(|errno| Wrong(Some(at), not_taken(errno)))?;
            changes.push((row, value));
        }
        for ((row, value), given) in changes.iter().zip(list) {
            if let Value::Integer(value) = value {
                put(&self.table[*row], given, *value);
            }
        }
        Ok(changes)
    }
}

/// Puts a number into the union. A number of 32 bits takes the lower half.
fn put(control: &Control, given: &mut ExtControl, value: i64) {
    given.value = match control.kind {
        Kind::Integer64 => value,
        _ => given.value.get() & !0xffff_ffff | value & 0xffff_ffff,
    }
    .into();
}

/// Reads the new value of a string control, as `user_to_str()` of Linux does.
/// The text ends at its first NUL. Without a NUL, its last byte is taken for
/// the NUL; but if the payload is long enough to fill the control, the text is
/// too long and is refused.
fn text(control: &Control, given: &ExtControl, payload: &ScatterList) -> Result<Value, Errno> {
    let size = given.size.get().min(control.size()) as usize;
    if size == 0 {
        return Err(Errno::ERANGE);
    }
    let mut bytes = vec![0; size];
    payload.read(&mut bytes);
    let length = bytes.iter().position(|byte| *byte == 0);
    // The last byte becomes the NUL, unless that would cut off part of the
    // longest text.
    let length = match length {
        Some(length) => length,
        None if size == control.size() as usize => return Err(Errno::ERANGE),
        None => size - 1,
    };
    bytes.truncate(length);
    // The text is drawn and reported to the host, so it must be valid UTF-8.
    let text = String::from_utf8(bytes).map_err(|_| Errno::EINVAL)?;
    Ok(Value::Text(text))
}

/// Returns the memory of each control's payload; it is empty for a control
/// without a payload.
fn payloads(
    table: &[Control],
    rows: &[usize],
    list: &[ExtControl],
    entries: &[SgEntry],
    bus: Bus<'_>,
) -> Result<Vec<ScatterList>, Wrong> {
    let mut payloads = Vec::with_capacity(rows.len());
    let mut segments = entries.iter().map(segment);
    for (at, (&row, given)) in rows.iter().zip(list).enumerate() {
        let mut payload = ScatterList::default();
        let (control, size) = (&table[row], given.size.get());
        if control.kind == Kind::Text && size > 0 {
            payload
                .resolve(&mut segments, size, size.min(control.size()), bus)
                .map_err(|error| Wrong(Some(at), error.into()))?;
        }
        payloads.push(payload);
    }
    Ok(payloads)
}
