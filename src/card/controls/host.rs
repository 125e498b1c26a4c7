//! The host's view of the controls: listing and setting them.

use serde::{Deserialize, Serialize};

use super::table::{Control, Kind};
use super::{Value, validate};
use crate::card::{Card, Now};
use crate::wire::control::{CTRL_FLAG_READ_ONLY, CTRL_FLAG_WRITE_ONLY};

/// A control and its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlInfo {
    /// V4L2_CID_*.
    pub id: u32,
    /// Name as `v4l2-ctl` writes it: lower-case letters, digits and
    /// underscores.
    pub name: String,
    /// Name as VIDIOC_QUERYCTRL returns it.
    pub title: String,
    /// Name of the control's class.
    pub class: String,
    /// Kind: integer, boolean, menu, integer-menu, button, bitmask, string or
    /// integer64.
    pub kind: String,
    /// Least value; for a string, its least length.
    pub minimum: i64,
    /// Greatest value; for a string, its greatest length.
    pub maximum: i64,
    /// Default value; 0 for a string, whose default is empty.
    pub default: i64,
    /// V4L2_CTRL_FLAG_*.
    pub flags: u32,
    /// Items of a menu; empty for other kinds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub menu: Vec<MenuItem>,
    /// Current value; absent for a button.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
}

/// An item of a menu.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MenuItem {
    /// Index of the item.
    pub index: i64,
    /// Name of the item; in an integer menu, its value.
    pub name: String,
}

/// Why the host could not set a control.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// No control has that name.
    #[error("the card has no control \"{0}\"")]
    Unknown(String),
    /// The control is read-only.
    #[error("the control \"{0}\" cannot be set")]
    ReadOnly(String),
    /// The control does not accept that value.
    #[error("the control \"{name}\" takes {takes}, not \"{value}\"")]
    Value {
        /// Name of the control.
        name: String,
        /// The values that the control accepts.
        takes: String,
        /// The value that was refused.
        value: String,
    },
}

impl Card {
    /// Returns all controls except the headings of their classes, in the order
    /// of their ids.
    pub fn controls(&self) -> Vec<ControlInfo> {
        let mut class = "";
        let mut all = Vec::new();
        for (row, control) in self.controls.table.iter().enumerate() {
            if control.kind == Kind::Class {
                class = control.name;
                continue;
            }
            let readable = !control.is(CTRL_FLAG_WRITE_ONLY);
            all.push(ControlInfo {
                id: control.id,
                name: short_name(control.name),
                title: control.name.into(),
                class: class.into(),
                kind: control.kind.name().into(),
                minimum: control.minimum,
                maximum: control.maximum,
                default: control.default,
                flags: control.flags,
                menu: menu(&control.kind),
                value: readable.then(|| self.controls.value(row, &self.injection)),
            });
        }
        all
    }

    /// Sets the control with that id or name (as V4L2 or as `v4l2-ctl` writes
    /// it). For a numeric control, text is parsed as a number or as the name of
    /// a menu item; a button accepts any value. Every subscriber gets an event.
    ///
    /// # Errors
    /// There is no such control, or it does not accept that value. Unlike for a
    /// guest, a number out of range is refused.
    pub fn set_control(
        &mut self,
        now: Now,
        control: &str,
        value: &Value,
    ) -> Result<(), ControlError> {
        let row = self
            .row_named(control)
            .ok_or_else(|| ControlError::Unknown(control.into()))?;
        let found = &self.controls.table[row];
        let name = short_name(found.name);
        if found.is(CTRL_FLAG_READ_ONLY) {
            return Err(ControlError::ReadOnly(name));
        }
        let wanted = understand(found, value);
        match wanted.and_then(|wanted| validate(found, wanted).ok()) {
            Some(value) => {
                self.set_controls(now, vec![(row, value)], None);
                Ok(())
            }
            None => Err(ControlError::Value {
                name,
                takes: takes(found),
                value: match value {
                    Value::Integer(value) => value.to_string(),
                    Value::Text(text) => text.clone(),
                },
            }),
        }
    }

    fn row_named(&self, name: &str) -> Option<usize> {
        let wanted = short_name(name);
        let by_name = self
            .controls
            .table
            .iter()
            .position(|control| short_name(control.name) == wanted);
        by_name.or_else(|| self.controls.find(number(name)?.try_into().ok()?))
    }
}

/// Returns a name in the form that `v4l2-ctl` gives it: each run of characters
/// other than letters and digits becomes one underscore.
fn short_name(name: &str) -> String {
    let words = name.split(|c: char| !c.is_ascii_alphanumeric());
    let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
    words.join("_").to_ascii_lowercase()
}

/// Parses a number, decimal or hexadecimal with the prefix 0x.
fn number(text: &str) -> Option<i64> {
    let text = text.trim();
    match text.strip_prefix("0x") {
        Some(digits) => i64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// Returns the value that `value` stands for, if it is in range.
fn understand(control: &Control, value: &Value) -> Option<Value> {
    let meant = match (&control.kind, value) {
        (Kind::Button, _) => return Some(Value::Integer(0)),
        (Kind::Text, Value::Text(_)) => return Some(value.clone()),
        (Kind::Text, Value::Integer(value)) => return Some(Value::Text(value.to_string())),
        (_, Value::Integer(value)) => *value,
        (kind, Value::Text(text)) => {
            let named = menu(kind).into_iter().find(|item| item.name == *text);
            let word = match (kind, text.as_str()) {
                (Kind::Boolean, "true" | "on") => Some(1),
                (Kind::Boolean, "false" | "off") => Some(0),
                _ => None,
            };
            match kind {
                Kind::Menu(_) => named.map(|item| item.index).or_else(|| number(text)),
                _ => word.or_else(|| number(text)),
            }?
        }
    };
    let fits = match control.kind {
        Kind::Bitmask => meant & !control.maximum == 0,
        _ => (control.minimum..=control.maximum).contains(&meant),
    };
    fits.then_some(Value::Integer(meant))
}

fn menu(kind: &Kind) -> Vec<MenuItem> {
    let names: Vec<String> = match kind {
        Kind::Menu(items) => items.iter().map(ToString::to_string).collect(),
        Kind::IntegerMenu(items) => items.iter().map(ToString::to_string).collect(),
        _ => Vec::new(),
    };
    (0..)
        .zip(names)
        .map(|(index, name)| MenuItem { index, name })
        .collect()
}

/// Describes the values that a control accepts, for messages.
fn takes(control: &Control) -> String {
    let Control {
        minimum, maximum, ..
    } = control;
    match control.kind {
        Kind::Text => format!("text of at most {maximum} bytes"),
        Kind::Bitmask => format!("bits of {maximum:#x}"),
        Kind::Boolean => "0 or 1".into(),
        Kind::Menu(_) | Kind::IntegerMenu(_) => {
            let items = menu(&control.kind).into_iter();
            let items: Vec<_> = items
                .map(|item| format!("{} ({})", item.index, item.name))
                .collect();
            items.join(", ")
        }
        _ => format!("a number from {minimum} to {maximum}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_v4l2_ctl() {
        assert_eq!(short_name("Horizontal Flip"), "horizontal_flip");
        assert_eq!(short_name("End of Stream"), "end_of_stream");
        assert_eq!(short_name(" a--b_c "), "a_b_c");
    }
}
