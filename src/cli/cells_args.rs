//! The arguments of the subcommands that run cells, and what becomes of their results.

use std::fs;
use std::num::NonZero;
use std::path::Path;
use std::thread;

use anyhow::Context as _;

use super::endpoint_args::KindArg;
use super::{exit, output};
use crate::agent::cell::{Hazard, Kind};
use crate::card::CardKind;
use crate::report::matrix as report;
use crate::rig::matrix::outcome::KernelOutcome;
use crate::rig::matrix::run::{self, MatrixSpec};
use crate::rig::matrix::{CellName, Mutant};
use crate::rig::room::Reserve;
use crate::rig::testbed::TestbedSpec;
use crate::vm::command_line::Hardware;
use crate::vm::progress::Progress;

/// Which cells to run, how often, and how to print what came of them.
#[derive(Debug, clap::Args)]
pub struct CellsArgs {
    /// Print all cells, and run none
    #[arg(long)]
    pub list: bool,

    /// Run this cell alone, by its printed name; may be given several times
    #[arg(long, value_name = "NAME")]
    pub cell: Vec<CellName>,

    /// Run the mutants, too: drivers with one bug each, which the oracles must
    /// see
    #[arg(long, conflicts_with = "driver")]
    pub mutants: bool,

    /// Run this mutant, and no cells but its own; may be given several times
    #[arg(long, value_name = "NAME", conflicts_with_all = ["cell", "driver", "mutants"])]
    pub mutant: Vec<Mutant>,

    /// Run the cells of this direction only: the card writes into memory
    /// (capture), or reads it (output), or makes one frame of another (m2m)
    #[arg(long, value_enum, conflicts_with_all = ["cell", "mutant"])]
    pub direction: Option<KindArg>,

    /// Run the cells of this kind of memory only; may be given several times
    #[arg(long, value_name = "KIND", conflicts_with_all = ["cell", "mutant"])]
    pub kind: Vec<Kind>,

    /// Run the cells with this hazard only; may be given several times
    #[arg(long, value_name = "HAZARD", conflicts_with_all = ["cell", "mutant"])]
    pub hazard: Vec<Hazard>,

    /// Run each cell N times; one that does not come to the same each time is
    /// flaky, which is a finding; no more than 100, because the evidence of all
    /// rounds is kept in memory until the last
    #[arg(long, value_name = "N", default_value_t = 1, conflicts_with_all = ["list", "mutant"],
          value_parser = clap::value_parser!(u16).range(1..=100))]
    pub repeat: u16,

    /// In how many guests to run cells at once [default: one for each processor,
    /// but no more than 4, nor than half of the memory holds]
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u8).range(1..))]
    pub jobs: Option<u8>,

    /// Print a JSON array with an object for each kernel instead of the table,
    /// and nothing else on stdout
    #[arg(long, conflicts_with = "list")]
    pub json: bool,
}

impl CellsArgs {
    /// Returns the cells that the arguments name, or select of `all`.
    pub fn cells(&self, mut all: Vec<CellName>) -> Vec<CellName> {
        if !self.cell.is_empty() || !self.mutant.is_empty() {
            return self.cell.clone();
        }
        let direction = self.direction.map(CardKind::from);
        all.retain(|cell| {
            direction.is_none_or(|kind| kind == cell.card())
                && (self.kind.is_empty() || self.kind.contains(&cell.kind))
                && (self.hazard.is_empty() || self.hazard.contains(&cell.hazard))
        });
        all
    }

    /// Returns the mutants that the arguments select.
    pub fn mutants(&self) -> Vec<Mutant> {
        match self.mutants {
            true => Mutant::ALL.to_vec(),
            false => self.mutant.clone(),
        }
    }

    /// Returns in how many guests to run cells at once.
    pub fn jobs(&self, testbed: &TestbedSpec) -> usize {
        self.jobs.map_or_else(|| jobs(testbed), usize::from)
    }

    /// Prints the cells and mutants.
    ///
    /// # Errors
    ///
    /// An error if they cannot be printed.
    pub fn print(cells: &[CellName], mutants: &[Mutant]) -> anyhow::Result<u8> {
        for cell in cells {
            output::line(cell)?;
        }
        for mutant in mutants {
            output::line(format_args!("mutant {mutant}"))?;
        }
        Ok(exit::SUCCESS)
    }

    /// Runs what is specified, prints what came of it, and writes it into the folder
    /// `out`; `untested` is the exit code if no cell is possible on any of the kernels.
    ///
    /// # Errors
    ///
    /// An error if it could not run, or its results cannot be kept.
    pub fn run(
        &self,
        specs: Vec<MatrixSpec>,
        out: &Path,
        untested: Option<u8>,
    ) -> anyhow::Result<u8> {
        let progress = Progress::stderr();
        let mut outcomes: Vec<KernelOutcome> = Vec::new();
        let mut stopped = None;
        fs::create_dir_all(out)
            .with_context(|| format!("cannot make the folder {}", out.display()))?;
        let cells = specs
            .iter()
            .map(|spec| spec.cells.len() + spec.mutants.len());
        let reserve = Reserve::make(out, report::room(cells.sum()), "the results")?;
        for spec in specs {
            let spec = MatrixSpec {
                // One whole round after the other, so that a run that is interrupted has
                // run all cells about as often.
                cells: spec.cells.repeat(self.repeat.into()),
                ..spec
            };
            if let Err(error) = run::run(&spec, &progress, &mut outcomes) {
                stopped = Some(anyhow::Error::new(error));
                break;
            }
        }
        if outcomes.is_empty()
            && let Some(error) = stopped
        {
            return Err(error);
        }
        drop(reserve);
        let written = report::write(&outcomes, out);
        // The results are printed even if they cannot be written.
        if self.json {
            output::line(serde_json::to_string(&outcomes)?)?;
        } else {
            output::line(report::table(&outcomes))?;
            if written.is_ok() {
                output::line(format_args!("\n{}", page(out)))?;
            }
        }
        written?;
        let is_wrong = outcomes.iter().any(KernelOutcome::is_wrong);
        match stopped {
            Some(error) if is_wrong => output::complaint(exit::sentence(&error)),
            Some(error) => return Err(error),
            None => {}
        }
        let is_untested = outcomes.iter().all(KernelOutcome::is_untested);
        if let Some(code) = untested.filter(|_| is_untested) {
            output::complaint("none of the cells is possible on this kernel");
            return Ok(code);
        }
        Ok(match is_wrong {
            false => exit::SUCCESS,
            true => exit::FAILED,
        })
    }
}

/// Returns the number of guests in which this machine can run cells at once.
fn jobs(testbed: &TestbedSpec) -> usize {
    const MOST: usize = 4;
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    let guest = testbed.ram_mib.unwrap_or(Hardware::default().memory_mib);
    let memory = rustix::system::sysinfo();
    let half = memory.totalram as u64 * u64::from(memory.mem_unit) / 2;
    let held = half / (u64::from(guest).max(1) << 20);
    let held = usize::try_from(held).unwrap_or(MOST);
    processors.min(held).clamp(1, MOST)
}

/// Returns the line that tells where the results are.
pub fn page(out: &Path) -> String {
    format!(
        "Everything is in {}; the page with all evidence is {}.",
        out.display(),
        report::page(out).display()
    )
}
