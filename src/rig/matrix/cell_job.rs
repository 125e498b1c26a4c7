//! Runs the cells of one kernel, in as many guests as necessary.

use std::collections::BTreeSet;
use std::mem;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::error::MatrixError;
use super::guest::CellGuest;
use super::health::GuestState;
use super::jobs::{self, JobOutput, WorkQueue};
use super::leaks;
use super::name::CellName;
use super::oracle::Oracle;
use super::outcome::{CellOutcome, Device, KernelOutcome};
use super::poison;
use super::spec::MatrixSpec;
use super::trial;
use crate::card::CardKind;
use crate::rig::plural::count;
use crate::vm::progress::Progress;

/// How often a job boots another guest because not all checks of its kernel
/// still work.
const RENEWALS: u32 = 10;

/// Number of cells that take about as long as to boot a guest.
const WORTH_A_GUEST: usize = 30;

/// How much more time a guest's clock may show for a cell than the host's.
const CLOCK_SLACK: Duration = Duration::from_secs(1);

/// Runs the cells, those of the same kind of card together; `guest` has a card of the
/// kind of the first one.
///
/// # Errors
///
/// [`MatrixError`] if no guest can be booted to run them in.
pub(super) fn run(
    spec: &MatrixSpec,
    guest: CellGuest,
    progress: &Progress,
    outcome: &mut KernelOutcome,
) -> Result<(), MatrixError> {
    let step = progress.step(format!(
        "running {} on {}",
        count(spec.cells.len(), "cell"),
        outcome.kernel
    ));
    let booted = Mutex::new(Some(guest));
    let first = spec.cells.first().map(CellName::card);
    let shared = Shared {
        cards: Mutex::new(first.into_iter().collect()),
        devices: Mutex::default(),
    };
    let (output, ran) = jobs::run(
        &spec.cells,
        spec.jobs(),
        WORTH_A_GUEST,
        &step,
        |queue, output| {
            let guest = booted.lock().unwrap_or_else(PoisonError::into_inner).take();
            CellJob {
                spec,
                queue,
                output,
                shared: &shared,
                card: first.filter(|_| guest.is_some()),
                refused: None,
                guest,
                first: 0,
                searched: 0,
                renewals: 0,
                state: GuestState::Fit,
            }
            .run()
        },
    );
    outcome.boots += output.boots;
    outcome.note_blind(output.blind);
    for cell in output.results {
        outcome.add(cell);
    }
    let devices = shared.devices.into_inner();
    let devices = devices.unwrap_or_else(PoisonError::into_inner);
    if let Some(device) = &mut outcome.device {
        devices.iter().for_each(|other| device.join(other));
    }
    ran?;
    step.done();
    Ok(())
}

/// What the jobs know of the guests that they have booted.
struct Shared {
    /// The kinds of card with which a guest came up: the driver has a use for them.
    cards: Mutex<BTreeSet<CardKind>>,
    /// What was surveyed of their devices.
    devices: Mutex<Vec<Device>>,
}

impl Shared {
    /// Notes that a guest with a card of that kind has booted.
    fn note(&self, card: CardKind, device: Option<Device>) {
        let cards = self.cards.lock();
        cards.unwrap_or_else(PoisonError::into_inner).insert(card);
        let devices = self.devices.lock();
        devices
            .unwrap_or_else(PoisonError::into_inner)
            .extend(device);
    }

    /// Returns whether a guest with such a card has booted.
    fn has_seen(&self, card: CardKind) -> bool {
        let cards = self.cards.lock();
        cards
            .unwrap_or_else(PoisonError::into_inner)
            .contains(&card)
    }
}

