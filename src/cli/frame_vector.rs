//! `pinhole frame-vector`.

use std::path::PathBuf;

use super::guest_args::guests;
use super::output;
use crate::report;
use crate::rig::frame_vector::{self, Contract, FrameVectorSpec};
use crate::vm::accelerator::Accelerator;
use crate::vm::images::Catalog;
use crate::vm::progress::Progress;

/// Show what a kernel does where reviewers of get_vaddr_frames() asked
///
/// Boots stock kernels with a module that makes calls on frame vectors, asks
/// each a list of questions, and holds the answers against what is known of
/// that kernel. Exits with 0 when every answer was as expected, 1 when not, 2
/// when it could not run.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Guest to boot, or all; `pinhole guest list` shows them
    #[arg(long, value_name = "ID|all", default_value = "all")]
    kernel: String,

    /// QEMU to use, in place of the system's own or one made of packages
    #[arg(long, value_name = "PATH")]
    qemu: Option<PathBuf>,

    /// What runs the guest's instructions: auto is KVM where it works
    #[arg(long, value_name = "auto|kvm|tcg", default_value = "auto", value_parser = super::guest_args::accelerator)]
    accel: super::guest_args::Auto,

    /// Print JSON with all that was seen instead of the table
    #[arg(long)]
    json: bool,

    /// Print the page docs/frame-vector.md instead of the table
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
}

/// Runs the subcommand.
pub fn run(args: Args) -> anyhow::Result<u8> {
    let progress = Progress::stderr();
    let accelerator: Option<Accelerator> = args.accel.into();
    let contracts = guests(&args.kernel, &Catalog::builtin())
        .into_iter()
        .map(|kernel| {
            let spec = FrameVectorSpec {
                kernel,
                qemu: args.qemu.clone(),
                accelerator,
            };
            frame_vector::run(&spec, &progress)
        })
        .collect::<Result<Vec<_>, _>>()?;
    if args.json {
        output::line(serde_json::to_string(&contracts)?)?;
    } else if args.markdown {
        output::text(report::frame_vector::markdown(&contracts))?;
    } else {
        output::line(report::frame_vector::table(&contracts))?;
    }
    Ok(match contracts.iter().all(Contract::is_as_expected) {
        true => super::exit::SUCCESS,
        false => super::exit::FAILED,
    })
}
