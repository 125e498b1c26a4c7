//! `pinhole completions`.

use clap::CommandFactory;
use clap_complete::Shell;

use super::{Cli, SUCCESS, output};

/// Print the completions of a shell.
///
/// For bash, say, into /usr/share/bash-completion/completions/pinhole.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

/// Runs the subcommand.
pub fn run(args: Args) -> anyhow::Result<u8> {
    // The generator would panic where its output is closed early.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "pinhole", &mut script);
    output::text(String::from_utf8(script)?)?;
    Ok(SUCCESS)
}
