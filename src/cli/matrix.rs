//! `pinhole matrix`.

use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::Context as _;

use super::endpoint_args::KindArg;
use super::guest_args::GuestArgs;
use super::output;
use crate::agent::cell::{Hazard, Kind};
use crate::card::CardKind;
use crate::report::matrix as report;
use crate::rig::matrix::outcome::KernelOutcome;
use crate::rig::matrix::run::{self, MatrixSpec};
use crate::rig::matrix::{CellName, Mutant, cells};
use crate::rig::room::Reserve;
use crate::rig::testbed::TestbedSpec;
use crate::vm::command_line::Hardware;
use crate::vm::images::Catalog;
use crate::vm::progress::Progress;

/// Run the userptr matrix: every kind of memory, every hazard, judged
///
/// Boots a guest, captures a frame into every kind of memory that a process
/// can have, or has a card read one from it, or make one of another, while
/// things happen to it, and has independent oracles judge each.
/// Exits with 0 when every cell came to what was expected of it, 1 when there
/// are findings or an oracle missed a mutant, 2 when it could not run, 125 when
/// a kernel of your own could not be tested, or none of the cells on it. What
/// was run before it had to stop, or was interrupted, is reported all the same,
/// and findings among it still make it 1.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print all cells, and run none
    #[arg(long)]
    list: bool,

    /// Run this cell alone, by its printed name; may be given several times
    #[arg(long, value_name = "NAME", conflicts_with_all = ["direction", "kind", "hazard", "shard"])]
    cell: Vec<CellName>,

    /// Run the mutants, too: drivers with one bug each, which the oracles must
    /// see
    #[arg(long, conflicts_with = "driver")]
    mutants: bool,

    /// Run this mutant, and no cells but its own; may be given several times
    #[arg(long, value_name = "NAME", conflicts_with_all = ["cell", "driver", "direction", "kind", "hazard", "mutants", "shard"])]
    mutant: Vec<Mutant>,

    /// Run the cells of this direction only: the card writes into memory
    /// (capture), or reads it (output), or makes one frame of another (m2m)
    #[arg(long, value_enum)]
    direction: Option<KindArg>,

    /// Run the cells of this kind of memory only; may be given several times
    #[arg(long, value_name = "KIND")]
    kind: Vec<Kind>,

    /// Run the cells with this hazard only; may be given several times
    #[arg(long, value_name = "HAZARD")]
    hazard: Vec<Hazard>,

    /// Run the Kth part of N of the cells
    #[arg(long, value_name = "K/N", value_parser = shard)]
    shard: Option<(usize, usize)>,

    /// Run each cell N times; one that does not come to the same each time is
    /// flaky, which is a finding; no more than 100, because the evidence of all
    /// rounds is kept in memory until the last
    #[arg(long, value_name = "N", default_value_t = 1, conflicts_with_all = ["list", "mutant"],
          value_parser = clap::value_parser!(u16).range(1..=100))]
    repeat: u16,

    /// In how many guests to run cells at once [default: one for each processor,
    /// but no more than 4, nor than half of the memory holds]
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u8).range(1..))]
    jobs: Option<u8>,

    /// Folder for the results; made if it is not there
    #[arg(long, value_name = "DIR", default_value = "pinhole-matrix")]
    out: PathBuf,

    /// Print a JSON array with an object for each kernel instead of the table,
    /// and nothing else on stdout
    #[arg(long, conflicts_with = "list")]
    json: bool,

    #[command(flatten)]
    guest: GuestArgs,
}

fn shard(text: &str) -> Result<(usize, usize), String> {
    let numbers = text
        .split_once('/')
        .and_then(|(k, n)| Some((k.parse().ok()?, n.parse().ok()?)));
    match numbers {
        Some((k, n)) if (1..=n).contains(&k) => Ok((k, n)),
        _ => Err("a shard is K/N, such as 1/4, with K from 1 to N".into()),
    }
}

impl Args {
    /// Returns the cells that the arguments select.
    fn cells(&self) -> Vec<CellName> {
        if !self.cell.is_empty() || !self.mutant.is_empty() {
            return self.cell.clone();
        }
        let mut cells = cells::all();
        cells.retain(|cell| {
            self.direction
                .is_none_or(|kind| CardKind::from(kind) == cell.card())
                && (self.kind.is_empty() || self.kind.contains(&cell.kind))
                && (self.hazard.is_empty() || self.hazard.contains(&cell.hazard))
        });
        match self.shard {
            Some((k, n)) => cells::shard(cells, k, n),
            None => cells,
        }
    }

    /// Returns the mutants that the arguments select.
    fn mutants(&self) -> Vec<Mutant> {
        let mutants = match self.mutants {
            true => Mutant::ALL.to_vec(),
            false => self.mutant.clone(),
        };
        match self.shard {
            Some((k, n)) => cells::shard(mutants, k, n),
            None => mutants,
        }
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

/// Runs the subcommand.
pub fn run(args: Args) -> anyhow::Result<u8> {
    let (cells, mutants) = (args.cells(), args.mutants());
    anyhow::ensure!(
        !cells.is_empty() || !mutants.is_empty(),
        "there is no such cell: --direction, --kind, --hazard and --shard leave none"
    );
    if args.list {
        for cell in &cells {
            output::line(cell)?;
        }
        for mutant in &mutants {
            output::line(format_args!("mutant {mutant}"))?;
        }
        return Ok(super::exit::SUCCESS);
    }
    let progress = Progress::stderr();
    let mut outcomes: Vec<KernelOutcome> = Vec::new();
    let mut stopped = None;
    let testbeds = args.guest.testbeds(&Catalog::builtin())?;
    fs::create_dir_all(&args.out)
        .with_context(|| format!("cannot make the folder {}", args.out.display()))?;
    let room = report::room(testbeds.len() * (cells.len() + mutants.len()));
    let reserve = Reserve::make(&args.out, room, "the results")?;
    for testbed in testbeds {
        let jobs = args.jobs.map_or_else(|| jobs(&testbed), usize::from);
        let spec = MatrixSpec {
            testbed,
            judged: None,
            // One whole round after the other, so that a run that is interrupted has
            // run all cells about as often.
            cells: cells.repeat(args.repeat.into()),
            mutants: mutants.clone(),
            jobs,
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
    let written = report::write(&outcomes, &args.out);
    // The results are printed even if they cannot be written.
    if args.json {
        output::line(serde_json::to_string(&outcomes)?)?;
    } else {
        output::line(report::table(&outcomes))?;
        if written.is_ok() {
            output::line(format_args!("\n{}", page(&args.out)))?;
        }
    }
    written?;
    let is_wrong = outcomes.iter().any(KernelOutcome::is_wrong);
    match stopped {
        Some(error) if is_wrong => output::complaint(super::exit::sentence(&error)),
        Some(error) => return Err(error),
        None => {}
    }
    let untested = outcomes.iter().all(KernelOutcome::is_untested);
    if args.guest.has_own_kernel() && untested {
        output::complaint("none of the cells is possible on this kernel");
        return Ok(super::exit::UNTESTABLE);
    }
    Ok(match is_wrong {
        false => super::exit::SUCCESS,
        true => super::exit::FAILED,
    })
}
