//! `pinhole report`.

use std::path::PathBuf;

use crate::report::matrix as report;
use crate::rig::matrix::outcome::KernelOutcome;

/// Put the results of pinhole matrix together, and show them otherwise
///
/// Nothing is run and nothing is judged anew.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Merge the results of shards, and write every format of the whole
    ///
    /// Exits with 0, 1 where there are findings, and 2 where the results
    /// cannot be read or do not go together: a cell that was run twice, one
    /// name for several kernels. Cells that nobody has run are told of.
    Merge {
        /// KERNEL.json of pinhole matrix, or folders of them
        #[arg(required = true, value_name = "DIR|FILE")]
        from: Vec<PathBuf>,

        /// Folder for the results; made if it is not there
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
    /// Print the page docs/matrix.md
    Markdown {
        /// KERNEL.json of pinhole matrix, or folders of them
        #[arg(required = true, value_name = "DIR|FILE")]
        from: Vec<PathBuf>,
    },
}

/// Runs the subcommand.
pub fn run(args: Args) -> anyhow::Result<u8> {
    match args.action {
        Action::Merge { from, out } => {
            let outcomes = read(&from)?;
            report::write(&outcomes, &out)?;
            println!("{}", report::table(&outcomes));
            for outcome in &outcomes {
                let missing = report::missing(outcome);
                if missing > 0 {
                    println!("{}: {missing} cells were not run", outcome.kernel);
                }
            }
            println!("\n{}", super::matrix::page(&out));
            Ok(match outcomes.iter().any(KernelOutcome::is_wrong) {
                false => super::SUCCESS,
                true => super::FAILED,
            })
        }
        Action::Markdown { from } => {
            print!("{}", report::markdown(&read(&from)?));
            Ok(super::SUCCESS)
        }
    }
}

/// The results in files and folders, one a kernel.
fn read(from: &[PathBuf]) -> anyhow::Result<Vec<KernelOutcome>> {
    Ok(report::merge(report::read(from)?)?)
}
