//! `pinhole completions`.

use clap::Command;
use clap_complete::Shell;

use super::exit::SUCCESS;
use super::output;

/// Print the completions of a shell.
///
/// For bash, say, into /usr/share/bash-completion/completions/pinhole.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

/// Runs the subcommand; `program` is the whole command `pinhole`.
pub fn run(args: Args, program: &mut Command) -> anyhow::Result<u8> {
    // The generator would panic if its output were closed early.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, program, "pinhole", &mut script);
    output::text(String::from_utf8(script)?)?;
    Ok(SUCCESS)
}
