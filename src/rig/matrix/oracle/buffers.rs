//! The evidence of each of a cell's buffers alone.

use std::borrow::Cow;

use super::evidence::CellEvidence;
use crate::agent::cell::{CellAnswer, End};
use crate::card::CardKind;
use crate::rig::matrix::expectation::Expectation;
use crate::rig::matrix::observation::Observation;
use crate::rig::matrix::witness::CardFrames;

/// What was seen and expected of one of a cell's buffers.
pub struct BufferEvidence<'a> {
    number: usize,
    answer: Cow<'a, CellAnswer>,
    card_frames: Cow<'a, CardFrames>,
    observation: Observation,
    expectation: Cow<'a, Expectation>,
}

impl<'a> BufferEvidence<'a> {
    /// Returns the evidence of each buffer of a cell, in their order.
    pub fn of(cell: &CellEvidence<'a>) -> Vec<Self> {
        let ends = cell.ends().iter().enumerate();
        let of_each = ends.map(|(number, end)| {
            let answer = cell.answer.of_buffer(number);
            let card_frames = cell.card_frames.of_buffer(number);
            let (observation, expectation) = match (cell.flow.card(), cell.schedule) {
                (CardKind::Capture | CardKind::Output, Some(schedule)) if number > 0 => (
                    observed(cell, &answer, &card_frames),
                    Cow::Borrowed(schedule.second),
                ),
                (CardKind::Capture | CardKind::Output, _) => {
                    (cell.observation, Cow::Borrowed(cell.expectation))
                }
                (CardKind::M2m, _) => (
                    observed(cell, &answer, &card_frames),
                    Cow::Owned(expected(cell.expectation, *end)),
                ),
            };
            Self {
                number,
                answer,
                card_frames,
                observation,
                expectation,
            }
        });
        of_each.collect()
    }

    /// Returns the evidence as the oracles take it.
    pub fn evidence<'b>(&'b self, cell: &CellEvidence<'b>) -> CellEvidence<'b> {
        CellEvidence {
            number: self.number,
            answer: &self.answer,
            card_frames: &self.card_frames,
            observation: self.observation,
            expectation: &self.expectation,
            ..*cell
        }
    }

    /// Returns what the buffer is called beside others.
    pub fn name(&self, cell: &CellEvidence<'_>) -> &'static str {
        let order = cell.schedule.map(|schedule| schedule.order);
        cell.flow.name_of(order, self.number)
    }
}

/// Returns what came of a buffer. One that is refused keeps the others from being
/// streamed.
fn observed(cell: &CellEvidence<'_>, answer: &CellAnswer, card_frames: &CardFrames) -> Observation {
    match cell.observation {
        Observation::Refused(_) | Observation::Hung => cell.observation,
        _ => Observation::of_buffer(answer, card_frames),
    }
}

/// Returns what is expected of one buffer of a cell with two ends. What is expected of
/// the cell is of the first file; the other is not disturbed.
fn expected(cell: &Expectation, end: End) -> Expectation {
    let is_refused = |outcome: &Observation| matches!(outcome, Observation::Refused(_));
    let outcomes = match end.file > 0 && !cell.outcomes.iter().all(is_refused) {
        true => vec![Observation::data(end.direction)],
        false => {
            let outcomes = cell.outcomes.iter();
            outcomes.map(|it| it.at(end.direction)).collect()
        }
    };
    Expectation {
        outcomes,
        ..cell.clone()
    }
}
