//! `pinhole capture`.

use std::path::PathBuf;

use super::card_args::CardArgs;
use super::guest_args::GuestArgs;
use super::stream_args::{StreamArgs, memory};
use crate::card::Direction;
use crate::rig::capture;
use crate::rig::capture::store::Store;
use crate::rig::capture::tool::Memory;
use crate::vm::progress::Progress;

/// Boot a guest, capture frames in it, and verify every byte
///
/// Starts the capture card and QEMU, boots the guest's stock kernel, loads the
/// driver, streams with v4l2-ctl, takes the frames out of the guest and holds
/// each against what the card says it wrote. Exits with 0 when all frames were
/// captured and verified and the kernel log is clean, 1 when not, 2 when it
/// could not run.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    stream: StreamArgs,

    /// How the application gives the kernel its memory
    #[arg(long, default_value = "userptr", value_parser = memory(Direction::Capture))]
    memory: Memory,

    /// Where the application writes the frames, from where they are taken
    /// afterwards
    #[arg(long, value_enum, default_value_t = Store::Auto)]
    store: Store,

    /// Folder for the frames, report.json, contact-sheet.png, the console's log
    /// and the witness; made if it is not there
    #[arg(long, value_name = "DIR", default_value = "pinhole-capture")]
    out: PathBuf,

    #[command(flatten)]
    guest: GuestArgs,

    #[command(flatten)]
    card: CardArgs,
}

/// Runs the subcommand.
pub fn run(args: Args) -> anyhow::Result<u8> {
    let progress = Progress::stderr();
    let testbed = args.card.put_into(args.guest.testbed()?)?;
    let planes = args.card.planes();
    let stream = &args.stream;
    let spec = stream.spec(testbed, planes, args.memory, args.store, &args.out)?;
    let capture = capture::run(&spec, &progress)?;
    stream.conclude(&capture, &spec)
}
