//! Controls: their table, their values, and their effects.
//!
//! The rules are those of Linux's v4l2-ctrls.c, which applications expect: a
//! number out of range becomes the nearest one in range, a menu item that does
//! not exist is ERANGE, and a changed value is reported to every subscriber
//! except the one that changed it.

mod extended;
mod host;
mod ioctl;
pub mod table;

use std::sync::Arc;

use zerocopy::FromZeros;

pub use extended::Access;
pub use host::{ControlError, ControlInfo, MenuItem};

use super::clock::Now;
use super::events::{Payload, Topic};
use super::injection::Injection;
use super::{Card, CardKind};
use crate::source::Settings;
use crate::source::settings::{Adjust, Rect};
use crate::wire::Errno;
use crate::wire::control::{CTRL_FLAG_EXECUTE_ON_WRITE, CTRL_FLAG_VOLATILE, CTRL_FLAG_WRITE_ONLY};
use crate::wire::event::{EVENT_CTRL_CH_VALUE, EventCtrl};
use serde::{Deserialize, Serialize};
use table::{Control, Kind, MOTION, cid, table};

/// The value of a control.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// The value of every kind of control except strings.
    Integer(i64),
    /// The value of a string control.
    Text(String),
}

impl Value {
    /// Returns the number; 0 for text, as in the kernel's events.
    fn number(&self) -> i64 {
        match self {
            Self::Integer(value) => *value,
            Self::Text(_) => 0,
        }
    }
}

/// The controls of a card and their values.
#[derive(Debug, Clone)]
pub struct Controls {
    table: Arc<[Control]>,
    /// The value of each row; for a control that counts down, the value that
    /// was last set.
    values: Vec<Value>,
}

impl Controls {
    /// Returns the controls of a card of that kind with their default values;
    /// those that make errors happen only with `error_injection`.
    pub fn new(kind: CardKind, error_injection: bool) -> Self {
        let table: Arc<[Control]> = table(kind, error_injection).into();
        let values = table.iter().map(default_value).collect();
        Self { table, values }
    }

    /// Returns whether a control has the id `id`.
    pub fn has(&self, id: u32) -> bool {
        self.find(id).is_some()
    }

    /// Returns the row of the control with the id `id`.
    fn find(&self, id: u32) -> Option<usize> {
        self.table
            .binary_search_by_key(&id, |control| control.id)
            .ok()
    }

    /// Returns the value of a row; for a control that counts down, the
    /// remaining count.
    fn value(&self, row: usize, injection: &Injection) -> Value {
        match injection.left(self.table[row].id) {
            Some(left) => Value::Integer(left),
            None => self.values[row].clone(),
        }
    }

    /// Returns the value of a control with a number; 0 if there is none.
    pub fn number(&self, id: u32) -> i64 {
        self.find(id).map_or(0, |row| self.values[row].number())
    }

    /// Returns the camera settings that these controls and the crop rectangle
    /// ask for.
    pub fn settings(&self, crop: Option<Rect>) -> Settings {
        // Every value is within its control's range, and the range fits in an
        // i32.
        let number = |id| self.number(id) as i32;
        let motion = MOTION.get(self.number(cid::MOTION) as usize);
        let text = self.find(cid::TEXT).map(|row| &self.values[row]);
        Settings {
            adjust: Adjust {
                brightness: number(cid::BRIGHTNESS),
                contrast: number(cid::CONTRAST),
                saturation: number(cid::SATURATION),
                hue: number(cid::HUE),
                gain: number(cid::GAIN),
                hflip: number(cid::HFLIP) != 0,
                vflip: number(cid::VFLIP) != 0,
            },
            crop,
            // The first menu item means no pattern.
            test_pattern: usize::try_from(self.number(cid::TEST_PATTERN) - 1).ok(),
            quality: number(cid::JPEG_COMPRESSION_QUALITY) as u8,
            motion: motion.map_or(0, |motion| *motion as u32),
            overlay: number(cid::OVERLAY) as u32,
            text: match text {
                Some(Value::Text(text)) => text.clone(),
                _ => String::new(),
            },
            noise_seed: self.number(cid::NOISE_SEED),
        }
    }

    /// Returns the event that a new subscriber to a control gets first; a class
    /// has none.
    pub fn initial_event(&self, id: u32, changes: u32) -> Option<EventCtrl> {
        let row = self.find(id)?;
        let control = &self.table[row];
        if control.kind == Kind::Class {
            return None;
        }
        let hidden = match control.is(CTRL_FLAG_WRITE_ONLY) {
            true => EVENT_CTRL_CH_VALUE,
            false => 0,
        };
        Some(self.event(row, changes & !hidden))
    }

