//! `pinhole compliance`.

use crate::card::Planes;
use crate::report;
use crate::rig::compliance;
use crate::vm::images::Catalog;
use crate::vm::progress::Progress;

/// Have v4l2-compliance judge the card, beside vivid, and print a page of it
///
/// Boots each guest twice, with a single-planar and with a multi-planar card,
/// and runs v4l2-compliance with streaming in every format on every input.
/// Takes minutes a boot. Exits with 0 when nothing of
/// the card failed and nothing was warned of, 1 when something was, 2 when it
/// could not run.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Guests to boot, all if none is named; `pinhole guest list` shows them
    #[arg(long = "kernel", value_name = "ID")]
    kernels: Vec<String>,
}

/// Runs the subcommand.
pub fn run(args: Args) -> anyhow::Result<u8> {
    let progress = Progress::stderr();
    let guests: Vec<_> = match args.kernels.is_empty() {
        true => Catalog::builtin().recipes().map(|guest| guest.id).collect(),
        false => args.kernels,
    };
    let mut comparisons = Vec::new();
    for guest in &guests {
        for planes in [Planes::Single, Planes::Multi] {
            comparisons.push(compliance::compare(guest, planes, &progress)?);
        }
    }
    print!("{}", report::compliance::page(&comparisons));
    Ok(match comparisons.iter().all(|one| one.card.is_clean()) {
        true => super::SUCCESS,
        false => super::FAILED,
    })
}
