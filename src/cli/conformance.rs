//! `pinhole conformance`.

use std::fs;
use std::path::PathBuf;

use anyhow::Context as _;

use super::back_end_args::BackEndArgs;
use super::guest_args::GuestArgs;
use super::output;
use crate::conformance::clause::{Clause, Side};
use crate::conformance::clauses::{self, ClauseId};
use crate::conformance::device::{self, Settings};
use crate::conformance::driver;
use crate::conformance::verdict::SuiteOutcome;
use crate::report::conformance as report;
use crate::vm::images::Catalog;
use crate::vm::interrupt;
use crate::vm::progress::Progress;

/// Hold a virtio-media device or driver against the clauses of the specification
///
/// Speaks to a vhost-user back end as a guest's driver does, and judges its
/// answers clause by clause, without a guest: the one that listens on --socket,
/// or the one that COMMAND starts; with neither, Pinhole's own card. With
/// --kernel or --driver, boots a guest with scripted media devices in it, and
/// judges what the driver there puts on the queues, and what becomes of the
/// guest when a device lies, is late, is slow, or dies. What a device or driver
/// does not have is not offered, and no failure. Exits with 0 when every clause
/// is kept or is about what there is not, 1 when one is not or could not be
/// judged, 2 when it could not run, 125 when a kernel of your own could not be
/// tested. A SHOULD or a MAY that is not kept is told, and leaves the exit code
/// as it is.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print the clauses, and judge none
    #[arg(long)]
    list: bool,

    /// Judge this clause alone; may be given several times
    #[arg(long, value_name = "ID")]
    clause: Vec<ClauseId>,

    /// Print a JSON array with an object for each device or driver instead of the
    /// table, and nothing else on stdout
    #[arg(long, conflicts_with = "list")]
    json: bool,

    /// Write the results as KTAP to this file, too
    #[arg(long, value_name = "FILE")]
    ktap: Option<PathBuf>,

    /// Write the results as JUnit's XML to this file, too
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,

    #[command(flatten)]
    back_end: BackEndArgs,

    #[command(flatten)]
    guest: GuestArgs,
}

impl Args {
    fn wants(&self, clause: &Clause) -> bool {
        self.clause.is_empty() || self.clause.iter().any(|one| one.clause().id == clause.id)
    }
}

/// Runs the subcommand.
pub fn run(args: Args) -> anyhow::Result<u8> {
    if args.list {
        let clauses = clauses::of(Side::Device).chain(clauses::of(Side::Driver));
        output::line(report::list(clauses.filter(|one| args.wants(one))))?;
        return Ok(super::exit::SUCCESS);
    }
    let (outcomes, stopped) = match args.guest.names_a_driver() {
        true => drivers(&args)?,
        false => (devices(&args)?, None),
    };
    if args.json {
        output::line(serde_json::to_string(&outcomes)?)?;
    } else {
        output::line(report::table(&outcomes))?;
    }
    let files = [
        (&args.ktap, report::ktap as fn(&[SuiteOutcome]) -> String),
        (&args.junit, report::junit),
    ];
    for (path, format) in files {
        if let Some(path) = path {
            fs::write(path, format(&outcomes))
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    if interrupt::requested() {
        return Ok(super::exit::INTERRUPTED);
    }
    if let Some(error) = stopped {
        return Err(error);
    }
    Ok(match outcomes.iter().any(SuiteOutcome::is_wrong) {
        false => super::exit::SUCCESS,
        true => super::exit::FAILED,
    })
}

/// Judges the back end.
fn devices(args: &Args) -> anyhow::Result<Vec<SuiteOutcome>> {
    let of_driver = args
        .clause
        .iter()
        .find(|one| one.clause().side == Side::Driver);
    if let Some(clause) = of_driver {
        anyhow::bail!("{clause} is a driver's clause, and no driver was named");
    }
    let settings = Settings {
        clauses: args.clause.clone(),
        error_control: args.back_end.error_control(),
        region: args.back_end.has_region(),
        ..Settings::default()
    };
    let mut subject = args.back_end.subject()?;
    let progress = Progress::stderr();
    let step = progress.step("trying the clauses");
    let outcome = device::run(&mut subject, &settings, &mut |clause| {
        step.update(&clause.to_string());
    })?;
    step.done();
    Ok(vec![outcome])
}

/// Judges the driver on each kernel that is named, up to one with which the suite
/// cannot begin: what was found before is told all the same.
fn drivers(args: &Args) -> anyhow::Result<(Vec<SuiteOutcome>, Option<anyhow::Error>)> {
    anyhow::ensure!(
        !args.back_end.is_named(),
        "a back end and a driver were named: each is tested by itself"
    );
    let mut clauses = args.clause.iter();
    if let Some(clause) = clauses.find(|one| one.clause().side == Side::Device) {
        anyhow::bail!("{clause} is a device's clause, and a driver was named");
    }
    let progress = Progress::stderr();
    let testbeds = args.guest.testbeds(&Catalog::builtin())?;
    let mut outcomes = Vec::new();
    for testbed in &testbeds {
        match driver::run(testbed, &args.clause, &progress) {
            Ok(outcome) => outcomes.push(outcome),
            Err(error) if outcomes.is_empty() => return Err(error.into()),
            Err(error) => return Ok((outcomes, Some(error.into()))),
        }
    }
    Ok((outcomes, None))
}
