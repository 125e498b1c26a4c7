//! `pinhole report`.

use std::path::PathBuf;
use std::slice::from_ref;

use super::output;
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
    /// Exits with 0, 1 where there are findings or a run stopped before its end
    /// and no other made up for it, and 2 where the results cannot be read or
    /// do not go together: a cell that was run twice, one name for several
    /// kernels. Cells that nobody has run are told of.
    Merge {
        /// KERNEL.json of pinhole matrix, or folders of them
        #[arg(required = true, value_name = "DIR|FILE")]
        from: Vec<PathBuf>,

        /// Folder for the results; made if it is not there
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
    /// Compare two runs: what got worse, better or different from A to B, and why
    ///
    /// Kernels are paired by name; if each run has one kernel, these two are
    /// compared, whatever they are called. Changes with one cause are told
    /// together. Times, boots and numbers in what an oracle says are no change.
    ///
    /// Exits with 0 when nothing got worse, 1 when something did, and 2 where the
    /// results cannot be read, or have nothing in common. Worse is an objection
    /// that there was not, a cell that was possible or a mutant that was seen and
    /// is not any more, what fails each time and did at times, a kernel that B has
    /// no results of, and what B has not run because it stopped before its end.
    Diff {
        /// The first run: KERNEL.json of pinhole matrix, or a folder of them
        a: PathBuf,

        /// The second run
        b: PathBuf,

        /// Print a JSON object instead of the table, and nothing else on stdout
        #[arg(long)]
        json: bool,

        /// Also write a page with the evidence of both runs
        #[arg(long, value_name = "FILE")]
        html: Option<PathBuf>,
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
            output::line(report::table(&outcomes))?;
            for outcome in &outcomes {
                let missing = report::missing(outcome);
                if missing > 0 {
                    output::line(format_args!(
                        "{}: {missing} cells were not run",
                        outcome.kernel
                    ))?;
                }
            }
            output::line(format_args!("\n{}", super::cells_args::page(&out)))?;
            let failed = |one: &KernelOutcome| one.is_wrong() || one.stopped.is_some();
            Ok(match outcomes.iter().any(failed) {
                false => super::exit::SUCCESS,
                true => super::exit::FAILED,
            })
        }
        Action::Diff { a, b, json, html } => {
            let (first, second) = (read(from_ref(&a))?, read(from_ref(&b))?);
            let diff = report::diff(&first, &second)?;
            let runs = [a.as_path(), b.as_path()];
            if let Some(path) = html {
                report::write_diff(&diff, runs, &path)?;
            }
            match json {
                true => output::line(serde_json::to_string(&diff)?)?,
                false => output::line(report::diff_text(&diff, runs))?,
            }
            Ok(match diff.is_worse() {
                false => super::exit::SUCCESS,
                true => super::exit::FAILED,
            })
        }
        Action::Markdown { from } => {
            output::text(report::markdown(&read(&from)?))?;
            Ok(super::exit::SUCCESS)
        }
    }
}

/// Returns the results in files and folders, merged into one for each kernel.
fn read(from: &[PathBuf]) -> anyhow::Result<Vec<KernelOutcome>> {
    Ok(report::merge(report::read(from)?)?)
}
