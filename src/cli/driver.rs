//! `pinhole driver`.

use clap::Subcommand;

use super::exit::{FAILED, SUCCESS};
use super::output;
use crate::vm::images::{Catalog, headers, lint};
use crate::vm::progress::Progress;

/// Build the driver for more kernels than are booted, and read its sources
///
/// Both take the driver, and the tests' modules, as this program was built with
/// them. They exit with 0 where nothing was found, 1 where something was, 2 where
/// they could not run.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Build it for every kernel of Debian's suites that has V4L2, and tell of
    /// warnings; nothing is booted.
    Builds {
        /// The suites; all if none is named.
        ids: Vec<String>,
    },
    /// Have checkpatch.pl and sparse read its sources.
    Lint,
}

/// Runs the subcommand.
pub fn run(args: Args) -> anyhow::Result<u8> {
    let progress = Progress::stderr();
    let found = match args.command {
        Command::Builds { ids } => builds(&ids, &progress)?,
        Command::Lint => {
            let findings = lint::run(&progress)?;
            for finding in &findings {
                output::line(format_args!("guest-driver/{finding}"))?;
            }
            findings.len()
        }
    };
    Ok(match found {
        0 => SUCCESS,
        _ => FAILED,
    })
}

/// Builds the driver for the suites; returns the number of warnings.
fn builds(ids: &[String], progress: &Progress) -> anyhow::Result<usize> {
    let catalog = Catalog::builtin();
    let known: Vec<_> = catalog.headers().collect();
    for id in ids {
        anyhow::ensure!(
            known.iter().any(|one| one.id == *id),
            "there is no suite named {id}: there are {}",
            known
                .iter()
                .map(|one| one.id.as_str())
                .collect::<Vec<_>>()
                .join(", ")
        );
    }
    let wanted = |id: &String| ids.is_empty() || ids.contains(id);
    let mut count = 0;
    for recipe in known.iter().filter(|one| wanted(&one.id)) {
        for built in headers::build_all(recipe, progress)? {
            count += built.warnings.len();
            let what = match built.warnings.len() {
                0 => "no warning".to_owned(),
                count => format!("{count} warnings"),
            };
            let (release, module) = (built.release, built.module.what);
            output::line(format_args!("{}: {release}: {module}: {what}", recipe.id))?;
            for line in built.warnings {
                output::line(format_args!("  {line}"))?;
            }
        }
    }
    Ok(count)
}
