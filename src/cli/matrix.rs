//! `pinhole matrix`.

use std::path::PathBuf;

use super::cells_args::CellsArgs;
use super::exit;
use super::guest_args::GuestArgs;
use crate::rig::matrix::run::MatrixSpec;
use crate::rig::matrix::{CellName, Mutant, cells};
use crate::vm::images::Catalog;

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
    #[command(flatten)]
    which: CellsArgs,

    /// Run the cells with a schedule only, in which the steps of two buffers come in every
    /// order
    #[arg(long, conflicts_with_all = ["cell", "mutant"])]
    schedules: bool,

    /// Run the Kth part of N of the cells
    #[arg(long, value_name = "K/N", value_parser = shard, conflicts_with_all = ["cell", "mutant"])]
    shard: Option<(usize, usize)>,

    /// Folder for the results; made if it is not there
    #[arg(long, value_name = "DIR", default_value = "pinhole-matrix")]
    out: PathBuf,

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
        let mut all = cells::all();
        all.retain(|cell| !self.schedules || cell.schedule.is_some());
        self.part(self.which.cells(all))
    }

    /// Returns the mutants that the arguments select.
    fn mutants(&self) -> Vec<Mutant> {
        self.part(self.which.mutants())
    }

    /// Returns the shard that the arguments select.
    fn part<T>(&self, all: Vec<T>) -> Vec<T> {
        match self.shard {
            Some((k, n)) => cells::shard(all, k, n),
            None => all,
        }
    }
}

/// Runs the subcommand.
pub fn run(args: Args) -> anyhow::Result<u8> {
    let (cells, mutants) = (args.cells(), args.mutants());
    anyhow::ensure!(
        !cells.is_empty() || !mutants.is_empty(),
        "there is no such cell: --direction, --kind, --hazard, --schedules and --shard leave none"
    );
    if args.which.list {
        return CellsArgs::print(&cells, &mutants);
    }
    let testbeds = args.guest.testbeds(&Catalog::builtin())?.into_iter();
    let specs = testbeds.map(|testbed| MatrixSpec {
        jobs: args.which.jobs(&testbed),
        testbed,
        judged: None,
        cells: cells.clone(),
        mutants: mutants.clone(),
    });
    let untested = args.guest.has_own_kernel().then_some(exit::UNTESTABLE);
    args.which.run(specs.collect(), &args.out, untested)
}
