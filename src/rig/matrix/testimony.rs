//! What is known of a device's side of a cell: what its witness says, or, of a device
//! without one, what a survey of it found.

use std::path::Path;

use super::name::CellName;
use super::survey::Surveyed;
use super::witness::{CardFrames, Follower};
use crate::agent::cell::{Cell, CellAnswer, Ends, Flow};
use crate::card::CardKind;
use crate::rig::capture::witness::WitnessError;

/// What is known of a device's side of a cell.
pub(super) enum Testimony {
    /// The witness of Pinhole's card, which is for cells of that flow.
    Card(Follower, Flow),
    /// A survey of a device that has no witness.
    Survey(Box<Surveyed>),
}

impl Testimony {
    /// Returns the testimony of a card of that kind, whose witness is at `witness`.
    ///
    /// # Errors
    ///
    /// [`WitnessError`] if it cannot be read.
    pub(super) fn of_card(kind: CardKind, witness: &Path) -> Result<Self, WitnessError> {
        let mut follower = Follower::open(witness)?;
        // A card that was running before may have witness records from then.
        follower.new_records()?;
        let flow = match kind {
            CardKind::Capture => Flow::Capture,
            CardKind::Output => Flow::Output,
            CardKind::M2m => Flow::M2m(Ends::Read),
        };
        Ok(Self::Card(follower, flow))
    }

    /// Returns what was surveyed, if anything was.
    pub(super) fn surveyed(&self) -> Option<&Surveyed> {
        match self {
            Self::Card(..) => None,
            Self::Survey(surveyed) => Some(surveyed),
        }
    }

    /// Returns the flow of a cell that the device has.
    pub(super) fn flow(&self) -> Flow {
        match self {
            Self::Card(_, flow) => *flow,
            Self::Survey(surveyed) => surveyed.flow,
        }
    }

    /// Returns the request of a cell of the device.
    pub(super) fn request(&self, cell: &CellName, limit_ms: u64) -> Cell {
        let request = cell.request(limit_ms);
        match self {
            Self::Card(..) => request,
            Self::Survey(surveyed) => Cell {
                device: surveyed.device.clone(),
                subject: Some(surveyed.subject.clone()),
                scope: surveyed.scope,
                ..request
            },
        }
    }

    /// Returns the frames that the device wrote or read in the cell that was run last;
    /// without a witness, what is to be thought of it, given the cell's evidence.
    ///
    /// # Errors
    ///
    /// [`WitnessError`] if the witness cannot be read.
    pub(super) fn frames(
        &mut self,
        cell: &CellName,
        answer: Option<&CellAnswer>,
    ) -> Result<CardFrames, WitnessError> {
        Ok(match (self, answer) {
            (Self::Card(follower, _), _) => {
                let has_two = cell.schedule.is_some();
                CardFrames::of(cell.flow, has_two, follower.new_records()?)
            }
            (Self::Survey(surveyed), answer) => {
                let picture = surveyed.answer.picture.as_ref();
                let nothing = CellAnswer::default();
                CardFrames::without_witness(cell.flow, answer.unwrap_or(&nothing), picture)
            }
        })
    }
}
