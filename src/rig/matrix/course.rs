//! The cells of one kernel, in as many guests as it takes.

use std::mem;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::deal::{self, Deal, Share};
use super::health::Fate;
use super::leaks;
use super::name::CellName;
use super::outcome::{CellOutcome, KernelOutcome};
use super::run::{Bed, MatrixError, MatrixSpec};
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
    bed: Bed,
    progress: &Progress,
    outcome: &mut KernelOutcome,
) -> Result<(), MatrixError> {
    let step = progress.step(format!(
        "running {} cells on {}",
        spec.cells.len(),
        outcome.kernel
    ));
    let booted = Mutex::new(Some(bed));
    let (share, ran) = deal::out(&spec.cells, spec.jobs(), &step, |deal, share| {
        let bed = booted.lock().unwrap_or_else(PoisonError::into_inner).take();
        Course {
            spec: &spec.testbed,
            deal,
            share,
            bed,
            first: 0,
            searched: 0,
            renewals: 0,
            fate: Fate::Fit,
        }
        .run()
    });
    outcome.boots += share.boots;
    outcome.blind = share.blind;
    for cell in share.results {
        outcome.add(cell);
    }
    ran?;
    step.done();
    Ok(())
}

/// A job: cells one after the other, each in the guest of the one before, or in
/// another where that is no good any more.
struct Course<'a> {
    spec: &'a TestbedSpec,
    deal: &'a Deal<'a, CellName>,
    share: &'a mut Share<CellOutcome>,
    /// Nothing while there is no guest that is any good.
    bed: Option<Bed>,
    /// The first cell that was run in this guest, by its place in the share.
    first: usize,
    /// The first that nobody has looked for leaks of.
    searched: usize,
    /// How often a guest was booted anew because the one before was spoilt.
    renewals: u32,
    /// What the guest is good for.
    fate: Fate,
}

impl Course<'_> {
    /// Runs the cells that it is dealt.
    fn run(mut self) -> Result<(), MatrixError> {
        while let Some((place, cell)) = self.deal.next() {
            self.settle()?;
            self.run_cell(place, cell)?;
        }
        self.finish()
    }

    /// Runs a cell; once more in another guest if the clock of this one cannot
    /// be trusted.
    fn run_cell(&mut self, place: usize, cell: &CellName) -> Result<(), MatrixError> {
        let (mut result, mut fate) = self.bed()?.run(cell)?;
        if clock_runs_ahead(&result) {
            log::warn!("the guest's clock runs ahead of the host's: {cell} is run in another");
            self.bed = None;
            (result, fate) = self.bed()?.run(cell)?;
        }
        self.share.add(place, result);
        self.fate = fate;
        Ok(())
    }

    /// Sees to what the last cell has left: what the kernel said since, what it
    /// lost, and a guest that is no good any more.
    fn settle(&mut self) -> Result<(), MatrixError> {
        let Some(bed) = &mut self.bed else {
            return Ok(());
        };
        let last = self.share.results[self.first..].last_mut();
        if let (Fate::Fit, Some(last)) = (&self.fate, last) {
            self.fate = bed.aftermath(last)?;
        }
        if self.fate == Fate::Fit && self.share.results.len() - self.searched >= leaks::GROUP {
            self.search()?;
        }
        if let Fate::Spoilt(why) = &self.fate {
            if self.renewals < RENEWALS {
                log::info!("{why}: booting another guest");
                self.renewals += 1;
                self.search()?;
                self.bed = None;
            } else {
                let last = self.share.results.last();
                let last = last.map_or_else(String::new, |last| format!(" in {}", last.cell));
                let blind = format!("{why}{last}, after {RENEWALS} guests had been booted anew");
                self.share.blind.get_or_insert(blind);
            }
        } else if self.fate == Fate::Broken {
            self.bed = None;
        }
        self.fate = Fate::Fit;
        Ok(())
    }

    /// Looks for what the cells in this guest have lost.
    fn search(&mut self) -> Result<(), MatrixError> {
        let Some(bed) = &mut self.bed else {
            return Ok(());
        };
        if leaks::can_search(bed) {
            self.deal.update("looking for lost memory");
        }
        let fate = mem::replace(&mut self.fate, Fate::Fit);
        let cells = &mut self.share.results[self.first..];
        self.fate = leaks::search(bed, cells, fate)?;
        self.searched = self.share.results.len();
        Ok(())
    }

    /// The guest; a new one where there is none.
    fn bed(&mut self) -> Result<&mut Bed, MatrixError> {
        let bed = match self.bed.take() {
            Some(bed) => bed,
            None => {
                self.deal.update("booting another guest");
                let bed = Bed::boot(self.spec, &Progress::silent())?;
                self.share.boots += bed.boots;
                self.first = self.share.results.len();
                self.searched = self.first;
                bed
            }
        };
        Ok(self.bed.insert(bed))
    }

    /// After the last cell.
    fn finish(mut self) -> Result<(), MatrixError> {
        self.settle()?;
        if self.share.results.len() > self.searched {
            self.search()?;
        }
        if let Some(bed) = self.bed {
            bed.finish();
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
