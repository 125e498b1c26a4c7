//! Outputs.

use zerocopy::FromZeros;

use super::format::padded;
use super::refused::{Refused, busy, invalid};
use super::{Card, Endpoint};
use crate::sink::Output;
use crate::wire::output::{OUTPUT_TYPE_ANALOG, Output as WireOutput};

impl Card {
    fn outputs(&self) -> &[Output] {
        match &self.endpoint {
            Endpoint::Camera(_) => &[],
            Endpoint::Display(display) => display.outputs(),
        }
    }

    /// VIDIOC_ENUMOUTPUT.
    pub(super) fn enum_output(&self, asked: &WireOutput) -> Result<WireOutput, Refused> {
        let output = self.outputs().get(asked.index.get() as usize);
        let output = output.ok_or(NO_OUTPUT)?;
        Ok(WireOutput {
            index: asked.index,
            name: padded(&output.name),
            type_: OUTPUT_TYPE_ANALOG.into(),
            ..FromZeros::new_zeroed()
        })
    }

    /// VIDIOC_S_OUTPUT.
    pub(super) fn select_output(&mut self, output: u32) -> Result<(), Refused> {
        if output as usize >= self.outputs().len() {
            return Err(NO_OUTPUT);
        }
        if output as usize == self.endpoint.selected() {
            return Ok(());
        }
        if self.stream.is_some() {
            return Err(busy("the output is fixed while streaming"));
        }
        self.endpoint.select(output as usize);
        Ok(())
    }
}

const NO_OUTPUT: Refused = invalid("there is no output of that number");
