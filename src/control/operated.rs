//! What the host asks of a running card.

use crate::card::controls::{ControlError, ControlInfo, Value};
use crate::card::inputs::{InputError, InputInfo};
use crate::card::statistics::Snapshot;
use crate::card::{Card, Now};
use crate::m2m::M2mCard;
use crate::source::Input;

/// A card, as its operator sees it. The methods of [`Card`] with the same names
/// document what each does.
pub trait Operated: Send + 'static {
    /// Returns the counters, and the current state of the card.
    fn statistics(&self, now: Now) -> Snapshot;

    /// Returns all controls.
    fn controls(&self) -> Vec<ControlInfo>;

    /// Sets a control.
    ///
    /// # Errors
    /// There is no such control, or it does not take that value.
    fn set_control(&mut self, now: Now, name: &str, value: &Value) -> Result<(), ControlError>;

    /// Returns the inputs.
    fn inputs(&self) -> Vec<InputInfo>;

    /// Selects an input.
    ///
    /// # Errors
    /// There is none of that index, or it cannot be selected now.
    fn set_input(&mut self, now: Now, input: u32) -> Result<(), InputError>;

    /// Plugs another source into the selected input.
    ///
    /// # Errors
    /// The card has no inputs.
    fn replace_source(&mut self, now: Now, input: Input) -> Result<(), InputError>;
}

impl Operated for Card {
    fn statistics(&self, now: Now) -> Snapshot {
        Card::statistics(self, now)
    }

    fn controls(&self) -> Vec<ControlInfo> {
        Card::controls(self)
    }

    fn set_control(&mut self, now: Now, name: &str, value: &Value) -> Result<(), ControlError> {
        Card::set_control(self, now, name, value)
    }

    fn inputs(&self) -> Vec<InputInfo> {
        Card::inputs(self)
    }

    fn set_input(&mut self, now: Now, input: u32) -> Result<(), InputError> {
        Card::set_input(self, now, input)
    }

    fn replace_source(&mut self, now: Now, input: Input) -> Result<(), InputError> {
        Card::replace_source(self, now, input)
    }
}

/// Every session has controls of its own, which are not the host's; and the card
/// has no inputs.
impl Operated for M2mCard {
    fn statistics(&self, now: Now) -> Snapshot {
        M2mCard::statistics(self, now)
    }

    fn controls(&self) -> Vec<ControlInfo> {
        Vec::new()
    }

    fn set_control(&mut self, _: Now, name: &str, _: &Value) -> Result<(), ControlError> {
        Err(ControlError::Unknown(name.to_owned()))
    }

    fn inputs(&self) -> Vec<InputInfo> {
        Vec::new()
    }

    fn set_input(&mut self, _: Now, _: u32) -> Result<(), InputError> {
        Err(InputError::None)
    }

    fn replace_source(&mut self, _: Now, _: Input) -> Result<(), InputError> {
        Err(InputError::None)
    }
}
