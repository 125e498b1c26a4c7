//! The command line, with one file for each subcommand.
//!
//! Every subcommand has an `Args` and a `run` that returns the exit code or an
//! error. An error is printed as one sentence, and the exit code is then
//! [`CANNOT_RUN`](exit::CANNOT_RUN), [`UNTESTABLE`](exit::UNTESTABLE) if the
//! user's own kernel is to blame, or [`INTERRUPTED`](exit::INTERRUPTED).

mod activation;
mod back_end_args;
pub mod bench;
mod bounded_log;
pub mod capture;
mod card_args;
mod cells_args;
pub mod completions;
pub mod compliance;
pub mod conformance;
pub mod ctl;
pub mod device;
pub mod driver;
mod endpoint_args;
pub mod exit;
pub mod frame_vector;
pub mod guest;
mod guest_args;
pub mod judge;
pub mod man;
pub mod matrix;
mod mode_args;
mod output;
mod planes;
pub mod play;
pub mod report;
pub mod shell;
mod startup_code;
mod stream_args;

use std::env;
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::vm::interrupt;
use bounded_log::BoundedLog;
use exit::{code, sentence};

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
    Play(play::Args),
    Compliance(compliance::Args),
    Conformance(conformance::Args),
    FrameVector(frame_vector::Args),
    Bench(bench::Args),
    Shell(shell::Args),
    Guest(guest::Args),
    Driver(driver::Args),
    Matrix(matrix::Args),
    Judge(judge::Args),
    Report(report::Args),
    Completions(completions::Args),
    Man(man::Args),
}

/// The name under which the program is `pinhole device`: vhost-user's
/// conventions for backend programs have no subcommands.
const BACKEND_NAME: &str = "vhost-user-media";

/// Parses the arguments, runs the subcommand, and turns its result into the
/// process's exit code. The process of a cell is this program as well.
pub fn main() -> ExitCode {
    if let Some(ended) = crate::guest::apart() {
        return ended;
    }
    let args = arguments(env::args_os());
    let cli = match Cli::try_parse_from(&args) {
        Ok(cli) => cli,
        // With --print-capabilities, the other arguments do not matter.
        Err(_) if device::asks_for_capabilities(&args) => {
            return conclude(device::print_capabilities());
        }
        Err(error) => error.exit(),
    };
    start_log(&cli.command);
    let result = match cli.command {
        Command::Device(args) => device::run(args),
        Command::Ctl(args) => ctl::run(args),
        Command::Capture(args) => capture::run(args),
        Command::Play(args) => play::run(args),
        Command::Compliance(args) => compliance::run(args),
        Command::Conformance(args) => conformance::run(args),
        Command::FrameVector(args) => frame_vector::run(args),
        Command::Bench(args) => bench::run(args),
        Command::Shell(args) => shell::run(args),
        Command::Guest(args) => guest::run(args),
        Command::Driver(args) => driver::run(args),
        Command::Matrix(args) => matrix::run(args),
        Command::Judge(args) => judge::run(args),
        Command::Report(args) => report::run(args),
        Command::Completions(args) => completions::run(args, &mut Cli::command()),
        Command::Man(args) => man::run(args, Cli::command()),
    };
    conclude(result)
}

/// Starts the log to stderr, filtered by RUST_LOG. The log of a card is
/// bounded, because the card runs for long and a guest causes its lines.
fn start_log(command: &Command) {
    let default = env_logger::Env::default().default_filter_or("info");
    let mut builder = env_logger::Builder::from_env(default);
    if !matches!(command, Command::Device(_)) {
        return builder.init();
    }
    let log = builder.build();
    log::set_max_level(log.filter());
    // This fails only if there is a log already, and there is none.
    let _ = log::set_boxed_logger(Box::new(BoundedLog::new(log)));
}

/// Prints a subcommand's error, and turns its result into the exit code.
fn conclude(result: anyhow::Result<u8>) -> ExitCode {
    let code = result.unwrap_or_else(|error| {
        // The signal made the current operation fail.
        if interrupt::requested() {
            log::debug!("{}", sentence(&error));
            output::complaint("interrupted");
            return exit::INTERRUPTED;
        }
        output::complaint(sentence(&error));
        code(&error)
    });
    code.into()
}

/// Returns the arguments in the form that `pinhole` takes.
fn arguments(args: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut args: Vec<OsString> = args.collect();
    let name = args.first().map(Path::new).and_then(Path::file_name);
    if name.is_some_and(|name| name == BACKEND_NAME) {
        // The usage that is printed then names `pinhole device`.
        args.splice(..1, ["pinhole".into(), "device".into()]);
    }
    args
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::exit::{CANNOT_RUN, UNTESTABLE};
    use super::{Cli, arguments, code, sentence};
    use crate::rig::matrix::error::MatrixError;
    use crate::rig::testbed::TestbedError;
    use crate::vm::channel::AgentError;
    use crate::vm::images::OwnKernel;
    use crate::vm::provision::Error;

    #[test]
    fn the_command_line_is_well_formed() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn under_its_other_name_it_is_the_device() {
        let args = |words: &[&str]| arguments(words.iter().map(|&word| word.into()));
        assert_eq!(
            args(&["/usr/libexec/vhost-user-media", "--fd", "3"]),
            ["pinhole", "device", "--fd", "3"]
        );
        assert_eq!(args(&["pinhole", "--help"]), ["pinhole", "--help"]);
        assert!(args(&[]).is_empty());
    }

    #[test]
    fn only_an_own_kernel_is_untestable() {
        let own = OwnKernel::new("bzImage".into(), "linux".into());
        let code_of = |error: TestbedError, own| {
            let error = anyhow::Error::new(MatrixError::from(error.of(own)));
            (code(&error), sentence(&error))
        };
        let dead = || TestbedError::Load {
            driver: "pinhole".into(),
            source: AgentError::Closed,
        };
        let (code, said) = code_of(dead(), Some(&own));
        assert_eq!(code, UNTESTABLE);
        assert_eq!(said, format!("bzImage cannot be tested: {}", dead()));
        assert_eq!(code_of(dead(), None), (CANNOT_RUN, dead().to_string()));
        for hosts in [TestbedError::NoCard, Error::NoCache.into()] {
            assert_eq!(code_of(hosts, Some(&own)).0, CANNOT_RUN);
        }
    }

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