    /// Returns the event that describes a control, filled as by `fill_event()`
    /// of Linux.
    fn event(&self, row: usize, changes: u32) -> EventCtrl {
        let control = &self.table[row];
        // Values of 64 bits do not fit; the kernel truncates them as well.
        let narrow = |value: i64| (value as i32).into();
        EventCtrl {
            changes: changes.into(),
            type_: control.kind.type_().into(),
            value: self.values[row].number().into(),
            flags: control.flags.into(),
            minimum: narrow(control.minimum),
            maximum: narrow(control.maximum),
            step: narrow(control.step().into()),
            default_value: narrow(control.default),
            ..FromZeros::new_zeroed()
        }
    }
}

fn default_value(control: &Control) -> Value {
    match control.kind {
        Kind::Text => Value::Text(String::new()),
        _ => Value::Integer(control.default),
    }
}

/// Returns the value that a control takes when it is set to `value`, as
/// `std_validate_elem()` of Linux decides.
fn validate(control: &Control, value: Value) -> Result<Value, Errno> {
    let Control {
        minimum,
        maximum,
        step,
        ..
    } = *control;
    match (&control.kind, value) {
        (Kind::Text, Value::Text(text)) => {
            let length = text.len() as i64;
            match (minimum..=maximum).contains(&length) {
                true => Ok(Value::Text(text)),
                false => Err(Errno::ERANGE),
            }
        }
        (Kind::Text, Value::Integer(_)) | (_, Value::Text(_)) => Err(Errno::EINVAL),
        (kind, Value::Integer(value)) => Ok(Value::Integer(match kind {
            Kind::Integer => {
                let nearest = value.saturating_add(step / 2).clamp(minimum, maximum);
                minimum + (nearest - minimum) / step * step
            }
            Kind::Integer64 => value.clamp(minimum, maximum),
            Kind::Boolean => (value != 0).into(),
            Kind::Menu(_) | Kind::IntegerMenu(_) => match (minimum..=maximum).contains(&value) {
                true => value,
                false => return Err(Errno::ERANGE),
            },
            Kind::Bitmask => value & maximum,
            Kind::Button | Kind::Class | Kind::Text => 0,
        })),
    }
}

/// What comes of a control that was set to another value, or that acts whenever it
/// is set.
pub struct Changed {
    /// The control.
    pub id: u32,
    /// Its value; 0 for text.
    pub number: i64,
    /// The event for those who have subscribed to it. A volatile control changes
    /// by itself, so its changes raise none.
    pub event: Option<EventCtrl>,
}

/// A control, by its row, and a value that it takes.
pub type Change = (usize, Value);

impl Controls {
    /// Makes a change. Returns `None` if there is nothing to it.
    pub fn change(&mut self, (row, value): Change) -> Option<Changed> {
        let control = &self.table[row];
        let (id, number) = (control.id, value.number());
        let volatile = control.is(CTRL_FLAG_VOLATILE);
        let changed = control.is(CTRL_FLAG_EXECUTE_ON_WRITE) || self.values[row] != value;
        if !changed {
            return None;
        }
        self.values[row] = value;
        let event = (!volatile).then(|| self.event(row, EVENT_CTRL_CH_VALUE));
        Some(Changed { id, number, event })
    }
}

impl Card {
    /// Sets controls to values that [`validate`] has accepted, so none can
    /// fail. The session `by` that set them gets an event only if it subscribed
    /// to feedback.
    pub(super) fn set_controls(&mut self, now: Now, changes: Vec<Change>, by: Option<u32>) {
        for change in changes {
            let Some(Changed { id, number, event }) = self.controls.change(change) else {
                continue;
            };
            if let Some(event) = event {
                self.raise(now, Topic::Control(id), Payload::Control(event), by);
            }
            self.inject(now, id, number, by);
        }
        self.apply_settings();
    }

    /// Passes the controls and the crop rectangle on to the camera, if there is
    /// one and they have changed.
    pub(super) fn apply_settings(&mut self) {
        let settings = self.controls.settings(self.crop);
        let camera = self.endpoint.camera_mut();
        if let Some(camera) = camera.filter(|camera| settings != *camera.settings()) {
            camera.set(settings);
        }
    }
}