/// A job: runs cells one after the other in one guest, or in another when that
/// guest is not usable any more.
struct CellJob<'a> {
    spec: &'a MatrixSpec,
    queue: &'a WorkQueue<'a, CellName>,
    output: &'a mut JobOutput<CellOutcome>,
    shared: &'a Shared,
    /// The kind of card of this guest and the next ones; `None` before the first cell.
    card: Option<CardKind>,
    /// Why the driver has no use for such a card, if it has not.
    refused: Option<String>,
    /// The guest; `None` while there is no usable one.
    guest: Option<CellGuest>,
    /// Index in the output of the first cell that was run in this guest.
    first: usize,
    /// Index of the first cell whose group was not searched.
    searched: usize,
    /// How often another guest was booted because the one before was spoilt.
    renewals: u32,
    /// State of the guest.
    state: GuestState,
}

impl CellJob<'_> {
    /// Runs cells from the queue until it is empty.
    fn run(mut self) -> Result<(), MatrixError> {
        while let Some((place, cell)) = self.queue.next_of(self.card, CellName::card) {
            self.turn_to(cell.card())?;
            match &self.refused {
                Some(why) => {
                    let impossible = CellOutcome::impossible(*cell, why.clone());
                    self.output.add(place, impossible);
                }
                None => self.run_cell(place, cell)?,
            }
        }
        self.finish()
    }

    /// Ends the last cell, and has a guest with a card of that kind. One with another is
    /// turned off.
    fn turn_to(&mut self, card: CardKind) -> Result<(), MatrixError> {
        if self.card == Some(card) {
            return self.settle();
        }
        self.finish()?;
        self.card = Some(card);
        let (spec, seen) = (self.spec, self.shared.has_seen(card));
        self.refused = match self.guest() {
            Err(error) if !seen && spec.is_of_the_card(&error) => Some(error.to_string()),
            booted => booted.map(|_| None)?,
        };
        Ok(())
    }

    /// Runs a cell; once more in another guest if this guest's clock cannot be
    /// trusted.
    fn run_cell(&mut self, place: usize, cell: &CellName) -> Result<(), MatrixError> {
        let (mut result, mut state) = self.guest()?.run(cell)?;
        if clock_runs_ahead(&result) {
            log::warn!("the guest's clock runs ahead of the host's: {cell} is run in another");
            self.search()?;
            self.guest = None;
            (result, state) = self.guest()?.run(cell)?;
        }
        if self.guest()?.place.is_here() && only_of_pins(&result) && state == GuestState::Fit {
            // The counters are the whole machine's.
            let (again, state_again) = self.guest()?.run(cell)?;
            if state_again != GuestState::Fit || !objects_to_pins(&again) {
                log::info!("{cell}: pins were counted that were not there once more");
                result = again;
            }
            state = state_again;
        }
        self.output.add(place, result);
        self.state = state;
        Ok(())
    }

    /// Handles the effects of the last cell: later kernel messages, leaks, and
    /// a guest that is not usable any more.
    fn settle(&mut self) -> Result<(), MatrixError> {
        let Some(guest) = &mut self.guest else {
            return Ok(());
        };
        let last = self.output.results[self.first..].last_mut();
        if let Some(last) = last {
            if self.state == GuestState::Fit {
                self.state = guest.aftermath(last)?;
            }
            guest.go_on(&self.state, last)?;
        }
        if self.state == GuestState::Fit
            && self.output.results.len() - self.searched >= leaks::GROUP
        {
            self.search()?;
        }
        if let GuestState::Spoilt(why) = &self.state {
            if self.renewals < RENEWALS {
                log::info!("{why}: booting another guest");
                self.renewals += 1;
                self.search()?;
                self.guest = None;
            } else {
                let last = self.output.results.last();
                let last = last.map_or_else(String::new, |last| format!(" in {}", last.cell));
                let blind = format!("{why}{last}, after {RENEWALS} guests had been booted anew");
                self.output.blind.get_or_insert(blind);
            }
        } else if matches!(self.state, GuestState::Broken(_)) {
            self.guest = None;
        }
        self.state = GuestState::Fit;
        Ok(())
    }

    /// Ends a group of cells in this guest: searches for pages that were written
    /// to after they were freed, and for leaks.
    fn search(&mut self) -> Result<(), MatrixError> {
        let Some(guest) = &mut self.guest else {
            return Ok(());
        };
        if leaks::can_search(guest) {
            self.queue.update("looking for lost memory");
        }
        let state = mem::replace(&mut self.state, GuestState::Fit);
        let cells = &mut self.output.results[self.first..];
        let state = poison::sweep(guest, cells, self.searched - self.first, state)?;
        self.state = leaks::search(guest, cells, state)?;
        self.searched = self.output.results.len();
        Ok(())
    }

    /// Returns the guest; boots one if there is none.
    fn guest(&mut self) -> Result<&mut CellGuest, MatrixError> {
        let guest = match self.guest.take() {
            Some(guest) => guest,
            None => {
                self.queue.update("booting another guest");
                let card = self.card.unwrap_or_default();
                let testbed = self.spec.with_card(card);
                let judged = self.spec.judged.as_ref();
                let guest = trial::boot(&testbed, judged, &Progress::silent())?;
                self.output.boots += guest.boots;
                let surveyed = guest.surveyed().map(|it| it.report(&testbed));
                self.shared.note(card, surveyed);
                self.first = self.output.results.len();
                self.searched = self.first;
                guest
            }
        };
        Ok(self.guest.insert(guest))
    }

    /// Ends the last cell, and turns the guest off, if there is one.
    fn finish(&mut self) -> Result<(), MatrixError> {
        self.settle()?;
        if self.output.results.len() > self.searched {
            self.search()?;
        }
        if let Some(guest) = self.guest.take() {
            guest.finish();
        }
        Ok(())
    }
}

