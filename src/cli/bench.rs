//! `pinhole bench`.

use clap::ValueEnum;

use super::guest_args::GuestArgs;
use super::output;
use crate::report;
use crate::rig::bench::{self, BenchSpec, Measure};
use crate::vm::images::Catalog;
use crate::vm::progress::Progress;

/// Measure in a guest: streams beside vivid's, pins, timestamps, boots, cells
///
/// Boots guests, measures several times, and prints the medians with what they
/// are compared to. Each measurement depends on the machine and on what else
/// runs there: the host, its load and the accelerator are printed with them.
/// Memory of 1 GiB is pinned where the guest has room for it (`--ram 2G`). Exits
/// with 0 when all was measured, 2 when it could not run, 125 when a kernel of
/// your own could not be measured.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Measure this alone; may be given several times
    #[arg(long, value_name = "WHAT", value_enum)]
    only: Vec<Measured>,

    /// How often to measure each value
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: u32,

    /// Print a JSON array with an object for each kernel instead of the tables
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    guest: GuestArgs,
}

/// What is measured, as the command line names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Measured {
    /// Frames a second and processor time a frame, beside vivid's
    Streams,
    /// Pinning memory of 1 MiB and more, and releasing it
    Pins,
    /// How even the timestamps are at 60 and 240 frames a second
    Jitter,
    /// The time to the first frame, beside that to the init
    Boot,
    /// Where the time of the matrix's cells goes
    Cells,
}

impl From<Measured> for Measure {
    fn from(measured: Measured) -> Self {
        match measured {
            Measured::Streams => Self::Streams,
            Measured::Pins => Self::Pins,
            Measured::Jitter => Self::Jitter,
            Measured::Boot => Self::Boot,
            Measured::Cells => Self::Cells,
        }
    }
}

/// Runs the subcommand.
pub fn run(args: Args) -> anyhow::Result<u8> {
    let progress = Progress::stderr();
    let measures: Vec<Measure> = match args.only.is_empty() {
        true => Measure::ALL.to_vec(),
        false => args.only.into_iter().map(Measure::from).collect(),
    };
    let mut benches = Vec::new();
    for testbed in args.guest.testbeds(&Catalog::builtin())? {
        let spec = BenchSpec {
            testbed,
            measures: measures.clone(),
            runs: args.runs,
        };
        benches.push(bench::run(&spec, &progress)?);
    }
    if args.json {
        output::line(serde_json::to_string(&benches)?)?;
    } else {
        for bench in &benches {
            output::line(report::bench::tables(bench))?;
        }
    }
    Ok(super::exit::SUCCESS)
}
