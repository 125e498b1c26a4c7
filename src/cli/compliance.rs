//! `pinhole compliance`.

use std::path::PathBuf;

use super::endpoint_args::KindArg;
use super::guest_args::guests;
use super::output;
use super::planes::PlanesArg;
use crate::card::{BufferApi, CardKind};
use crate::report;
use crate::rig::compliance;
use crate::vm::images::Catalog;
use crate::vm::progress::Progress;

/// Have v4l2-compliance judge the cards, beside the kernel's own virtual devices,
/// and print a page of it
///
/// Boots each guest six times, with a capture, an output and a mem-to-mem card,
/// each single-planar and multi-planar, and runs v4l2-compliance with streaming
/// in every format on every input or output. Takes five to fifteen minutes a boot
/// where the guest is emulated. Exits with 0 when nothing of the card failed and
/// nothing was warned of, 1 when something was, 2 when it could not run.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Guests to boot, or all, as if none is named; `pinhole guest list` shows
    /// them
    #[arg(long = "kernel", value_name = "ID|all", default_value = "all")]
    kernels: Vec<String>,

    /// Which of V4L2's two APIs the devices are to have; both if it is not given
    #[arg(long, value_enum)]
    planes: Option<PlanesArg>,

    /// What the devices are to be for; everything if it is not given
    #[arg(long, value_enum)]
    kind: Option<KindArg>,

    /// Keep the results in this folder, one file a boot, and print the page of
    /// all that it holds: a run of some replaces those alone
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    keep: Option<PathBuf>,
}

/// Runs the subcommand.
pub fn run(args: Args) -> anyhow::Result<u8> {
    let progress = Progress::stderr();
    let catalog = Catalog::builtin();
    let named = args.kernels.iter();
    let guests: Vec<_> = named.flat_map(|name| guests(name, &catalog)).collect();
    let apis = match args.planes {
        Some(planes) => vec![planes.into()],
        None => vec![BufferApi::Single, BufferApi::Multi],
    };
    let kinds = match args.kind {
        Some(kind) => vec![kind.into()],
        None => vec![CardKind::Capture, CardKind::Output, CardKind::M2m],
    };
    let mut comparisons = Vec::new();
    for guest in &guests {
        for &kind in &kinds {
            for &planes in &apis {
                let comparison = compliance::compare(guest, kind, planes, &progress)?;
                if let Some(folder) = &args.keep {
                    compliance::keep(folder, &comparison)?;
                }
                comparisons.push(comparison);
            }
        }
    }
    let is_clean = comparisons.iter().all(|one| one.card.is_clean());
    let shown = match &args.keep {
        Some(folder) => compliance::kept(folder)?,
        None => comparisons,
    };
    output::text(report::compliance::page(&shown))?;
    Ok(match is_clean {
        true => super::exit::SUCCESS,
        false => super::exit::FAILED,
    })
}