/// Returns whether more time passed for the guest in a cell than for the host,
/// whose measurement begins before the guest's and ends after it. An emulated
/// guest that was starved while it calibrated its clock can have a clock that
/// runs many times too fast; everything in it then seems to hang.
fn clock_runs_ahead(outcome: &CellOutcome) -> bool {
    let guest = outcome
        .answer
        .as_ref()
        .map_or(0, |answer| answer.elapsed_ms);
    guest > outcome.elapsed_ms + CLOCK_SLACK.as_millis() as u64
}

/// Returns whether the oracle of pins objects to a cell.
fn objects_to_pins(outcome: &CellOutcome) -> bool {
    let mut findings = outcome.findings.iter();
    findings.any(|finding| finding.oracle == Oracle::Pins)
}

/// Returns whether that oracle does, and no other.
fn only_of_pins(outcome: &CellOutcome) -> bool {
    let mut findings = outcome.findings.iter();
    objects_to_pins(outcome) && findings.all(|finding| finding.oracle == Oracle::Pins)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::cell::{CellAnswer, Kind};
    use crate::rig::matrix::objection::Severity;
    use crate::rig::matrix::oracle::Finding;

    #[test]
    fn what_pins_alone_object_to_may_be_somebody_elses() {
        let mut outcome = CellOutcome::impossible(CellName::plain(Kind::Heap), String::new());
        let mut with = |oracle| {
            outcome.findings.push(Finding {
                oracle,
                severity: Severity::Leaked,
                what: String::new(),
            });
            (objects_to_pins(&outcome), only_of_pins(&outcome))
        };
        assert_eq!(with(Oracle::Pins), (true, true));
        assert_eq!(with(Oracle::Data), (true, false));
        outcome.findings.remove(0);
        assert!(!objects_to_pins(&outcome) && !only_of_pins(&outcome));
        outcome.findings.clear();
        assert!(!only_of_pins(&outcome));
    }

    #[test]
    fn the_hosts_clock_is_the_one_that_counts() {
        let mut outcome = CellOutcome::impossible(CellName::plain(Kind::Heap), String::new());
        outcome.elapsed_ms = 500;
        assert!(!clock_runs_ahead(&outcome));
        for (guest, ahead) in [(480, false), (1400, false), (17_000, true)] {
            outcome.answer = Some(CellAnswer {
                elapsed_ms: guest,
                ..CellAnswer::default()
            });
            assert_eq!(clock_runs_ahead(&outcome), ahead, "{guest} ms");
        }
    }
}
