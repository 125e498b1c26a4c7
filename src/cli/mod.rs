//! The command line: one file a subcommand.
//!
//! Every subcommand has an `Args` and a `run` that returns the exit code or an
//! error; an error is printed as one sentence, and the code is then
//! [`CANNOT_RUN`].

pub mod capture;
pub mod ctl;
pub mod device;
pub mod guest;
mod guest_args;
pub mod shell;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use guest_args::GuestArgs;

/// Exit code: everything was done, and verified where that was asked for.
pub const SUCCESS: u8 = 0;
/// Exit code: it ran, and what it verified is wrong.
pub const FAILED: u8 = 1;
/// Exit code: it could not run; the message says what to do.
pub const CANNOT_RUN: u8 = 2;

/// A virtual capture card that proves, byte by byte, how Linux hands user
/// memory to hardware.
#[derive(Debug, Parser)]
#[command(name = "pinhole", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Device(device::Args),
    Ctl(ctl::Args),
    Capture(capture::Args),
    Shell(shell::Args),
    Guest(guest::Args),
}

/// Parses the arguments, runs the subcommand, and turns its result into the
/// process's exit code.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info")).init();
    let result = match cli.command {
        Command::Device(args) => device::run(args),
        Command::Ctl(args) => ctl::run(args),
        Command::Capture(args) => capture::run(args),
        Command::Shell(args) => shell::run(args),
        Command::Guest(args) => guest::run(args),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("pinhole: {}", sentence(&error));
            ExitCode::from(CANNOT_RUN)
        }
    }
}

/// An error and what caused it, as one sentence. A cause that the error above
/// it quotes already is not said again.
fn sentence(error: &anyhow::Error) -> String {
    let mut said = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if said.is_empty() {
            said = cause;
        } else if !said.contains(&cause) {
            said = format!("{said}: {cause}");
        }
    }
    said
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::sentence;

    #[test]
    fn a_cause_is_said_once() {
        let missing = || std::io::Error::from_raw_os_error(2);
        let plain = anyhow::Error::new(missing());
        let cause = plain.to_string();
        assert_eq!(sentence(&plain), cause);
        let silent = Err::<(), _>(missing())
            .context("cannot open x")
            .unwrap_err();
        assert_eq!(sentence(&silent), format!("cannot open x: {cause}"));
        let quoting = Err::<(), _>(missing())
            .context(format!("cannot open x: {cause}"))
            .unwrap_err();
        assert_eq!(sentence(&quoting), format!("cannot open x: {cause}"));
    }
}
