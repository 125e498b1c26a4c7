//! Inputs, and the sources plugged into them.

use serde::{Deserialize, Serialize};
use zerocopy::FromZeros;

use super::Card;
use super::clock::{Interval, Now};
use super::format::padded;
use super::refused::{Refused, busy, invalid};
use crate::source::{Camera, Input, Layout, Native, PixelFormat};
use crate::wire::input::{IN_ST_NO_SIGNAL, INPUT_TYPE_CAMERA, Input as WireInput};

/// An input as the host sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputInfo {
    /// Index of the input.
    pub index: u32,
    /// Name as VIDIOC_ENUMINPUT returns it.
    pub name: String,
    /// Whether the card captures from this input.
    pub selected: bool,
    /// Whether the input has a signal.
    pub signal: bool,
}

/// Why the host cannot select an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    /// No input has that index.
    #[error("the card has no input {0}")]
    Unknown(u32),
    /// The card is an output card.
    #[error("an output card has no inputs")]
    None,
    /// A stream or buffers depend on the current input.
    #[error("the input cannot be switched while a guest streams")]
    Busy,
}

impl Card {
    /// Returns the inputs of the camera; an output card has none.
    pub(super) fn camera_inputs(&self) -> &[Input] {
        self.endpoint.camera().map_or(&[], Camera::inputs)
    }

    /// Returns what the selected input's source dictates or prefers.
    pub(super) fn native(&self) -> Native {
        self.endpoint
            .camera()
            .map_or_else(Native::default, Camera::native)
    }

    /// Returns the inputs.
    pub fn inputs(&self) -> Vec<InputInfo> {
        (0..)
            .zip(self.camera_inputs())
            .map(|(index, input)| {
                let selected = self.endpoint.selected() == index as usize;
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
    /// There is no input of that index, a stream is on, or the input dictates a
    /// format while buffers are allocated.
    pub fn set_input(&mut self, now: Now, input: u32) -> Result<(), InputError> {
        let Some(wanted) = self.camera_inputs().get(input as usize) else {
            return Err(InputError::Unknown(input));
        };
        if input as usize == self.endpoint.selected() {
            return Ok(());
        }
        // An input must not change the format while buffers of it are
        // allocated.
        let dictated = wanted.source.native().follow && !self.buffers.is_empty();
        if self.stream.is_some() || dictated {
            return Err(InputError::Busy);
        }
        self.endpoint.select(input as usize);
        self.crop = None;
        self.apply_settings();
        self.obey_source();
        // A subscriber to that input learns that the input is now selected.
        self.raise_source_change(now);
        Ok(())
    }

    /// Plugs another source into the selected input. A stream that is on
    /// continues with it; but if the source dictates a different size, the
    /// stream has no more frames until it is started again.
    ///
    /// # Errors
    /// The card is an output card.
    pub fn replace_source(&mut self, now: Now, input: Input) -> Result<(), InputError> {
        self.pass_missed(now);
        let settings = self.controls.settings(None);
        let camera = self.endpoint.camera_mut().ok_or(InputError::None)?;
        camera.replace(input);
        camera.set(settings);
        self.crop = None;
        let fits = self.layout_for(self.layout.format, self.layout.width, self.layout.height)
            == self.layout;
        if let (Some(stream), Some(camera)) = (&mut self.stream, self.endpoint.camera_mut()) {
            if fits {
                camera.prepare(&self.layout);
                let clock = &stream.clock;
                camera.expect(clock.pace(), clock.expected());
            } else {
                stream.halted = true;
            }
        }
        self.obey_source();
        if self.native().follow {
            self.raise_source_change(now);
        }
        Ok(())
    }

    /// Adopts the size and rate that the selected input's source dictates, if
    /// it does and no buffer or stream depends on the current ones.
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

    /// Returns the nearest layout that the card currently supports.
    pub(super) fn layout_for(&self, format: PixelFormat, width: u32, height: u32) -> Layout {
        let (width, height) = match self.dictated_size() {
            Some(size) => size,
            None => self.modes.size_for(width, height),
        };
        Layout::new(format, width, height)
    }

    /// Returns the size that the source dictates, if it does.
    pub(super) fn dictated_size(&self) -> Option<(u32, u32)> {
        let native = self.native();
        native.size.filter(|_| native.follow)
    }

    /// Returns the interval that the card uses if the guest asks for `wanted`.
    pub(super) fn interval_for(&self, wanted: Interval) -> Interval {
        match self.dictated_interval() {
            Some(interval) => interval,
            None => self.modes.interval_for(wanted),
        }
    }

    /// Returns the interval that the source dictates, if it does.
    pub(super) fn dictated_interval(&self) -> Option<Interval> {
        let native = self.native();
        let (numerator, denominator) = native.interval.filter(|_| native.follow)?;
        Some(Interval::nearest(numerator, denominator, self.shortest))
    }

    /// VIDIOC_ENUMINPUT.
    pub(super) fn enum_input(&self, asked: &WireInput) -> Result<WireInput, Refused> {
        let index = asked.index.get() as usize;
        let input = self.camera_inputs().get(index).ok_or(NO_INPUT)?;
        let lost = self.injection.signal_lost && index == self.endpoint.selected();
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
            InputError::None | InputError::Unknown(_) => NO_INPUT,
            InputError::Busy => busy("the input is fixed while streaming"),
        })
    }
}

const NO_INPUT: Refused = invalid("there is no input of that number");
