//! Inputs, and what is plugged into them.

use serde::{Deserialize, Serialize};
use zerocopy::FromZeros;

use super::Card;
use super::clock::{Interval, Now};
use super::format::padded;
use super::refused::{Refused, busy, invalid};
use crate::source::{Input, Layout, PixelFormat};
use crate::wire::capture::{IN_ST_NO_SIGNAL, INPUT_TYPE_CAMERA, Input as WireInput};

/// An input as the host sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputInfo {
    /// Its number.
    pub index: u32,
    /// As VIDIOC_ENUMINPUT gives it.
    pub name: String,
    /// Whether it is the one that is captured from.
    pub selected: bool,
    /// Whether there is a signal.
    pub signal: bool,
}

/// Why the host cannot select an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    /// There is none of that number.
    #[error("the card has no input {0}")]
    Unknown(u32),
    /// A guest depends on what it has.
    #[error("the input cannot be switched while a guest streams")]
    Busy,
}

impl Card {
    /// The inputs.
    pub fn inputs(&self) -> Vec<InputInfo> {
        (0..)
            .zip(self.camera.inputs())
            .map(|(index, input)| {
                let selected = self.camera.selected() == index as usize;
                InputInfo {
                    index,
                    name: input.name.clone(),
                    selected,
                    signal: !(selected && self.injection.signal_lost),
                }
            })
            .collect()
    }

    /// Selects an input, as VIDIOC_S_INPUT does.
    ///
    /// # Errors
    /// Where there is none of that number, or a stream depends on another.
    pub fn set_input(&mut self, now: Now, input: u32) -> Result<(), InputError> {
        let Some(wanted) = self.camera.inputs().get(input as usize) else {
            return Err(InputError::Unknown(input));
        };
        if input as usize == self.camera.selected() {
            return Ok(());
        }
        // A format that the input dictates cannot change under its buffers.
        let dictated = wanted.source.native().follow && !self.buffers.is_empty();
        if self.stream.is_some() || dictated {
            return Err(InputError::Busy);
        }
        self.camera.select(input as usize);
        self.crop = None;
        self.apply_settings();
        self.obey_source();
        // Who has subscribed to that input learns that it is looked at.
        self.raise_source_change(now);
        Ok(())
    }

    /// Plugs another source into the selected input. A stream that is on goes
    /// on with it; but if the source dictates its size and that is another, it
    /// has no more frames until it is begun again.
    pub fn replace_source(&mut self, now: Now, input: Input) {
        self.pass_missed(now);
        self.camera.replace(input);
        self.crop = None;
        let settings = self.controls.settings(None);
        self.camera.set(settings);
        let fits = self.layout_for(self.layout.format, self.layout.width, self.layout.height)
            == self.layout;
        if let Some(stream) = &mut self.stream {
            if fits {
                self.camera.prepare(&self.layout);
            } else {
                stream.halted = true;
            }
        }
        self.obey_source();
        if self.camera.native().follow {
            self.raise_source_change(now);
        }
    }

    /// Takes over the size and rate of the selected input's source if it
    /// dictates them and no buffer depends on others.
    pub(super) fn obey_source(&mut self) {
        if self.buffers.is_empty() {
            let Layout {
                format,
                width,
                height,
                ..
            } = self.layout;
            self.layout = self.layout_for(format, width, height);
        }
        if self.stream.is_none() {
            self.interval = self.interval_for(self.interval);
        }
    }

    /// The nearest layout to that which the card can do now.
    pub(super) fn layout_for(&self, format: PixelFormat, width: u32, height: u32) -> Layout {
        let (width, height) = match self.dictated_size() {
            Some(size) => size,
            None => self.modes.size_for(width, height),
        };
        Layout::new(format, width, height)
    }

    /// The only size that the card can do, if there is only one.
    pub(super) fn dictated_size(&self) -> Option<(u32, u32)> {
        let native = self.camera.native();
        native.size.filter(|_| native.follow)
    }

    /// The interval to use where `wanted` is asked for.
    pub(super) fn interval_for(&self, wanted: Interval) -> Interval {
        match self.dictated_interval() {
            Some(interval) => interval,
            None => self.modes.interval_for(wanted),
        }
    }

    /// The only interval that the card can do, if there is only one.
    pub(super) fn dictated_interval(&self) -> Option<Interval> {
        let native = self.camera.native();
        let (numerator, denominator) = native.interval.filter(|_| native.follow)?;
        Some(Interval::nearest(numerator, denominator, self.shortest))
    }

    /// VIDIOC_ENUMINPUT.
    pub(super) fn enum_input(&self, asked: &WireInput) -> Result<WireInput, Refused> {
        let index = asked.index.get() as usize;
        let input = self.camera.inputs().get(index).ok_or(NO_INPUT)?;
        let lost = self.injection.signal_lost && index == self.camera.selected();
        Ok(WireInput {
            index: asked.index,
            name: padded(&input.name),
            type_: INPUT_TYPE_CAMERA.into(),
            status: if lost { IN_ST_NO_SIGNAL } else { 0 }.into(),
            ..FromZeros::new_zeroed()
        })
    }

    /// VIDIOC_S_INPUT.
    pub(super) fn select_input(&mut self, now: Now, input: u32) -> Result<(), Refused> {
        self.set_input(now, input).map_err(|error| match error {
            InputError::Unknown(_) => NO_INPUT,
            InputError::Busy => busy("the input is fixed while streaming"),
        })
    }
}

const NO_INPUT: Refused = invalid("there is no input of that number");
