//! The cells of one kernel, in as many guests as it takes.

use std::mem;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::guest::{CellGuest, MatrixError};
use super::health::GuestState;
use super::jobs::{self, JobOutput, WorkQueue};
use super::leaks;
use super::name::CellName;
use super::outcome::{CellOutcome, KernelOutcome};
use super::spec::MatrixSpec;
use crate::rig::testbed::TestbedSpec;
use crate::vm::progress::Progress;

/// How often a job boots a guest anew because not all checks of its kernel work
/// any longer.
const RENEWALS: u32 = 10;

/// How far a guest's clock may be ahead of the host's after a cell.
const CLOCK_SLACK: Duration = Duration::from_secs(1);

/// Runs the cells, the first of them in that guest.
///
/// # Errors
///
/// [`MatrixError`] where no guest can be had to run them in.
pub(super) fn run(
    spec: &MatrixSpec,
    guest: CellGuest,
    progress: &Progress,
    outcome: &mut KernelOutcome,
) -> Result<(), MatrixError> {
    let step = progress.step(format!(
        "running {} cells on {}",
        spec.cells.len(),
        outcome.kernel
    ));
    let booted = Mutex::new(Some(guest));
    let (output, ran) = jobs::run(&spec.cells, spec.jobs(), &step, |queue, output| {
        let guest = booted.lock().unwrap_or_else(PoisonError::into_inner).take();
        CellJob {
            spec: &spec.testbed,
            queue,
            output,
            guest,
            first: 0,
            searched: 0,
            renewals: 0,
            state: GuestState::Fit,
        }
        .run()
    });
    outcome.boots += output.boots;
    outcome.blind = output.blind;
    for cell in output.results {
        outcome.add(cell);
    }
    ran?;
    step.done();
    Ok(())
}

/// A job: cells one after the other, each in the guest of the one before, or in
/// another where that is no good any more.
struct CellJob<'a> {
    spec: &'a TestbedSpec,
    queue: &'a WorkQueue<'a, CellName>,
    output: &'a mut JobOutput<CellOutcome>,
    /// Nothing while there is no guest that is any good.
    guest: Option<CellGuest>,
    /// The first cell that was run in this guest, by its place in the output.
    first: usize,
    /// The first that nobody has looked for leaks of.
    searched: usize,
    /// How often a guest was booted anew because the one before was spoilt.
    renewals: u32,
    /// What the guest is good for.
    state: GuestState,
}

impl CellJob<'_> {
    /// Runs the cells that it is dealt.
    fn run(mut self) -> Result<(), MatrixError> {
        while let Some((place, cell)) = self.queue.next() {
            self.settle()?;
            self.run_cell(place, cell)?;
        }
        self.finish()
    }

    /// Runs a cell; once more in another guest if the clock of this one cannot
    /// be trusted.
    fn run_cell(&mut self, place: usize, cell: &CellName) -> Result<(), MatrixError> {
        let (mut result, mut state) = self.guest()?.run(cell)?;
        if clock_runs_ahead(&result) {
            log::warn!("the guest's clock runs ahead of the host's: {cell} is run in another");
            self.guest = None;
            (result, state) = self.guest()?.run(cell)?;
        }
        self.output.add(place, result);
        self.state = state;
        Ok(())
    }

    /// Sees to what the last cell has left: what the kernel said since, what it
    /// lost, and a guest that is no good any more.
    fn settle(&mut self) -> Result<(), MatrixError> {
        let Some(guest) = &mut self.guest else {
            return Ok(());
        };
        let last = self.output.results[self.first..].last_mut();
        if let (GuestState::Fit, Some(last)) = (&self.state, last) {
            self.state = guest.aftermath(last)?;
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
        } else if self.state == GuestState::Broken {
            self.guest = None;
        }
        self.state = GuestState::Fit;
        Ok(())
    }

    /// Looks for what the cells in this guest have lost.
    fn search(&mut self) -> Result<(), MatrixError> {
        let Some(guest) = &mut self.guest else {
            return Ok(());
        };
        if leaks::can_search(guest) {
            self.queue.update("looking for lost memory");
        }
        let state = mem::replace(&mut self.state, GuestState::Fit);
        let cells = &mut self.output.results[self.first..];
        self.state = leaks::search(guest, cells, state)?;
        self.searched = self.output.results.len();
        Ok(())
    }

    /// The guest; a new one where there is none.
    fn guest(&mut self) -> Result<&mut CellGuest, MatrixError> {
        let guest = match self.guest.take() {
            Some(guest) => guest,
            None => {
                self.queue.update("booting another guest");
                let guest = CellGuest::boot(self.spec, &Progress::silent())?;
                self.output.boots += guest.boots;
                self.first = self.output.results.len();
                self.searched = self.first;
                guest
            }
        };
        Ok(self.guest.insert(guest))
    }

    /// After the last cell.
    fn finish(mut self) -> Result<(), MatrixError> {
        self.settle()?;
        if self.output.results.len() > self.searched {
            self.search()?;
        }
        if let Some(guest) = self.guest {
            guest.finish();
        }
        Ok(())
    }
}

/// Whether the guest saw more time pass in a cell than the host, whose
/// measurement begins before the guest's and ends after it. An emulated guest
/// that was starved while it calibrated its clock can have one that runs many
/// times too fast; whatever takes time in it then seems to hang.
fn clock_runs_ahead(outcome: &CellOutcome) -> bool {
    let guest = outcome
        .answer
        .as_ref()
        .map_or(0, |answer| answer.elapsed_ms);
    guest > outcome.elapsed_ms + CLOCK_SLACK.as_millis() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::cell::{CellAnswer, Kind};

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
