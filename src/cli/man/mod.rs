//! `pinhole man`.

use std::fs;
use std::path::PathBuf;

use anyhow::Context;
use clap::Command;

use super::exit::SUCCESS;

/// Write the manual pages, one for each subcommand, into a folder.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The folder; made if it is not there.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

/// Runs the subcommand; `program` is all of `pinhole`.
pub fn run(args: Args, program: Command) -> anyhow::Result<u8> {
    let write = || {
        fs::create_dir_all(&args.dir)?;
        clap_mangen::generate_to(program, &args.dir)
    };
    write().with_context(|| format!("cannot write manual pages to {}", args.dir.display()))?;
    Ok(SUCCESS)
}
